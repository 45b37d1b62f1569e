// The user plane (DESIGN 9): a user's own list and counts, page by page, and who may ask for them.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { pushed } from "./checks.mjs";
import { connected, nextEvent, startServer } from "./harness.mjs";

const ORIGIN = "https://app.example";
const LIST = "/v1/me/notifications";
const COUNTS = "/v1/me/notifications/unread-count";

let server;
before(async () => {
  server = await startServer({ vars: { ALLOWED_ORIGINS: ORIGIN } });
});

async function page(user, query = {}) {
  const answer = await server.api("GET", `${LIST}?${new URLSearchParams(query)}`, { token: server.token(user) });
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  return answer.body;
}

/** Pushes of which the earlier ones come first. */
async function pushes(user, count) {
  const ids = [];
  for (let i = 0; i < count; i++) ids.push(await pushed(server, user));
  return ids;
}

const idsOf = ({ items }) => items.map(({ id }) => id);

// ---- lists ----

test("a user without notifications has an empty list, and asking for it stores nothing but when they first came", async () => {
  const token = server.token("empty");
  assert.equal((await server.api("GET", LIST, { token })).status, 200);
  await server.resetLedger();
  const { status, headers, body } = await server.api("GET", LIST, { token });
  assert.equal(status, 200);
  assert.match(headers["content-type"], /^application\/json/);
  assert.equal(headers["cache-control"], "private, no-cache");
  assert.deepEqual(body, { items: [], next_cursor: null, unread: 0, unseen: 0, seq: 0 });
  const { object_rows_written = 0, record_rows_written = 0 } = await server.ledger();
  assert.deepEqual([object_rows_written, record_rows_written], [0, 0]);
});

test("a listed item says the same as the event did, and what became of it", async () => {
  const tab = await connected(server.connect("listed"));
  await server.push({ to: ["user:listed"], title: "T", content: "*c*", data: { a: 1 }, action: { url: "/x", text: "X" } });
  const { unread, attempt, redelivered, ...event } = await nextEvent(tab, "notification:new");
  const { items } = await page("listed");
  assert.deepEqual(items, [{ ...event, read_at: null, seen_at: null, archived_at: null, delivery_status: "delivered" }]);
});

test("the list is newest first, and limit is 20 unless told otherwise", async () => {
  const ids = (await pushes("limits", 21)).reverse();
  const first = await page("limits");
  assert.deepEqual(idsOf(first), ids.slice(0, 20));
  assert.deepEqual([first.unread, first.unseen, first.seq], [21, 21, 21]);
  assert.deepEqual(idsOf(await page("limits", { limit: 1 })), ids.slice(0, 1));
  const all = await page("limits", { limit: 100 });
  assert.deepEqual(idsOf(all), ids);
  assert.equal(all.next_cursor, null);
  // A page that ends exactly with the list has no next one.
  assert.equal((await page("limits", { limit: 21 })).next_cursor, null);
});

test("a walk by cursor shows each item once while new ones arrive", async () => {
  const ids = (await pushes("walker", 10)).reverse();
  const seen = [];
  const late = [];
  for (let cursor; cursor !== null; ) {
    const { items, next_cursor, unread } = await page("walker", { limit: 3, ...(cursor && { cursor }) });
    seen.push(...items.map(({ id }) => id));
    assert.equal(unread, ids.length + late.length, "counts are of now, not of the walk's beginning");
    late.unshift(await pushed(server, "walker"));
    cursor = next_cursor;
  }
  assert.deepEqual(seen, ids);
  assert.deepEqual(idsOf(await page("walker", { limit: 100 })), [...late, ...ids]);
});

test("a cursor stays good when the hub was evicted, and shows nothing of another user's list", async () => {
  const ids = (await pushes("cursor", 4)).reverse();
  await pushes("cursor-2", 1);
  const { next_cursor: cursor } = await page("cursor", { limit: 2 });
  await server.evict("cursor");
  assert.deepEqual(idsOf(await page("cursor", { cursor })), ids.slice(2));
  const foreign = await page("cursor-2", { cursor });
  assert.ok(idsOf(foreign).every((id) => !ids.includes(id)));
});

// ---- counts ----

test("unread-count says what the list and the clients are told", async () => {
  const tab = await connected(server.connect("counts"));
  await pushes("counts", 2);
  await nextEvent(tab, "unread:count", ({ seq }) => seq === 2);
  const { status, headers, body } = await server.api("GET", COUNTS, { token: server.token("counts") });
  assert.equal(status, 200);
  assert.equal(headers["cache-control"], "private, no-cache");
  assert.deepEqual(body, { unread: 2, unseen: 2, seq: 2 });
  const nobody = await server.api("GET", COUNTS, { token: server.token("nobody") });
  assert.deepEqual(nobody.body, { unread: 0, unseen: 0, seq: 0 });
});

// ---- who may ask ----

const cookie = (token, origin) => ({ cookie: `auth_token=${token}`, ...(origin && { origin }) });
const bearer = (token) => ({ authorization: `Bearer ${token}` });

test("a bearer token and a cookie from an allowed origin show one's own list", async () => {
  const [id] = await pushes("asker", 1);
  const token = server.token("asker");
  const expired = server.token("asker", { ttl: -60 });
  const credentials = [bearer(token), cookie(token, ORIGIN), { ...bearer(expired), ...cookie(token, ORIGIN) }];
  for (const headers of credentials) {
    for (const path of [LIST, COUNTS]) {
      const { status, body } = await server.api("GET", path, { headers });
      assert.equal(status, 200, JSON.stringify(body));
      assert.equal(body.unread, 1);
      if (path === LIST) assert.deepEqual(idsOf(body), [id]);
    }
  }
});

test("no user id in the request changes whose list it is", async () => {
  await pushes("target", 1);
  for (const query of [{ user: "target" }, { user_id: "target" }, { token: server.token("target") }]) {
    assert.deepEqual((await page("prober", query)).items, []);
  }
});

const refusals = {
  "no credential": [() => ({}), "unauthenticated"],
  "an empty bearer token": [() => ({ authorization: "" }), "unauthenticated"],
  "a cookie without an origin": [() => cookie(server.token("u")), "unauthenticated"],
  "a cookie from a foreign origin": [() => cookie(server.token("u"), "https://evil.example"), "unauthenticated"],
  "an expired token": [() => bearer(server.token("u", { ttl: -60 })), "invalid_credential"],
  "a forged token": [() => bearer(server.token("u", { secret: "x".repeat(32) })), "invalid_credential"],
  "an unsigned token": [() => bearer(server.token("u", { alg: "none" })), "invalid_credential"],
  "tokens of two users": [
    () => ({ ...bearer(server.token("u")), ...cookie(server.token("v"), ORIGIN) }), "invalid_credential",
  ],
  "a service key": [() => bearer(server.serviceKey), "invalid_credential"],
};
for (const [what, [headers, code]] of Object.entries(refusals)) {
  test(`${what} is refused with ${code} on the user plane, and no object is asked`, async () => {
    for (const path of [LIST, COUNTS]) {
      await server.resetLedger();
      const given = headers();
      const answer = await server.api("GET", path, { headers: given });
      assert.equal(answer.status, 401);
      assert.equal(answer.headers["content-type"], "application/problem+json");
      assert.equal(answer.headers["www-authenticate"], "Bearer");
      assert.equal(answer.body.code, code);
      for (const secret of Object.values(given).filter(Boolean)) {
        assert.ok(!JSON.stringify(answer.body).includes(secret.slice(-20)), "no credential is repeated");
      }
      assert.equal((await server.ledger()).object_requests ?? 0, 0);
    }
  });
}

test("a token in the query is no credential here, where it would end up in logs and histories", async () => {
  const answer = await server.api("GET", `${LIST}?token=${server.token("u")}`);
  assert.deepEqual([answer.status, answer.body.code], [401, "unauthenticated"]);
});
