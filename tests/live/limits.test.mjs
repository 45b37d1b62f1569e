// How much one user, one connection and one address may ask for (DESIGN 10), and what they are told. The clock is put forward
// where a limit is about a minute; what counts outlives eviction or is seen anew.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { connected, nextEvent, refused, startServer, until } from "./harness.mjs";
import { openRaw, refusedUpgrade } from "./raw.mjs";

const QUIET = { PING_INTERVAL_MS: "1800000", CONNECT_TIMEOUT_MS: "300000" };
const [MAX_CONNECTIONS, MAX_OPEN, MAX_EVENTS, MINUTE_MS] = [100, 200, 1_000, 60_000];
const PATIENT = { timeout: 60_000 };

let server;
before(async () => {
  server = await startServer({ vars: QUIET });
});

let users = 0;
const newUser = () => `u${++users}`;

/** So many open connections of a user, of which each has joined or none has. */
async function open(user, count, join = true) {
  const all = [];
  while (all.length < count) {
    const some = Array.from({ length: Math.min(20, count - all.length) }, async () => {
      const raw = await openRaw(server, user);
      if (join) await raw.join();
      return raw;
    });
    all.push(...(await Promise.all(some)));
  }
  return all;
}

const close = (all) => Promise.all(all.map((raw) => raw.close()));
const sockets = async (user) => (await server.hubInfo(user)).sockets;

/** Evicts the hub and proves it. */
async function evict(user) {
  const { instance } = await server.hubInfo(user);
  await server.evict(user);
  assert.notEqual((await server.hubInfo(user)).instance, instance);
  await server.evict(user);
}

/** Waits until a hub has nothing more to write, and counts from there. */
async function quiet(user) {
  await until(async () => {
    const { owed, memberships } = await server.hubInfo(user);
    return owed === 0 && memberships.rooms.broadcast?.from.after !== undefined;
  });
  await server.resetLedger();
}
const rowsWritten = async () => (await server.ledger()).object_rows_written ?? 0;

// ---- connections of a user ----

const WAYS = {
  "with its token in the query": (token) => ({ token }),
  "with its token in CONNECT": (token) => ({ token: null, auth: { token } }),
  "by polling": (token) => ({ token, transports: ["polling"] }),
  "by polling with its token in CONNECT": (token) => ({ token: null, auth: { token }, transports: ["polling"] }),
};

async function turnedAway(user, way = WAYS["with its token in the query"], more = {}) {
  const socket = server.connect(user, { ...way(server.token(user)), reconnection: true, ...more });
  const error = await refused(socket, PATIENT);
  assert.equal(error.message, "Too many connections");
  assert.equal(socket.active, false, "a stock client does not try again by itself");
  socket.disconnect();
  return error.data;
}

test("the 101st connection of a user is refused by whatever way, the 3rd refusal is a ban, and the ban ends", async () => {
  const [user, other] = [newUser(), newUser()];
  const all = await open(user, MAX_CONNECTIONS);
  // A connection that is there already may join more.
  await all[0].join("/chat");
  await connected(server.connect(other));

  for (const [way, retryAfter] of [["with its token in the query", 60], ["with its token in CONNECT", 60], ["by polling", 60]]) {
    const { code, retry_after, message } = await turnedAway(user, WAYS[way]);
    assert.deepEqual([code, retry_after], ["TOO_MANY_CONNECTIONS", retryAfter], way);
    assert.ok(message.length > 0);
  }
  for (const way of Object.values(WAYS)) {
    const { code, retry_after } = await turnedAway(user, way);
    assert.equal(code, "BANNED");
    assert.ok(retry_after > 0 && retry_after <= 60, `${retry_after}`);
  }
  // The ban counts though there is room again.
  await close(all.splice(0, 10));
  await until(async () => (await sockets(user)) <= MAX_CONNECTIONS - 10);
  await server.putClockForward(20_000);
  const { code, retry_after } = await turnedAway(user);
  assert.equal(code, "BANNED");
  assert.ok(retry_after <= 40, `${retry_after}`);
  await connected(server.connect(other));
  assert.ok(all.every((raw) => raw.isOpen), "those that are there stay");

  await server.putClockForward(MINUTE_MS - 20_000);
  await connected(server.connect(user), PATIENT);
  await close(all);
});

test("an eviction forgets a ban, and no limit: the connections are counted anew", async () => {
  const user = newUser();
  const all = await open(user, MAX_CONNECTIONS);
  for (let refusals = 0; refusals < 3; refusals += 1) await turnedAway(user);
  assert.equal((await turnedAway(user)).code, "BANNED");
  await evict(user);
  for (let refusals = 0; refusals < 3; refusals += 1) {
    assert.equal((await turnedAway(user)).code, "TOO_MANY_CONNECTIONS");
  }
  assert.equal((await turnedAway(user)).code, "BANNED");
  await close(all);
});

test("refusing a connection writes no row", async () => {
  const user = newUser();
  const all = await open(user, MAX_CONNECTIONS);
  await quiet(user);
  for (let tries = 0; tries < 5; tries += 1) await turnedAway(user);
  assert.equal(await rowsWritten(), 0);
  await close(all);
});

test("no more than 200 connections of a user are open, joined or not; the next is told to wait and comes in later", async () => {
  const user = newUser();
  const all = await open(user, MAX_OPEN, false);
  assert.equal(await sockets(user), MAX_OPEN);
  await server.evict(user);

  const upgrade = await refusedUpgrade(server, { token: server.token(user) });
  const query = new URLSearchParams({ EIO: "4", transport: "polling" });
  const polling = await server.api("GET", `/socket.io/?${query}&token=${server.token(user)}`);
  const stranger = JSON.parse((await server.api("GET", `/socket.io/?${query}`)).body.slice(1));
  const connect = `40/notifications,${JSON.stringify({ token: server.token(user) })}`;
  const post = await server.api("POST", `/socket.io/?${query}&sid=${stranger.sid}`, { body: connect, headers: { "content-type": "text/plain" } });
  for (const answer of [upgrade, polling, post]) {
    assert.equal(answer.status, 429);
    assert.equal(answer.headers["retry-after"], "60");
    assert.equal(answer.body.code, "rate_limited");
  }
  // Where there is a transport it is told as every refusal is.
  const { code, retry_after } = await turnedAway(user, WAYS["with its token in CONNECT"]);
  assert.deepEqual([code, retry_after], ["TOO_MANY_CONNECTIONS", 60]);
  assert.equal(await sockets(user), MAX_OPEN);

  // A stock client that was answered 429 tries again by itself.
  const waiting = server.connect(user, { reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 200 });
  await until(() => waiting.lifecycle.some(({ name }) => name === "connect_error"), PATIENT);
  await close(all.splice(0, 1));
  await connected(await until(() => waiting.connected && waiting, PATIENT));
  await close(all);
});

// ---- events of a connection ----

const notificationsAck = (frame) => /^43\/notifications,(\d+)(\[.*\])$/s.exec(frame);

/** Sends so many events that do something each, and gives what became of them. */
async function send(raw, count, event = '["mark:seen",{"up_to_seq":0}]') {
  for (let id = 1; id <= count; id += 1) raw.send(`42/notifications,${id}${event}`);
  const acks = [];
  await until(() => {
    acks.push(...raw.frames.filter(notificationsAck).map((frame) => JSON.parse(notificationsAck(frame)[2])[0]));
    raw.frames = raw.frames.filter((frame) => !notificationsAck(frame));
    return acks.length >= count || raw.closeCode !== undefined;
  }, { ...PATIENT, what: () => `${count} acks, not ${acks.length}` });
  return acks;
}
const taken = (acks) => acks.filter(({ ok }) => ok).length;

test("the 1,001st event in a minute is dropped and says so; a minute later events are taken again", async () => {
  const user = newUser();
  const { body } = await server.push(user);
  const { recipient_id } = body.results[0];
  const raw = await openRaw(server, user);
  await raw.join();
  await raw.nextEvent("notification:new");
  assert.equal(taken(await send(raw, MAX_EVENTS)), MAX_EVENTS);

  raw.frames.length = 0;
  const [refusal] = await send(raw, 1, `["notification:delete",{"recipient_id":"${recipient_id}"}]`);
  assert.equal(refusal.ok, false);
  assert.equal(refusal.error.code, "RATE_LIMITED");
  const { code, message, details } = await raw.nextEvent("error");
  assert.equal(code, "RATE_LIMITED");
  assert.ok(message.length > 0);
  assert.ok(details.retry_after > 0 && details.retry_after <= 60, `${details.retry_after}`);
  const { body: list } = await server.api("GET", "/v1/me/notifications", { token: server.token(user) });
  assert.equal(list.items.length, 1, "nothing was done");

  await server.putClockForward(MINUTE_MS);
  // Who has stopped is not closed, and has as many as before.
  assert.equal(taken(await send(raw, 10)), 10);
  assert.ok(raw.isOpen);
  const other = await openRaw(server, user);
  await other.join();
  assert.equal(taken(await send(other, 1)), 1, "another connection of the user has its own");
});

test("who goes on for a minute is closed, and may come back", async () => {
  const user = newUser();
  const raw = await openRaw(server, user);
  await raw.join();
  assert.equal(taken(await send(raw, MAX_EVENTS + 5)), MAX_EVENTS);
  await server.putClockForward(MINUTE_MS);
  assert.ok(taken(await send(raw, MAX_EVENTS + 5)) <= MAX_EVENTS);
  await raw.closed();
  const again = await openRaw(server, user);
  await again.join();
  assert.equal(taken(await send(again, 1)), 1);
});

test("what a connection has used up outlives its hub's eviction and writes no row", async () => {
  const user = newUser();
  const raw = await openRaw(server, user);
  await raw.join();
  await quiet(user);
  assert.equal(taken(await send(raw, 600)), 600);
  await evict(user);
  assert.equal(taken(await send(raw, 500)), 400);
  assert.equal(await rowsWritten(), 0);

  await evict(user);
  await server.putClockForward(MINUTE_MS);
  assert.ok(taken(await send(raw, MAX_EVENTS + 5)) <= MAX_EVENTS);
  await raw.closed();
});

for (const transports of [["polling"], ["websocket"]]) {
  test(`a stock client by ${transports} hears of the limit by its acks, and goes on after a minute`, async () => {
    const user = newUser();
    const socket = await connected(server.connect(user, { transports }));
    await nextEvent(socket, "authenticated");
    const emit = (count) =>
      Promise.all(Array.from({ length: count }, () => socket.timeout(60_000).emitWithAck("mark:seen", { up_to_seq: 0 })));
    const acks = [...(await emit(500)), ...(await emit(500)), ...(await emit(3))];
    assert.equal(taken(acks), MAX_EVENTS);
    assert.deepEqual(acks.slice(-3).map(({ error }) => error.code), Array(3).fill("RATE_LIMITED"));
    const { details } = await nextEvent(socket, "error");
    assert.ok(details.retry_after > 0 && details.retry_after <= 60);
    await server.putClockForward(MINUTE_MS);
    assert.equal(taken(await emit(5)), 5);
    assert.ok(socket.connected);
  });
}

// ---- handshakes of an address ----

const STOCK_LIMIT = 600;

test("handshakes of one address beyond the limit are refused before any object is touched; other addresses are not", async () => {
  const stock = await startServer({ vars: QUIET, limits: {} });
  const handshake = (address, query = {}, headers = {}) =>
    stock.api("GET", `/socket.io/?${new URLSearchParams({ EIO: "4", transport: "polling", ...query })}`, {
      headers: { "cf-connecting-ip": address, ...headers },
    });
  const statuses = [];
  // The platform counts in minutes of its own: one may end in between.
  await until(async () => {
    const some = await Promise.all(Array.from({ length: 50 }, () => handshake("203.0.113.7")));
    statuses.push(...some.map(({ status }) => status));
    return statuses.includes(429);
  }, PATIENT);
  assert.ok(statuses.length >= STOCK_LIMIT, `${statuses.length} handshakes`);
  assert.ok(statuses.length <= 2 * STOCK_LIMIT + 50, `${statuses.length} handshakes`);

  const refusal = async () => {
    await stock.resetLedger();
    const token = stock.token("u1");
    const answer = await handshake("203.0.113.7", { token }, { origin: "https://app.example" });
    return answer.status === 429 ? { answer, objects: (await stock.ledger()).object_requests ?? 0 } : undefined;
  };
  const { answer, objects } = await until(async () => {
    await Promise.all(Array.from({ length: 50 }, () => handshake("203.0.113.7")));
    return refusal();
  }, PATIENT);
  assert.equal(answer.headers["retry-after"], "60");
  assert.equal(answer.body.code, "rate_limited");
  assert.match(answer.headers.vary, /\borigin\b/i);
  assert.equal(objects, 0);
  assert.equal((await handshake("203.0.113.8")).status, 200);
});
