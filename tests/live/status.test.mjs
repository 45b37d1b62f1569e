// What a pusher can ask about a push afterwards (DESIGN 9): the whole of it, and its recipients page by page.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { newServiceKey } from "../../scripts/service-key.mjs";
import { device, recorded } from "./checks.mjs";
import { nextEvent, startServer } from "./harness.mjs";

const UNKNOWN = "01929c3e-0000-7000-8000-000000000001";
const NONE = { pending: 0, delivered: 0, failed: 0, permanent_failure: 0, expired: 0, canceled: 0, suppressed: 0 };
const STATUSES = Object.keys(NONE);

const full = newServiceKey("full");
const pusher = newServiceKey("pusher", ["push:user"]);
let server;
before(async () => {
  server = await startServer({ vars: { SERVICE_KEYS: JSON.stringify([full.record, pusher.record]) } });
});

const ask = (path, key = full.key) => server.api("GET", `/v1/notifications/${path}`, { key });

async function found(path) {
  const { status, body, headers } = await ask(path);
  assert.equal(status, 200, JSON.stringify(body));
  assert.equal(headers["cache-control"], "no-store");
  return body;
}

/** A push to these users, none of whom is online. */
async function pushed(users, more) {
  const { status, body } = await server.push({ to: users.map((user) => `user:${user}`), title: "Hello", ...more }, { key: full.key });
  assert.ok(status < 300, JSON.stringify(body));
  return body;
}

/** Sets columns of one delivery, as the user's object writes them. */
function written(id, user, columns) {
  const names = Object.keys(columns);
  const set = names.map((name, i) => `${name} = ?${i + 3}`).join(", ");
  return server.db.run(`UPDATE deliveries SET ${set} WHERE notification_id = ?1 AND user_id = ?2`, id, user, ...Object.values(columns));
}

/** Every recipient, walked in pages of that size. */
async function walk(id, { limit = 2, status } = {}) {
  const users = [];
  for (let cursor = ""; ; ) {
    const query = new URLSearchParams({ limit, ...(status && { status }), ...(cursor && { cursor }) });
    const { items, next_cursor } = await found(`${id}/recipients?${query}`);
    assert.ok(items.length <= limit);
    users.push(...items.map(({ user_id }) => user_id));
    if (next_cursor === null) return users;
    assert.equal(items.length, limit, "only the last page is short");
    cursor = next_cursor;
  }
}

test("a push has exactly the documented fields", async () => {
  const { id, created_at } = await pushed(["fields-a", "fields-b"], { ttl: 60 });
  assert.deepEqual(await found(id), {
    id,
    created_at,
    expires_at: new Date(Date.parse(created_at) + 60_000).toISOString(),
    deliver_at: null,
    retracted_at: null,
    canceled_at: null,
    status: "sent",
    audience: ["user:fields-a", "user:fields-b"],
    counts: { ...NONE, pending: 2 },
    read: 0,
  });
});

test("a push that waits has nobody yet", async () => {
  const deliver_at = new Date(Date.now() + 3_600_000).toISOString();
  const { id } = await pushed(["waits"], { deliver_at, ttl: 60 });
  const { created_at, ...status } = await found(id);
  assert.ok(Math.abs(Date.parse(created_at) - Date.now()) < 60_000, "when it was accepted");
  assert.deepEqual(status, {
    id,
    expires_at: new Date(Date.parse(deliver_at) + 60_000).toISOString(),
    deliver_at,
    retracted_at: null,
    canceled_at: null,
    status: "scheduled",
    audience: ["user:waits"],
    counts: NONE,
    read: 0,
  });
  assert.deepEqual(await found(`${id}/recipients`), { items: [], next_cursor: null });
});

test("what a device acknowledges is counted and shown", async () => {
  const socket = await device(server, "acked");
  const { id } = await pushed(["acked", "asleep"]);
  await nextEvent(socket, "notification:new");
  await recorded(server, "acked", id, "delivered");
  assert.deepEqual((await found(id)).counts, { ...NONE, pending: 1, delivered: 1 });
  const { items } = await found(`${id}/recipients`);
  const [acked, asleep] = items;
  assert.deepEqual([acked.delivery_status, acked.attempts, asleep.delivery_status, asleep.attempts], ["delivered", 1, "pending", 0]);
  assert.ok(Math.abs(Date.parse(acked.delivered_at) - Date.now()) < 60_000);
});

test("every status is counted by itself", async () => {
  const users = STATUSES.map((status) => `count-${status}`);
  const { id } = await pushed(users);
  for (const [i, status] of STATUSES.entries()) await written(id, users[i], { status });
  await written(id, users[0], { read_at: Date.now() });
  await written(id, users[1], { read_at: Date.now() });
  const { counts, read } = await found(id);
  assert.deepEqual(counts, Object.fromEntries(STATUSES.map((status) => [status, 1])));
  assert.equal(read, 2);
  for (const status of STATUSES) assert.deepEqual(await walk(id, { status }), [`count-${status}`], status);
});

const FATES = {
  expired: ["expires_at", "sent"],
  canceled: ["retracted_at", "retracted"],
};
for (const [fate, [column, state]] of Object.entries(FATES)) {
  test(`what nobody confirmed counts as ${fate} once ${column} has come, without waking anybody`, async () => {
    const users = STATUSES.map((status) => `${fate}-${status}`);
    const { id } = await pushed(users);
    for (const [i, status] of STATUSES.entries()) await written(id, users[i], { status });
    await written(id, `${fate}-failed`, { next_retry_at: Date.now() + 60_000 });
    const at = Date.now() - 1_000;
    await server.db.run(`UPDATE notifications SET ${column} = ?1 WHERE id = ?2`, at, id);
    await server.resetLedger();
    const body = await found(id);
    assert.deepEqual([body.status, body[column]], [state, new Date(at).toISOString()]);
    assert.deepEqual(body.counts, { ...NONE, delivered: 1, suppressed: 1, expired: 1, canceled: 1, [fate]: 4 });
    assert.deepEqual((await walk(id, { status: fate })).sort(), users.filter((user) => /pending|failed|permanent/.test(user) || user.endsWith(fate)).sort());
    for (const status of ["pending", "failed", "permanent_failure"]) assert.deepEqual(await walk(id, { status }), [], status);
    const { items } = await found(`${id}/recipients?limit=100`);
    assert.ok(items.every(({ next_retry_at }) => next_retry_at === null));
    assert.equal((await server.ledger()).object_requests ?? 0, 0);
  });
}

test("a recipient has exactly the documented fields", async () => {
  const { id, results } = await pushed(["full", "bare"]);
  const at = Date.parse("2026-11-20T07:00:00.007Z");
  const times = { delivered_at: at, seen_at: at + 1, read_at: at + 2, archived_at: at + 3, deleted_at: at + 4 };
  await written(id, "full", { status: "delivered", attempts: 3, via: "ack", ...times });
  await written(id, "bare", { status: "failed", attempts: 2, next_retry_at: at + 5 });
  const iso = (ms) => new Date(ms).toISOString();
  const nothing = { via: null, delivered_at: null, seen_at: null, read_at: null, archived_at: null, deleted_at: null, receipts: [] };
  assert.deepEqual(await found(`${id}/recipients`), {
    items: [
      {
        user_id: "bare",
        recipient_id: results[1].recipient_id,
        delivery_status: "failed",
        attempts: 2,
        next_retry_at: iso(at + 5),
        ...nothing,
      },
      {
        user_id: "full",
        recipient_id: results[0].recipient_id,
        delivery_status: "delivered",
        attempts: 3,
        next_retry_at: null,
        via: "ack",
        ...Object.fromEntries(Object.entries(times).map(([name, ms]) => [name, iso(ms)])),
        receipts: [{ via: "ack", at: iso(at) }],
      },
    ],
    next_cursor: null,
  });
});

test("recipients come in the order of their ids' bytes, each once, whatever the page", async () => {
  const users = ["b", "B", "a b", "é", "\u{1F42D}", "10", "9", "a\"\\", "user:x", "%", "_"];
  const { id } = await pushed(users);
  const sorted = users.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  for (const limit of [1, 2, 3, 11, 100]) assert.deepEqual(await walk(id, { limit }), sorted, `${limit}`);
  for (const user of ["B", "é", "10"]) await written(id, user, { status: "failed" });
  assert.deepEqual(await walk(id, { limit: 2, status: "failed" }), ["10", "B", "é"]);
  assert.deepEqual(await walk(id, { limit: 2, status: "delivered" }), []);
});

test("without a limit a page has twenty", async () => {
  const { id } = await pushed(Array.from({ length: 30 }, (_, i) => `page-${i}`));
  const { items, next_cursor } = await found(`${id}/recipients`);
  assert.equal(items.length, 20);
  assert.equal((await found(`${id}/recipients?cursor=${next_cursor}`)).items.length, 10);
});

test("looking reads a few rows, however many other pushes there are", async () => {
  for (let i = 0; i < 5; i++) {
    const items = Array.from({ length: 100 }, () => ({ to: ["user:other"], title: "t" }));
    await server.pushBatch(items, { key: full.key });
  }
  const { id } = await pushed(["few"]);
  for (const path of [id, `${id}/recipients`]) {
    await server.resetLedger();
    await found(path);
    const { record_rows_read, object_requests = 0 } = await server.ledger();
    assert.ok(record_rows_read < 20, `${path}: ${record_rows_read} rows`);
    assert.equal(object_requests, 0);
  }
});

// ---- refusals ----

for (const [what, path] of [
  ["an id that nobody has", UNKNOWN],
  ["no UUID", "41"],
  ["a UUID without hyphens", UNKNOWN.replaceAll("-", "")],
  ["a UUID and a slash", `${UNKNOWN}/`],
  ["an encoded UUID and a null", `${UNKNOWN}%00`],
]) {
  test(`${what} is not found`, async () => {
    for (const suffix of ["", "/recipients"]) {
      const { status, body } = await ask(path + suffix);
      assert.deepEqual([status, body.code], [404, "not_found"]);
    }
  });
}

test("who may not read the status is refused", async () => {
  const { id } = await pushed(["secret"]);
  for (const path of [id, `${id}/recipients`, UNKNOWN]) {
    for (const [key, status, code] of [
      [undefined, 401, "unauthenticated"],
      [newServiceKey("x").key, 401, "invalid_credential"],
      [server.token("secret"), 401, "invalid_credential"],
      [pusher.key, 403, "forbidden"],
    ]) {
      const answer = await server.api("GET", `/v1/notifications/${path}`, { key });
      assert.deepEqual([answer.status, answer.body.code], [status, code]);
    }
  }
});

test("other methods are refused and those that are taken are named", async () => {
  for (const [method, path, allow] of [
    ["POST", UNKNOWN, "GET, DELETE"],
    ["PUT", UNKNOWN, "GET, DELETE"],
    ["POST", `${UNKNOWN}/recipients`, "GET"],
    ["DELETE", `${UNKNOWN}/recipients`, "GET"],
  ]) {
    const answer = await server.api(method, `/v1/notifications/${path}`, { key: full.key });
    assert.deepEqual([answer.status, answer.body.code, answer.headers.allow], [405, "method_not_allowed", allow]);
  }
});

const encoded = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
const parameters = [
  ...["", "Pending", "sent", "pending,failed", "%00"].map((value) => ["status", value]),
  ...["", "0", "101", "-1", "1.5", "ten"].map((value) => ["limit", value]),
  ...["", "x", "!", "a%27%20OR%201=1"].map((value) => ["cursor", value]),
  ...[{}, ["u1"], { after: 1 }, { after: "" }, { after: "a\u0000" }, { before: 1 }, { after: "u1", x: 1 }].map((value) => ["cursor", encoded(value)]),
];
for (const [parameter, value] of parameters) {
  test(`recipients with ${parameter}=${value} are refused`, async () => {
    await server.resetLedger();
    const { status, body } = await ask(`${UNKNOWN}/recipients?${parameter}=${value}`);
    assert.deepEqual([status, body.code], [400, "invalid_parameter"]);
    assert.deepEqual(body.errors.map(({ parameter }) => parameter), [parameter]);
    assert.match(body.errors[0].detail, /\w/);
    assert.equal((await server.ledger()).record_batches ?? 0, 0);
  });
}
