// Clients that keep themselves alive: `keepalive=client`. The platform answers their pings, and the hub sleeps.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { connected, nextEvent, startServer, until } from "./harness.mjs";
import { openRaw } from "./raw.mjs";

const LONGEST_WAIT_MS = 2 ** 31 - 1;
const GRACE_MS = 10_000;
const PING_TIMEOUT_MS = 120_000;
const KEEPALIVE = { query: { keepalive: "client" } };
const PING = '42/notifications,["ping"]';
const PONG = '42/notifications,["pong",{}]';

let server;
before(async () => {
  server = await startServer({ vars: { KEEPALIVE_GRACE_MS: String(GRACE_MS), JWT_LEEWAY_SECONDS: "60" } });
});

let users = 0;
const newUser = () => `u${++users}`;

const WAYS = {
  "a WebSocket": (token) => ({ token }),
  "an upgrade": (token) => ({ token, transports: ["polling", "websocket"] }),
  "the relay": (token) => ({ token: null, auth: { token } }),
  "an upgrade with the token in CONNECT": (token) => ({ token: null, auth: { token }, transports: ["polling", "websocket"] }),
};

async function presence(user) {
  const { status, body } = await server.api("GET", `/v1/presence/users/${user}`, { key: server.serviceKey });
  assert.equal(status, 200);
  return body;
}

/** What the objects did meanwhile, in billable units. */
async function spentWhile(action) {
  await server.resetLedger();
  await action();
  return server.ledger();
}

for (const [way, options] of Object.entries(WAYS)) {
  test(`over ${way}: the longest legal interval is advertised`, async () => {
    const socket = server.connect(newUser(), { ...KEEPALIVE, ...options(server.token(`u${users}`)) });
    let handshake;
    socket.io.engine.on("handshake", (data) => (handshake = data));
    await connected(socket);
    assert.equal(handshake.pingInterval + handshake.pingTimeout, LONGEST_WAIT_MS);
    assert.equal(handshake.pingTimeout, PING_TIMEOUT_MS);
    socket.disconnect();
  });

  test(`over ${way}: a ping is answered while the object sleeps, and costs it nothing`, async () => {
    const user = newUser();
    const socket = await connected(server.connect(user, { ...KEEPALIVE, ...options(server.token(user)) }));
    await until(() => socket.io.engine.transport.name === "websocket", { what: "upgrade" });
    await socket.timeout(5_000).emitWithAck("ping");
    await nextEvent(socket, "pong");
    await server.evict(user);
    const spent = await spentWhile(async () => {
      for (let i = 0; i < 5; i++) {
        socket.emit("ping");
        assert.deepEqual(await nextEvent(socket, "pong"), {});
      }
    });
    assert.deepEqual(Object.keys(spent).filter((unit) => unit !== "worker_requests"), []);
    socket.disconnect();
  });
}

test("on any other namespace, or with an ack, the hub itself answers a ping", async () => {
  const socket = await connected(server.connect(newUser(), { ...KEEPALIVE, namespace: "/" }));
  const spent = await spentWhile(async () => {
    socket.emit("ping");
    await nextEvent(socket, "pong");
    assert.deepEqual(await socket.timeout(5_000).emitWithAck("ping"), { ok: true });
  });
  assert.equal(spent.messages_received, 2);
});

test("the platform's answer is the frame that a stock client reads as `pong`, to the letter", async () => {
  const socket = await openRaw(server, newUser(), KEEPALIVE);
  await socket.join();
  await socket.settled();
  socket.send(PING);
  assert.equal(await socket.next((frame) => frame.includes("pong")), PONG);
});

test("a client that keeps itself alive is not pinged, and its neighbour of the same hub is", async () => {
  const hasty = await startServer({ vars: { PING_INTERVAL_MS: "1000" } });
  const quiet = await openRaw(hasty, "u", KEEPALIVE);
  await quiet.join();
  const stock = await openRaw(hasty, "u");
  await stock.join();
  for (let i = 0; i < 2; i++) {
    await stock.next((frame) => frame === "2");
    stock.send("3");
  }
  await quiet.settled();
  assert.deepEqual(quiet.frames.filter((frame) => frame === "2"), []);
  await hasty.stop();
});

test("no alarm runs while a client that keeps itself alive is idle", async () => {
  const hasty = await startServer({ vars: { PING_INTERVAL_MS: "1000", CONNECT_TIMEOUT_MS: "300000" } });
  const quiet = await connected(hasty.connect("u", KEEPALIVE));
  await nextEvent(quiet, "authenticated");
  const alarm = async () => (await hasty.hubInfo("u")).alarm_at;
  const before = await alarm();
  // Another hub's alarm goes off meanwhile: an interval has passed.
  await hasty.resetLedger();
  const stock = await openRaw(hasty, "other");
  await stock.join();
  await stock.next((frame) => frame === "2");
  assert.equal((await hasty.ledger()).alarms, 1);
  assert.equal(await alarm(), before);
  await hasty.stop();
});

test("silence beyond KEEPALIVE_GRACE_MS is noticed when presence asks or something is pushed; a client that pings stays online", { timeout: 90_000 }, async () => {
  const [silent, alive, relayed, pushed] = [newUser(), newUser(), newUser(), newUser()];
  const mute = await openRaw(server, silent, KEEPALIVE);
  await mute.join();
  const behindRelay = await openRaw(server, relayed, { ...KEEPALIVE, token: null });
  await behindRelay.join("/notifications", { token: server.token(relayed) });
  const unasked = await openRaw(server, pushed, KEEPALIVE);
  await unasked.join();
  const talking = await connected(server.connect(alive, KEEPALIVE));
  for (const user of [silent, alive, relayed, pushed]) assert.equal((await presence(user)).online, true);
  for (const user of [silent, alive, relayed, pushed]) await server.evict(user);
  await server.resetLedger();
  // One client says something now and then; the others nothing for longer than the grace.
  const begun = performance.now();
  const passed = (ms) => until(() => performance.now() - begun > ms, { what: `${ms} ms` });
  for (let at = 2_000; at < GRACE_MS; at += 2_000) {
    talking.emit("ping");
    await nextEvent(talking, "pong");
    await passed(at);
  }
  talking.emit("ping");
  await nextEvent(talking, "pong");
  await passed(GRACE_MS + 500);
  assert.deepEqual(Object.keys(await server.ledger()).filter((unit) => unit !== "worker_requests"), [], "the hubs slept");
  assert.equal(mute.closeCode, undefined, "nobody has looked yet");
  assert.equal((await presence(alive)).online, true);
  assert.equal((await presence(silent)).online, false);
  assert.equal((await presence(relayed)).online, false);
  await mute.told();
  await behindRelay.told();
  const { results } = (await server.push(pushed)).body;
  assert.deepEqual([results[0].delivery_status, results[0].online], ["pending", false]);
  await unasked.told();
  assert.equal(talking.connected, true);
});

test("a client that keeps itself alive is told when its token ends, and is closed", async () => {
  const ends = async (options) => {
    const user = newUser();
    // The session outlives its token by 25 seconds, and the token has been over for 20 of them.
    const socket = await connected(server.connect(user, { ...KEEPALIVE, ...options(server.token(user, { ttl: -20 })) }));
    assert.equal((await nextEvent(socket, "auth_error", undefined, { timeout: 15_000 })).code, "EXPIRED_TOKEN");
    await until(async () => (await server.hubInfo(user)).sockets === 0, { what: "no socket" });
    assert.equal((await presence(user)).online, false);
  };
  await Promise.all(Object.values(WAYS).map(ends));
});
