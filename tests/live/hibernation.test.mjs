// The object is really taken out of memory, its instance id changes, and nothing a client sees does (DESIGN 4).
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { consistent, heartbeats, presence, pushed, received } from "./checks.mjs";
import { connected, nextEvent, startServer, until } from "./harness.mjs";
import { openRaw } from "./raw.mjs";

const LEEWAY_S = 60;
// How long a session outlives its token (DESIGN 3.5).
const GRACE_S = 25;
// The runtime hibernates an object about 10 s after its last event.
const IDLE_MS = 12_000;
const EXPIRED = { message: "The token has expired", code: "EXPIRED_TOKEN" };

let server;
before(async () => {
  server = await startServer({ vars: { JWT_LEEWAY_SECONDS: String(LEEWAY_S) } });
});

async function tab(user, { at = server, ...options } = {}) {
  const socket = await connected(at.connect(user, options));
  await nextEvent(socket, "authenticated");
  return socket;
}

/** Evicts the hub and proves it. */
async function evict(user, at = server) {
  const { instance } = await at.hubInfo(user);
  await at.evict(user);
  assert.notEqual((await at.hubInfo(user)).instance, instance);
  // Looking has woken it.
  await at.evict(user);
}

/** The connection of a stock client was never interrupted. */
function checkUninterrupted(socket) {
  assert.ok(socket.connected);
  assert.deepEqual(socket.lifecycle.map(({ name }) => name), ["connect"]);
}

const active = (ledger) => Object.entries(ledger).filter(([, count]) => count > 0).map(([unit]) => unit).toSorted();

// ---- what a client sees ----

test("a client gets what is pushed before and after an eviction", async () => {
  const socket = await tab("evicted");
  const { instance } = await server.hubInfo("evicted");
  const first = await pushed(server, "evicted");
  assert.equal((await nextEvent(socket, "notification:new")).id, first);

  await server.evict("evicted");
  const second = await pushed(server, "evicted");
  assert.equal((await nextEvent(socket, "notification:new")).id, second);
  assert.notEqual((await server.hubInfo("evicted")).instance, instance);
  checkUninterrupted(socket);
  assert.deepEqual(received(socket), [first, second]);
  await consistent(server, "evicted", [first, second]);
});

test("an idle hub hibernates by itself, costs nothing meanwhile, and goes on", async () => {
  // A server of its own, because the ledger counts for all users.
  const own = await startServer();
  const socket = await tab("idle", { at: own });
  const ids = [await pushed(own, "idle")];
  await nextEvent(socket, "notification:new");
  const { instance } = await own.hubInfo("idle");
  // One wait is enough unless the machine is too busy to evict the object in time.
  for (let waits = 0; waits < 3 && (await own.hubInfo("idle")).instance === instance; waits++) {
    await own.resetLedger();
    // A real wait: every look at the object is an event that keeps it in memory, and nothing else tells that it has gone.
    await delay(IDLE_MS);
    assert.deepEqual(await own.ledger(), { worker_requests: 1 }, "the only request is this look at the ledger");
    ids.push(await pushed(own, "idle"));
  }
  assert.notEqual((await own.hubInfo("idle")).instance, instance);
  await until(() => received(socket).length === ids.length);
  assert.deepEqual(received(socket), ids);
  checkUninterrupted(socket);
  await consistent(own, "idle", ids);
});

test("joined namespaces survive an eviction", async () => {
  const notifications = await tab("namespaces");
  const root = await connected(Object.assign(notifications.io.socket("/"), { lifecycle: [], events: [] }));
  for (const socket of [notifications, root, notifications]) {
    await evict("namespaces");
    const pong = new Promise((resolve) => socket.once("pong", resolve));
    assert.deepEqual(await socket.timeout(10_000).emitWithAck("ping"), { ok: true });
    assert.deepEqual(await pong, {});
  }
  await evict("namespaces");
  const heard = [notifications, root].map((socket) => new Promise((resolve) => socket.once("notification:new", resolve)));
  const id = await pushed(server, "namespaces");
  assert.deepEqual((await Promise.all(heard)).map((notification) => notification.id), [id, id]);
  checkUninterrupted(notifications);
});

test("a namespace can be joined and left across evictions", async () => {
  const raw = await openRaw(server, "joins");
  await evict("joins");
  const { sid } = await raw.join();
  await evict("joins");
  assert.equal((await presence(server, "joins")).sockets[0].sid, sid);
  raw.send("41/notifications,");
  await until(async () => !(await presence(server, "joins")).online);
  await evict("joins");
  await raw.join("/");
  await raw.settled("/");
});

test("whether a session acknowledges survives an eviction", async () => {
  const socket = await tab("acks", { query: { ack: "on" } });
  await evict("acks");
  const { body } = await server.push("acks");
  assert.equal(body.results[0].delivery_status, "pending");
  const { recipient_id } = await nextEvent(socket, "notification:new");
  await evict("acks");
  const answer = await socket.timeout(10_000).emitWithAck("notification:acknowledge", { recipient_id });
  assert.equal(answer.ok, true);
  await consistent(server, "acks", [body.id]);
});

// ---- what the hub does by itself ----

test("a session ends with its token though the hub was evicted", async () => {
  // A token that is so far past its end that the leeway still takes it and the grace is nearly over.
  const leftS = 6;
  assert.ok(GRACE_S - leftS < LEEWAY_S);
  const socket = await tab("expiring", { ttl: leftS - GRACE_S });
  const witness = await tab("expiring");
  await evict("expiring");
  assert.deepEqual(await nextEvent(socket, "auth_error", undefined, { timeout: 20_000 }), EXPIRED);
  await until(() => !socket.connected, { timeout: 20_000 });
  assert.deepEqual(socket.lifecycle.map(({ name, data }) => data ?? name), ["connect", "transport close"]);
  checkUninterrupted(witness);
  assert.equal((await presence(server, "expiring")).connections, 1);
});

const HEARTBEAT = { PING_INTERVAL_MS: "1000", PING_TIMEOUT_MS: "20000" };

test("the heartbeat goes on through evictions, and closes who does not answer", async () => {
  const own = await startServer({ vars: HEARTBEAT });
  const socket = await tab("beats", { at: own });
  const seen = heartbeats(socket);
  const silent = await openRaw(own, "beats");
  await silent.join();
  for (let beat = 1; beat <= 4; beat++) {
    await evict("beats", own);
    await until(() => seen.count >= beat, { timeout: 20_000 });
  }
  await silent.closed({ timeout: 20_000 });
  assert.equal(silent.frames.filter((frame) => frame === "2").length, 1);
  checkUninterrupted(socket);
  assert.equal((await presence(own, "beats")).connections, 1);
});

test("between events an idle hub does nothing but its heartbeat", async () => {
  const own = await startServer({ vars: HEARTBEAT });
  const socket = await tab("quiet", { at: own });
  const seen = heartbeats(socket);
  await pushed(own, "quiet");
  await until(async () => (await own.hubInfo("quiet")).owed === 0);
  await own.resetLedger();
  const start = seen.count;
  await until(() => seen.count >= start + 4, { timeout: 20_000 });
  const ledger = await own.ledger();
  // The alarm, its row and the row that says when the next one is due are the switchboard's, for all its users together.
  const units = ["alarms", "alarms_set", "messages_received", "object_requests", "object_rows_read", "object_rows_written"];
  assert.deepEqual(active(ledger), [...units, "worker_requests"]);
  assert.equal(ledger.worker_requests, 1, "the only request is this look at the ledger");
  const beats = seen.count - start;
  for (const unit of ["alarms", "alarms_set", "messages_received", "object_requests", "object_rows_written"]) {
    assert.ok(ledger[unit] <= beats + 1, `${unit}: ${ledger[unit]} for ${beats} pings`);
  }
});

// ---- what an eviction does lose ----

const HEAD = '451-/notifications,["upload",{"_placeholder":true,"num":0}]';

test("a binary packet in two frames is one packet", async () => {
  const raw = await openRaw(server, "binary");
  await raw.join();
  raw.send(HEAD, Buffer.from([1, 2, 3]));
  assert.equal((await raw.nextEvent("error")).code, "UNKNOWN_EVENT");
  await raw.settled();
});

test("an eviction in the middle of a binary packet closes that connection alone", async () => {
  // A server of its own, because the ledger tells when the first half has arrived.
  const own = await startServer();
  const socket = await tab("halves", { at: own });
  const half = await openRaw(own, "halves");
  await half.join();
  await half.settled();
  await own.resetLedger();
  half.send(HEAD);
  await until(async () => (await own.ledger()).messages_received === 1);
  await evict("halves", own);

  half.send(Buffer.from([1, 2, 3]));
  await half.closed({ timeout: 20_000 });
  assert.deepEqual(half.frames.filter((frame) => frame.includes('"error"')), [], "the packet was not taken for a whole one");
  assert.equal((await presence(own, "halves")).connections, 1);
  const id = await pushed(own, "halves");
  assert.equal((await nextEvent(socket, "notification:new")).id, id);
  checkUninterrupted(socket);
});
