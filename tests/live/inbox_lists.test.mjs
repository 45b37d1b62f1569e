// A user's lists and preferences over HTTP (DESIGN 6, 9): filters, pages while the inbox changes, entity tags, muted categories,
// and what is refused.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { pushed, received, recorded, recordUnheard } from "./checks.mjs";
import { connected, nextEvent, startServer, until } from "./harness.mjs";

const LIST = "/v1/me/notifications";
const COUNTS = `${LIST}/unread-count`;
const PREFERENCES = "/v1/me/preferences";
const UNKNOWN = "01a1f916-0000-7000-8000-000000000000";

let server;
before(async () => {
  server = await startServer({ vars: { PING_INTERVAL_MS: "1800000", CONNECT_TIMEOUT_MS: "300000" } });
});

let users = 0;
const newUser = () => `u${++users}`;

const me = (user, method, path, options) => server.api(method, path, { token: server.token(user), ...options });
const idsOf = ({ items }) => items.map(({ id }) => id);

async function page(user, query = {}) {
  const { status, body } = await me(user, "GET", `${LIST}?${new URLSearchParams(query)}`);
  assert.equal(status, 200, JSON.stringify(body));
  return body;
}

/** All pages of a list; `between` happens after each. */
async function walk(user, query, between = () => {}) {
  const items = [];
  for (let cursor; cursor !== null; ) {
    const { items: some, next_cursor } = await page(user, { ...query, ...(cursor && { cursor }) });
    assert.ok(some.length <= query.limit, "no page is longer than it may be");
    items.push(...some);
    cursor = next_cursor;
    await between(some);
  }
  return items.map(({ id }) => id);
}

async function pushes(user, count, more = {}) {
  const ids = [];
  for (let i = 0; i < count; i++) ids.push(await pushed(server, { to: [`user:${user}`], title: "Hello", ...more }));
  return ids;
}

async function mark(user, id, ...marks) {
  for (const name of marks) assert.equal((await me(user, "POST", `${LIST}/${id}/${name}`)).status, 200, name);
}

// ---- filters ----

test("each filter shows its part of the items, newest first, with the counts of the inbox", async () => {
  const user = newUser();
  const [unread, read, archived, archivedRead, deleted, again, back] = await pushes(user, 7);
  await mark(user, read, "read");
  await mark(user, archived, "archive");
  await mark(user, archivedRead, "read", "archive");
  await me(user, "DELETE", `${LIST}/${deleted}`);
  await mark(user, again, "read", "unread");
  await mark(user, back, "archive", "unarchive");
  for (const [filter, ids] of Object.entries({
    all: [back, again, read, unread],
    unread: [back, again, unread],
    read: [read],
    archived: [archivedRead, archived],
  })) {
    const { items, next_cursor, unread: count, unseen, seq } = await page(user, { filter });
    assert.deepEqual(items.map(({ id }) => id), ids, filter);
    assert.deepEqual([next_cursor, count, unseen, seq], [null, 3, 1, 16]);
    assert.deepEqual(await walk(user, { filter, limit: 1 }), ids, `${filter}, page by page`);
  }
  assert.deepEqual(idsOf(await page(user)), idsOf(await page(user, { filter: "all" })));
});

test("a list of one type, of one category or of both shows just those, of whichever filter", async () => {
  const user = newUser();
  const type = (id) => ({ type: { id, name: "N", icon: null, color: null } });
  const [plain] = await pushes(user, 1);
  const [a] = await pushes(user, 1, type("a"));
  const [ab] = await pushes(user, 1, { ...type("a"), category: "b" });
  const [b] = await pushes(user, 1, { category: "b" });
  const [ab2] = await pushes(user, 1, { ...type("a"), category: "b" });
  await mark(user, ab, "read");
  await mark(user, b, "archive");
  for (const [query, ids] of [
    [{ type: "a" }, [ab2, ab, a]],
    [{ category: "b" }, [ab2, ab]],
    [{ type: "a", category: "b" }, [ab2, ab]],
    [{ type: "a", filter: "unread" }, [ab2, a]],
    [{ type: "a", filter: "read" }, [ab]],
    [{ category: "b", filter: "archived" }, [b]],
    [{ type: "A" }, []],
    [{ type: "" }, []],
    [{ category: "a" }, []],
    [{}, [ab2, ab, a, plain]],
  ]) {
    assert.deepEqual(idsOf(await page(user, query)), ids, JSON.stringify(query));
    assert.deepEqual(await walk(user, { ...query, limit: 1 }), ids, `${JSON.stringify(query)}, page by page`);
  }
});

test("what is far down among others is found by its category: a page may be short, its cursor leads on", async () => {
  const user = newUser();
  const contents = Array.from({ length: 1_200 }, (_, i) => (i % 400 === 3 ? { category: "rare" } : {}));
  const ids = await recordUnheard(server, user, contents);
  await pushes(user, 1);
  const rare = [ids[803], ids[403], ids[3]];
  for (const limit of [1, 2, 20]) assert.deepEqual(await walk(user, { category: "rare", limit }), rare, `limit ${limit}`);
});

// ---- pages while the inbox changes ----

test("a walk shows each item that stays once, whatever happens to the others meanwhile", async () => {
  for (const filter of ["all", "unread"]) {
    const user = newUser();
    const ids = await recordUnheard(server, user, Array(40).fill({}));
    ids.push(...(await pushes(user, 1)));
    const touched = new Set();
    const arrived = [];
    const seen = await walk(user, { filter, limit: 5 }, async (shown) => {
      arrived.push(...(await pushes(user, 1)));
      // One that was shown and one that was not are dealt with; what is shown next begins after what was shown last.
      const ahead = ids.find((id) => !touched.has(id));
      for (const [id, how] of [[shown[0]?.id, "read"], [ahead, "archive"], [shown[1]?.id, "delete"], [shown.at(-1)?.id, "read"]]) {
        if (id === undefined || touched.has(id)) continue;
        touched.add(id);
        if (how === "delete") await me(user, "DELETE", `${LIST}/${id}`);
        else await mark(user, id, how);
      }
    });
    assert.equal(new Set(seen).size, seen.length, "none twice");
    assert.deepEqual(seen, ids.toReversed().filter((id) => seen.includes(id)), "in order");
    for (const id of ids.filter((id) => !touched.has(id))) assert.ok(seen.includes(id), `${id} is not left out`);
    assert.deepEqual(seen.filter((id) => arrived.includes(id)), [], "what is new comes before the first page");
  }
});

// ---- entity tags ----

test("who has the latest is told so, and nothing else; any change makes another tag", async () => {
  const user = newUser();
  const [id] = await pushes(user, 2);
  const paths = [LIST, `${LIST}?filter=archived&limit=5`, COUNTS];
  const ask = (path, tag) => me(user, "GET", path, { headers: tag === undefined ? {} : { "if-none-match": tag } });
  const changes = [
    () => mark(user, id, "read"),
    () => mark(user, id, "unread"),
    () => mark(user, id, "archive"),
    () => me(user, "POST", `${LIST}/seen`, { body: { up_to_seq: 9 } }),
    () => me(user, "POST", `${LIST}/read-all`),
    () => pushes(user, 1),
    () => me(user, "DELETE", `${LIST}/${id}`),
  ];
  let seq = 2;
  for (const change of [() => {}, ...changes]) {
    const before = `W/"${seq}"`;
    await change();
    if (changes.includes(change)) seq += 1;
    const tag = `W/"${seq}"`;
    for (const path of paths) {
      const full = await ask(path);
      assert.deepEqual([full.status, full.headers.etag, full.headers["cache-control"]], [200, tag, "private, no-cache"]);
      assert.equal(full.body.seq, seq);
      for (const known of [tag, `"${seq}"`, "*", `"x", ${tag}`]) {
        const { status, headers, body } = await ask(path, known);
        assert.deepEqual([status, body, headers.etag], [304, "", tag], `${path} ${known}`);
        assert.match(headers["x-request-id"], /./);
      }
      const others = changes.includes(change) ? [before, `W/"${seq}0"`, "7777"] : [`W/"${seq}0"`, "7777"];
      for (const other of others) assert.equal((await ask(path, other)).status, 200, `${path} ${other}`);
    }
  }
});

test("who is told that there is nothing new has fetched nothing", async () => {
  const user = newUser();
  const [id] = await pushes(user, 1);
  assert.equal((await me(user, "GET", LIST, { headers: { "if-none-match": 'W/"1"' } })).status, 304);
  assert.equal((await me(user, "GET", COUNTS)).status, 200);
  const status = async () => (await server.db.all("SELECT status FROM deliveries WHERE notification_id = ?1", id))[0].status;
  assert.deepEqual([await status(), (await server.hubInfo(user)).owed], ["pending", 0]);
  await page(user);
  await recorded(server, user, id, "delivered");
});

// ---- preferences ----

test("preferences are empty, then what they were set to, whatever becomes of the object", async () => {
  const user = newUser();
  const get = async () => (await me(user, "GET", PREFERENCES)).body;
  assert.deepEqual(await get(), { muted: [] });
  const { status, body } = await me(user, "PUT", PREFERENCES, { body: { muted: ["b", "a", "b", "é"] } });
  assert.deepEqual([status, body], [200, { muted: ["a", "b", "é"] }]);
  await server.evict(user);
  assert.deepEqual(await get(), { muted: ["a", "b", "é"] });
  await server.kill();
  await server.restart();
  assert.deepEqual(await get(), { muted: ["a", "b", "é"] });
  await me(user, "PUT", PREFERENCES, { body: { muted: [] } });
  assert.deepEqual(await get(), { muted: [] });
  // What it takes at most.
  const most = { muted: Array.from({ length: 100 }, (_, i) => `${i}`.padEnd(128, "é")) };
  assert.equal((await me(user, "PUT", PREFERENCES, { body: most })).status, 200);
  assert.equal((await get()).muted.length, 100);
});

test("what is muted never arrives: no event, no item, no count, and the record says suppressed", async () => {
  const [user, other] = [newUser(), newUser()];
  const tabs = [await connected(server.connect(user)), await connected(server.connect(user, { query: { ack: "on" } }))];
  await me(user, "PUT", PREFERENCES, { body: { muted: ["ads"] } });
  const to = [`user:${user}`, `user:${other}`];
  const { body } = await server.push({ to, title: "Ad", category: "ads" });
  const quiet = body.id;
  const [ordinary] = await pushes(user, 1);
  const [similar] = await pushes(user, 1, { category: "Ads" });
  await recorded(server, user, quiet, "suppressed");
  for (const tab of tabs) {
    await nextEvent(tab, "unread:count", ({ seq }) => seq === 2);
    assert.deepEqual(received(tab), [ordinary, similar]);
  }
  assert.deepEqual(idsOf(await page(user)), [similar, ordinary]);
  assert.deepEqual((await me(user, "GET", COUNTS)).body, { unread: 2, unseen: 2, seq: 2 });
  assert.deepEqual(idsOf(await page(other)), [quiet]);
  for (const name of ["read", "unread", "archive", "unarchive"]) {
    assert.equal((await me(user, "POST", `${LIST}/${quiet}/${name}`)).status, 404, name);
  }
  assert.equal((await me(user, "DELETE", `${LIST}/${quiet}`)).status, 404);
  // It does not come later either; what is pushed from then on does.
  await me(user, "PUT", PREFERENCES, { body: { muted: [] } });
  const [later] = await pushes(user, 1, { category: "ads" });
  await server.evict(user);
  const back = await connected(server.connect(user, { auth: { since: 0 } }));
  await nextEvent(back, "unread:count");
  assert.deepEqual(received(back), [ordinary, similar, later]);
  const { attempts, status } = (await server.db.all("SELECT attempts, status FROM deliveries WHERE notification_id = ?1 AND user_id = ?2", quiet, user))[0];
  assert.deepEqual({ attempts, status }, { attempts: 0, status: "suppressed" });
});

// ---- what is refused ----

const json = { "content-type": "application/json" };
const text = { "content-type": "text/plain" };
/** [method, path, status, code, pointers or parameters, what is sent] */
const refusals = [
  ...["0", "101", "-1", "1.5", "", "ten", "1e1", " 1"].map((limit) =>
    ["GET", `${LIST}?limit=${encodeURIComponent(limit)}`, 400, "invalid_parameter", ["limit"]]),
  ...["", "UNREAD", "all,read", "deleted"].map((filter) => ["GET", `${LIST}?filter=${filter}`, 400, "invalid_parameter", ["filter"]]),
  ...["", "x", "e30", Buffer.from('{"before":-1}').toString("base64url"), Buffer.from("[1]").toString("base64url")].map((cursor) =>
    ["GET", `${LIST}?cursor=${cursor}`, 400, "invalid_parameter", ["cursor"]]),
  ["POST", `${LIST}/read-all`, 400, "malformed_json", undefined, { body: "{", headers: json }],
  ["POST", `${LIST}/read-all`, 400, "malformed_json", undefined, { body: "[]", headers: json }],
  ["POST", `${LIST}/read-all`, 400, "malformed_json", undefined, { body: Buffer.from([0x7b, 0xff, 0x7d]), headers: json }],
  ["POST", `${LIST}/read-all`, 400, "unknown_field", ["/before"], { body: { before: 1 } }],
  ["POST", `${LIST}/read-all`, 400, "unknown_field", ["/user_id"], { body: { before_seq: 1, user_id: "u2" } }],
  ...[-1, 1.5, "1", [1], {}, true].map((before_seq) =>
    ["POST", `${LIST}/read-all`, 422, "invalid_request", ["/before_seq"], { body: { before_seq } }]),
  ["POST", `${LIST}/read-all`, 422, "invalid_request", ["/before_seq"], { body: '{"before_seq":1,"before_seq":2}', headers: json }],
  ["POST", `${LIST}/read-all`, 415, "unsupported_media_type", undefined, { body: "{}", headers: text }],
  ["POST", `${LIST}/read-all`, 415, "unsupported_media_type", undefined, { body: "{}" }],
  ["POST", `${LIST}/read-all`, 413, "payload_too_large", undefined, { body: "{}".padEnd(100_001), headers: json }],
  ...[{}, { up_to_seq: null }, { up_to_seq: -1 }, { up_to_seq: "1" }, { up_to_seq: 1.5 }, { up_to_seq: [1] }].map((body) =>
    ["POST", `${LIST}/seen`, 422, "invalid_request", ["/up_to_seq"], { body }]),
  ["POST", `${LIST}/seen`, 400, "unknown_field", ["/x"], { body: { up_to_seq: 1, x: 1 } }],
  ["POST", `${LIST}/seen`, 400, "malformed_json", undefined, { body: "1", headers: json }],
  ["POST", `${LIST}/seen`, 415, "unsupported_media_type", undefined, {}],
  ...[{}, { muted: null }, { muted: "a" }, { muted: [1] }, { muted: { a: 1 } }, { muted: Array(101).fill("a") }].map((body) =>
    ["PUT", PREFERENCES, 422, "invalid_request", ["/muted"], { body }]),
  ["PUT", PREFERENCES, 422, "invalid_request", ["/muted/1"], { body: { muted: ["a", ""] } }],
  ["PUT", PREFERENCES, 422, "invalid_request", ["/muted/0", "/muted/2"], { body: { muted: ["x".repeat(129), "a", ""] } }],
  ["PUT", PREFERENCES, 400, "unknown_field", ["/quiet"], { body: { muted: [], quiet: true } }],
  ["PUT", PREFERENCES, 415, "unsupported_media_type", undefined, { body: '{"muted":[]}', headers: text }],
  ...["1", "x".repeat(36), UNKNOWN.slice(1), "%00", "%"].map((id) => ["POST", `${LIST}/${id}/read`, 404, "not_found"]),
  ["POST", `${LIST}/${UNKNOWN}/seen`, 404, "not_found"],
  ["DELETE", `${LIST}/x`, 404, "not_found"],
  ["PUT", LIST, 405, "method_not_allowed"],
  ["POST", COUNTS, 405, "method_not_allowed"],
  ["GET", `${LIST}/read-all`, 405, "method_not_allowed"],
  ["DELETE", PREFERENCES, 405, "method_not_allowed"],
];

test("what is wrong is refused by name, no object is asked, and nothing changes", async () => {
  const user = newUser();
  const ids = await pushes(user, 2);
  await me(user, "PUT", PREFERENCES, { body: { muted: ["kept"] } });
  await page(user);
  await until(async () => (await server.hubInfo(user)).owed === 0);
  const state = async () => ({
    counts: (await me(user, "GET", COUNTS)).body,
    preferences: (await me(user, "GET", PREFERENCES)).body,
    rows: await server.db.all("SELECT * FROM deliveries WHERE user_id = ?1 ORDER BY notification_id", user),
  });
  const before = await state();
  assert.equal(before.rows.length, ids.length);
  const objects = async () => (await server.ledger()).object_requests ?? 0;
  await server.resetLedger();
  for (const [method, path, status, code, places, options = {}] of refusals) {
    const what = `${method} ${path} ${JSON.stringify(options.body ?? "").slice(0, 60)}`;
    const answer = await me(user, method, path, options);
    assert.deepEqual([answer.status, answer.body.code], [status, code], `${what}: ${JSON.stringify(answer.body)}`);
    assert.equal(answer.headers["content-type"], "application/problem+json", what);
    const found = answer.body.errors?.map(({ pointer, parameter }) => pointer ?? parameter);
    assert.deepEqual(found, places, what);
    assert.equal(answer.body.instance, path.split("?")[0], what);
    assert.equal(answer.body.request_id, answer.headers["x-request-id"], what);
    assert.equal(await objects(), 0, `${what}: no object is asked`);
  }
  assert.deepEqual(await state(), before);
});

test("every answer has a request id of its own", async () => {
  const user = newUser();
  const answers = [];
  for (const path of [LIST, COUNTS, PREFERENCES, "/healthz", "/v1/nothing", `${LIST}?limit=0`]) answers.push(await me(user, "GET", path));
  const requestIds = answers.map(({ headers }) => headers["x-request-id"]);
  assert.ok(requestIds.every(Boolean), JSON.stringify(requestIds));
  assert.equal(new Set(requestIds).size, answers.length);
});
