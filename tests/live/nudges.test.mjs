// What the hub missed, or could not tell the record, is made good: by the next nudge, a connect, the queue, an event, an alarm
// (DESIGN 6, 7). Each test breaks everything but the one that heals.
import assert from "node:assert/strict";
import { afterEach, before, test } from "node:test";
import { caughtUp, consistent, deliveries, inbox, known, pushed, pushUnheard, received, recorded } from "./checks.mjs";
import { connected, nextEvent, startServer, until } from "./harness.mjs";

// How soon a hub tries again to read the record: this long, and up to as long again (DESIGN 6: with jitter).
const RETRY_MS = 30_000;
// How long the queue waits before it tries again.
const QUEUE_RETRY_MS = 10_000;

let server;
before(async () => {
  // Nothing but what these tests look for sets an alarm for the near future.
  server = await startServer({ vars: { PING_INTERVAL_MS: "1800000", CONNECT_TIMEOUT_MS: "300000" } });
});
afterEach(() => server.clearFailPoints());

async function tab(user) {
  const socket = await connected(server.connect(user));
  await nextEvent(socket, "authenticated");
  await caughtUp(server, user);
  return socket;
}

/** The client was sent just these, in this order, and knows the right counts. */
async function checkReceived(socket, ids) {
  const all = () => received(socket).length >= ids.length;
  await until(all, { what: () => `${ids} at the client, which got ${received(socket)}` });
  assert.deepEqual(received(socket), ids);
  await until(() => known(socket).seq === ids.length);
  assert.equal(known(socket).unread, ids.length);
}

// ---- what the hub missed ----

test("a nudge that nobody heard leaves the push stored and the hub ignorant", async () => {
  const socket = await tab("ignorant");
  const id = await pushUnheard(server, "ignorant");
  assert.deepEqual(await server.db.all("SELECT n, ref FROM audience WHERE room = 'user:ignorant'"), [{ n: 1, ref: id }]);
  assert.equal((await server.hubInfo("ignorant")).cursor, 0);
  assert.deepEqual(received(socket), []);
});

test("a lost nudge is healed by the next one", async () => {
  const socket = await tab("next");
  const ids = [await pushUnheard(server, "next"), await pushUnheard(server, "next")];
  const answer = await server.push("next");
  ids.push(answer.body.id);
  assert.equal(answer.body.results[0].seq, 3);
  await checkReceived(socket, ids);
  await consistent(server, "next", ids);
});

test("a lost nudge is healed by the same push repeated", async () => {
  const socket = await tab("repeated");
  const idempotencyKey = "repeated";
  const id = await pushUnheard(server, "repeated", { idempotencyKey });
  const answer = await server.push("repeated", { idempotencyKey });
  assert.equal(answer.headers["idempotent-replayed"], "true");
  assert.equal(answer.body.id, id);
  assert.equal(answer.body.results[0].status, "created");
  await checkReceived(socket, [id]);
  await consistent(server, "repeated", [id]);
});

test("a lost nudge is healed by a connect", async () => {
  const first = await tab("connect");
  const ids = [await pushUnheard(server, "connect"), await pushUnheard(server, "connect")];
  const second = server.connect("connect");
  await checkReceived(second, ids);
  assert.equal(second.events[0].name, "authenticated");
  await checkReceived(first, ids);
  await consistent(server, "connect", ids);
});

test("more than a page of lost nudges comes in order, a page as one batch", async () => {
  const count = 101;
  const socket = await tab("page");
  await server.failPoint("nudge-received", { times: count });
  await server.failPoint("nudge-queued", { times: count });
  const ids = [];
  for (let i = 0; i < count; i++) ids.push(await pushed(server, "page"));
  await tab("page");
  await checkReceived(socket, ids);
  const batches = socket.events.filter(({ name }) => name === "notification:batch").map(({ data }) => data);
  assert.deepEqual(batches.map(({ notifications }) => notifications.length), [count - 1]);
  assert.deepEqual(batches.map(({ unread_count, seq }) => [unread_count, seq]), [[count - 1, count - 1]]);
});

for (const [count, events] of [[20, "one by one"], [21, "as one batch"]]) {
  test(`${count} lost nudges come ${events}`, async () => {
    const user = `threshold-${count}`;
    const socket = await tab(user);
    const ids = [];
    for (let i = 1; i < count; i++) ids.push(await pushUnheard(server, user));
    ids.push(await pushUnheard(server, user));
    await server.evict(user);
    const other = await tab(user);
    for (const each of [socket, other]) {
      await checkReceived(each, ids);
      const names = each.events.map(({ name }) => name).filter((name) => name.startsWith("notification"));
      assert.deepEqual(names, count === 20 ? Array(20).fill("notification:new") : ["notification:batch"]);
      assert.equal(each.events.at(-1).name, "unread:count");
    }
  });
}

test("pushes, lost nudges and connects at the same time lose nothing and double nothing", async () => {
  const witness = await tab("busy");
  await server.failPoint("nudge-received", { times: 10 });
  await server.failPoint("nudge-queued", { times: 10 });
  const pushes = Array.from({ length: 30 }, () => pushed(server, "busy"));
  const tabs = Promise.all(Array.from({ length: 5 }, () => tab("busy")));
  const answered = await Promise.all(pushes);
  const others = await tabs;
  // The nudges of the last ones may be among the lost, and the others may have come after them.
  answered.push(await pushed(server, "busy"));

  const log = await server.db.all("SELECT ref FROM audience WHERE room = 'user:busy' ORDER BY n");
  const ids = log.map(({ ref }) => ref);
  assert.deepEqual(ids.toSorted(), answered.toSorted());
  await checkReceived(witness, ids);
  // The others get all that was applied after they came.
  for (const other of others) {
    await until(() => received(other).at(-1) === ids.at(-1));
    assert.deepEqual(received(other), ids.slice(-received(other).length));
  }
  await consistent(server, "busy", ids);
});

test("a lost nudge is healed by the queue alone", async () => {
  const socket = await tab("queue");
  await server.failPoint("nudge-received");
  const answer = await server.push("queue");
  assert.deepEqual(answer.body.results, [{ to: "user:queue", status: "accepted", seq: null }]);
  await checkReceived(socket, [answer.body.id]);
  await consistent(server, "queue", [answer.body.id]);
});

test("the queue tries again when the record can't be read", async () => {
  const socket = await tab("again");
  await server.failPoint("nudge-received");
  await server.failPoint("catch-up-before-pull");
  const id = await pushed(server, "again");
  await until(async () => (await server.failPoints())["catch-up-before-pull"].hits === 1);
  assert.deepEqual(received(socket), []);
  await nextEvent(socket, "notification:new", undefined, { timeout: 3 * QUEUE_RETRY_MS });
  await checkReceived(socket, [id]);
});

// ---- the record can't be read at connect ----

/** A client that connects while the record can't be read: it is let in all the same, and sees what the hub has. */
async function connectBlind(user) {
  const id = await pushUnheard(server, user);
  await server.failPoint("catch-up-before-pull");
  const earliest = Date.now();
  const socket = await connected(server.connect(user));
  const { unread, seq } = await nextEvent(socket, "authenticated");
  assert.deepEqual({ unread, seq }, { unread: 0, seq: 0 });
  await until(async () => (await server.failPoints())["catch-up-before-pull"].hits === 1);
  return { socket, id, earliest };
}

test("catching up that fails at connect is tried again by an alarm", async () => {
  const { socket, earliest } = await connectBlind("alarm");
  // The event that failed sets it after what the client sees.
  await socket.timeout(10_000).emitWithAck("ping");
  const { alarm_at, cursor } = await server.hubInfo("alarm");
  assert.equal(cursor, 0);
  const wait = [alarm_at - Date.now(), alarm_at - earliest];
  assert.ok(wait[1] >= RETRY_MS && wait[0] <= 2 * RETRY_MS, `it goes off in ${wait.join(" to ")} ms`);
});

test("catching up that fails at connect is healed by the next connect", async () => {
  const { socket, id } = await connectBlind("blind-connect");
  const second = await tab("blind-connect");
  for (const each of [socket, second]) await checkReceived(each, [id]);
  await consistent(server, "blind-connect", [id]);
});

test("catching up that fails at connect is healed by the next nudge", async () => {
  const { socket, id } = await connectBlind("blind-nudge");
  const ids = [id, await pushed(server, "blind-nudge")];
  await checkReceived(socket, ids);
  await consistent(server, "blind-nudge", ids);
});

// ---- the record can't be written ----

/** A push that the client got and confirmed by being sent it, while the record could not be told. */
async function owing(at, user) {
  await at.failPoint("outbox-before-flush");
  const id = await pushed(at, user);
  await until(async () => (await at.failPoints())["outbox-before-flush"].hits === 1);
  return id;
}

test("what can't be written to the record stays owed until the next event", async () => {
  const socket = await tab("owing");
  const id = await owing(server, "owing");
  assert.equal((await server.hubInfo("owing")).owed, 1);
  assert.deepEqual(await deliveries(server, "owing"), { [id]: "pending" });
  await socket.timeout(10_000).emitWithAck("ping");
  await recorded(server, "owing", id, "delivered");
  await consistent(server, "owing", [id]);
});

test("a write whose answer is lost is written again", async () => {
  const socket = await tab("unsure");
  await server.failPoint("outbox-flushed");
  const id = await pushed(server, "unsure");
  await recorded(server, "unsure", id, "delivered");
  assert.equal((await server.hubInfo("unsure")).owed, 1);
  await socket.timeout(10_000).emitWithAck("ping");
  await until(async () => (await server.hubInfo("unsure")).owed === 0);
  await consistent(server, "unsure", [id]);
});

test("an alarm pays what is owed, whether the runtime was killed or not", async () => {
  const own = await startServer({ vars: { PING_INTERVAL_MS: "1000", PING_TIMEOUT_MS: "20000" } });
  await connected(own.connect("alarm"));
  const ids = [await owing(own, "alarm")];
  await recorded(own, "alarm", ids[0], "delivered");

  ids.push(await owing(own, "alarm"));
  await own.kill();
  await own.restart();
  // The client does not come back.
  await recorded(own, "alarm", ids[1], "delivered");
  assert.equal((await own.hubInfo("alarm")).sockets, 0);
  await consistent(own, "alarm", ids);
});

test("what is owed by a user without a connection has an alarm", async () => {
  const id = await pushed(server, "fetches");
  await server.failPoint("outbox-before-flush");
  // What is fetched counts as delivered.
  assert.equal((await inbox(server, "fetches")).items[0].delivery_status, "delivered");
  await until(async () => (await server.failPoints())["outbox-before-flush"].hits === 1);
  const { alarm_at } = await until(async () => {
    const info = await server.hubInfo("fetches");
    return info.alarm_at !== null && info;
  });
  assert.ok(alarm_at - Date.now() <= RETRY_MS);
  await consistent(server, "fetches", [id]);
});

test("what is owed when the runtime is killed has an alarm, though no client was connected", async () => {
  const id = await pushed(server, "crashes");
  await server.failPoint("outbox-before-flush", { action: "stall" });
  await inbox(server, "crashes");
  await until(async () => (await server.failPoints())["outbox-before-flush"].hits === 1);
  await server.kill();
  await server.restart();
  const { owed, alarm_at } = await server.hubInfo("crashes");
  assert.equal(owed, 1);
  assert.deepEqual(await deliveries(server, "crashes"), { [id]: "pending" });
  assert.notEqual(alarm_at, null, "or the record is wrong until the user comes back, if ever");
});
