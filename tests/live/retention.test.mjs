// What the record forgets (RETENTION_DAYS): old notifications with all that belongs to them, and never the place where a room's
// log goes on.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { consistent, inbox, pushed, received } from "./checks.mjs";
import { connected, nextEvent, startServer, until } from "./harness.mjs";
import { PATIENT, addMember, attending, got, holds, pushedTo, removeMember, tab } from "./rooms.mjs";

const RETENTION = "23 * * * *";
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const DAYS = 7;

let server;
before(async () => {
  server = await startServer({ vars: { RETENTION_DAYS: String(DAYS) } });
});

const forget = () => server.cron(RETENTION);
const count = async (sql, ...params) => (await server.db.all(`SELECT count(*) AS n FROM ${sql}`, ...params))[0].n;
const log = async (room) => (await server.db.all("SELECT n, ref FROM audience WHERE room = ?1 ORDER BY n", room)).map(({ n, ref }) => [n, ref]);

/** The id this one would be, had it been made at another time. */
function idAt(id, ms) {
  const hex = ms.toString(16).padStart(12, "0");
  return `${hex.slice(0, 8)}-${hex.slice(8)}${id.slice(13)}`;
}

/** Makes a notification older; gives its new id. */
async function age(id, days) {
  const at = Date.now() - days * DAY_MS;
  const aged = idAt(id, at);
  await server.db.batch([
    { sql: "UPDATE notifications SET id = ?1, created_at = ?2 WHERE id = ?3", params: [aged, at, id] },
    { sql: "UPDATE audience SET ref = ?1 WHERE ref = ?2", params: [aged, id] },
    { sql: "UPDATE deliveries SET notification_id = ?1 WHERE notification_id = ?2", params: [aged, id] },
  ]);
  return aged;
}

/** What there is of a notification in each table. */
async function traces(id) {
  return {
    notifications: await count("notifications WHERE id = ?1", id),
    deliveries: await count("deliveries WHERE notification_id = ?1", id),
    entries: await count("audience WHERE ref = ?1", id),
  };
}
const GONE = { notifications: 0, deliveries: 0, entries: 0 };

test("what is older goes with all that belongs to it; what is younger stays", async () => {
  const old = [await pushed(server, "ages"), await pushed(server, "ages")];
  const young = [await pushed(server, "ages"), await pushed(server, "ages")];
  for (const [i, id] of old.entries()) old[i] = await age(id, DAYS + 1 - i / 2);
  young[0] = await age(young[0], DAYS - 0.01);
  await server.cron();
  assert.deepEqual(await traces(old[0]), { notifications: 1, deliveries: 1, entries: 1 }, "the other cron forgets nothing");
  await forget();
  for (const id of old) assert.deepEqual(await traces(id), GONE);
  for (const id of young) assert.deepEqual(await traces(id), { notifications: 1, deliveries: 1, entries: 1 });
  assert.deepEqual(await log("user:ages"), [[3, young[0]], [4, young[1]]]);
  const { status, body } = await server.api("GET", `/v1/notifications/${old[0]}`, { key: server.serviceKey });
  assert.deepEqual([status, body.code], [404, "not_found"]);
});

test("the highest entry of a room stays, and n goes on after it", async () => {
  for (let i = 0; i < 3; i++) await age(await pushed(server, "highest"), DAYS + 3 - i);
  const [, , [, last]] = await log("user:highest");
  await forget();
  assert.deepEqual(await log("user:highest"), [[3, last]]);
  assert.deepEqual(await traces(last), { notifications: 0, deliveries: 0, entries: 1 });
  await forget();
  assert.deepEqual(await log("user:highest"), [[3, last]]);

  const { body } = await server.push("highest");
  assert.deepEqual(await log("user:highest"), [[3, last], [4, body.id]]);
  assert.equal(body.results[0].status, "created");
  // Now it is not the highest any more; it goes with the next that is old.
  await age(body.id, DAYS + 1);
  const next = await pushed(server, "highest");
  await forget();
  assert.deepEqual(await log("user:highest"), [[5, next]]);
});

test("a user who was away until it was forgotten has what is left, and goes on", async () => {
  const user = "away";
  await server.failPoint("nudge-received", { times: 3 });
  await server.failPoint("nudge-queued", { times: 3 });
  const ids = [];
  for (let i = 0; i < 3; i++) ids.push((await server.push(user)).body.id);
  await server.clearFailPoints();
  await age(ids[0], DAYS + 2);
  await age(ids[1], DAYS + 1);
  await forget();
  const tab = await connected(server.connect(user));
  await nextEvent(tab, "notification:new");
  const later = await pushed(server, user);
  await tab.emitWithAck("ping");
  assert.deepEqual(received(tab), [ids[2], later]);
  assert.deepEqual((await inbox(server, user)).items.map(({ id, seq }) => [id, seq]), [[later, 2], [ids[2], 1]]);
});

test("a user whose whole log is forgotten connects as ever", async () => {
  const user = "blank";
  await server.failPoint("nudge-received");
  await server.failPoint("nudge-queued");
  await age((await server.push(user)).body.id, DAYS + 1);
  await forget();
  const tab = await connected(server.connect(user));
  assert.equal((await nextEvent(tab, "authenticated")).unread, 0);
  const { id } = (await server.push(user)).body;
  assert.equal((await nextEvent(tab, "notification:new")).id, id);
  assert.deepEqual((await inbox(server, user)).items.map(({ id, seq }) => [id, seq]), [[id, 1]]);
});

test("a push to many users leaves every one's highest entry", async () => {
  const users = ["shared-a", "shared-b", "shared-c"];
  const { body } = await server.push({ to: users.map((user) => `user:${user}`), title: "All" });
  const later = await pushed(server, "shared-b");
  const old = await age(body.id, DAYS + 1);
  await forget();
  assert.deepEqual(await Promise.all(users.map((user) => log(`user:${user}`))), [[[1, old]], [[2, later]], [[1, old]]]);
  assert.deepEqual(await traces(old), { notifications: 0, deliveries: 0, entries: 2 });
});

test("what the membership API said last of each room is kept for who has yet to read it", async () => {
  const user = "never-back";
  await addMember(server, "room:kept", user);
  await addMember(server, "room:left", user);
  await removeMember(server, "room:left", user);
  await server.failPoint("nudge-received", { times: 2 });
  await server.failPoint("nudge-queued", { times: 2 });
  const old = await age((await server.push(user)).body.id, DAYS + 1);
  const young = (await server.push(user)).body.id;
  await server.clearFailPoints();
  await forget();
  assert.deepEqual(await traces(old), GONE);
  const kinds = await server.db.all("SELECT n, kind FROM audience WHERE room = ?1 ORDER BY n", `user:${user}`);
  assert.deepEqual(kinds.map(({ n, kind }) => [n, kind]), [[1, "member_add"], [3, "member_remove"], [5, "push"]]);
  await pushedTo(server, "room:left");
  const id = await pushedTo(server, "room:kept");
  await got(await tab(server, user), [young, id]);
  await holds(server, user, [young, id]);
});

test("a user whose membership ended with entries that are forgotten is done with the room", async () => {
  const [user, room] = ["long-gone", "room:long-gone"];
  const rooms = async () => Object.keys((await server.hubInfo(user)).memberships.rooms);
  const before = await tab(server, user);
  await addMember(server, room, user);
  await until(async () => (await rooms()).includes(room), { ...PATIENT, what: "the member" });
  before.disconnect();
  await attending(server, [], [user]);
  await pushedTo(server, room);
  await pushedTo(server, room);
  await removeMember(server, room, user);
  // More than a page, none of it theirs.
  for (let i = 0; i < 2; i++) {
    const body = { items: Array.from({ length: 60 }, () => ({ to: [room], title: "Theirs no more" })) };
    assert.equal((await server.api("POST", "/v1/notifications/batch", { key: server.serviceKey, body })).status, 207);
  }
  await server.db.run("DELETE FROM audience WHERE room = ?1 AND n <= 2", room);
  const socket = await tab(server, user);
  await until(async () => !(await rooms()).includes(room), { ...PATIENT, what: "a hub that has done with the room" });
  const id = await pushed(server, user);
  await got(socket, [id]);
  await holds(server, user, [id]);
});

test("a scheduled push is as old as its delivery, however long it had waited", async () => {
  const deliver_at = new Date(Date.now() + HOUR_MS).toISOString();
  const { body } = await server.push({ to: ["user:patient"], title: "Later", deliver_at });
  const at = Date.now() - 30 * DAY_MS;
  const id = idAt(body.id, at);
  await server.db.run("UPDATE scheduled SET id = ?1, created_at = ?2, deliver_at = ?3 WHERE id = ?4", id, at, Date.now() - 1, body.id);
  await forget();
  await server.cron();
  await forget();
  assert.deepEqual(await traces(id), { notifications: 1, deliveries: 1, entries: 1 });
  await consistent(server, "patient", [id]);
  await server.db.run("UPDATE notifications SET created_at = ?1 WHERE id = ?2", Date.now() - (DAYS + 1) * DAY_MS, id);
  await forget();
  assert.deepEqual(await traces(id), { notifications: 0, deliveries: 0, entries: 1 });
});

test("of scheduled pushes only those canceled long ago go", async () => {
  const ids = [];
  for (let i = 0; i < 3; i++) {
    const deliver_at = new Date(Date.now() + HOUR_MS).toISOString();
    ids.push((await server.push({ to: ["user:plans"], title: `${i}`, deliver_at })).body.id);
  }
  for (const id of ids.slice(0, 2)) {
    assert.equal((await server.api("DELETE", `/v1/notifications/${id}`, { key: server.serviceKey })).status, 204);
  }
  await server.db.run("UPDATE scheduled SET canceled_at = ?1 WHERE id = ?2", Date.now() - (DAYS + 1) * DAY_MS, ids[0]);
  await server.db.run("UPDATE scheduled SET created_at = ?1 WHERE id = ?2", Date.now() - 300 * DAY_MS, ids[2]);
  await forget();
  const left = await server.db.all("SELECT id FROM scheduled WHERE rooms LIKE '%plans%' ORDER BY id");
  assert.deepEqual(left.map(({ id }) => id), ids.slice(1).sort());
});

test("a dead letter goes when it was given up long ago, however long it had waited before", async () => {
  const now = Date.now();
  const given = [[DAYS + 2, DAYS + 1], [DAYS + 2, DAYS - 1], [DAYS - 1, DAYS - 1]];
  const ids = given.map(([sent], i) => idAt(`00000000-0000-7000-8000-00000000000${i}`, now - sent * DAY_MS));
  for (const [i, [, received]] of given.entries()) {
    const row = [ids[i], now - received * DAY_MS];
    await server.db.run("INSERT INTO dead_letters (id, received_at, body, problem) VALUES (?1, ?2, '', '{}')", ...row);
  }
  await forget();
  const left = await server.db.all("SELECT id FROM dead_letters ORDER BY id");
  assert.deepEqual(left.map(({ id }) => id), ids.slice(1));
});

test("a key goes when it stands for nothing any more", async () => {
  for (const key of ["key-old", "key-young"]) await pushed(server, "keys", { idempotencyKey: key });
  const age = (key, ms) => server.db.run("UPDATE idempotency SET created_at = created_at - ?1 WHERE key = ?2", ms, key);
  await age("key-old", 25 * HOUR_MS);
  await age("key-young", 23 * HOUR_MS);
  await forget();
  const left = await server.db.all("SELECT key FROM idempotency WHERE key LIKE 'key-%'");
  assert.deepEqual(left.map(({ key }) => key), ["key-young"]);
  assert.equal((await server.push("keys", { idempotencyKey: "key-young" })).headers["idempotent-replayed"], "true");
});

/** Many notifications of one room, made by SQL: what they say does not matter. */
async function fill(room, notifications, at) {
  const user = room.slice("user:".length);
  const rows = Array.from({ length: notifications }, (_, i) => {
    const id = idAt(`00000000-0000-7000-8000-${i.toString(16).padStart(12, "0")}`, at + i);
    return { id, at: at + i, n: i + 1, audience: JSON.stringify([[room, i + 1]]) };
  });
  const each = "FROM json_each(?1)";
  await server.db.batch(
    [
      `INSERT INTO notifications (id, created_at, content, audience) SELECT value ->> 'id', value ->> 'at', '{}', value ->> 'audience' ${each}`,
      `INSERT INTO audience (room, n, kind, ref) SELECT '${room}', value ->> 'n', 'push', value ->> 'id' ${each}`,
      `INSERT INTO deliveries (notification_id, user_id, status, attempts) SELECT value ->> 'id', '${user}', 'pending', 0 ${each}`,
    ].map((sql) => ({ sql, params: [JSON.stringify(rows)] })),
  );
}

test("a run that finds nothing old reads a few rows, however many there are", async () => {
  await fill("user:heap", 3_000, Date.now() - DAY_MS);
  await server.db.run("DELETE FROM idempotency");
  await forget();
  await server.resetLedger();
  await forget();
  const { record_rows_read, record_rows_written = 0 } = await server.ledger();
  assert.ok(record_rows_read < 20, `${record_rows_read} rows`);
  assert.equal(record_rows_written, 0);
});

test("many are forgotten in one run, in transactions of bounded size", async () => {
  await fill("user:old-heap", 1_800, Date.now() - 20 * DAY_MS);
  await server.resetLedger();
  await forget();
  const { record_batches, record_rows_written } = await server.ledger();
  assert.deepEqual(await log("user:old-heap").then((rows) => rows.map(([n]) => n)), [1800]);
  assert.equal(await count("deliveries WHERE user_id = 'old-heap'"), 0);
  assert.equal(await count("notifications WHERE audience LIKE '%old-heap%'"), 0);
  assert.equal(record_rows_written, 3 * 1_800 - 1);
  // Reading and deleting four times, looking for more, canceled pushes, dead letters, memberships, keys.
  assert.equal(record_batches, 4 * 2 + 5);
});

test("of pushes to many users fewer are forgotten at once", async () => {
  const before = Date.now() - 20 * DAY_MS;
  const rows = Array.from({ length: 60 }, (_, i) => ({
    id: idAt(`00000000-0000-7000-8000-${i.toString(16).padStart(12, "0")}`, before + i),
    at: before + i,
    audience: JSON.stringify(Array.from({ length: 100 }, (_, user) => [`user:wide-${user}`, i + 1])),
  }));
  await server.db.batch(
    [
      "INSERT INTO notifications (id, created_at, content, audience) SELECT value ->> 'id', value ->> 'at', '{}', value ->> 'audience' FROM json_each(?1)",
      `INSERT INTO audience (room, n, kind, ref)
       SELECT room.value ->> 0, room.value ->> 1, 'push', row.value ->> 'id' FROM json_each(?1) AS row, json_each(row.value ->> 'audience') AS room`,
      `INSERT INTO deliveries (notification_id, user_id, status, attempts)
       SELECT row.value ->> 'id', substr(room.value ->> 0, 6), 'pending', 0 FROM json_each(?1) AS row, json_each(row.value ->> 'audience') AS room`,
    ].map((sql) => ({ sql, params: [JSON.stringify(rows)] })),
  );
  await server.resetLedger();
  await forget();
  assert.equal((await server.ledger()).record_batches, 2 * 2 + 5);
  assert.deepEqual(await log("user:wide-99"), [[60, rows.at(-1).id]]);
  assert.equal(await count("audience WHERE room LIKE 'user:wide-%'"), 100);
  assert.equal(await count("deliveries WHERE user_id LIKE 'wide-%'"), 0);
  assert.equal(await count("notifications WHERE audience LIKE '%wide-%'"), 0);
});

test("the deliveries of a push to a room go a part at a time, and what leads to them goes last", async () => {
  const id = await age(await pushedTo(server, "room:crowd"), DAYS + 1);
  await pushedTo(server, "room:crowd");
  await server.db.run(
    `WITH RECURSIVE member(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM member WHERE i < 11000)
     INSERT INTO deliveries (notification_id, user_id, status, attempts) SELECT ?1, 'crowd-' || i, 'delivered', 1 FROM member`, id);
  await server.resetLedger();
  await forget();
  assert.deepEqual(await traces(id), GONE);
  // Reading and deleting three times, looking for more, canceled pushes, dead letters, memberships, keys.
  assert.equal((await server.ledger()).record_batches, 3 * 2 + 5);
});

test("a wrong RETENTION_DAYS forgets nothing", async () => {
  await age(await pushed(server, "misconfigured"), 1_000);
  const id = (await log("user:misconfigured"))[0][1];
  for (const days of ["0", "-1", "3651", "1.5", "ninety"]) {
    await server.restart({ vars: { RETENTION_DAYS: days } });
    await forget();
    assert.deepEqual(await traces(id), { notifications: 1, deliveries: 1, entries: 1 }, days);
    assert.equal((await server.api("GET", "/healthz")).body.code, "misconfigured");
  }
  await server.restart({ vars: { RETENTION_DAYS: "3650" } });
  await forget();
  assert.equal((await traces(id)).notifications, 1);
});
