// Clients that mean no good, many and fast; beside them one that behaves. The small run is abuse.test.mjs, the long one
// tests/long/abuse.mjs.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { request } from "node:http";
import WebSocket from "ws";
import { connected, nextEvent, until } from "./client.mjs";
import { startServer } from "./server.mjs";

const WIDTH = 40;
const PATIENT = { timeout: 60_000 };
const MB = 1024 * 1024;
const HELD = "held";

/**
 * `connections` strangers, half of them by polling, and `frames` frames of garbage over them, against a server that counts no
 * handshakes; what it cost. They come in two waves, `restMs` apart: what the first takes the second has to make do with, or memory
 * would grow with whoever ever came. Throws when a user's object came of it, when memory grew by more
 * than `memoryMb`, in the second wave by more than `againMb`, or when the client who behaves missed a push.
 */
export async function abuse({ connections, frames, memoryMb, againMb, restMs = 0, seed, bundle, report = () => {} }) {
  const server = await startServer({ bundle });
  try {
    const witness = await connected(server.connect("witness"), PATIENT);
    await nextEvent(witness, "authenticated");
    const hubs = await server.objects();
    const pushes = startPushing(server, witness);
    const random = generator(seed);
    // What the runtime takes once, whoever comes, is not what strangers cost.
    await strangers({ server, connections: 20, frames: 200, random });
    const before = memory(server);
    let peak = before;
    const watching = setInterval(() => (peak = Math.max(peak, memory(server))), 200);
    let seconds = 0;
    const wave = { server, connections: connections / 2, frames: frames / 2, random };
    const timed = async () => {
      const begun = performance.now();
      const seen = await strangers(wave);
      seconds += (performance.now() - begun) / 1000;
      return seen;
    };
    const first = await timed();
    await new Promise((resolve) => setTimeout(resolve, restMs));
    const peakOfFirst = peak;
    const second = await timed();
    clearInterval(watching);
    const { count, slowestMs } = await pushes.stop();
    const [grown, again] = [(peak - before) / MB, (peak - peakOfFirst) / MB];
    const figures = {
      connections, frames, seconds: Math.round(seconds * 10) / 10,
      transports: first.closed + second.closed, refused: first.refused + second.refused,
      memory_before_mb: Math.round(before / MB), memory_grown_mb: Math.round(grown), of_it_in_second_wave_mb: Math.round(again),
      lobbies: (await server.objects("Lobby")).length, pushes: count, slowest_push_ms: Math.round(slowestMs),
    };
    report(`strangers: ${JSON.stringify(figures)}`);
    assert.deepEqual(await server.objects(), hubs, "a user's object came of it");
    assert.ok(grown <= memoryMb, `memory grew by ${grown} MB`);
    assert.ok(again <= againMb, `memory grew by ${again} MB in the second wave`);
    assert.deepEqual(witness.lifecycle.map(({ name }) => name), ["connect"], "the client who behaves was disturbed");
    assert.doesNotMatch(server.log.join("\n"), /panic|unreachable|RuntimeError|Exceeded/);
    return figures;
  } finally {
    await server.stop();
  }
}

/** The same door with the limit as wrangler.toml has it: how many of `handshakes` come in, and that no object is touched for the rest. */
export async function tooMany({ bundle, handshakes = 1_500, report = () => {} }) {
  const server = await startServer({ bundle, limits: {} });
  try {
    const statuses = {};
    await pool(handshakes, async (i) => {
      const user = server.token(`flood-${i}`, { ttl: -60 });
      const { status } = await engine(server, "GET", i % 2 === 0 ? {} : { token: user });
      statuses[status] = (statuses[status] ?? 0) + 1;
    });
    report(`one address: ${JSON.stringify(statuses)}`);
    assert.ok(statuses[429] > 0, "the limit of one address");
    assert.deepEqual(Object.keys(statuses).sort(), ["200", "429"]);
    assert.deepEqual(await server.objects(), []);
    assert.deepEqual(await server.objects("Lobby"), []);
    return { handshakes, refused_handshakes: statuses[429] };
  } finally {
    await server.stop();
  }
}

// ---- strangers ----

/** Each connection comes in one way or another, sends its share of garbage, and goes or is sent away. */
async function strangers({ server, connections, frames, random }) {
  const share = Math.ceil(frames / connections);
  const seen = { closed: 0, refused: 0 };
  let left = frames;
  await pool(connections, async (i) => {
    const mine = Array.from({ length: Math.min(share, left) }, () => garbage(random));
    left -= mine.length;
    if (i % 2 === 0) await byWebSocket(server, mine, random, seen);
    else await byPolling(server, mine, random, seen);
  });
  return seen;
}

/** Opens sockets until all is sent: most frames end the connection they come by. */
async function byWebSocket(server, frames, random, seen) {
  while (frames.length > 0) {
    const ws = new WebSocket(`${server.url.replace("http", "ws")}/socket.io/?${handshake(server, "websocket", random)}`);
    const over = new Promise((resolve) => {
      ws.on("unexpected-response", (_request, response) => {
        seen.refused += 1;
        response.resume();
        resolve();
      });
      ws.on("error", () => resolve());
      ws.on("close", resolve);
    });
    const opened = await Promise.race([new Promise((resolve) => ws.on("open", () => resolve(true))), over]);
    if (opened !== true) frames.shift();
    for (let sent = 0; opened === true && sent < 8 && frames.length > 0 && ws.readyState === WebSocket.OPEN; sent += 1) {
      ws.send(frames.shift());
      if (random() < 0.3) await new Promise((resolve) => setImmediate(resolve));
    }
    // Those the server keeps go by themselves, some without a word.
    if (random() < 0.5) ws.close();
    else ws.terminate();
    await over;
    seen.closed += 1;
  }
}

async function byPolling(server, frames, random, seen) {
  while (frames.length > 0) {
    const opened = await engine(server, "GET", Object.fromEntries(handshake(server, "polling", random)));
    if (opened.status !== 200) {
      seen.refused += 1;
      frames.shift();
      continue;
    }
    const { sid } = JSON.parse(opened.text.slice(1));
    const target = random() < 0.4 ? forged(sid, random) : sid;
    for (let open = true; open && frames.length > 0; ) {
      const frame = frames.shift();
      const body = Buffer.isBuffer(frame) ? `b${random() < 0.5 ? frame.toString("base64") : frame.toString("latin1")}` : frame;
      const { status } = await engine(server, random() < 0.9 ? "POST" : "GET", { sid: target }, body);
      open = (status === 200 || status === HELD) && random() < 0.8;
      assert.ok([200, 400, 413, HELD].includes(status), `${status} for ${String(body).slice(0, 60)}`);
    }
    seen.closed += 1;
  }
}

/** The query of a handshake: without a token, or with one that proves nothing. */
function handshake(server, transport, random) {
  const query = new URLSearchParams({ EIO: random() < 0.95 ? "4" : pick(random, ["3", "5", "", "x"]), transport });
  if (random() < 0.5) query.set("token", badToken(server, random));
  if (random() < 0.1) query.set("sid", forged("l.1800000000000.AAAAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAA", random));
  return query;
}

function badToken(server, random) {
  const good = server.token(`victim-${Math.floor(random() * 1000)}`);
  return pick(random, [
    () => "junk",
    () => server.token("victim", { ttl: -60 }),
    () => server.token("victim", { secret: "x".repeat(32) }),
    () => server.token("victim", { alg: "none" }),
    () => good.slice(0, -2),
    () => good.split(".").reverse().join("."),
    () => "x".repeat(Math.floor(random() * 3_000)),
  ])();
}

/** A sid like one of ours that we did not make: it may name a user's object or a lobby. */
function forged(sid, random) {
  const user = Buffer.from(`victim-${Math.floor(random() * 1000)}`).toString("base64url");
  const [, , nonce, signature] = sid.split(".");
  return pick(random, [
    () => `u.${user}.${nonce}.${signature}`,
    () => `l.${Math.floor(random() * 2e12)}.${nonce}.${signature}`,
    () => `${sid.slice(0, -1)}${pick(random, ["A", "B", "", "AA"])}`,
    () => `${user}`,
    () => "u.".repeat(Math.floor(random() * 100)),
    () => "../../UserHub",
  ])();
}

/** A frame nobody should send: text, or bytes. */
function garbage(random) {
  const length = Math.floor(random() ** 4 * 20_000);
  return pick(random, [
    () => Buffer.from(Array.from({ length: length % 500 }, () => Math.floor(random() * 256))),
    () => Buffer.alloc(length, 0xff),
    () => String.fromCharCode(...Array.from({ length: length % 500 }, () => Math.floor(random() * 0xd7ff))),
    () => `${Math.floor(random() * 10)}${Math.floor(random() * 10)}${"/x,".repeat(length % 50)}`,
    () => `45${Math.floor(random() * 1e15)}-["x",{"_placeholder":true,"num":${Math.floor(random() * 1e9)}}]`,
    () => `451-/notifications,${"9".repeat(length % 400)}["x",{"_placeholder":true,"num":0}]`,
    () => `b${"=".repeat(length % 300)}`,
    () => `40/notifications,{"token":${"[".repeat(length)}`,
    () => `40/notifications,{"token":${"[".repeat(length)}${"]".repeat(length)}}`,
    () => `40/notifications,${JSON.stringify({ token: "x".repeat(length), pid: "x.0.y", offset: "\u001f1" })}`,
    () => `40/${"n".repeat(length)},`,
    () => `42/notifications,["mark:seen",${'{"a":'.repeat(length % 3_000)}`,
    () => `42["notification:delete",{"recipient_id":"${"0".repeat(36)}"}]`,
    () => `0{"sid":"forged","upgrades":[],"pingInterval":1,"pingTimeout":1}`,
    () => "2probe",
    () => "5",
    () => "\u001e".repeat(length % 2_000),
    () => "",
  ])();
}

// ---- the client who behaves ----

/** Pushes to the witness all the time; `stop` says how many came and how long the slowest took. */
function startPushing(server, witness) {
  let running = true;
  let [count, slowestMs] = [0, 0];
  const done = (async () => {
    while (running) {
      const begun = performance.now();
      const { status, body } = await server.push("witness");
      assert.equal(status, 201, JSON.stringify(body));
      await nextEvent(witness, "notification:new", ({ id }) => id === body.id, PATIENT);
      slowestMs = Math.max(slowestMs, performance.now() - begun);
      count += 1;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  })();
  // Looked at when it is stopped.
  done.catch(() => {});
  const stop = async () => {
    running = false;
    await done;
    return { count, slowestMs };
  };
  return { stop };
}

// ---- tools ----

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const pick = (random, choices) => choices[Math.floor(random() * choices.length)];

/** Does `count` things, so many at a time. */
async function pool(count, action) {
  let next = 0;
  const worker = async () => {
    while (next < count) await action(next++);
  };
  await Promise.all(Array.from({ length: Math.min(WIDTH, count) }, worker));
}

function engine(server, method, query, body) {
  const path = `/socket.io/?${new URLSearchParams({ EIO: "4", transport: "polling", ...query })}`;
  return new Promise((resolve, reject) => {
    const options = { method, agent: false, headers: body === undefined ? {} : { "content-type": "text/plain;charset=UTF-8" } };
    const outgoing = request(new URL(path, server.url), options, async (incoming) => {
      resolve({ status: incoming.statusCode, text: Buffer.concat(await incoming.toArray()).toString() });
    });
    // A poll of a session that says nothing is held for as long as the session lives.
    const isPoll = method === "GET" && query.sid !== undefined;
    if (isPoll) outgoing.setTimeout(1_000, () => outgoing.destroy(Object.assign(new Error("held"), { code: HELD })));
    outgoing.on("error", (error) => (error.code === HELD ? resolve({ status: HELD, text: "" }) : reject(error)));
    outgoing.end(method === "POST" ? body : undefined);
  });
}

/** Bytes of memory that the runtime of a server holds: workerd's own. */
function memory(server) {
  const children = new Map();
  const held = new Map();
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      const status = readFileSync(`/proc/${pid}/status`, "utf8");
      const field = (name) => new RegExp(`^${name}:\\s+(\\S+)`, "m").exec(status)?.[1];
      children.set(field("PPid"), [...(children.get(field("PPid")) ?? []), pid]);
      held.set(pid, field("Name") === "workerd" ? Number(field("VmRSS") ?? 0) * 1024 : 0);
    } catch (error) {
      // It has ended meanwhile.
      if (!["ENOENT", "ESRCH"].includes(error.code)) throw error;
    }
  }
  const total = (pid) => (held.get(pid) ?? 0) + (children.get(pid) ?? []).reduce((sum, child) => sum + total(child), 0);
  return total(String(server.pid));
}
