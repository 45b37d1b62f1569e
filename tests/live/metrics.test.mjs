// What operators can watch: GET /v1/metrics, the points for Analytics Engine, and the counts of an inbox that are held against
// its items.
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { before, test } from "node:test";
import { caughtUp, pushed } from "./checks.mjs";
import { connected, nextEvent, startServer, until } from "./harness.mjs";
import { parseOpenMetrics } from "./open_metrics.mjs";
import { openRaw } from "./raw.mjs";

const HOUR_MS = 3_600_000;
const SWITCHBOARDS = ["0/2", "1/2"];
const QUIET = { PING_INTERVAL_MS: "1800000", CONNECT_TIMEOUT_MS: "300000", SWITCHBOARDS: "2" };

let server;
before(async () => {
  server = await startServer({ vars: QUIET });
});

/** The samples by name, and by switchboard for those that have one. */
async function metrics(of = server) {
  const { status, headers, body } = await of.api("GET", "/v1/metrics", { key: of.serviceKey });
  assert.equal(status, 200);
  assert.equal(headers["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
  const found = {};
  for (const { name, labels, value } of parseOpenMetrics(body)) {
    if (labels.switchboard === undefined) found[name] = value;
    else (found[name] ??= {})[labels.switchboard] = value;
  }
  return found;
}

const sum = (family) => Object.values(family).reduce((sum, value) => sum + value, 0);
const points = async (of = server) => (await of.api("GET", "/__test/points")).body;

// ---- GET /v1/metrics ----

test("the record and the switchboards say what they know", async () => {
  const before = await metrics();
  assert.equal(before.dormouse_record_up, 1);
  assert.deepEqual(before.dormouse_switchboard_up, { "0/2": 1, "1/2": 1 });
  assert.deepEqual(Object.keys(before.dormouse_online_users), SWITCHBOARDS);
  await pushed(server, "pushed");
  const later = new Date(Date.now() + HOUR_MS).toISOString();
  await server.push({ to: ["user:pushed"], title: "Later", deliver_at: later });
  await server.deliver("dormouse-pushes-dead", [{ id: "1", timestamp: new Date(), body: {}, attempts: 1 }]);
  const sockets = await Promise.all(["a", "b", "c"].map((user) => connected(server.connect(user, { departments: ["cs"] }))));
  const counted = await until(async () => {
    const now = await metrics();
    return sum(now.dormouse_online_users) === 3 && now;
  });
  assert.equal(counted.dormouse_pushes_last_minute, before.dormouse_pushes_last_minute + 1);
  assert.equal(counted.dormouse_scheduled_pushes, before.dormouse_scheduled_pushes + 1);
  assert.equal(counted.dormouse_due_pushes, 0);
  assert.equal(counted.dormouse_dead_letters, before.dormouse_dead_letters + 1);
  assert.ok(sum(counted.dormouse_rooms) >= 2, "dept:cs and broadcast");
  assert.equal(sum(counted.dormouse_fan_outs_under_way), 0);
  for (const socket of sockets) socket.disconnect();
});

test("what can't be had is down and has no number", async () => {
  const broken = await startServer({ vars: QUIET });
  await broken.db.run("DROP TABLE dead_letters");
  const found = await metrics(broken);
  assert.equal(found.dormouse_record_up, 0);
  assert.deepEqual(Object.keys(found).filter((name) => /pushes|letters/.test(name)), []);
  assert.deepEqual(found.dormouse_switchboard_up, { "0/2": 1, "1/2": 1 });
});

// ---- points ----

test("a push and its delivery are points, counted once", async () => {
  const user = "delivered";
  const socket = await connected(server.connect(user, { query: { ack: "on" } }));
  await caughtUp(server, user);
  const before = await points();
  const idempotencyKey = "points";
  await pushed(server, user, { idempotencyKey });
  await pushed(server, user, { idempotencyKey });
  const { recipient_id } = await nextEvent(socket, "notification:new");
  await socket.timeout(5_000).emitWithAck("notification:acknowledge", { recipient_id });
  await socket.timeout(5_000).emitWithAck("mark:read", { recipient_id });
  await until(async () => (await server.hubInfo(user)).owed === 0);
  const after = await until(async () => {
    const now = await points();
    return now.delivered > (before.delivered ?? 0) && now;
  });
  assert.equal(after.push, (before.push ?? 0) + 1);
  assert.equal(after.delivered, (before.delivered ?? 0) + 1);
  assert.ok(after.outbox_depth > (before.outbox_depth ?? 0));
});

test("retries, failures and silent clients are points", async () => {
  const vars = { PING_INTERVAL_MS: "1000", PING_TIMEOUT_MS: "1000", ACK_TIMEOUT_MS: "200", RETRY_DELAYS_MS: "200" };
  const impatient = await startServer({ vars });
  const socket = await connected(impatient.connect("deaf", { query: { ack: "on" } }));
  await pushed(impatient, "deaf");
  const failed = await until(async () => {
    const now = await points(impatient);
    return now.failed_for_good > 0 && now;
  }, { timeout: 30_000, what: "a delivery has failed for good" });
  assert.deepEqual([failed.retried, failed.failed_for_good, failed.delivered], [1, 1, undefined]);
  socket.disconnect();
  const ghost = await openRaw(impatient, "ghost");
  await ghost.join();
  await until(async () => (await points(impatient)).ghost_closed === 1, { timeout: 30_000, what: "a ghost was closed" });
});

// ---- counts ----

test("counts that have gone wrong are put right when their user comes back", async () => {
  const user = "drifts";
  const drifting = await startServer({ vars: QUIET });
  const socket = await connected(drifting.connect(user));
  await caughtUp(drifting, user);
  for (let i = 0; i < 3; i += 1) await pushed(drifting, user);
  socket.disconnect();
  await until(async () => {
    const { sockets, owed } = await drifting.hubInfo(user);
    return sockets === 0 && owed === 0;
  });
  const seq = (await counts(drifting, user)).seq;
  await drifting.kill();
  const folder = join(drifting.persist, "do/dormouse-UserHub");
  const [file] = readdirSync(folder).filter((name) => /^[0-9a-f]{64}\.sqlite$/.test(name));
  const db = new DatabaseSync(join(folder, file));
  db.prepare("UPDATE hub SET unread = 7, unseen = 5, last_seen_at = ?").run(Date.now() - HOUR_MS);
  db.close();
  await drifting.restart();
  assert.deepEqual(await counts(drifting, user), { unread: 7, unseen: 5, seq });
  const back = await connected(drifting.connect(user));
  const { unread, seq: told } = await nextEvent(back, "authenticated");
  assert.deepEqual([unread, told], [3, seq + 1]);
  assert.deepEqual(await counts(drifting, user), { unread: 3, unseen: 3, seq: seq + 1 });
  assert.equal((await points(drifting)).counter_drift, 6);
  await until(() => drifting.log.some((line) => line.includes("the counts of an inbox were wrong by 6")));
  // Once an hour: another connection is no occasion.
  const again = await connected(drifting.connect(user));
  assert.equal((await nextEvent(again, "authenticated")).seq, seq + 1);
});

async function counts(of, user) {
  const { body } = await of.api("GET", "/v1/me/notifications/unread-count", { token: of.token(user) });
  return body;
}
