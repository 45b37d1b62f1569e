// The life of a session (DESIGN 3.5): it is warned of the end of its token, goes on with another of the same user, and ends with
// it otherwise, by whatever way it came and though its hub was evicted. And tokens that ended or were revoked bring nobody back.
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { received } from "./checks.mjs";
import { connected, nextEvent, refused, startServer, until } from "./harness.mjs";
import { openRaw } from "./raw.mjs";
import { pushedTo } from "./rooms.mjs";

const RECONNECTING = { reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 300 };
const QUIET = { PING_INTERVAL_MS: "1800000", CONNECT_TIMEOUT_MS: "300000" };
// Short enough to wait for, long enough for a busy machine to do something in between.
const [TTL_S, WARNING_MS, GRACE_MS] = [8, 5_000, 2_000];
const PATIENT = { timeout: 30_000 };
const EXPIRED = { message: "The token has expired", code: "EXPIRED_TOKEN" };

let server;
let usual;
before(async () => {
  const short = { AUTH_EXPIRING_MS: String(WARNING_MS), AUTH_GRACE_MS: String(GRACE_MS), JWT_LEEWAY_SECONDS: "0" };
  [server, usual] = await Promise.all([{ ...QUIET, ...short }, QUIET].map((vars) => startServer({ vars })));
});

let users = 0;
const newUser = () => `u${++users}`;

const endOf = (token) => JSON.parse(Buffer.from(token.split(".")[1], "base64url")).exp * 1000;
const connects = (socket) => socket.lifecycle.filter(({ name }) => name === "connect").length;
const closes = (socket) => socket.lifecycle.filter(({ name }) => name === "disconnect").map(({ data }) => data);

/** Evicts the hub and proves it. */
async function evict(user) {
  const { instance } = await server.hubInfo(user);
  await server.evict(user);
  assert.notEqual((await server.hubInfo(user)).instance, instance);
  await server.evict(user);
}

async function tab(user, options) {
  const socket = await connected(server.connect(user, options), PATIENT);
  await nextEvent(socket, "authenticated", undefined, PATIENT);
  return socket;
}

/** How a client comes, with its token where `token` says, and whether its hub can be evicted while it is there. */
const WAYS = {
  "the query, by WebSocket": { options: (token) => ({ token: token() }), evicted: false },
  "the query, by WebSocket, evicted": { options: (token) => ({ token: token() }), evicted: true },
  "the query, by polling": { options: (token) => ({ token: token(), transports: ["polling"] }), evicted: false },
  "CONNECT, by WebSocket": { options: (token) => inConnect(token, ["websocket"]), evicted: false },
  "CONNECT, by WebSocket, evicted": { options: (token) => inConnect(token, ["websocket"]), evicted: true },
  "CONNECT, by polling": { options: (token) => inConnect(token, ["polling"]), evicted: false },
  "CONNECT, by polling and then WebSocket": { options: (token) => inConnect(token, ["polling", "websocket"]), evicted: false },
};
const inConnect = (token, transports) => ({ token: null, auth: (give) => give({ token: token() }), transports });

// ---- the end of a token ----

test("a client is warned a minute before its token ends", async () => {
  const user = newUser();
  const token = usual.token(user, { ttl: 64 });
  const socket = await connected(usual.connect(user, { token }));
  await until(async () => {
    const warned = socket.events.some(({ name }) => name === "auth:expiring");
    assert.ok(!warned || Date.now() >= endOf(token) - 60_000, "warned too early");
    return warned;
  }, PATIENT);
  assert.ok(Date.now() < endOf(token));
});

describe("a session whose token ends", { concurrency: true }, () => {
  for (const [way, { options, evicted }] of Object.entries(WAYS)) {
    test(`in ${way}: warned, told, closed, and not before its time`, async () => {
      const user = newUser();
      const token = server.token(user, { ttl: TTL_S });
      const socket = await tab(user, options(() => token));
      if (evicted) await evict(user);
      const warning = await nextEvent(socket, "auth:expiring", undefined, PATIENT);
      assert.deepEqual(warning, { expires_at: new Date(endOf(token)).toISOString() });
      assert.ok(Date.now() >= endOf(token) - WARNING_MS);
      if (evicted) await evict(user);

      assert.deepEqual(await nextEvent(socket, "auth_error", undefined, PATIENT), EXPIRED);
      assert.ok(Date.now() >= endOf(token) + GRACE_MS);
      await until(() => !socket.connected, PATIENT);
      // After a packet 41 ("io server disconnect") a stock client would not come back with a fresh token.
      assert.deepEqual(closes(socket), ["transport close"]);
      const names = socket.events.map(({ name }) => name);
      assert.deepEqual(names, ["authenticated", "auth:expiring", "auth_error"], "each once");
      const { sockets, polling } = await server.hubInfo(user);
      assert.equal(sockets + polling, 0);
    });
  }

  for (const [way, { options, evicted }] of Object.entries(WAYS).filter(([way]) => way.startsWith("CONNECT"))) {
    test(`in ${way}: a stock client with a fresh token comes back by itself, and has missed nothing`, async () => {
      const user = newUser();
      const tokens = [server.token(user, { ttl: TTL_S })];
      const socket = await tab(user, { ...options(() => tokens.shift() ?? server.token(user)), ...RECONNECTING });
      if (evicted) await evict(user);
      const { body } = await server.push(user);
      await nextEvent(socket, "auth_error", undefined, PATIENT);
      await until(() => connects(socket) === 2 && socket.connected, PATIENT);
      const later = await server.push(user);
      await until(() => received(socket).length >= 2, PATIENT);
      assert.deepEqual(received(socket), [body.id, later.body.id]);
      assert.deepEqual(closes(socket), ["transport close"]);
    });
  }

  for (const [way, { options, evicted }] of Object.entries(WAYS)) {
    test(`in ${way}: it goes on with another token`, async () => {
      const user = newUser();
      const token = server.token(user, { ttl: TTL_S });
      const socket = await tab(user, options(() => token));
      await nextEvent(socket, "auth:expiring", undefined, PATIENT);
      if (evicted) await evict(user);
      const next = server.token(user);
      const ack = await socket.timeout(10_000).emitWithAck("auth:refresh", { token: next });
      assert.deepEqual(ack, { ok: true, expires_at: new Date(endOf(next)).toISOString() });
      if (evicted) await evict(user);
      await until(() => Date.now() > endOf(token) + GRACE_MS, PATIENT);
      const { body } = await server.push(user);
      await until(() => received(socket).includes(body.id), PATIENT);
      assert.deepEqual(await socket.timeout(10_000).emitWithAck("ping"), { ok: true });
      assert.equal(connects(socket), 1);
      assert.deepEqual(closes(socket), []);
      assert.ok(!socket.events.some(({ name }) => name === "auth_error"));
    });
  }
});

// ---- what another token changes ----

test("the rooms of the new token count: those it names are joined, the others are left", async () => {
  const user = newUser();
  const [a, b, both] = ["a", "b", "both"].map((name) => `${user}-${name}`);
  const socket = await tab(user, { departments: [a, both] });
  const other = await tab(user, { departments: [a, both] });
  const rooms = async () => Object.keys((await server.hubInfo(user)).memberships.rooms).filter((room) => room.startsWith("dept:")).sort();
  assert.deepEqual(await rooms(), [`dept:${a}`, `dept:${both}`].sort());

  const token = server.token(user, { departments: [b, both] });
  assert.equal((await socket.timeout(10_000).emitWithAck("auth:refresh", { token })).ok, true);
  const toB = await pushedTo(server, `dept:${b}`);
  await until(() => received(socket).includes(toB), PATIENT);
  const toA = await pushedTo(server, `dept:${a}`);
  const toBoth = await pushedTo(server, `dept:${both}`);
  await until(() => received(socket).includes(toBoth), PATIENT);
  await evict(user);
  const last = await pushedTo(server, [`dept:${a}`, `dept:${b}`]);
  await until(() => received(socket).includes(last), PATIENT);
  // Membership is the user's: what one device says is so for all of them.
  for (const device of [socket, other]) {
    await until(() => received(device).includes(last), PATIENT);
    assert.deepEqual(received(device), [toB, toBoth, last]);
    assert.ok(!received(device).includes(toA));
  }
});

const text = (token) => JSON.stringify({ token });
const UNFIT = {
  "another user's token": ["USER_MISMATCH", () => text(server.token("somebody-else", { departments: ["stolen"] }))],
  "an expired token": ["EXPIRED_TOKEN", (user) => text(server.token(user, { ttl: -60, departments: ["stolen"] }))],
  "a token of another secret": ["INVALID_TOKEN", (user) => text(server.token(user, { secret: "x".repeat(32) }))],
  "text that is no token": ["INVALID_TOKEN", () => text("junk")],
  "an empty token": ["MISSING_TOKEN", () => text("")],
  "no token": ["INVALID_PAYLOAD", () => "{}"],
  "a token that is no text": ["INVALID_PAYLOAD", () => text({ a: 1 })],
  "a token of 40,000 lists in one another": ["INVALID_PAYLOAD", () => `{"token":${"[".repeat(40_000)}${"]".repeat(40_000)}}`],
};
for (const [what, [code, payload]] of Object.entries(UNFIT)) {
  test(`${what} in auth:refresh is refused with ${code} and changes nothing`, async () => {
    const user = newUser();
    const mine = server.token(user, { departments: [`${user}-mine`] });
    const raw = await openRaw(server, user, { token: mine });
    await raw.join();
    await raw.settled();
    await until(async () => (await server.hubInfo(user)).memberships.rooms.broadcast?.from.after !== undefined);
    const before = await server.hubInfo(user);
    raw.frames.length = 0;
    raw.send(`42/notifications,7["auth:refresh",${payload(user)}]`);
    const [ack] = JSON.parse((await raw.next((frame) => frame.startsWith("43/notifications,7"))).slice("43/notifications,7".length));
    assert.equal(ack.ok, false);
    assert.equal(ack.error.code, code);
    assert.equal((await raw.nextEvent("error")).code, code);
    await raw.settled();
    const after = await server.hubInfo(user);
    assert.deepEqual(after.memberships, before.memberships);
    assert.equal(after.alarm_at, before.alarm_at, "the session ends when it would have");
    assert.ok(raw.isOpen);
  });
}

// ---- who may not come back ----

/** A session that was there and saw something: its `pid` and its offset. */
async function left(user) {
  const raw = await openRaw(server, user);
  const { pid, sid } = await raw.join();
  await server.push(user);
  await raw.nextEvent("notification:new");
  await raw.close();
  return { auth: { pid, offset: "\u001f0" }, sid };
}

const PLACES = {
  "the query": (token) => ({ token }),
  "CONNECT": (token) => ({ token: null, auth: { token } }),
  "CONNECT, by polling": (token) => ({ token: null, auth: { token }, transports: ["polling"] }),
};
const withAuth = ({ auth, ...options }, more) => ({ ...options, auth: { ...auth, ...more } });

for (const [place, credential] of Object.entries(PLACES)) {
  test(`a session is not recovered with an expired token in ${place}`, async () => {
    const user = newUser();
    const { auth } = await left(user);
    const { data } = await refused(server.connect(user, withAuth(credential(server.token(user, { ttl: -60 })), auth)));
    assert.equal(data.code, "EXPIRED_TOKEN");
  });

  test(`a session is not recovered with another user's token in ${place}: it is a session of that user's`, async () => {
    const [owner, thief] = [newUser(), newUser()];
    const { auth, sid } = await left(owner);
    const socket = await connected(server.connect(thief, withAuth(credential(server.token(thief)), auth)));
    assert.equal((await nextEvent(socket, "authenticated")).user_id, thief);
    assert.notEqual(socket.id, sid);
    assert.equal(socket.recovered, false);
    await socket.timeout(10_000).emitWithAck("ping");
    assert.deepEqual(received(socket), []);
  });

  test(`a session is not recovered by a user who was erased, with a token from before in ${place}`, async () => {
    const user = newUser();
    const token = server.token(user);
    const { auth } = await left(user);
    const erased = await server.api("DELETE", `/v1/users/${user}`, { key: server.serviceKey });
    assert.equal(erased.status, 202);
    const { data } = await refused(server.connect(user, withAuth(credential(token), auth)));
    assert.equal(data.code, "INVALID_TOKEN");
  });
}

test("a token from before an erasure does not refresh a session either", async () => {
  const user = newUser();
  const old = server.token(user);
  const erased = await server.api("DELETE", `/v1/users/${user}`, { key: server.serviceKey });
  const iat = Math.floor(Date.parse(erased.body.erased_at) / 1000) + 1;
  const socket = await tab(user, { token: server.token(user, { claims: { iat } }) });
  const ack = await socket.timeout(10_000).emitWithAck("auth:refresh", { token: old });
  assert.deepEqual([ack.ok, ack.error.code], [false, "INVALID_TOKEN"]);
});

test("a session that an operator ended is over: its sid is nobody's, and only a valid token opens another", async () => {
  const user = newUser();
  const socket = await tab(user, { ...RECONNECTING, transports: ["polling"] });
  const { id: sid } = socket.io.engine;
  const { body } = await server.api("POST", `/v1/users/${user}/disconnect`, { key: server.serviceKey });
  assert.deepEqual(body, { disconnected: 1 });
  await until(() => closes(socket).length === 1);
  assert.deepEqual([closes(socket), socket.active], [["io server disconnect"], false]);
  await until(async () => (await poll(sid)).status === 400, { what: "an unknown sid" });
});

// ---- polling with a token that has ended ----

const engine = (method, query, body) =>
  server.api(method, `/socket.io/?${new URLSearchParams({ EIO: "4", transport: "polling", ...query })}`, {
    body, headers: body === undefined ? {} : { "content-type": "text/plain;charset=UTF-8" },
  });
const poll = (sid) => engine("GET", { sid });
const UNKNOWN_SID = { code: 1, message: "Session ID unknown" };

for (const [place, inQuery] of [["the query", true], ["CONNECT", false]]) {
  test(`a polling session with its token in ${place} is over with it: neither a poll nor a POST brings it back, evicted or not`, async () => {
    const user = newUser();
    const token = server.token(user, { ttl: 3 });
    const opened = await engine("GET", inQuery ? { token } : {});
    const { sid } = JSON.parse(opened.body.slice(1));
    const connect = `40/notifications,${inQuery ? "" : JSON.stringify({ token })}`;
    assert.equal((await engine("POST", { sid }, connect)).body, "ok");
    // Twice, so that a lobby stores whose the session is.
    for (let polls = 0; polls < 2; polls += 1) {
      await server.push(user);
      assert.equal((await poll(sid)).status, 200);
    }
    await until(() => Date.now() > endOf(token) + GRACE_MS, PATIENT);
    // What is still waiting may be fetched; then the session is over.
    await until(async () => (await poll(sid)).status === 400, PATIENT);
    await server.evict(user);
    for (const answer of [await poll(sid), await engine("POST", { sid }, '42/notifications,1["ping"]'), await poll(sid)]) {
      assert.deepEqual([answer.status, answer.body], [400, UNKNOWN_SID]);
    }
    assert.equal((await server.hubInfo(user)).polling, 0);
  });
}
