// Stock clients with the options they have, and what lies between them and their hub.
import assert from "node:assert/strict";
import { before, beforeEach, test } from "node:test";
import { connected, nextEvent, refused, startServer, until } from "./harness.mjs";
import { startProxy } from "./proxy.mjs";
import { openProbe, openRaw, refusedUpgrade } from "./raw.mjs";

const RECONNECTING = { reconnection: true, reconnectionDelay: 20, reconnectionDelayMax: 100, randomizationFactor: 0 };
const DEFAULT_TRANSPORTS = ["polling", "websocket"];
const CLOSE = "1";
const SEPARATOR = "\u001e";

let server;
let network;
before(async () => {
  server = await startServer();
  network = await startProxy(server);
});
beforeEach(() => network.restore());

let users = 0;
const newUser = () => `u${++users}`;

/** A request of a polling session; without a sid, the one that opens it. */
function engine(method, { sid, token, body, on = server, query = {}, headers } = {}) {
  const given = Object.entries({ sid, token }).filter(([, value]) => value !== undefined);
  const parameters = new URLSearchParams({ EIO: "4", transport: "polling", ...Object.fromEntries(given), ...query });
  return on.api(method, `/socket.io/?${parameters}`, { body, headers });
}

async function openPolling(options) {
  const { status, body } = await engine("GET", options);
  assert.equal(status, 200);
  return JSON.parse(body.slice(1));
}

/** Polls until there is a packet that matches. */
async function polled(sid, matches, options = {}) {
  return until(async () => {
    const { status, body } = await engine("GET", { sid, ...options });
    assert.equal(status, 200, JSON.stringify(body));
    return body.split(SEPARATOR).find(matches);
  });
}

// ---- every way ends on a WebSocket that the hub holds ----

const delayed = (token) => (callback) => setTimeout(callback, 400, { token });
const WAYS = {
  "WebSocket with the token in query": (token) => ({ token }),
  "WebSocket with the token in a header": (token) => ({ token: null, extraHeaders: { authorization: `Bearer ${token}` } }),
  "WebSocket, then the token in CONNECT": (token) => ({ token: null, auth: { token } }),
  "WebSocket, then a late CONNECT": (token) => ({ token: null, auth: delayed(token) }),
  "an upgrade with the token in query": (token) => ({ token, transports: DEFAULT_TRANSPORTS }),
  "an upgrade with the token in a header": (token) => ({
    token: null,
    extraHeaders: { authorization: `Bearer ${token}` },
    transports: DEFAULT_TRANSPORTS,
  }),
  "an upgrade with the token in CONNECT": (token) => ({ token: null, auth: { token }, transports: DEFAULT_TRANSPORTS }),
  "an upgrade that is over before a late CONNECT": (token) => ({
    token: null,
    auth: delayed(token),
    transports: DEFAULT_TRANSPORTS,
  }),
};

for (const [way, options] of Object.entries(WAYS)) {
  test(`${way}: the hub holds one WebSocket and can be evicted under it`, async () => {
    const user = newUser();
    const socket = await connected(server.connect(user, options(server.token(user))));
    await until(() => socket.io.engine.transport.name === "websocket", { what: "upgrade" });
    const info = await until(async () => {
      const info = await server.hubInfo(user);
      return info.sockets === 1 && info.polling === 0 && info;
    }, { what: "one WebSocket and no polling session at the hub" });
    await server.push(user);
    await nextEvent(socket, "notification:new", ({ seq }) => seq === 1);
    await server.evict(user);
    await server.push(user);
    await nextEvent(socket, "notification:new", ({ seq }) => seq === 2);
    assert.deepEqual(await socket.timeout(5_000).emitWithAck("ping"), { ok: true });
    const after = await server.hubInfo(user);
    assert.notEqual(after.instance, info.instance);
    assert.deepEqual([after.sockets, after.polling], [1, 0]);
    assert.deepEqual(socket.lifecycle.map(({ name }) => name), ["connect"]);
    socket.disconnect();
    await until(async () => (await server.hubInfo(user)).sockets === 0, { what: "no socket" });
  });
}

// ---- options ----

for (const transports of [["websocket"], ["polling"], DEFAULT_TRANSPORTS]) {
  for (const forceBase64 of [false, true]) {
    test(`a binary event over ${transports.join(" and ")}, ${forceBase64 ? "as base64" : "in frames"}, is read and answered`, async () => {
      const user = newUser();
      const socket = await connected(server.connect(user, { transports, forceBase64 }));
      await until(() => socket.io.engine.transport.name === transports.at(-1), { what: "upgrade" });
      const ack = await socket.timeout(5_000).emitWithAck("picture", Buffer.from([1, 2, 3]), { thumb: Buffer.alloc(300) });
      assert.equal(ack.error.code, "UNKNOWN_EVENT");
      await server.push(user);
      await nextEvent(socket, "notification:new");
      assert.deepEqual(socket.lifecycle.map(({ name }) => name), ["connect"]);
    });
  }
}

for (const place of ["query", "CONNECT"]) {
  for (const transports of [["websocket"], ["polling"], DEFAULT_TRANSPORTS]) {
    test(`two namespaces share one connection over ${transports.join(" and ")}, the token in ${place}; one may leave`, async () => {
      const user = newUser();
      const token = server.token(user);
      const auth = place === "query" ? {} : { token };
      const socket = server.connect(user, { token: place === "query" ? token : null, auth, transports });
      const root = server.connectOver(socket, "/", { auth });
      await connected(socket);
      await connected(root);
      assert.notEqual(socket.id, root.id);
      await server.push(user);
      await nextEvent(socket, "notification:new");
      await nextEvent(root, "notification:new");
      const { sockets, polling } = await server.hubInfo(user);
      assert.equal(sockets + polling, 1);
      root.disconnect();
      await socket.timeout(5_000).emitWithAck("ping");
      await server.push(user);
      await nextEvent(socket, "notification:new", ({ seq }) => seq === 2);
      assert.equal(root.events.filter(({ name }) => name === "notification:new").length, 1);
      root.connect();
      await until(() => root.connected);
      await server.push(user);
      await nextEvent(root, "notification:new", ({ seq }) => seq === 3);
    });
  }
}

test("an unknown namespace is refused on a connection that stays, whoever is on it", async () => {
  const user = newUser();
  for (const options of [{}, { token: null, auth: { token: server.token(user) } }]) {
    const socket = await connected(server.connect(user, options));
    const error = await refused(server.connectOver(socket, "/nowhere", { auth: options.auth }));
    assert.equal(error.message, "Invalid namespace");
    assert.deepEqual(await socket.timeout(5_000).emitWithAck("ping"), { ok: true });
  }
});

test("with `retries`, each event is acknowledged once and in order", async () => {
  const user = newUser();
  const socket = await connected(server.connect(user, { retries: 3, ackTimeout: 10_000 }));
  const answers = [];
  for (let i = 0; i < 5; i++) {
    socket.emit("ping", (error, answer) => answers.push([i, error, answer]));
    socket.emit("no such event", (error, answer) => answers.push([i, error, answer.error.code]));
  }
  await until(() => answers.length >= 10);
  await until(() => socket._queue.length === 0);
  assert.deepEqual(
    answers,
    [0, 1, 2, 3, 4].flatMap((i) => [[i, null, { ok: true }], [i, null, "UNKNOWN_EVENT"]]),
  );
  assert.equal(socket.events.filter(({ name }) => name === "pong").length, 5);
});

test("with `retries`, what is sent again after a reconnect does nothing a second time", async () => {
  const user = newUser();
  const socket = await connected(
    server.connect(user, { ...RECONNECTING, url: network.url, query: { ack: "on" }, retries: 3, ackTimeout: 30_000 }),
  );
  await server.push(user);
  const { recipient_id } = await nextEvent(socket, "notification:new");
  const delivery = async () => (await server.db.all("SELECT * FROM deliveries WHERE user_id = ?1", user))[0];
  assert.equal((await delivery()).status, "pending");
  // The acknowledgement arrives, and its ack is lost.
  network.mute();
  const answers = [];
  socket.emit("notification:acknowledge", { recipient_id }, (...answer) => answers.push(answer));
  await until(async () => (await delivery()).status === "delivered", { what: "a delivered notification" });
  const before = await delivery();
  network.cut();
  await until(() => answers.length > 0, { what: "the ack of what was sent again" });
  assert.deepEqual(answers, [[null, { ok: true, acknowledged: 1 }]]);
  await until(() => socket._queue.length === 0);
  assert.equal(socket.recovered, true);
  assert.deepEqual(await delivery(), before);
});

test("what is emitted before the connection stands arrives when it does", async () => {
  for (const options of [{}, { token: null, auth: { token: server.token("early") }, transports: DEFAULT_TRANSPORTS }]) {
    const socket = server.connect("early", options);
    assert.deepEqual(await socket.timeout(10_000).emitWithAck("ping"), { ok: true });
  }
});

// ---- no WebSockets on the way ----

for (const [place, credential] of Object.entries({
  query: (token) => ({ token }),
  CONNECT: (token) => ({ token: null, auth: { token } }),
})) {
  test(`behind a proxy that refuses upgrades a client with its token in ${place} works over polling`, async () => {
    const blocked = await startProxy(server, { webSockets: false });
    const user = newUser();
    const socket = await connected(
      server.connect(user, { ...credential(server.token(user)), url: blocked.url, transports: DEFAULT_TRANSPORTS }),
    );
    await until(() => blocked.refusedUpgrades === 1, { what: "an upgrade that is refused" });
    for (let seq = 1; seq <= 3; seq++) {
      await server.push(user);
      const { recipient_id } = await nextEvent(socket, "notification:new", (data) => data.seq === seq);
      const ack = await socket.timeout(5_000).emitWithAck("notification:acknowledge", { recipient_id });
      assert.deepEqual(ack, { ok: true, acknowledged: 1 });
    }
    assert.equal(socket.io.engine.transport.name, "polling");
    assert.deepEqual(socket.lifecycle.map(({ name }) => name), ["connect"]);
    socket.disconnect();
    blocked.close();
  });
}

test("a polling session with its token in CONNECT outlives its lobby's eviction", async () => {
  const user = newUser();
  const socket = await connected(
    server.connect(user, { token: null, auth: { token: server.token(user) }, transports: ["polling"] }),
  );
  for (let seq = 1; seq <= 3; seq++) {
    await server.push(user);
    await nextEvent(socket, "notification:new", (data) => data.seq === seq);
    await socket.timeout(5_000).emitWithAck("ping");
    if (seq > 1) await server.evictAll("Lobby");
  }
  assert.deepEqual(socket.lifecycle.map(({ name }) => name), ["connect"]);
});

// ---- orders of packets ----

test("a client that upgrades first and says only then who it is lands in its hub", async () => {
  const user = newUser();
  const { sid, upgrades } = await openPolling();
  assert.deepEqual(upgrades, ["websocket"]);
  const poll = engine("GET", { sid });
  const socket = await openProbe(server, sid);
  socket.send("2probe");
  assert.equal(await socket.next(), "3probe");
  // The poll has to end before the client may change over.
  assert.equal((await poll).body, "6");
  socket.send("5");
  await socket.join("/notifications", { token: server.token(user) });
  assert.equal((await socket.nextEvent("authenticated")).user_id, user);
  const { instance, sockets, polling } = await server.hubInfo(user);
  assert.deepEqual([sockets, polling], [1, 0]);
  await server.evict(user);
  await server.push(user);
  await socket.nextEvent("notification:new");
  assert.notEqual((await server.hubInfo(user)).instance, instance);
  const late = await engine("GET", { sid });
  assert.deepEqual([late.status, late.body], [400, { code: 3, message: "Bad request" }]);
});

test("a client whose CONNECT comes by polling after its probe has begun lands in its hub", async () => {
  const user = newUser();
  const { sid } = await openPolling();
  const socket = await openProbe(server, sid);
  const connect = `40/notifications,${JSON.stringify({ token: server.token(user) })}`;
  assert.equal((await engine("POST", { sid, body: connect })).body, "ok");
  await polled(sid, (packet) => packet.startsWith("40/notifications,"));
  socket.send("2probe");
  assert.equal(await socket.next(), "3probe");
  await polled(sid, (packet) => packet === "6");
  socket.send("5");
  await server.push(user);
  await socket.nextEvent("notification:new");
  const { sockets, polling } = await server.hubInfo(user);
  assert.deepEqual([sockets, polling], [1, 0]);
});

test("a probe that goes away leaves a session that polls on, and may probe again", async () => {
  for (const token of [server.token("prober"), undefined]) {
    const { sid } = await openPolling({ token });
    const first = await openProbe(server, sid);
    first.send("2probe");
    assert.equal(await first.next(), "3probe");
    await first.close();
    const connect = `40/notifications,${JSON.stringify({ token: server.token("prober") })}`;
    assert.equal((await engine("POST", { sid, body: connect })).body, "ok");
    await polled(sid, (packet) => packet.includes("authenticated"));
    const second = await openProbe(server, sid);
    second.send("2probe");
    assert.equal(await second.next(), "3probe");
    second.send("5");
    await second.settled();
  }
});

test("a WebSocket that nobody probes is closed, and its session polls on", async () => {
  const { sid } = await openPolling();
  const idle = await openProbe(server, sid);
  assert.equal(await idle.closed({ timeout: 20_000 }), 1005);
  const connect = `40/notifications,${JSON.stringify({ token: server.token(newUser()) })}`;
  assert.equal((await engine("POST", { sid, body: connect })).body, "ok");
  await polled(sid, (packet) => packet.includes("authenticated"));
});

test("a probe of a user who is known by then goes away: polls wait again", async () => {
  const user = newUser();
  const { sid } = await openPolling();
  const probe = await openProbe(server, sid);
  const connect = `40/notifications,${JSON.stringify({ token: server.token(user) })}`;
  assert.equal((await engine("POST", { sid, body: connect })).body, "ok");
  await polled(sid, (packet) => packet.includes("authenticated"));
  probe.send("2probe");
  assert.equal(await probe.next(), "3probe");
  await polled(sid, (packet) => packet === "6");
  await probe.close();
  // A poll that waits is still unanswered when several later requests have been answered.
  const held = await until(async () => {
    const poll = engine("GET", { sid });
    const later = server.hubInfo(user).then(() => server.hubInfo(user)).then(() => server.hubInfo(user));
    return (await Promise.race([poll.then(() => false), later.then(() => true)])) && { poll };
  }, { what: "a poll that waits" });
  await server.push(user);
  assert.match((await held.poll).body, /notification:new/);
});

test("a CONNECT and a poll that arrive together end in the same hub, whichever is first", async () => {
  const sessions = Array.from({ length: 30 }, async (_, i) => {
    const user = newUser();
    const { sid } = await openPolling();
    const body = `40/notifications,${JSON.stringify({ token: server.token(user) })}`;
    const requests = [() => engine("POST", { sid, body }), () => engine("GET", { sid })];
    if (i % 2) requests.reverse();
    const answers = await Promise.all(requests.map((request) => request()));
    assert.deepEqual(answers.map(({ status }) => status), [200, 200]);
    const [, poll] = i % 2 ? answers.reverse() : answers;
    if (!poll.body.includes("authenticated")) await polled(sid, (packet) => packet.includes("authenticated"));
    await server.push(user);
    await polled(sid, (packet) => packet.includes("notification:new"));
  });
  await Promise.all(sessions);
});

test("a second WebSocket of a session is taken and closed", async () => {
  for (const token of [server.token("twice"), undefined]) {
    const { sid } = await openPolling({ token });
    const first = await openProbe(server, sid);
    first.send("2probe");
    assert.equal(await first.next(), "3probe");
    const second = await openProbe(server, sid);
    await second.told();
    first.send("5");
    await first.join("/notifications", { token: server.token("twice") });
  }
});

// ---- refusals ----

const REFUSALS = {
  "no token": [{ token: null }, "MISSING_TOKEN"],
  "junk in query": [{ token: "junk" }, "INVALID_TOKEN"],
  "junk in CONNECT": [{ token: null, auth: { token: "junk" } }, "INVALID_TOKEN"],
  "an expired token in query": [(user) => ({ token: server.token(user, { ttl: -60 }) }), "EXPIRED_TOKEN"],
  "an expired token in CONNECT": [(user) => ({ token: null, auth: { token: server.token(user, { ttl: -60 }) } }), "EXPIRED_TOKEN"],
  "an expired token in a late CONNECT": [
    (user) => ({ token: null, auth: delayed(server.token(user, { ttl: -60 })) }),
    "EXPIRED_TOKEN",
  ],
  "a token of another key": [(user) => ({ token: server.token(user, { secret: "x".repeat(32) }) }), "INVALID_TOKEN"],
};

for (const [name, [options, code]] of Object.entries(REFUSALS)) {
  for (const transports of [["websocket"], DEFAULT_TRANSPORTS, ["polling"]]) {
    test(`${name}, over ${transports.join(" and ")}: ${code} in CONNECT_ERROR, once, and no hub is touched`, async () => {
      const user = newUser();
      const before = await server.objects();
      const given = typeof options === "function" ? options(user) : options;
      const socket = server.connect(user, { ...RECONNECTING, transports, ...given });
      const error = await refused(socket);
      assert.equal(error.message, "Authentication failed");
      assert.equal(error.data.code, code);
      assert.equal(typeof error.data.message, "string");
      assert.equal(socket.active, false);
      assert.deepEqual(await server.objects(), before);
      assert.equal(socket.lifecycle.length, 1);
    });
  }
}

test("a client that is let in does touch its hub", async () => {
  const before = await server.objects();
  await connected(server.connect(newUser()));
  assert.equal((await server.objects()).length, before.length + 1);
});

test("two valid tokens must name the same user, wherever they are", async () => {
  for (const transports of [["websocket"], DEFAULT_TRANSPORTS]) {
    const inConnect = server.connect("one", { transports, auth: { token: server.token("two") } });
    assert.equal((await refused(inConnect)).data.code, "USER_MISMATCH");
    const headers = { extraHeaders: { authorization: `Bearer ${server.token("two")}` } };
    assert.equal((await refused(server.connect("one", { transports, ...headers }))).data.code, "USER_MISMATCH");
  }
});

test("a client that was refused may try again with a better token", async () => {
  for (const transports of [["websocket"], DEFAULT_TRANSPORTS, ["polling"]]) {
    const user = newUser();
    const socket = server.connect(user, { token: null, auth: { token: "junk" }, transports });
    await refused(socket);
    socket.auth = { token: server.token(user) };
    socket.lifecycle.length = 0;
    socket.connect();
    await connected(socket);
  }
});

test("a sid that this service did not make names no object", async () => {
  const objects = async () => [await server.objects(), await server.objects("Lobby")];
  const before = await objects();
  const { sid } = await openPolling();
  const [kind, place, nonce, signature] = sid.split(".");
  const user = Buffer.from("victim").toString("base64url");
  for (const forged of ["x", `${kind}.${place}.${nonce}x.${signature}`, `u.${user}.${nonce}.${signature}`, "l".repeat(5_000)]) {
    for (const [method, body] of [["GET"], ["POST", "40"]]) {
      const answer = await engine(method, { sid: forged, body });
      assert.deepEqual([answer.status, answer.body], [400, { code: 1, message: "Session ID unknown" }]);
    }
    assert.equal((await refusedUpgrade(server, { sid: forged })).status, 400);
  }
  assert.deepEqual(await objects(), before);
});

test("a client of Engine.IO 3 is told so, before any upgrade", async () => {
  const expected = { code: 5, message: "Unsupported protocol version" };
  for (const EIO of ["3", "2", "5", ""]) {
    const answer = await engine("GET", { query: { EIO } });
    assert.deepEqual([answer.status, answer.body], [400, expected], `EIO=${EIO}`);
    const upgrade = await refusedUpgrade(server, { EIO, transport: "websocket" });
    assert.deepEqual([upgrade.status, upgrade.body], [400, expected], `EIO=${EIO}`);
  }
});

// ---- bounds ----

for (const [whose, token] of [["a known user's", () => server.token("bounded")], ["a stranger's", () => undefined]]) {
  test(`${whose} request of more than 100,000 bytes is refused with 413`, async () => {
    const { sid, maxPayload } = await openPolling({ token: token() });
    assert.equal(maxPayload, 100_000);
    assert.equal((await engine("POST", { sid, body: `4${"x".repeat(100_000)}` })).status, 413);
  });

  test(`${whose} request of more than 1,000 packets ends the session`, async () => {
    const { sid } = await openPolling({ token: token() });
    const body = Array(1_001).fill("3").join(SEPARATOR);
    assert.equal((await engine("POST", { sid, body })).status, 400);
    assert.equal((await engine("GET", { sid })).status, 400);
  });
}

test("a stranger who says much and not who it is is sent away", async () => {
  const socket = await openRaw(server, "stranger", { token: null });
  for (let i = 0; i < 17; i++) socket.send("3");
  await socket.told();
  const { sid } = await openPolling();
  const poll = engine("GET", { sid });
  await engine("POST", { sid, body: Array(17).fill("3").join(SEPARATOR) });
  assert.equal((await poll).body, CLOSE);
});

// ---- nobody waits for a CONNECT for ever ----

test("a connection without CONNECT is closed after CONNECT_TIMEOUT_MS, on every transport", async () => {
  const impatient = await startServer({ vars: { CONNECT_TIMEOUT_MS: "3000" } });
  // What a runtime does only once is not to count.
  await connected(impatient.connect("silent", { transports: DEFAULT_TRANSPORTS }));
  const tokens = { "a known user": impatient.token("silent"), "a stranger": null };
  await Promise.all(
    Object.entries(tokens).flatMap(([name, token]) => [
      (async () => {
        const { sid } = await openPolling({ on: impatient, token: token ?? undefined });
        const { status, body } = await engine("GET", { on: impatient, sid });
        assert.deepEqual([status, body], [200, CLOSE], `${name}, polling`);
        const gone = await engine("GET", { on: impatient, sid });
        assert.deepEqual([gone.status, gone.body.code], [400, 1], `${name}, polling`);
      })(),
      (async () => {
        const socket = await openRaw(impatient, "silent", { token });
        await socket.told();
      })(),
      (async () => {
        const { sid } = await openPolling({ on: impatient, token: token ?? undefined });
        const socket = await openProbe(impatient, sid);
        socket.send("2probe");
        assert.equal(await socket.next(), "3probe");
        socket.send("5");
        await socket.told();
      })(),
    ]),
  );
  await impatient.stop();
});
