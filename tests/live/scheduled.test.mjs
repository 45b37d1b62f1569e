// Pushes that wait for their time (DESIGN 7): kept, delivered once by whichever run of the cron comes first, canceled.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { newServiceKey } from "../../scripts/service-key.mjs";
import { consistent, device, inbox, received, recorded } from "./checks.mjs";
import { connected, nextEvent, startServer, until } from "./harness.mjs";

const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;
const full = newServiceKey("full");
const reader = newServiceKey("reader", ["status:read"]);

let server;
before(async () => {
  server = await startServer({ vars: { SERVICE_KEYS: JSON.stringify([full.record, reader.record]) } });
});
afterEach(() => server.clearFailPoints());

const inAnHour = () => new Date(Date.now() + 60 * MINUTE_MS).toISOString();
const push = (user, more, options) =>
  server.push({ to: [`user:${user}`], title: "Later", deliver_at: inAnHour(), ...more }, { key: full.key, ...options });
const status = (id) => server.api("GET", `/v1/notifications/${id}`, { key: full.key });
const cancel = (id, key = full.key) => server.api("DELETE", `/v1/notifications/${id}`, { key });
const said = ({ status, body, headers: { location } }) => ({ status, body, location });

/** Lets the time of waiting pushes come, in the order given. */
async function fallDue(...ids) {
  const sql = "UPDATE scheduled SET deliver_at = ?1 WHERE id = ?2";
  const at = Date.now() - MINUTE_MS;
  await server.db.batch(ids.map((id, i) => ({ sql, params: [at + i, id] })));
}

/** Whether the push waits, is canceled, and is stored. */
async function rows(id) {
  const [row] = await server.db.all(
    `SELECT (SELECT count(*) FROM scheduled WHERE id = ?1 AND canceled_at IS NULL) AS waiting,
       (SELECT count(*) FROM scheduled WHERE id = ?1 AND canceled_at IS NOT NULL) AS canceled,
       (SELECT count(*) FROM notifications WHERE id = ?1) AS stored`,
    id,
  );
  return row;
}
const WAITING = { waiting: 1, canceled: 0, stored: 0 };
const CANCELED = { waiting: 0, canceled: 1, stored: 0 };
const STORED = { waiting: 0, canceled: 0, stored: 1 };

async function storedRows() {
  const tables = ["notifications", "audience", "deliveries", "idempotency", "scheduled"];
  return (await server.db.all(`SELECT ${tables.map((table) => `(SELECT count(*) FROM ${table}) AS ${table}`)}`))[0];
}

test("a push with deliver_at is kept: 202, where to ask about it, and nobody hears of it", async () => {
  const tab = await connected(server.connect("kept"));
  const deliver_at = inAnHour();
  const { status: code, headers, body } = await push("kept", { to: ["user:kept", "user:kept-2", "user:"], deliver_at });
  assert.equal(code, 202);
  assert.equal(headers.location, `/v1/notifications/${body.id}`);
  assert.equal(headers["idempotent-replayed"], undefined);
  const [, , { problem }] = body.results;
  assert.equal(problem.code, "invalid_recipient");
  assert.deepEqual(body, {
    id: body.id,
    deliver_at,
    counts: { scheduled: 2, rejected: 1 },
    results: [
      { to: "user:kept", status: "scheduled" },
      { to: "user:kept-2", status: "scheduled" },
      { to: "user:", status: "rejected", problem },
    ],
  });
  await server.cron();
  await tab.emitWithAck("ping");
  assert.deepEqual(received(tab), []);
  assert.deepEqual(await rows(body.id), WAITING);
  const asked = await status(body.id);
  assert.deepEqual([asked.status, asked.body.status, asked.body.deliver_at], [200, "scheduled", deliver_at]);
  assert.deepEqual(asked.body.audience, ["user:kept", "user:kept-2"]);
});

test("keeping a push costs two rows, one more with a key", async () => {
  for (const [idempotencyKey, rows] of [[undefined, 2], ["kept-cost", 3]]) {
    await server.resetLedger();
    await push("kept-cost", {}, { idempotencyKey });
    const { object_requests = 0, record_batches, record_rows_written } = await server.ledger();
    assert.deepEqual({ object_requests, record_batches, record_rows_written }, { object_requests: 0, record_batches: 1, record_rows_written: rows });
  }
});

test("the time is taken in any zone", async () => {
  const at = new Date(Math.ceil(Date.now() / 1000) * 1000 + MINUTE_MS);
  const elsewhere = new Date(at.getTime() + 5.5 * 60 * MINUTE_MS).toISOString().replace(".000Z", "+05:30");
  assert.equal((await push("zone", { deliver_at: elsewhere })).body.deliver_at, at.toISOString());
});

test("when its time has come it is an ordinary push, made at that moment", async () => {
  const tab = await connected(server.connect("due"));
  const { body } = await push("due", { ttl: 60, data: { x: [1, null] }, content: "**Now**" });
  const before = Date.now();
  await fallDue(body.id);
  await server.cron();
  const item = await nextEvent(tab, "notification:new");
  assert.deepEqual([item.id, item.content, item.data], [body.id, "**Now**", { x: [1, null] }]);
  assert.ok(Date.parse(item.created_at) >= before && Date.parse(item.created_at) <= Date.now(), item.created_at);
  assert.equal(Date.parse(item.expires_at), Date.parse(body.deliver_at) + 60_000, "the ttl counts from deliver_at");
  assert.deepEqual(await rows(body.id), STORED);
  const asked = (await status(body.id)).body;
  assert.equal(asked.status, "sent");
  assert.equal(asked.created_at, item.created_at);
  assert.equal(asked.expires_at, item.expires_at);
  assert.ok(Date.parse(asked.deliver_at) < before);
  await consistent(server, "due", [body.id]);
  await server.cron();
  await consistent(server, "due", [body.id]);
});

test("more than fit into one transaction are delivered in one run, in the order of their time", async () => {
  const items = Array.from({ length: 100 }, (_, i) => ({ to: ["user:many"], title: `${i}`, deliver_at: inAnHour() }));
  const ids = [];
  for (const count of [100, 20]) {
    const { body } = await server.pushBatch(items.slice(0, count), { key: full.key });
    ids.push(...body.items.map(({ body }) => body.id));
  }
  await fallDue(...ids);
  await server.resetLedger();
  await server.cron();
  const { record_batches, record_statements } = await server.ledger();
  // Three times: read, store, strike off; and one look whether there is more.
  assert.deepEqual({ record_batches, record_statements }, { record_batches: 10, record_statements: 16 });
  await consistent(server, "many", ids);
});

test("what waits later is left, and a run with nothing to do asks the record once", async () => {
  const [early, late] = [(await push("two-times")).body.id, (await push("two-times")).body.id];
  await fallDue(early);
  await server.cron();
  assert.deepEqual([await rows(early), await rows(late)], [STORED, WAITING]);
  await server.resetLedger();
  await server.cron();
  const { record_batches, record_rows_written = 0, object_requests = 0 } = await server.ledger();
  assert.deepEqual({ record_batches, record_rows_written, object_requests }, { record_batches: 1, record_rows_written: 0, object_requests: 0 });
});

test("runs at the same time deliver everything once", async () => {
  const users = ["rush-a", "rush-b"];
  const tabs = await Promise.all(users.map((user) => connected(server.connect(user))));
  const ids = [];
  for (let i = 0; i < 30; i++) ids.push((await push(users[0], { to: users.map((user) => `user:${user}`), title: `${i}` })).body.id);
  await fallDue(...ids);
  await Promise.all(Array.from({ length: 5 }, () => server.cron()));
  for (const [i, user] of users.entries()) {
    await until(() => received(tabs[i]).length >= ids.length);
    await tabs[i].emitWithAck("ping");
    assert.deepEqual(received(tabs[i]), ids, user);
    await consistent(server, user, ids);
  }
  for (const id of ids) assert.deepEqual(await rows(id), STORED);
});

test("a hub that can't be reached when the time has come is told by the queue", async () => {
  const { body } = await push("due-unreached");
  await fallDue(body.id);
  await server.failPoint("nudge-received");
  await server.cron();
  assert.deepEqual(await rows(body.id), STORED);
  await until(async () => (await server.hubInfo("due-unreached")).cursor === 1, { what: "the hub has it" });
  await consistent(server, "due-unreached", [body.id]);
});

// ---- keys ----

test("a repeated push is answered the same while it waits, after it was delivered, and after it was canceled", async () => {
  const deliver_at = inAnHour();
  const body = { to: ["user:replayed", "user:"], title: "Later", deliver_at };
  for (const [key, change] of [
    ["while-it-waits", () => {}],
    ["delivered", async (id) => (await fallDue(id), await server.cron())],
    ["canceled", (id) => cancel(id)],
  ]) {
    const original = await server.push(body, { key: full.key, idempotencyKey: key });
    assert.equal(original.status, 202);
    await change(original.body.id);
    const before = await storedRows();
    const repeated = await server.push(body, { key: full.key, idempotencyKey: key });
    assert.deepEqual(said(repeated), said(original), key);
    assert.equal(repeated.headers["idempotent-replayed"], "true");
    assert.deepEqual(await storedRows(), before);
    const other = await server.push({ ...body, title: "Other" }, { key: full.key, idempotencyKey: key });
    assert.deepEqual([other.status, other.body.code], [422, "idempotency_mismatch"]);
    assert.deepEqual(await storedRows(), before);
  }
});

test("concurrent pushes with one key wait as one", async () => {
  const body = { to: ["user:crowd"], title: "Later", deliver_at: inAnHour() };
  const before = await storedRows();
  const answers = await Promise.all(Array.from({ length: 10 }, () => server.push(body, { key: full.key, idempotencyKey: "crowd" })));
  for (const answer of answers) assert.deepEqual(said(answer), said(answers[0]));
  assert.equal(answers.filter(({ headers }) => headers["idempotent-replayed"] === undefined).length, 1);
  assert.deepEqual(await storedRows(), { ...before, scheduled: before.scheduled + 1, idempotency: before.idempotency + 1 });
});

test("a push can be repeated when the times in it have passed; a new one of them can't be made", async () => {
  const soon = new Date(Date.now() + 1_500).toISOString();
  const bodies = {
    deliver_at: { to: ["user:passed"], title: "Later", deliver_at: soon },
    expires_at: { to: ["user:passed"], title: "Briefly", expires_at: soon },
  };
  const originals = {};
  for (const [name, body] of Object.entries(bodies)) {
    originals[name] = await server.push(body, { key: full.key, idempotencyKey: `passed-${name}` });
  }
  assert.deepEqual(Object.values(originals).map(({ status }) => status), [202, 201]);
  await delay(Date.parse(soon) - Date.now() + 20);

  const before = await storedRows();
  for (const [name, body] of Object.entries(bodies)) {
    const repeated = await server.push(body, { key: full.key, idempotencyKey: `passed-${name}` });
    assert.equal(repeated.headers["idempotent-replayed"], "true", name);
    assert.deepEqual([repeated.status, repeated.body.id], [originals[name].status, originals[name].body.id]);
    for (const idempotencyKey of [undefined, `new-${name}`, `new-${name}`]) {
      const refused = await server.push(body, { key: full.key, idempotencyKey });
      assert.deepEqual([refused.status, refused.body.code], [422, "invalid_request"]);
      assert.deepEqual(refused.body.errors.map(({ pointer }) => pointer), [`/${name}`]);
    }
    const other = await server.push({ ...body, title: "Other" }, { key: full.key, idempotencyKey: `passed-${name}` });
    assert.deepEqual([other.status, other.body.code], [422, "idempotency_mismatch"]);
  }
  assert.deepEqual(await storedRows(), before);
  assert.equal((await server.push("passed", { key: full.key, idempotencyKey: "new-deliver_at" })).status, 201, "the key is free");
});

// ---- canceling ----

test("a canceled push never comes; canceling again is the same", async () => {
  const tab = await connected(server.connect("canceled"));
  const { body } = await push("canceled");
  for (let i = 0; i < 2; i++) {
    const { status: code, body: text } = await cancel(body.id);
    assert.deepEqual([code, text], [204, ""]);
  }
  await server.db.run("UPDATE scheduled SET deliver_at = 1 WHERE id = ?1", body.id);
  await server.cron();
  await tab.emitWithAck("ping");
  assert.deepEqual(received(tab), []);
  assert.deepEqual(await rows(body.id), CANCELED);
  const asked = (await status(body.id)).body;
  assert.equal(asked.status, "canceled");
  assert.ok(Math.abs(Date.parse(asked.canceled_at) - Date.now()) < MINUTE_MS);
  assert.deepEqual((await inbox(server, "canceled")).items, []);
});

test("a push is either canceled or delivered, however close the two are", async () => {
  const user = "close";
  const ids = [];
  for (let i = 0; i < 20; i++) ids.push((await push(user, { title: `${i}` })).body.id);
  await fallDue(...ids);
  await Promise.all([
    server.cron(),
    ...ids.toReversed().map((id, i) => delay(i * 3).then(() => cancel(id))),
    delay(10).then(() => server.cron()),
  ]);
  await server.cron();
  const states = await Promise.all(ids.map(rows));
  for (const state of states) assert.equal(state.waiting, 0);
  for (const state of states) assert.equal(state.canceled + state.stored, 1);
  const delivered = ids.filter((_, i) => states[i].stored === 1);
  const log = await server.db.all("SELECT ref FROM audience WHERE room = ?1 AND kind = 'push' ORDER BY n", `user:${user}`);
  assert.deepEqual(log.map(({ ref }) => ref), delivered);
});

test("a push whose delivery has begun is not canceled", async () => {
  const { body } = await push("begun");
  await fallDue(body.id);
  await server.failPoint("cron-committed");
  await server.cron();
  assert.deepEqual(await rows(body.id), { waiting: 1, canceled: 0, stored: 1 });
  await cancel(body.id);
  assert.deepEqual(await rows(body.id), { waiting: 1, canceled: 0, stored: 1 });
  assert.notEqual((await status(body.id)).body.status, "canceled");
});

test("only what is there can be deleted, and only by who may push", async () => {
  const { body } = await push("guarded");
  const before = await storedRows();
  for (const [path, key, expected, code] of [
    [body.id, undefined, 401, "unauthenticated"],
    [body.id, reader.key, 403, "forbidden"],
    ["01929c3e-0000-7000-8000-000000000001", full.key, 404, "not_found"],
    ["not-an-id", full.key, 404, "not_found"],
    [`${body.id}0`, full.key, 404, "not_found"],
    ["", full.key, 404, "not_found"],
  ]) {
    const answer = await server.api("DELETE", `/v1/notifications/${path}`, { key });
    assert.deepEqual([answer.status, answer.body.code], [expected, code], path);
  }
  assert.deepEqual(await storedRows(), before);
  assert.deepEqual(await rows(body.id), WAITING);
});

// ---- faults ----

const POINTS = {
  "cron-before-commit": { stored: 0, heard: 0 },
  // What failed is tried again, then each push by itself, and that again.
  "commit-answered": { stored: 1, heard: 0, times: 4 },
  "cron-committed": { stored: 1, heard: 0 },
  "cron-nudged": { stored: 1, heard: 1 },
};
for (const [point, { stored, heard, times }] of Object.entries(POINTS)) {
  test(`a run that fails at ${point} is healed by the next`, async () => {
    const user = `failed-${point}`;
    const socket = await device(server, user);
    const { body } = await push(user);
    await fallDue(body.id);
    await server.failPoint(point, { times });
    await server.cron();
    assert.deepEqual(await rows(body.id), { waiting: 1, canceled: 0, stored });
    await socket.emitWithAck("ping");
    assert.equal(received(socket).length, heard);
    await server.cron();
    await nextEvent(socket, "notification:new");
    await server.cron();
    assert.deepEqual(await rows(body.id), STORED);
    await recorded(server, user, body.id, "delivered");
    assert.deepEqual(received(socket), [body.id]);
    await consistent(server, user, [body.id]);
  });

  test(`a process killed at ${point} loses no scheduled push and doubles none`, async () => {
    const user = `killed-${point}`;
    const { body } = await push(user);
    await fallDue(body.id);
    await server.failPoint(point, { action: "stall" });
    server.cron().catch(() => {});
    await until(async () => (await server.failPoints())[point].hits === 1, { what: `${point} is reached` });
    await server.kill();
    await server.restart();
    assert.deepEqual(await rows(body.id), { waiting: 1, canceled: 0, stored });
    const socket = await device(server, user);
    await server.cron();
    if (!heard) await nextEvent(socket, "notification:new");
    assert.deepEqual(await rows(body.id), STORED);
    await consistent(server, user, [body.id]);
    assert.ok(received(socket).length <= 1);
  });
}

/** Scheduled pushes that can't be stored, due before all others: what they say can't be read, or they name a room twice. */
async function unstorable(user, count) {
  const rows = Array.from({ length: count }, (_, i) => ({
    id: `00000000-0000-7000-8000-${i.toString(16).padStart(12, "0")}`,
    deliver_at: 1 + i,
    content: i % 2 === 0 ? '{"title":' : '{"title":"Twice","content":"","priority":"normal"}',
    rooms: JSON.stringify([`user:${user}`, `user:${user}`]),
  }));
  await server.db.run(
    `INSERT INTO scheduled (id, deliver_at, created_at, content, rooms)
     SELECT value ->> 'id', value ->> 'deliver_at', 1, value ->> 'content', value ->> 'rooms' FROM json_each(?1)`,
    JSON.stringify(rows),
  );
  return rows.map(({ id }) => id);
}

test("pushes that can't be stored hold up no others, however many come first", async () => {
  const user = "held-up";
  const bad = await unstorable("bad", 60);
  const ids = [(await push(user)).body.id, (await push(user)).body.id];
  await fallDue(...ids);
  await server.cron();
  for (const id of ids) assert.deepEqual(await rows(id), STORED);
  await consistent(server, user, ids);
  for (const id of bad) assert.deepEqual(await rows(id), WAITING);
  assert.deepEqual((await inbox(server, "bad")).items, []);
  await server.db.run("DELETE FROM scheduled WHERE deliver_at < 1000");
});

test("a push that can't be stored holds up none of the same minute, before it or after", async () => {
  const user = "beside";
  const ids = [(await push(user)).body.id, (await push(user)).body.id];
  const [, bad] = await unstorable("bad", 2);
  await fallDue(...ids);
  await server.db.run("UPDATE scheduled SET deliver_at = (SELECT deliver_at FROM scheduled WHERE id = ?1) WHERE id = ?2", ids[1], bad);
  await server.cron();
  for (const id of ids) assert.deepEqual(await rows(id), STORED);
  assert.deepEqual(await rows(bad), WAITING);
  await consistent(server, user, ids);
  await server.db.run("DELETE FROM scheduled WHERE id LIKE '00000000-%'");
});

// ---- refusals ----

const far = (ms) => new Date(Date.now() + ms).toISOString();
const bad = {
  "a time that has passed": [["/deliver_at"], () => ({ deliver_at: far(-1) })],
  "a time more than a year ahead": [["/deliver_at"], () => ({ deliver_at: far(365 * DAY_MS + MINUTE_MS) })],
  "a time without a zone": [["/deliver_at"], () => ({ deliver_at: far(MINUTE_MS).slice(0, -1) })],
  "a day without a time": [["/deliver_at"], () => ({ deliver_at: far(DAY_MS).slice(0, 10) })],
  "a number for the time": [["/deliver_at"], () => ({ deliver_at: Date.now() + MINUTE_MS })],
  "a list for the time": [["/deliver_at"], () => ({ deliver_at: [far(MINUTE_MS)] })],
  "an end before its time": [["/expires_at"], () => ({ deliver_at: far(2 * MINUTE_MS), expires_at: far(MINUTE_MS) })],
  "an end that has passed": [["/expires_at"], () => ({ expires_at: far(-1) })],
  "an end more than ten years ahead": [["/expires_at"], () => ({ expires_at: far(3653 * DAY_MS) })],
  "an end and a ttl": [["/expires_at"], () => ({ expires_at: far(MINUTE_MS), ttl: 60 })],
  "a ttl of nothing": [["/ttl"], () => ({ ttl: 0 })],
  "a ttl of more than a year": [["/ttl"], () => ({ ttl: 31_536_001 })],
  "half a second for a ttl": [["/ttl"], () => ({ ttl: 0.5 })],
  "text for a ttl": [["/ttl"], () => ({ ttl: "60" })],
  "an empty collapse_key": [["/collapse_key"], () => ({ collapse_key: "" })],
  "a collapse_key of 129 characters": [["/collapse_key"], () => ({ collapse_key: "k".repeat(129) })],
  "a number for the collapse_key": [["/collapse_key"], () => ({ collapse_key: 1 })],
  "all of these": [
    ["/collapse_key", "/ttl", "/expires_at", "/deliver_at"],
    () => ({ collapse_key: "", ttl: -1, expires_at: "never", deliver_at: far(-1) }),
  ],
};
for (const [what, [pointers, change]] of Object.entries(bad)) {
  test(`a push with ${what} is refused and nothing is kept`, async () => {
    const before = await storedRows();
    await server.resetLedger();
    const { status: code, body } = await server.push({ to: ["user:bad"], title: "t", ...change() }, { key: full.key });
    assert.deepEqual([code, body.code, body.errors.map(({ pointer }) => pointer)], [422, "invalid_request", pointers]);
    assert.equal((await server.ledger()).record_batches ?? 0, 0);
    assert.deepEqual(await storedRows(), before);
  });
}

test("the longest times and texts are taken", async () => {
  const most = { ttl: 31_536_000, collapse_key: "🐭".repeat(128), deliver_at: far(365 * DAY_MS - MINUTE_MS) };
  assert.equal((await push("most", most)).status, 202);
  assert.equal((await server.push({ to: ["user:most"], title: "t", expires_at: far(3652 * DAY_MS - MINUTE_MS) }, { key: full.key })).status, 201);
});

test("the crons that the Worker knows are those that are configured", async () => {
  const root = join(import.meta.dirname, "../..");
  const { unstable_readConfig } = await import("wrangler");
  const { triggers } = unstable_readConfig({ config: join(root, "wrangler.toml") });
  const [, retention] = /const RETENTION: &str = "(.*)";/.exec(readFileSync(join(root, "src/edge/src/cron.rs"), "utf8"));
  assert.deepEqual(triggers.crons, ["* * * * *", retention]);
});
