// From the first attempt to the last (DESIGN 7): what is not acknowledged is sent again, is parked while nobody is there, and
// fails for good in the end. Retries follow after tenths of a second instead of minutes.
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { inbox, pushed } from "./checks.mjs";
import { connected, nextEvent, startServer, until } from "./harness.mjs";
import { openRaw } from "./raw.mjs";

const HOUR_MS = 3_600_000;
const LADDER_MS = [400, 800, 1200];
// Nothing but deliveries sets an alarm for the near future.
const QUIET = { PING_INTERVAL_MS: "1800000", CONNECT_TIMEOUT_MS: "300000", ACK_TIMEOUT_MS: "300" };

/** `quick`: all attempts are over soon. `patient`: a retry waits for an hour. `parking`: there is a retry to come for long. */
const servers = {};
before(async () => {
  const settings = {
    quick: { RETRY_DELAYS_MS: LADDER_MS.join() },
    patient: { RETRY_DELAYS_MS: String(HOUR_MS) },
    parking: { RETRY_DELAYS_MS: Array(10).fill(1500).join() },
    required: { RETRY_DELAYS_MS: LADDER_MS.join(), ACK_MODE: "required" },
    off: { RETRY_DELAYS_MS: LADDER_MS.join(), ACK_MODE: "off" },
  };
  await Promise.all(
    Object.entries(settings).map(async ([name, vars]) => (servers[name] = await startServer({ vars: { ...QUIET, ...vars } }))),
  );
});

let users = 0;
const newUser = () => `u${++users}`;

async function tab(server, user, options) {
  const socket = await connected(server.connect(user, options));
  await nextEvent(socket, "authenticated");
  return socket;
}

/** A client that is waited for and does not acknowledge. */
const mute = (server, user) => tab(server, user, { query: { ack: "on" } });

const acknowledge = (socket, { recipient_id }) => socket.timeout(10_000).emitWithAck("notification:acknowledge", { recipient_id });

/** What a client was sent of a notification. */
const attempts = (socket, id) =>
  socket.events.filter(({ name, data }) => name === "notification:new" && data.id === id).map(({ data }) => data);
const numbers = (socket, id) => attempts(socket, id).map(({ attempt }) => attempt);

async function row(server, user, id) {
  const sql = "SELECT status, attempts, next_retry_at, via, delivered_at FROM deliveries WHERE notification_id = ?1 AND user_id = ?2";
  return (await server.db.all(sql, id, user))[0];
}

/** Waits until the record says so, and gives what it says. */
function recorded(server, user, id, status) {
  const what = async () => `${status}, not ${JSON.stringify(await row(server, user, id))}`;
  return until(async () => {
    const found = await row(server, user, id);
    return found.status === status && found;
  }, { what: `the record says ${status}`, timeout: 20_000 }).catch(async (error) => {
    throw new Error(await what(), { cause: error });
  });
}

/** Waits until the item is parked: it has failed, nobody is there, and nothing will wake the hub. */
async function parked(server, user, id) {
  await until(async () => (await server.hubInfo(user)).alarm_at === null, { what: "no alarm", timeout: 20_000 });
  await until(async () => (await server.hubInfo(user)).owed === 0, { what: "the hub owes the record nothing" });
  const { status, next_retry_at, attempts } = await row(server, user, id);
  assert.deepEqual({ status, next_retry_at }, { status: "failed", next_retry_at: null });
  return attempts;
}

/** Lets as much time pass as all attempts of a notification take. */
async function ladder(server, user = newUser()) {
  await mute(server, user);
  const id = await pushed(server, user);
  await recorded(server, user, id, "permanent_failure");
}

async function gone(server, user) {
  await until(async () => (await server.hubInfo(user)).sockets === 0, { what: "no socket" });
}

async function unread(server, user) {
  return (await server.api("GET", "/v1/me/notifications/unread-count", { token: server.token(user) })).body.unread;
}

// ---- the ladder ----

describe("with shortened times", { concurrency: true }, () => {
  test("what nobody acknowledges is sent once more after each delay, the same each time, and then has failed for good", async () => {
    const server = servers.quick;
    const user = newUser();
    const socket = await mute(server, user);
    const { body } = await server.push({ to: [`user:${user}`], title: "Hello", content: "*c*", data: { a: 1 } });
    const last = await recorded(server, user, body.id, "permanent_failure");
    assert.deepEqual(last, { status: "permanent_failure", attempts: 4, next_retry_at: null, via: null, delivered_at: null });
    const sent = attempts(socket, body.id);
    assert.deepEqual(sent.map(({ attempt }) => attempt), [1, 2, 3, 4]);
    assert.deepEqual(sent.map(({ redelivered }) => redelivered), [false, true, true, true]);
    for (const again of sent) assert.deepEqual({ ...again, attempt: 1, redelivered: false }, sent[0]);
    assert.equal(sent[0].recipient_id, body.results[0].recipient_id);
    // It is unread and listed; `seq` did not move.
    assert.equal(await unread(server, user), 1);
    await until(async () => (await server.hubInfo(user)).alarm_at > Date.now() + 60_000, { what: "nothing more to come" });
    const { items, seq } = await inbox(server, user);
    assert.deepEqual(items.map(({ id, read_at }) => ({ id, read_at })), [{ id: body.id, read_at: null }]);
    assert.equal(seq, 1);
  });

  test("a retry goes to the sessions that acknowledge and to no other", async () => {
    const server = servers.quick;
    const user = newUser();
    const first = await mute(server, user);
    const id = await pushed(server, user);
    await until(() => numbers(first, id).length === 1);
    const silent = await tab(server, user);
    const converted = await tab(server, user);
    const other = await pushed(server, user);
    await until(() => attempts(converted, other).length === 1);
    await acknowledge(converted, attempts(converted, other)[0]);
    await recorded(server, user, id, "permanent_failure");
    assert.deepEqual(numbers(first, id), [1, 2, 3, 4]);
    assert.deepEqual(numbers(silent, id), []);
    // It has acknowledged something: from then on it is one of them.
    const heard = numbers(converted, id);
    assert.deepEqual(heard, [1, 2, 3, 4].slice(4 - heard.length));
    assert.ok(heard.length > 0, "a session that has acknowledged hears of the retries");
    for (const socket of [first, silent, converted]) assert.deepEqual(numbers(socket, other), [1]);
  });

  test("with an acknowledgement by one of two devices there is no further attempt for either", async () => {
    const server = servers.quick;
    const user = newUser();
    const devices = [await mute(server, user), await mute(server, user)];
    const { body } = await server.push(user);
    await until(() => devices.every((socket) => numbers(socket, body.id).length >= 1));
    assert.deepEqual(await acknowledge(devices[1], body.results[0]), { ok: true, acknowledged: 1 });
    await devices[0].timeout(10_000).emitWithAck("ping");
    const before = devices.map((socket) => numbers(socket, body.id));
    assert.deepEqual(before[0], before[1]);
    await ladder(server, user);
    assert.deepEqual(devices.map((socket) => numbers(socket, body.id)), before);
    const { status, via, attempts } = await row(server, user, body.id);
    assert.deepEqual({ status, via, attempts }, { status: "delivered", via: "ack", attempts: before[0].length });
  });

  test("with ACK_MODE auto a client that never acknowledges is sent nothing twice, whatever becomes of the object", async () => {
    const server = servers.quick;
    const user = newUser();
    const id = await pushed(server, user);
    const silent = await tab(server, user);
    const later = await pushed(server, user);
    for (const each of [id, later]) {
      const { status, via, attempts } = await recorded(server, user, each, "delivered");
      assert.deepEqual({ status, via, attempts }, { status: "delivered", via: "sent", attempts: 1 });
    }
    await server.evict(user);
    await ladder(server);
    await silent.timeout(10_000).emitWithAck("ping");
    assert.deepEqual([numbers(silent, id), numbers(silent, later)], [[1], [1]]);
  });

  test("with ACK_MODE required a client that says nothing is waited for, and sent all retries", async () => {
    const server = servers.required;
    const user = newUser();
    const silent = await tab(server, user);
    const id = await pushed(server, user);
    assert.equal((await recorded(server, user, id, "permanent_failure")).attempts, 4);
    assert.deepEqual(numbers(silent, id), [1, 2, 3, 4]);
  });

  test("with ACK_MODE off nobody is waited for", async () => {
    const server = servers.off;
    const user = newUser();
    const socket = await mute(server, user);
    const id = await pushed(server, user);
    const { status, via, attempts } = await recorded(server, user, id, "delivered");
    assert.deepEqual({ status, via, attempts }, { status: "delivered", via: "sent", attempts: 1 });
    await ladder(servers.quick);
    await socket.timeout(10_000).emitWithAck("ping");
    assert.deepEqual(numbers(socket, id), [1]);
  });

  // ---- what confirms ----

  const confirmations = {
    "an acknowledgement": ["ack", (_server, _user, socket, item) => acknowledge(socket, item)],
    "a fetch": ["http", (server, user) => inbox(server, user)],
    "a read by socket": ["read", (_server, _user, socket, { id }) => socket.emitWithAck("mark:read", { notification_id: id })],
    "a read over HTTP": ["read", (server, user, _socket, { id }) => me(server, user, "POST", `/${id}/read`)],
    "reading everything": ["read", (_server, _user, socket) => socket.emitWithAck("mark:all:read")],
    "a deletion": ["read", (server, user, _socket, { id }) => me(server, user, "DELETE", `/${id}`)],
  };
  for (const [what, [via, confirm]] of Object.entries(confirmations)) {
    for (const [name, state, attempts] of [["patient", "failed", 1], ["quick", "permanent_failure", 4]]) {
      test(`${what} makes delivered what was ${state}`, async () => {
        const server = servers[name];
        const user = newUser();
        const socket = await mute(server, user);
        const { body } = await server.push(user);
        const before = await recorded(server, user, body.id, state);
        assert.equal(before.attempts, attempts);
        await confirm(server, user, socket, { id: body.id, ...body.results[0] });
        const { delivered_at, ...after } = await recorded(server, user, body.id, "delivered");
        assert.deepEqual(after, { status: "delivered", attempts, next_retry_at: null, via });
        assert.ok(delivered_at > 0);
        assert.equal(numbers(socket, body.id).length, attempts);
      });
    }
  }

  test("a failed attempt says in the record when the next one follows", async () => {
    const server = servers.patient;
    const user = newUser();
    await mute(server, user);
    const earliest = Date.now();
    const id = await pushed(server, user);
    const { attempts, next_retry_at, via, delivered_at } = await recorded(server, user, id, "failed");
    assert.deepEqual({ attempts, via, delivered_at }, { attempts: 1, via: null, delivered_at: null });
    const wait = next_retry_at - earliest;
    assert.ok(wait >= HOUR_MS + 300 && wait < HOUR_MS + 60_000, `in ${wait} ms`);
    const { alarm_at } = await server.hubInfo(user);
    assert.ok(alarm_at !== null && alarm_at <= next_retry_at);
  });

  test("an evicted object makes its retries all the same", async () => {
    const server = servers.quick;
    const user = newUser();
    const socket = await mute(server, user);
    const id = await pushed(server, user);
    await server.evict(user);
    await until(() => numbers(socket, id).length >= 2, { what: "a retry" });
    await server.evict(user);
    await recorded(server, user, id, "permanent_failure");
    assert.deepEqual(numbers(socket, id), [1, 2, 3, 4]);
  });

  // ---- another round ----

  const retry = (server, id) => server.api("POST", `/v1/notifications/${id}/retry`, { key: server.serviceKey });

  async function log(server, user) {
    return (await server.db.all("SELECT kind FROM audience WHERE room = ?1 ORDER BY n", `user:${user}`)).map(({ kind }) => kind);
  }

  test("the pusher starts another round of what failed for good, for whom it failed", async () => {
    const server = servers.quick;
    const [user, reached, away] = [newUser(), newUser(), newUser()];
    const socket = await mute(server, user);
    const other = await mute(server, reached);
    const { body } = await server.push({ to: [user, reached, away].map((name) => `user:${name}`), title: "Hello" });
    await until(() => numbers(other, body.id).length >= 1);
    await acknowledge(other, body.results[1]);
    await recorded(server, user, body.id, "permanent_failure");

    const { status, body: answer } = await retry(server, body.id);
    assert.deepEqual([status, answer], [202, { requeued: 1 }]);
    assert.deepEqual([await log(server, user), await log(server, reached), await log(server, away)], [
      ["push", "retry"], ["push"], ["push"],
    ]);
    await until(() => numbers(socket, body.id).length === 8, { what: "another four attempts" });
    assert.deepEqual(numbers(socket, body.id), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert.ok(attempts(socket, body.id).slice(1).every(({ redelivered, seq }) => redelivered && seq === 1));
    await until(async () => (await row(server, user, body.id)).attempts === 8);
    await recorded(server, user, body.id, "permanent_failure");
    assert.equal(await unread(server, user), 1, "no change of the inbox");
    assert.equal((await recorded(server, away, body.id, "pending")).attempts, 0);
  });

  test("another round that is asked for while nobody is there waits for a client", async () => {
    const server = servers.quick;
    const user = newUser();
    const socket = await mute(server, user);
    const { body } = await server.push(user);
    await recorded(server, user, body.id, "permanent_failure");
    socket.disconnect();
    await gone(server, user);
    assert.deepEqual((await retry(server, body.id)).body, { requeued: 1 });
    await until(async () => (await server.hubInfo(user)).owed === 0);
    const { status, attempts: made } = await row(server, user, body.id);
    assert.deepEqual({ status, made }, { status: "pending", made: 4 });
    assert.deepEqual((await retry(server, body.id)).body, { requeued: 0 }, "it has been asked for");
    const back = await mute(server, user);
    await until(() => attempts(back, body.id).length >= 1);
    const [{ attempt, redelivered, seq }] = attempts(back, body.id);
    assert.deepEqual({ attempt, redelivered, seq }, { attempt: 5, redelivered: true, seq: 1 });
    await acknowledge(back, body.results[0]);
    assert.equal((await recorded(server, user, body.id, "delivered")).via, "ack");
  });

  test("there is no other round for what has not failed for good", async () => {
    const server = servers.patient;
    const offline = newUser();
    const failed = newUser();
    const done = newUser();
    await mute(server, failed);
    await tab(server, done);
    const states = { [offline]: "pending", [failed]: "failed", [done]: "delivered" };
    for (const [user, state] of Object.entries(states)) {
      const id = await pushed(server, user);
      const before = await recorded(server, user, id, state);
      const { status, body } = await retry(server, id);
      assert.deepEqual([status, body], [202, { requeued: 0 }], state);
      assert.deepEqual(await row(server, user, id), before);
      assert.deepEqual(await log(server, user), ["push"], state);
    }
    for (const unknown of ["01a1f916-0000-7000-8000-000000000000", "1", "u1"]) {
      const { status, body } = await retry(server, unknown);
      assert.deepEqual([status, body.code], [404, "not_found"], unknown);
    }
  });

  test("what the user has deleted is not sent again", async () => {
    const server = servers.quick;
    const user = newUser();
    const socket = await mute(server, user);
    const id = await pushed(server, user);
    await recorded(server, user, id, "permanent_failure");
    await me(server, user, "DELETE", `/${id}`);
    await recorded(server, user, id, "delivered");
    assert.deepEqual((await retry(server, id)).body, { requeued: 0 });
    await socket.timeout(10_000).emitWithAck("ping");
    assert.deepEqual(numbers(socket, id), [1, 2, 3, 4]);
  });

  // ---- nobody there ----

  /** Sends a notification to a client that does not acknowledge it, and takes the client away before the next attempt. */
  async function park(server, user) {
    const socket = await mute(server, user);
    const { body } = await server.push(user);
    await recorded(server, user, body.id, "failed");
    socket.disconnect();
    await gone(server, user);
    const made = await parked(server, user, body.id);
    assert.equal(made, numbers(socket, body.id).length, "no attempt without a socket");
    return { id: body.id, recipient_id: body.results[0].recipient_id, made };
  }

  /** A client connects, is sent what was parked, and acknowledges. */
  async function resumed(server, user, { id, recipient_id, made }) {
    const socket = await mute(server, user);
    await until(() => attempts(socket, id).length >= 1, { what: "the parked notification" });
    const [{ attempt, redelivered, seq, unread }] = attempts(socket, id);
    assert.deepEqual({ attempt, redelivered, seq, unread }, { attempt: made + 1, redelivered: true, seq: 1, unread: 1 });
    await acknowledge(socket, { recipient_id });
    const { via, next_retry_at } = await recorded(server, user, id, "delivered");
    assert.deepEqual({ via, next_retry_at }, { via: "ack", next_retry_at: null });
  }

  test("a retry that falls due while nobody is there is parked, and resumes with the next client", async () => {
    const user = newUser();
    await resumed(servers.parking, user, await park(servers.parking, user));
  });

  test("an attempt whose time is over while nobody is there is parked at once", async () => {
    const server = servers.patient;
    const user = newUser();
    const socket = await mute(server, user);
    const { body } = await server.push(user);
    socket.disconnect();
    await gone(server, user);
    // The attempt may have failed while the client was still there, and then the retry would be an hour off.
    await recorded(server, user, body.id, "failed");
    if ((await row(server, user, body.id)).next_retry_at === null) assert.equal(await parked(server, user, body.id), 1);
  });

  test("what is parked survives eviction", async () => {
    const server = servers.parking;
    const user = newUser();
    const item = await park(server, user);
    await server.evict(user);
    await resumed(server, user, item);
  });

  test("a client that recovers its session is sent what was parked", async () => {
    const server = servers.parking;
    const user = newUser();
    const first = await openRaw(server, user, { query: { ack: "on" } });
    const { pid, sid } = await first.join();
    const { body } = await server.push(user);
    await first.nextEvent("notification:new");
    await first.close();
    await gone(server, user);
    const made = await parked(server, user, body.id);
    const second = await openRaw(server, user, { query: { ack: "on" } });
    assert.deepEqual(await second.join("/notifications", { pid, offset: "\u001f1" }), { pid, sid });
    const { attempt, redelivered, seq } = await second.nextEvent("notification:new");
    assert.deepEqual({ attempt, redelivered, seq }, { attempt: made + 1, redelivered: true, seq: 1 });
    await second.close();
  });

  test("a silent client that comes when something is parked is sent it once, and then it is delivered", async () => {
    const server = servers.parking;
    const user = newUser();
    const { id, made } = await park(server, user);
    const silent = await tab(server, user);
    await until(() => attempts(silent, id).length === 1, { what: "the parked notification" });
    const { via, attempts: all } = await recorded(server, user, id, "delivered");
    assert.deepEqual({ via, all }, { via: "sent", all: made + 1 });
    const acknowledging = await mute(server, user);
    await acknowledging.timeout(10_000).emitWithAck("ping");
    assert.deepEqual(numbers(acknowledging, id), []);
  });
});

function me(server, user, method, path) {
  return server.api(method, `/v1/me/notifications${path}`, { token: server.token(user) });
}

test("what is parked, and what was attempted, survives a killed runtime without an alarm too many", async () => {
  const server = servers.parking;
  const [idle, busy] = [newUser(), newUser()];
  const socket = await mute(server, idle);
  const { body } = await server.push(idle);
  await recorded(server, idle, body.id, "failed");
  socket.disconnect();
  await gone(server, idle);
  const made = await parked(server, idle, body.id);
  await mute(server, busy);
  const second = (await server.push(busy)).body;

  await server.kill();
  await server.restart();
  assert.equal((await server.hubInfo(idle)).alarm_at, null);
  assert.equal(await parked(server, busy, second.id), 1, "the attempt that was under way has failed");
  for (const [user, { id, results }, attempt] of [[idle, body, made + 1], [busy, second, 2]]) {
    const back = await mute(server, user);
    const event = await nextEvent(back, "notification:new");
    assert.deepEqual([event.id, event.attempt, event.redelivered, event.seq], [id, attempt, true, 1]);
    await acknowledge(back, results[0]);
    await recorded(server, user, id, "delivered");
  }
});
