// Many pushes in one request (DESIGN 9, 10): each is answered by itself, all are stored in one transaction, and keys mean
// what they mean alone.
import assert from "node:assert/strict";
import { afterEach, before, test } from "node:test";
import { newServiceKey } from "../../scripts/service-key.mjs";
import { consistent, inbox, received } from "./checks.mjs";
import { connected, startServer, until } from "./harness.mjs";

const BATCH = "/v1/notifications/batch";
const MAX_BODY_BYTES = 1_000_000;
const reader = newServiceKey("reader", ["status:read"]);
const full = newServiceKey("full");

let server;
before(async () => {
  server = await startServer({ vars: { SERVICE_KEYS: JSON.stringify([full.record, reader.record]) } });
});
afterEach(() => server.clearFailPoints());

const batch = (items, options) => server.pushBatch(items, { key: full.key, ...options });
const to = (user, more) => ({ to: [`user:${user}`], title: "Hello", ...more });

async function stored() {
  const tables = ["notifications", "audience", "deliveries", "idempotency", "scheduled"];
  const counts = tables.map((table) => `(SELECT count(*) FROM ${table}) AS ${table}`);
  return (await server.db.all(`SELECT ${counts}`))[0];
}

/** Rows that were added to each table. */
async function added(before) {
  const after = await stored();
  return Object.fromEntries(Object.entries(after).map(([table, rows]) => [table, rows - before[table]]));
}

test("each item is answered by itself and the good ones are delivered", async () => {
  const tab = await connected(server.connect("mixed"));
  const before = await stored();
  const { status, body } = await batch([
    to("mixed"),
    { to: ["usr:2"], title: "Hello" },
    { ...to("mixed"), to: ["user:mixed", "user:"] },
    to("mixed", { colour: "red", type: { shape: 1 } }),
    "push",
    to("mixed", { idempotency_key: "a b" }),
    to("mixed", { ttl: 0, deliver_at: "soon" }),
    to("mixed-later", { deliver_at: new Date(Date.now() + 3_600_000).toISOString() }),
  ]);
  assert.equal(status, 207);
  assert.deepEqual(Object.keys(body), ["items"]);
  assert.deepEqual(body.items.map(({ index }) => index), [0, 1, 2, 3, 4, 5, 6, 7]);
  assert.deepEqual(body.items.map(({ status }) => status), [201, 422, 207, 400, 422, 400, 422, 202]);

  const problems = body.items.filter(({ problem }) => problem).map(({ index, status, problem }) => {
    assert.equal(problem.status, status);
    assert.deepEqual(Object.keys(body.items[index]), ["index", "status", "problem"]);
    return [index, problem.code, problem.errors.map(({ pointer }) => pointer)];
  });
  assert.deepEqual(problems, [
    [1, "invalid_recipient", ["/to/0"]],
    [3, "unknown_field", ["/type/shape", "/colour", "/type/id"]],
    [4, "invalid_request", [""]],
    [5, "invalid_idempotency_key", ["/idempotency_key"]],
    [6, "invalid_request", ["/deliver_at", "/ttl"]],
  ]);
  const [first, , second] = body.items;
  assert.deepEqual(first.body.counts, { created: 1, suppressed: 0, rejected: 0 });
  assert.deepEqual(second.body.counts, { created: 1, suppressed: 0, rejected: 1 });
  assert.deepEqual(body.items[7].body.counts, { scheduled: 1, rejected: 0 });
  assert.deepEqual(await added(before), { notifications: 2, audience: 2, deliveries: 2, idempotency: 0, scheduled: 1 });

  await tab.emitWithAck("ping");
  assert.deepEqual(received(tab), [first.body.id, second.body.id]);
  await consistent(server, "mixed", [first.body.id, second.body.id]);
});

test("an item is answered as it would be alone", async () => {
  const [{ body }] = (await batch([to("alone-1")])).body.items;
  const alone = (await server.push("alone-2", { key: full.key })).body;
  const shape = ({ results: [{ to, recipient_id, ...result }], id, created_at, ...rest }) => ({ ...rest, result });
  assert.deepEqual(shape(body), shape(alone));
});

test("entries of one user keep the order of the items, and everybody gets theirs", async () => {
  const users = ["order-a", "order-b", "order-c"];
  const tabs = await Promise.all(users.map((user) => connected(server.connect(user))));
  // Every item is for the first; the others have every second and every third.
  const items = Array.from({ length: 30 }, (_, i) => ({
    to: users.filter((_, j) => i % (j + 1) === 0).map((user) => `user:${user}`),
    title: `Item ${i}`,
  }));
  const { status, body } = await batch(items);
  assert.equal(status, 207);
  const ids = body.items.map(({ body }) => body.id);
  for (const [j, user] of users.entries()) {
    const own = ids.filter((_, i) => i % (j + 1) === 0);
    await tabs[j].emitWithAck("ping");
    assert.deepEqual(received(tabs[j]), own, user);
    await consistent(server, user, own);
  }
  const seqs = body.items.map(({ body }) => body.results[0].seq);
  assert.deepEqual(seqs, seqs.map((_, i) => i + 1));
});

test("two items of one key and body are one push", async () => {
  const before = await stored();
  const item = to("twins", { idempotency_key: "twins" });
  const { body } = await batch([item, item, to("twins")]);
  assert.deepEqual(body.items.map(({ status }) => status), [201, 201, 201]);
  const [first, second, third] = body.items.map(({ body }) => body);
  assert.deepEqual(second, first);
  assert.notEqual(third.id, first.id);
  assert.deepEqual(await added(before), { notifications: 2, audience: 2, deliveries: 2, idempotency: 1, scheduled: 0 });
  await consistent(server, "twins", [first.id, third.id]);
});

test("of two items of one key and two bodies the first is done and the second refused", async () => {
  const before = await stored();
  const { body } = await batch([
    to("rivals", { idempotency_key: "rivals" }),
    to("rivals", { idempotency_key: "rivals", priority: "high" }),
    to("rivals"),
  ]);
  assert.deepEqual(body.items.map(({ status }) => status), [201, 422, 201]);
  assert.equal(body.items[1].problem.code, "idempotency_mismatch");
  assert.deepEqual(await added(before), { notifications: 2, audience: 2, deliveries: 2, idempotency: 1, scheduled: 0 });
  await consistent(server, "rivals", [body.items[0].body.id, body.items[2].body.id]);
});

test("a repeated batch is answered the same and stores nothing", async () => {
  const deliver_at = new Date(Date.now() + 3_600_000).toISOString();
  const items = [
    to("again", { idempotency_key: "again-1" }),
    to("again", { idempotency_key: "again-2", deliver_at }),
    { to: ["user:again", "user:"], title: "Partial", idempotency_key: "again-3" },
  ];
  const original = await batch(items);
  const before = await stored();
  assert.deepEqual((await batch(items)).body, original.body);
  assert.deepEqual(await added(before), { notifications: 0, audience: 0, deliveries: 0, idempotency: 0, scheduled: 0 });
  // In another order, with one more between: each key stands for its own.
  const mixed = await batch([items[2], to("again-other"), items[0]]);
  assert.deepEqual([mixed.body.items[0].body, mixed.body.items[2].body], [original.body.items[2].body, original.body.items[0].body]);
});

test("a key names the same push in a batch and alone", async () => {
  const { body: { items: [{ body: original }] } } = await batch([to("either", { idempotency_key: "either" })]);
  const alone = await server.push("either", { key: full.key, idempotencyKey: "either" });
  assert.equal(alone.headers["idempotent-replayed"], "true");
  assert.deepEqual(alone.body, original);
});

test("a hundred items for ten users each are taken, in one transaction of bounded size", async () => {
  await server.resetLedger();
  const items = Array.from({ length: 100 }, (_, i) => ({ to: Array.from({ length: 10 }, (_, j) => `user:full-${(i + j) % 20}`), title: "t" }));
  const { status, body } = await batch(items);
  assert.equal(status, 207);
  assert.ok(body.items.every(({ status }) => status === 201));
  const { record_batches, record_statements, record_rows_written } = await server.ledger();
  assert.equal(record_batches, 1);
  assert.ok(record_statements <= 105, `${record_statements} statements`);
  assert.equal(record_rows_written, 100 + 2 * 1000, "a notification each, an entry and a delivery for each recipient");
  for (const user of ["full-0", "full-19"]) assert.equal((await inbox(server, user)).items.length, 50);
});

test("a push alone costs what it did: three rows for an offline user, one more with a key", async () => {
  await server.push("cost", { key: full.key });
  for (const [idempotencyKey, rows] of [[undefined, 3], ["cost", 4]]) {
    await server.resetLedger();
    await server.push("cost", { key: full.key, idempotencyKey });
    const { record_batches, record_rows_written } = await server.ledger();
    assert.deepEqual([record_batches, record_rows_written], [1, rows]);
  }
});

test("a body of exactly the largest size is taken", async () => {
  const body = JSON.stringify({ items: [to("largest")] }).padEnd(MAX_BODY_BYTES, " ");
  const { status } = await server.api("POST", BATCH, { key: full.key, body, headers: { "content-type": "application/json" } });
  assert.equal(status, 207);
});

// ---- faults ----

for (const [point, storedThen] of [["push-before-commit", false], ["push-committed", true], ["push-nudged", true]]) {
  test(`a batch that fails at ${point} is stored whole or not at all, and once when it is repeated`, async () => {
    const user = `failed-${point}`;
    const items = [1, 2, 3].map((i) => to(user, { idempotency_key: `${user}-${i}` }));
    const before = await stored();
    await server.failPoint(point);
    const failed = await batch(items);
    assert.deepEqual([failed.status, failed.body.code], [503, "unavailable"]);
    const rows = storedThen ? 3 : 0;
    assert.deepEqual(await added(before), { notifications: rows, audience: rows, deliveries: rows, idempotency: rows, scheduled: 0 });
    const { body } = await batch(items);
    assert.deepEqual(body.items.map(({ status }) => status), [201, 201, 201]);
    await consistent(server, user, body.items.map(({ body }) => body.id));
  });
}

test("a batch whose answer is lost once is stored once", async () => {
  await server.failPoint("commit-answered");
  const { body } = await batch([to("lost"), to("lost"), to("lost", { idempotency_key: "lost" })]);
  assert.deepEqual(body.items.map(({ status }) => status), [201, 201, 201]);
  await consistent(server, "lost", body.items.map(({ body }) => body.id));
});

test("of a batch, a hub that can't be reached is told by the queue, and its items say so", async () => {
  await server.failPoint("nudge-received");
  const { body } = await batch([to("unreached"), to("reached")]);
  const results = body.items.map(({ body }) => body.results[0].status);
  assert.deepEqual(results.toSorted(), ["accepted", "created"]);
  for (const [i, user] of ["unreached", "reached"].entries()) {
    await until(async () => (await server.hubInfo(user)).cursor === 1, { what: `${user} has its entry` });
    await consistent(server, user, [body.items[i].body.id]);
  }
});

// ---- refusals ----

const json = { "content-type": "application/json" };
const items = (count, users) => ({ items: Array.from({ length: count }, () => ({ to: Array.from({ length: users }, (_, i) => `user:${i}`), title: "t" })) });
const good = { items: [to("refused")] };
const refusals = {
  "no key": [401, "unauthenticated", undefined, { key: undefined, body: good }],
  "a key without the scope": [403, "forbidden", undefined, { key: reader.key, body: good }],
  "an Idempotency-Key": [400, "invalid_idempotency_key", undefined, { body: good, headers: { "idempotency-key": "k" } }],
  "an empty Idempotency-Key": [400, "invalid_idempotency_key", undefined, { body: good, headers: { "idempotency-key": "" } }],
  "another content type": [415, "unsupported_media_type", undefined, { body: "{}", headers: { "content-type": "text/plain" } }],
  "one byte too many": [413, "payload_too_large", undefined, { body: JSON.stringify(good).padEnd(MAX_BODY_BYTES + 1, " "), headers: json }],
  "no JSON": [400, "malformed_json", undefined, { body: "{", headers: json }],
  "a list for a body": [400, "malformed_json", undefined, { body: "[]", headers: json }],
  "no items": [422, "invalid_request", ["/items"], { body: {} }],
  "null for items": [422, "invalid_request", ["/items"], { body: { items: null } }],
  "an empty list": [422, "invalid_request", ["/items"], { body: { items: [] } }],
  "an object for items": [422, "invalid_request", ["/items"], { body: { items: { 0: to("refused") } } }],
  "items given twice": [422, "invalid_request", ["/items"], { body: '{"items":[1],"items":[2]}', headers: json }],
  "101 items": [422, "invalid_request", ["/items"], { body: items(101, 1) }],
  "1,001 recipients": [422, "invalid_request", ["/items"], { body: { items: [...items(10, 100).items, to("refused")] } }],
  "a field beside the items": [400, "unknown_field", ["/to"], { body: { ...good, to: ["user:1"] } }],
};
for (const [what, [status, code, pointers, options]] of Object.entries(refusals)) {
  test(`a batch with ${what} is refused as a whole with ${status} ${code}`, async () => {
    const before = await stored();
    await server.resetLedger();
    const answer = await server.api("POST", BATCH, { key: full.key, ...options });
    const { object_requests = 0, record_batches = 0 } = await server.ledger();
    assert.deepEqual([answer.status, answer.body.code], [status, code]);
    assert.equal(answer.headers["content-type"], "application/problem+json");
    if (pointers) assert.deepEqual(answer.body.errors.map(({ pointer }) => pointer), pointers);
    assert.deepEqual({ object_requests, record_batches }, { object_requests: 0, record_batches: 0 });
    assert.deepEqual(await stored(), before);
  });
}

test("a batch of nothing but refused items asks neither record nor objects", async () => {
  await server.resetLedger();
  const { status, body } = await batch([{}, [], null, to("x", { title: "" })]);
  assert.equal(status, 207);
  assert.deepEqual(body.items.map(({ status }) => status), [422, 422, 422, 422]);
  const { object_requests = 0, record_batches = 0 } = await server.ledger();
  assert.deepEqual({ object_requests, record_batches }, { object_requests: 0, record_batches: 0 });
});

test("a batch is only posted", async () => {
  for (const method of ["GET", "PUT", "DELETE"]) {
    const { status, headers } = await server.api(method, BATCH, { key: full.key });
    assert.deepEqual([status, headers.allow], [405, "POST"]);
  }
});
