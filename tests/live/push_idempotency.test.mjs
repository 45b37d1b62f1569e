// A repeated push (DESIGN 7): an Idempotency-Key stands for one push of one service key for 24 hours.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { before, test } from "node:test";
import { newServiceKey } from "../../scripts/service-key.mjs";
import { pushed, received } from "./checks.mjs";
import { connected, startServer } from "./harness.mjs";

const first = newServiceKey("first");
const second = newServiceKey("second");
let server;
before(async () => {
  server = await startServer({ vars: { SERVICE_KEYS: JSON.stringify([first.record, second.record]) } });
});

const push = (what, idempotencyKey, { key = first.key, ...options } = {}) =>
  server.push(what, { idempotencyKey, key, ...options });

/** Rows that this push, or any push to this user, has left in each table. */
async function rows(user) {
  const room = `user:${user}`;
  const sql = {
    audience: ["SELECT count(*) AS n FROM audience WHERE room = ?1", room],
    deliveries: ["SELECT count(*) AS n FROM deliveries WHERE user_id = ?1", user],
    notifications: [
      "SELECT count(*) AS n FROM notifications WHERE EXISTS (SELECT 1 FROM json_each(audience) WHERE value ->> 0 = ?1)", room,
    ],
    idempotency: ["SELECT count(*) AS n FROM idempotency WHERE key LIKE ?1", `${user}%`],
  };
  const counts = {};
  for (const [table, [text, bound]] of Object.entries(sql)) counts[table] = (await server.db.all(text, bound))[0].n;
  return counts;
}
const ONE_OF_EACH = { audience: 1, deliveries: 1, notifications: 1, idempotency: 1 };

/** Rows in each table, whoever they are of. */
async function stored() {
  const counts = ["notifications", "audience", "deliveries", "idempotency"].map((t) => `(SELECT count(*) FROM ${t}) AS ${t}`);
  return (await server.db.all(`SELECT ${counts}`))[0];
}

/** What this answer says, for a comparison with another. */
const said = ({ status, body }) => ({ status, body });

test("a repeated push gets the same answer and the client gets it once", async () => {
  const tab = await connected(server.connect("replay"));
  const original = await push("replay", "replay");
  assert.equal(original.status, 201);
  assert.equal(original.headers["idempotent-replayed"], undefined);
  for (let i = 0; i < 3; i++) {
    const repeated = await push("replay", "replay");
    assert.deepEqual(said(repeated), said(original));
    assert.equal(repeated.headers["idempotent-replayed"], "true");
  }
  assert.deepEqual(await rows("replay"), ONE_OF_EACH);
  const later = await pushed(server, "replay", { key: first.key });
  await tab.emitWithAck("ping");
  assert.deepEqual(received(tab), [original.body.id, later]);
});

test("the answer to a repeated push stays as it was, whatever has happened since", async () => {
  const original = await push("since", "since");
  assert.equal(original.body.results[0].delivery_status, "pending");
  const tab = await connected(server.connect("since"));
  await tab.emitWithAck("notification:acknowledge", { recipient_id: original.body.results[0].recipient_id });
  assert.deepEqual(said(await push("since", "since")), said(original));
  await server.evict("since");
  assert.deepEqual(said(await push("since", "since")), said(original));
});

test("a push with rejected recipients is repeated as 207", async () => {
  const body = { to: ["user:partial", "user:", "x"], title: "Hello" };
  const original = await push(body, "partial");
  const repeated = await push(body, "partial");
  assert.equal(original.status, 207);
  assert.deepEqual(said(repeated), said(original));
  assert.equal(repeated.headers["idempotent-replayed"], "true");
  assert.deepEqual(await rows("partial"), ONE_OF_EACH);
});

test("a key in quotes is the same key", async () => {
  const original = await push("quoted", '"quoted"');
  const repeated = await push("quoted", "quoted");
  assert.deepEqual(said(repeated), said(original));
  assert.equal(repeated.headers["idempotent-replayed"], "true");
  assert.deepEqual(await rows("quoted"), ONE_OF_EACH);
});

test("keys differ by case and by every character", async () => {
  const keys = ["exact", "Exact", "exact.", "exact%", "exac_", "'exact'"];
  const ids = [];
  for (const key of keys) ids.push((await push("exact", key)).body.id);
  assert.equal(new Set(ids).size, keys.length);
});

test("the order of members and spaces make no other body", async () => {
  const original = await send('{"to":["user:spelling"],"title":"é","data":{"a":1,"b":[2]}}', "spelling");
  assert.equal(original.status, 201);
  const other = ' { "data" : {"b": [2], "a": 1},\n "title": "\\u00e9", "to": ["user:spelling"] } ';
  const repeated = await send(other, "spelling");
  assert.deepEqual(said(repeated), said(original));
  assert.deepEqual(await rows("spelling"), ONE_OF_EACH);
});

/** A body as it is written, which `server.push` takes for a user id. */
function send(text, idempotencyKey) {
  return server.api("POST", "/v1/notifications", {
    key: first.key,
    body: text,
    headers: { "content-type": "application/json", "idempotency-key": idempotencyKey },
  });
}

const others = {
  "another title": { title: "Other" },
  "one more recipient": { to: ["user:mismatch one more recipient", "user:mismatch-2"] },
  "a text for a number in data": { data: { a: "1" } },
  "one more field": { priority: "high" },
};
for (const [what, change] of Object.entries(others)) {
  test(`a body with ${what} under the same key is refused and nothing is stored`, async () => {
    const user = `mismatch ${what}`;
    const body = { to: [`user:${user}`], title: "Hello", data: { a: 1 } };
    const key = user.replaceAll(" ", "-");
    const original = await push(body, key);
    const tab = await connected(server.connect(user));
    const before = await stored();
    const other = await push({ ...body, ...change }, key);
    assert.equal(other.status, 422);
    assert.equal(other.headers["content-type"], "application/problem+json");
    assert.equal(other.body.code, "idempotency_mismatch");
    assert.equal(other.headers["idempotent-replayed"], undefined);
    assert.deepEqual(await stored(), before);
    await tab.emitWithAck("ping");
    assert.deepEqual(received(tab), [original.body.id]);
    // The key still stands for the original.
    assert.deepEqual(said(await push(body, key)), said(original));
  });
}

test("the same key of another service key is another push", async () => {
  const one = await push("separate", "separate");
  const other = await push("separate", "separate", { key: second.key });
  assert.equal(other.status, 201);
  assert.notEqual(other.body.id, one.body.id);
  assert.equal(other.headers["idempotent-replayed"], undefined);
  assert.deepEqual(await rows("separate"), { audience: 2, deliveries: 2, notifications: 2, idempotency: 2 });
  for (const [key, original] of [[first.key, one], [second.key, other]]) {
    assert.deepEqual(said(await push("separate", "separate", { key })), said(original));
  }
});

test("a refused push leaves the key free", async () => {
  assert.equal((await push({ to: ["user:free"], title: "" }, "free")).status, 422);
  const { status, headers } = await push("free", "free");
  assert.equal(status, 201);
  assert.equal(headers["idempotent-replayed"], undefined);
});

test("without a key the same push twice is two", async () => {
  const ids = [await pushed(server, "keyless", { key: first.key }), await pushed(server, "keyless", { key: first.key })];
  assert.notEqual(ids[0], ids[1]);
  assert.deepEqual(await rows("keyless"), { audience: 2, deliveries: 2, notifications: 2, idempotency: 0 });
});

test("concurrent pushes with one key are one push, and all are told the same", async () => {
  const tab = await connected(server.connect("race"));
  const answers = await Promise.all(Array.from({ length: 20 }, () => push("race", "race")));
  for (const answer of answers) assert.deepEqual(said(answer), said(answers[0]));
  assert.equal(answers[0].status, 201);
  const originals = answers.filter(({ headers }) => headers["idempotent-replayed"] === undefined);
  assert.equal(originals.length, 1);
  assert.deepEqual(await rows("race"), ONE_OF_EACH);
  await tab.emitWithAck("ping");
  assert.deepEqual(received(tab), [answers[0].body.id]);
});

test("of concurrent pushes of two bodies with one key one body wins and the other is refused", async () => {
  const bodies = ["One", "Two"].map((title) => ({ to: ["user:rivals"], title }));
  const answers = await Promise.all(Array.from({ length: 20 }, (_, i) => push(bodies[i % 2], "rivals")));
  const statuses = bodies.map((_, i) => new Set(answers.filter((_, j) => j % 2 === i).map(({ status }) => status)));
  assert.deepEqual(statuses.map((set) => [...set]).sort(), [[201], [422]]);
  assert.deepEqual(await rows("rivals"), ONE_OF_EACH);
});

test("a key is free again after 24 hours", async () => {
  const key = `window-${randomUUID()}`;
  const age = (ms) => server.db.run("UPDATE idempotency SET created_at = created_at - ?1 WHERE key = ?2", ms, key);
  const original = await push("window", key);
  const HOUR_MS = 3_600_000;
  await age(23 * HOUR_MS);
  assert.deepEqual(said(await push("window", key)), said(original));
  await age(2 * HOUR_MS);
  const later = await push({ to: ["user:window"], title: "Something else" }, key);
  assert.equal(later.status, 201);
  assert.notEqual(later.body.id, original.body.id);
  assert.equal((await push("window", key)).status, 422, "the key stands for the later push now");
});
