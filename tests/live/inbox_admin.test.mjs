// What pushers and operators do to inboxes (DESIGN 7, 9): take a notification back, end a user's connections, hand out all there
// is about a user, and erase it.
import assert from "node:assert/strict";
import { afterEach, before, test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { inbox, presence, pushed, pushUnheard, received, recorded, recordUnheard } from "./checks.mjs";
import { connected, nextEvent, refused, startServer, until } from "./harness.mjs";
import { openRaw } from "./raw.mjs";

const UNKNOWN = "01a1f916-0000-7000-8000-000000000000";
const RECONNECTING = { reconnection: true, reconnectionDelay: 20, reconnectionDelayMax: 100 };

let server;
before(async () => {
  server = await startServer({ vars: { PING_INTERVAL_MS: "1800000", CONNECT_TIMEOUT_MS: "300000" } });
});
afterEach(() => server.clearFailPoints());

let users = 0;
const newUser = () => `u${++users}`;

const service = (method, path, options) => server.api(method, path, { key: server.serviceKey, ...options });
const me = (user, method, path, options) => server.api(method, `/v1/me/notifications${path}`, { token: server.token(user), ...options });
const retract = (id) => service("DELETE", `/v1/notifications/${id}`);
const counts = async (user) => (await me(user, "GET", "/unread-count")).body;
const log = (user) => server.db.all("SELECT n, kind, ref FROM audience WHERE room = ?1 ORDER BY n", `user:${user}`);
const kinds = async (user) => (await log(user)).map(({ kind }) => kind);

async function tab(user, options) {
  const socket = await connected(server.connect(user, options));
  await nextEvent(socket, "authenticated");
  return socket;
}

/** Everything that was sent to this client by now has come. */
const settled = (socket) => socket.timeout(10_000).emitWithAck("ping");
const events = (socket, name) => socket.events.filter((event) => event.name === name).map(({ data }) => data);
const paid = (user) => until(async () => (await server.hubInfo(user)).owed === 0, { what: "the hub owes nothing" });

function delivery(user, id) {
  const sql = "SELECT status, via, read_at, deleted_at FROM deliveries WHERE user_id = ?1 AND notification_id = ?2";
  return server.db.all(sql, user, id).then(([row]) => row);
}

// ---- taking a notification back ----

test("what is taken back goes from every device and every list at once, for all it was sent to", async () => {
  const [user, other] = [newUser(), newUser()];
  const tabs = [await tab(user), await tab(user, { namespace: "/" }), await tab(user, { query: { ack: "on" } })];
  const kept = await pushed(server, user);
  const { body } = await server.push({ to: [`user:${user}`, `user:${other}`], title: "Wrong" });
  const { recipient_id } = body.results[0];
  for (const socket of tabs) await nextEvent(socket, "unread:count", ({ seq }) => seq === 2);

  const answer = await retract(body.id);
  assert.deepEqual([answer.status, answer.body], [204, ""]);
  const expected = { id: body.id, recipient_id, notification_id: body.id, reason: "retracted", unread: 1, seq: 3 };
  for (const socket of tabs) {
    assert.deepEqual(await nextEvent(socket, "notification:deleted"), expected);
    assert.deepEqual(await nextEvent(socket, "unread:count", ({ seq }) => seq === 3), { count: 1, unseen: 1, seq: 3 });
  }
  assert.deepEqual((await inbox(server, user)).items.map(({ id }) => id), [kept]);
  assert.deepEqual((await inbox(server, other)).items, []);
  assert.deepEqual(await counts(other), { unread: 0, unseen: 0, seq: 2 });
  await Promise.all([paid(user), paid(other)]);
  // It had reached the one and not the other.
  const [reached, unreached] = [await delivery(user, body.id), await delivery(other, body.id)];
  assert.deepEqual([reached.status, reached.via, unreached.status, unreached.via], ["delivered", "sent", "canceled", null]);
  assert.ok(reached.deleted_at > 0 && unreached.deleted_at > 0);
  const [{ retracted_at }] = await server.db.all("SELECT retracted_at FROM notifications WHERE id = ?1", body.id);
  assert.ok(retracted_at > 0);

  assert.equal((await retract(body.id)).status, 204, "again");
  for (const socket of tabs) {
    await settled(socket);
    assert.equal(events(socket, "notification:deleted").length, 1);
  }
  assert.deepEqual([await kinds(user), await kinds(other)], [["push", "push", "retract"], ["push", "retract"]]);
});

test("what is taken back from somebody who is away is never shown, and never comes again", async () => {
  const user = newUser();
  const idempotencyKey = user;
  const { body } = await server.push(user, { idempotencyKey });
  const kept = await pushed(server, user);
  await retract(body.id);
  assert.deepEqual(await counts(user), { unread: 1, unseen: 1, seq: 3 });
  await server.evict(user);
  const socket = await tab(user);
  await settled(socket);
  assert.deepEqual(received(socket), [kept]);
  assert.deepEqual(events(socket, "notification:deleted"), [], "it has never heard of it");
  const repeated = await server.push(user, { idempotencyKey });
  assert.equal(repeated.headers["idempotent-replayed"], "true");
  await settled(socket);
  assert.deepEqual(received(socket), [kept]);
  assert.deepEqual((await inbox(server, user)).items.map(({ id }) => id), [kept]);
});

test("a client that recovers learns what was taken back meanwhile", async () => {
  const user = newUser();
  const first = await openRaw(server, user);
  const { pid, sid } = await first.join();
  const id = await pushed(server, user);
  await first.nextEvent("notification:new");
  await first.close();
  await retract(id);
  const second = await openRaw(server, user);
  assert.deepEqual(await second.join("/notifications", { pid, offset: "\u001f1" }), { pid, sid });
  const { reason, seq, unread } = await second.nextEvent("notification:deleted");
  assert.deepEqual({ reason, seq, unread }, { reason: "retracted", seq: 2, unread: 0 });
  await second.close();
});

test("what is taken back before the hub has heard of it never arrives", async () => {
  const user = newUser();
  const socket = await tab(user);
  const id = await pushUnheard(server, user);
  assert.equal((await retract(id)).status, 204);
  await until(async () => (await server.hubInfo(user)).cursor === 2);
  const later = await pushed(server, user);
  await settled(socket);
  assert.deepEqual(received(socket), [later]);
  assert.deepEqual(events(socket, "notification:deleted"), []);
  assert.deepEqual(await counts(user), { unread: 1, unseen: 1, seq: 1 });
});

test("what the user has deleted stays deleted when it is taken back", async () => {
  const user = newUser();
  const socket = await tab(user);
  const id = await pushed(server, user);
  assert.equal((await me(user, "DELETE", `/${id}`)).status, 204);
  assert.equal((await retract(id)).status, 204);
  await until(async () => (await server.hubInfo(user)).cursor === 2);
  await settled(socket);
  assert.deepEqual(events(socket, "notification:deleted").map(({ reason }) => reason), ["deleted"]);
  assert.deepEqual(await counts(user), { unread: 0, unseen: 0, seq: 2 });
});

test("what is archived, or acknowledgements are awaited for, is taken back as well", async () => {
  const user = newUser();
  const socket = await tab(user, { query: { ack: "on" } });
  const [archived, awaited] = [await pushed(server, user), await pushed(server, user)];
  await me(user, "POST", `/${archived}/archive`);
  for (const id of [archived, awaited]) await retract(id);
  await nextEvent(socket, "unread:count", ({ seq }) => seq === 5);
  await paid(user);
  assert.deepEqual([(await delivery(user, archived)).status, (await delivery(user, awaited)).status], ["delivered", "canceled"]);
  assert.deepEqual((await me(user, "GET", "?filter=archived")).body.items, []);
});

for (const unknown of [UNKNOWN, "1", "no-such-id"]) {
  test(`there is no taking back of ${unknown}`, async () => {
    const { status, body } = await retract(unknown);
    assert.deepEqual([status, body.code], [404, "not_found"]);
  });
}

// ---- ending connections ----

test("a user who is disconnected is told so, and no stock client comes back by itself", async () => {
  const user = newUser();
  const inConnect = { token: null, auth: { token: server.token(user) } };
  const sockets = [
    await tab(user, RECONNECTING),
    await tab(user, { ...RECONNECTING, transports: ["polling"] }),
    await tab(user, { ...RECONNECTING, transports: ["polling", "websocket"] }),
    await tab(user, { ...RECONNECTING, ...inConnect }),
    await tab(user, { ...RECONNECTING, ...inConnect, transports: ["polling"] }),
  ];
  const chat = await connected(server.connectOver(sockets[0], "/"));
  const { status, body } = await service("POST", `/v1/users/${user}/disconnect`, { body: { reason: "signed out" } });
  assert.deepEqual([status, body], [200, { disconnected: sockets.length }]);
  for (const socket of [...sockets, chat]) {
    await until(() => socket.lifecycle.at(-1).name === "disconnect", { what: "disconnect" });
    assert.equal(socket.lifecycle.at(-1).data, "io server disconnect");
    assert.equal(socket.active, false, "it does not come back by itself");
  }
  await until(async () => (await presence(server, user)).online === false);
  const { sockets: open, polling } = await server.hubInfo(user);
  assert.deepEqual({ open, polling }, { open: 0, polling: 0 });
  // Whoever asks is let in again.
  await connected(sockets[0].connect());
});

test("there is nobody to disconnect when nobody is there", async () => {
  const [user, other] = [newUser(), newUser()];
  const socket = await tab(other);
  const { status, body } = await service("POST", `/v1/users/${user}/disconnect`);
  assert.deepEqual([status, body], [200, { disconnected: 0 }]);
  assert.ok(socket.connected);
});

for (const [what, status, code, pointers, body] of [
  ["an unknown field", 400, "unknown_field", ["/why"], { why: "x" }],
  ["a reason that is no text", 422, "invalid_request", ["/reason"], { reason: 1 }],
  ["a list", 400, "malformed_json", undefined, []],
]) {
  test(`disconnecting with ${what} is refused and disconnects nobody`, async () => {
    const user = newUser();
    const socket = await tab(user);
    const answer = await service("POST", `/v1/users/${user}/disconnect`, { body });
    assert.deepEqual([answer.status, answer.body.code], [status, code]);
    assert.deepEqual(answer.body.errors?.map(({ pointer }) => pointer), pointers);
    await settled(socket);
  });
}

// ---- all there is ----

async function exported(user, first = "") {
  const pages = [];
  for (let cursor = first; cursor !== null; ) {
    const query = cursor === "" ? "" : `?cursor=${encodeURIComponent(cursor)}`;
    const { status, body } = await service("GET", `/v1/users/${user}/export${query}`);
    assert.equal(status, 200, JSON.stringify(body));
    pages.push(body);
    cursor = body.next_cursor;
  }
  return pages;
}

test("an export shows every item with its state, whatever became of it, in pages", async () => {
  const user = newUser();
  await server.api("PUT", "/v1/me/preferences", { token: server.token(user), body: { muted: ["ads"] } });
  const ids = await recordUnheard(server, user, Array.from({ length: 510 }, () => ({})));
  const [, muted, over] = await recordUnheard(server, user, [{}, { category: "ads" }, { expires_at: Date.now() + 1000 }]);
  await pushed(server, user);
  await me(user, "POST", `/${ids[0]}/read`);
  await me(user, "POST", `/${ids[1]}/archive`);
  await me(user, "DELETE", `/${ids[2]}`);
  await retract(ids[3]);
  await until(async () => (await counts(user)).unread === 510 - 4 + 2, { what: "one has expired" });

  const pages = await exported(user);
  assert.ok(pages.length > 1, "more than one page");
  for (const page of pages) {
    assert.equal(page.user_id, user);
    assert.deepEqual(page.preferences, { muted: ["ads"] });
    assert.deepEqual([page.presence.user_id, page.presence.online], [user, false]);
  }
  const items = pages.flatMap((page) => page.items);
  assert.equal(new Set(items.map(({ id }) => id)).size, 514);
  assert.equal(items.length, 514);
  const state = (id) => {
    const { notification, read_at, seen_at, archived_at, deleted_at, removal, delivery_status } = items.find((i) => i.id === id);
    return [notification?.title ?? null, ...[read_at, seen_at, archived_at, deleted_at].map(Boolean), removal, delivery_status];
  };
  assert.deepEqual(state(ids[0]), ["Hello", true, true, false, false, null, "delivered"]);
  assert.deepEqual(state(ids[1]), ["Hello", false, true, true, false, null, "delivered"]);
  assert.deepEqual(state(ids[2]), [null, false, false, false, true, "deleted", "delivered"]);
  assert.deepEqual(state(ids[3]), [null, false, false, false, true, "retracted", "canceled"]);
  assert.deepEqual(state(ids[4]), ["Hello", false, false, false, false, null, "pending"]);
  assert.deepEqual(state(over), [null, false, false, false, true, "expired", "expired"]);
  assert.deepEqual(state(muted), [null, false, false, false, false, null, "suppressed"]);
  // Looking at it changes nothing.
  assert.deepEqual((await exported(user)).flatMap((page) => page.items), items);
});

test("a page of an export ends at about 4 MB, and the next goes on there", async () => {
  const user = newUser();
  const ids = [];
  // What is stored at once is less than the record takes in one statement.
  for (let i = 0; i < 300; i += 50) ids.push(...(await recordUnheard(server, user, Array(50).fill({ content: "x".repeat(16_384) }))));
  ids.push(await pushed(server, user));
  const pages = await exported(user);
  assert.ok(pages.length > 1, "more than one page");
  for (const [i, page] of pages.entries()) {
    const bytes = JSON.stringify(page).length;
    assert.ok(bytes < 5_000_000, `${bytes} bytes`);
    if (i < pages.length - 1) assert.ok(bytes >= 4_000_000, `${bytes} bytes on page ${i} of ${pages.length}`);
  }
  assert.deepEqual(pages.flatMap((page) => page.items.map(({ id }) => id)), ids, "each item once");
});

test("an export of somebody nothing is known of is empty, and stores nothing", async () => {
  const user = newUser();
  await server.resetLedger();
  const [{ items, preferences, next_cursor, unread, seq }] = await exported(user);
  assert.deepEqual({ items, preferences, next_cursor, unread, seq }, {
    items: [], preferences: { muted: [] }, next_cursor: null, unread: 0, seq: 0,
  });
  const { object_rows_written = 0, record_batches = 0 } = await server.ledger();
  assert.deepEqual([object_rows_written, record_batches], [0, 0]);
});

test("an export by a cursor nobody was given is refused", async () => {
  const { status, body } = await service("GET", "/v1/users/u1/export?cursor=x");
  assert.deepEqual([status, body.code, body.errors[0].parameter], [400, "invalid_parameter", "cursor"]);
});

// ---- erasing ----

const TABLES = {
  deliveries: "SELECT count(*) AS n FROM deliveries WHERE user_id = ?1",
  notifications: `SELECT count(*) AS n FROM notifications WHERE EXISTS (
    SELECT 1 FROM json_each(audience) WHERE value ->> 0 = 'user:' || ?1)`,
  pushes: "SELECT count(*) AS n FROM audience WHERE room = 'user:' || ?1 AND kind <> 'erase'",
};
const NOTHING = { deliveries: 0, notifications: 0, pushes: 0 };

/** What the record still holds of a user. */
async function rows(user) {
  const found = await Promise.all(Object.values(TABLES).map(async (sql) => (await server.db.all(sql, user))[0].n));
  return Object.fromEntries(Object.keys(TABLES).map((name, i) => [name, found[i]]));
}

async function erase(user) {
  const { status, body } = await service("DELETE", `/v1/users/${encodeURIComponent(user)}`);
  assert.equal(status, 202, JSON.stringify(body));
  assert.equal(body.user_id, user);
  return Date.parse(body.erased_at);
}

/** A token as one that is issued in the second after the erasure. */
const later = (user, erasedAt) => server.token(user, { claims: { iat: Math.floor(erasedAt / 1000) + 1 } });

const gone = (user) => until(async () => (await rows(user)).deliveries === 0, { what: "nothing in the record", timeout: 30_000 });

/** Old tokens are refused; who comes with a later one finds nothing, and gets what is pushed from then on. */
async function checkErased(user, erasedAt) {
  const old = { "issued before": {}, "issued in the same second": { iat: Math.floor(erasedAt / 1000) }, "not dated": { iat: undefined } };
  for (const [what, claims] of Object.entries(old)) {
    const token = server.token(user, { claims: { iat: Math.floor(erasedAt / 1000) - 60, ...claims } });
    for (const options of [{ token }, { token: null, auth: { token } }, { token, transports: ["polling"] }]) {
      const { message, data } = await refused(server.connect(user, options));
      assert.deepEqual([message, data.code], ["Authentication failed", "INVALID_TOKEN"], what);
    }
    for (const path of ["", "/unread-count"]) {
      const { status, body } = await me(user, "GET", path, { token });
      assert.deepEqual([status, body.code], [401, "invalid_credential"], what);
    }
    assert.equal((await me(user, "POST", "/read-all", { token })).status, 401, what);
  }
  const token = later(user, erasedAt);
  // Numbers go on, or an old one a client still has would stand for something else.
  const { seq, ...list } = (await me(user, "GET", "", { token })).body;
  assert.deepEqual(list, { items: [], next_cursor: null, unread: 0, unseen: 0 });
  const socket = await connected(server.connect(user, { token }));
  const authenticated = await nextEvent(socket, "authenticated");
  assert.deepEqual([authenticated.unread, authenticated.seq], [0, seq]);
  await settled(socket);
  assert.deepEqual(socket.events.map(({ name }) => name), ["authenticated", "pong"]);
  return { socket, seq };
}

test("a user who is erased is disconnected and gone, everywhere, and nobody else is", async () => {
  const [user, other] = [newUser(), newUser()];
  const sockets = [await tab(user, RECONNECTING), await tab(user, { ...RECONNECTING, transports: ["polling"] })];
  const witness = await tab(other);
  const key = (name) => ({ idempotencyKey: `${user}-${name}` });
  const ids = [await pushed(server, user, key("alone"))];
  for (let i = 0; i < 3; i++) ids.push(await pushed(server, user));
  const shared = (await server.push({ to: [`user:${user}`, `user:${other}`], title: "Shared" }, key("shared"))).body.id;
  await server.api("PUT", "/v1/me/preferences", { token: server.token(user), body: { muted: ["ads"] } });
  await me(user, "POST", `/${ids[0]}/read`);
  await me(user, "POST", `/${ids[1]}/archive`);
  await me(user, "DELETE", `/${ids[2]}`);
  await retract(ids[3]);

  const erasedAt = await erase(user);
  for (const socket of sockets) {
    await until(() => socket.lifecycle.at(-1).name === "disconnect", { what: "disconnect" });
    assert.deepEqual([socket.lifecycle.at(-1).data, socket.active], ["io server disconnect", false]);
  }
  await gone(user);
  assert.deepEqual(await rows(user), NOTHING);
  assert.deepEqual(await kinds(user), ["erase"], "the number of the next push is taken from it");
  const keys = await server.db.all("SELECT key FROM idempotency WHERE key LIKE ?1", `${user}-%`);
  assert.deepEqual(keys.map(({ key }) => key).toSorted(), [`${user}-alone`, `${user}-shared`], "keys stay");
  const known = async () => (await service("POST", "/v1/presence/query", { body: { users: [user] } })).body.users;
  const nobody = [{ user_id: user, online: false, last_seen_at: null }];
  await until(async () => isDeepStrictEqual(await known(), nobody), { what: "a roster that knows nothing of them", timeout: 10_000 });
  const left = await server.db.all(`SELECT id FROM notifications WHERE id IN (SELECT value FROM json_each(?1))`, JSON.stringify(ids));
  assert.deepEqual(left, []);

  // The other recipient has what was for both.
  const [{ audience }] = await server.db.all("SELECT audience FROM notifications WHERE id = ?1", shared);
  assert.deepEqual(JSON.parse(audience), [[`user:${other}`, 1]]);
  assert.ok(witness.connected);
  assert.deepEqual((await inbox(server, other)).items.map(({ id }) => id), [shared]);
  assert.equal((await delivery(other, shared)).status, "delivered");

  const { socket: back, seq } = await checkErased(user, erasedAt);
  const [page] = await exported(user);
  assert.deepEqual([page.items, page.preferences], [[], { muted: [] }]);
  const { body } = await server.push(user);
  assert.deepEqual([body.results[0].status, body.results[0].seq], ["created", seq + 1]);
  const event = await nextEvent(back, "notification:new");
  assert.deepEqual([event.id, event.seq, event.unread], [body.id, seq + 1, 1]);
  assert.deepEqual((await log(user)).map(({ kind }) => kind), ["erase", "push"]);
});

test("erasing again takes away what has come since", async () => {
  const user = newUser();
  await pushed(server, user);
  await erase(user);
  await gone(user);
  await pushed(server, user);
  const erasedAt = await erase(user);
  await gone(user);
  await checkErased(user, erasedAt);
});

test("somebody nothing is known of can be erased: tokens from before are refused", async () => {
  const user = newUser();
  await checkErased(user, await erase(user));
});

test("more than a page of notifications is erased", async () => {
  const user = newUser();
  await recordUnheard(server, user, Array.from({ length: 250 }, () => ({})));
  await pushed(server, user);
  const erasedAt = await erase(user);
  await gone(user);
  assert.deepEqual(await rows(user), NOTHING);
  await checkErased(user, erasedAt);
});

test("a session from before an erasure is not recovered with a later token", async () => {
  const user = newUser();
  const first = await openRaw(server, user);
  const { pid, sid } = await first.join();
  await pushed(server, user);
  const erasedAt = await erase(user);
  await first.closed();
  await gone(user);
  const second = await openRaw(server, user, { token: later(user, erasedAt) });
  const joined = await second.join("/notifications", { pid, offset: "\u001f1" });
  assert.notEqual(joined.sid, sid);
  await second.settled();
  assert.deepEqual(second.frames.filter((frame) => frame.includes("notification:new")), []);
  await second.close();
});

/** The record refuses part of what an erasure does; everything before it works. */
async function breakRecord() {
  await server.db.run("ALTER TABLE deliveries RENAME TO deliveries_away");
  return () => server.db.run("ALTER TABLE deliveries_away RENAME TO deliveries");
}

test("while the record can't be written an erased user is gone all the same, and what comes later waits", async () => {
  const user = newUser();
  const socket = await tab(user);
  await pushed(server, user);
  await paid(user);
  const mend = await breakRecord();
  let seq;
  try {
    const erasedAt = await erase(user);
    await until(() => !socket.connected);
    ({ seq } = await checkErased(user, erasedAt));
  } finally {
    await mend();
  }
  assert.equal((await rows(user)).deliveries, 1, "the record could not be told yet");
  const { body } = await server.push(user);
  assert.deepEqual([body.results[0].status, body.results[0].seq], ["created", seq + 1]);
  const left = await server.db.all("SELECT notification_id AS id FROM deliveries WHERE user_id = ?1", user);
  assert.deepEqual(left, [{ id: body.id }]);
});

// ---- erasing, and what comes later ----

/** Erasures can't be finished; pushes are stored. */
async function refuseErasing() {
  await server.db.run("CREATE TRIGGER refuse_erasing BEFORE DELETE ON deliveries BEGIN SELECT RAISE(ABORT, 'refused'); END");
  return () => server.db.run("DROP TRIGGER IF EXISTS refuse_erasing");
}

/** Just these, oldest first, are in the user's list and in the record, each once. */
async function checkLater(user, erasedAt, ids) {
  const { body } = await me(user, "GET", "?limit=100", { token: later(user, erasedAt) });
  assert.deepEqual(body.items.map(({ id }) => id), ids.toReversed());
  assert.equal(body.unread, ids.length);
  assert.deepEqual(await rows(user), { deliveries: ids.length, notifications: ids.length, pushes: ids.length });
  const entries = (await log(user)).filter(({ kind }) => kind === "push");
  assert.deepEqual(entries.map(({ ref }) => ref), ids);
}

test("what is pushed while an erasure can't be finished is kept, and shown when it is; everybody else is served meanwhile", async () => {
  const [user, other] = [newUser(), newUser()];
  for (let i = 0; i < 3; i++) await pushed(server, user);
  await paid(user);
  const mend = await refuseErasing();
  const ids = [];
  let erasedAt;
  try {
    erasedAt = await erase(user);
    for (let i = 0; i < 3; i++) {
      const { status, body } = await server.push(user);
      assert.equal(status, 201);
      assert.deepEqual(body.results, [{ to: `user:${user}`, status: "accepted", seq: null }]);
      ids.push(body.id);
      await pushed(server, other);
    }
    const list = await me(user, "GET", "", { token: later(user, erasedAt) });
    assert.deepEqual([list.status, list.body.items], [200, []], "not before the erasure is finished");
    assert.equal((await rows(user)).deliveries, 3 + ids.length);
  } finally {
    await mend();
  }
  assert.equal((await inbox(server, other)).items.length, 3);
  ids.push(await pushed(server, user));
  await checkLater(user, erasedAt, ids);
});

test("what is pushed while an erasure is under way is kept", async () => {
  const [user, other] = [newUser(), newUser()];
  const count = 2_000;
  await recordUnheard(server, user, Array(count - 1).fill({}));
  await pushed(server, user);
  // The hub has not heard of the erasure, nor of the pushes after it: whichever of these comes first brings both.
  const erasedAt = Date.now();
  const mark = "INSERT INTO audience (room, n, kind, ref) VALUES (?1, ?2, 'erase', ?3)";
  await server.db.run(mark, `user:${user}`, count + 1, String(erasedAt));
  const ids = await recordUnheard(server, user, Array(3).fill({}));
  const sockets = Array.from({ length: 10 }, () => server.connect(user, { token: later(user, erasedAt) }));
  const answers = await Promise.all(Array.from({ length: 5 }, () => server.push(user)));
  for (const { status } of answers) assert.equal(status, 201);
  for (const socket of sockets) socket.disconnect();
  await pushed(server, other);
  ids.push(...(await log(user)).filter(({ n }) => n > count + 4).map(({ ref }) => ref));
  assert.deepEqual(ids.slice(3).toSorted(), answers.map(({ body }) => body.id).toSorted());
  ids.push(await pushed(server, user));
  await checkLater(user, erasedAt, ids);
});

test("a key whose push was erased is gone: repeated, it pushes nothing, alone and in a batch", async () => {
  const [user, other] = [newUser(), newUser()];
  const body = { to: [`user:${user}`], title: "Hello" };
  const idempotencyKey = `${user}-once`;
  const shared = { to: [`user:${user}`, `user:${other}`], title: "Shared" };
  await pushed(server, user, { idempotencyKey });
  const both = await server.push(shared, { idempotencyKey: `${user}-both` });
  const erasedAt = await erase(user);
  await gone(user);
  const check = async () => {
    assert.deepEqual(await kinds(user), ["erase"]);
    assert.deepEqual(await rows(user), NOTHING);
    assert.deepEqual((await me(user, "GET", "", { token: later(user, erasedAt) })).body.items, []);
  };
  for (let i = 0; i < 2; i++) {
    const again = await server.push(body, { idempotencyKey });
    assert.deepEqual([again.status, again.body.code], [410, "gone"]);
    assert.equal(again.headers["content-type"], "application/problem+json");
    await check();
  }
  const mismatch = await server.push({ ...body, title: "Another" }, { idempotencyKey });
  assert.deepEqual([mismatch.status, mismatch.body.code], [422, "idempotency_mismatch"]);
  const batch = await server.pushBatch([{ ...body, idempotency_key: idempotencyKey }, { to: [`user:${other}`], title: "Next" }]);
  assert.deepEqual(batch.body.items.map(({ status }) => status), [410, 201]);
  assert.equal(batch.body.items[0].problem.code, "gone");
  await check();
  // For the other recipient it stands as before.
  const repeated = await server.push(shared, { idempotencyKey: `${user}-both` });
  assert.deepEqual([repeated.status, repeated.body.id, repeated.headers["idempotent-replayed"]], [201, both.body.id, "true"]);
  await check();
  assert.equal((await inbox(server, other)).items.length, 2);
});

test("a key whose push was erased is gone, whatever has become of the template and the times of it", async () => {
  const user = newUser();
  const put = await service("PUT", "/v1/templates/erased", { body: { title: "Hello" } });
  assert.equal(put.status, 201);
  const soon = new Date(Date.now() + 700).toISOString();
  const pushes = {
    template: { to: [`user:${user}`], template: { key: "erased" } },
    times: { to: [`user:${user}`], title: "Briefly", expires_at: soon },
  };
  const push = (name) => server.push(pushes[name], { idempotencyKey: `${user}-${name}` });
  for (const name of Object.keys(pushes)) assert.equal((await push(name)).status, 201);
  await erase(user);
  await gone(user);
  assert.equal((await service("DELETE", "/v1/templates/erased")).status, 204);
  await until(() => Date.now() > Date.parse(soon));
  for (const name of Object.keys(pushes)) {
    const { status, body } = await push(name);
    assert.deepEqual([status, body.code], [410, "gone"], name);
  }
  assert.deepEqual(await kinds(user), ["erase"]);
});

test("what waits for its time does not come to an erased user; to its other recipients it does", async () => {
  const [user, other, third] = [newUser(), newUser(), newUser()];
  const at = { title: "Later", deliver_at: new Date(Date.now() + 3_600_000).toISOString() };
  const schedule = async (...to) => {
    const { status, body } = await server.push({ to: to.map((user) => `user:${user}`), ...at });
    assert.equal(status, 202);
    return body.id;
  };
  const alone = await schedule(user);
  const shared = await schedule(other, user, third);
  const foreign = await schedule(other);
  const longer = await schedule(`${user}0`);
  const erasedAt = await erase(user);
  const waiting = async () => Object.fromEntries((await server.db.all("SELECT id, rooms FROM scheduled")).map(({ id, rooms }) => [id, JSON.parse(rooms)]));
  assert.deepEqual(await waiting(), {
    [shared]: [`user:${other}`, `user:${third}`],
    [foreign]: [`user:${other}`],
    [longer]: [`user:${user}0`],
  });
  assert.equal((await service("GET", `/v1/notifications/${alone}`)).status, 404);
  await server.db.run("UPDATE scheduled SET deliver_at = 1");
  await server.cron();
  assert.deepEqual(await waiting(), {});
  const idsOf = async (user) => (await inbox(server, user)).items.map(({ id }) => id).toSorted();
  assert.deepEqual(await idsOf(other), [shared, foreign].toSorted());
  assert.deepEqual(await idsOf(third), [shared]);
  assert.deepEqual(await idsOf(`${user}0`), [longer]);
  assert.deepEqual(await kinds(user), ["erase"]);
  const { socket } = await checkErased(user, erasedAt);
  // What is scheduled from then on comes.
  const again = await schedule(user);
  await server.db.run("UPDATE scheduled SET deliver_at = 1");
  await server.cron();
  assert.equal((await nextEvent(socket, "notification:new")).id, again);
});

for (const point of ["entry-stored", "catch-up-pulled", "catch-up-before-pull"]) {
  test(`an erasure whose process is killed at ${point} is brought to an end`, async () => {
    const user = newUser();
    await recordUnheard(server, user, Array.from({ length: 120 }, () => ({})));
    await pushed(server, user);
    await server.failPoint(point, { action: "stall" });
    const answer = service("DELETE", `/v1/users/${user}`).catch(() => {});
    await until(async () => (await server.failPoints())[point].hits === 1);
    const [{ ref }] = await server.db.all("SELECT ref FROM audience WHERE room = ?1 AND kind = 'erase'", `user:${user}`);
    await server.kill();
    await answer;
    await server.restart();
    const back = server.connect(user, { token: later(user, Number(ref)) });
    await until(() => back.lifecycle.length > 0, { what: "connect" });
    assert.equal(back.lifecycle[0].name, "connect");
    await gone(user);
    assert.deepEqual(await rows(user), NOTHING);
    if (point === "entry-stored") {
      await settled(back);
      assert.deepEqual(back.events.map(({ name }) => name), ["authenticated", "pong"]);
    }
    // The hub that had not heard of it yet has ended this connection as well.
    back.disconnect();
    await checkErased(user, Number(ref));
  });
}
