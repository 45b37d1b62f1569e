// What several live tests check or bring about: an inbox that agrees with itself everywhere, devices, lost nudges.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { connected, nextEvent, until } from "./client.mjs";

// Small, so that a walk takes several pages.
const PAGE = 2;

/**
 * Everything there is about a user's notifications says the same: the list, the counts, the hub's cursor, and the record.
 *
 * `ids` are those of all pushes to the user, oldest first. Holds as long as nothing but pushes has taken a `seq`. The list is
 * read over HTTP, so afterwards every item is delivered: a test that watches deliveries looks at them before.
 */
export async function consistent(server, user, ids) {
  const { items, unread, unseen, seq } = await inbox(server, user);
  const oldestFirst = items.toReversed();
  assert.deepEqual(oldestFirst.map(({ id }) => id), ids, "the list holds each notification once, in order");
  assert.deepEqual(oldestFirst.map(({ seq }) => seq), numbers(ids.length), "seq counts 1, 2, 3...");
  assert.equal(unread, items.filter(({ read_at }) => read_at === null).length, "unread counts the unread items");
  const counts = await server.api("GET", "/v1/me/notifications/unread-count", { token: server.token(user) });
  assert.deepEqual(counts.body, { unread, unseen, seq }, "list and unread-count agree");
  assert.equal(seq, ids.length);

  const room = `user:${user}`;
  const log = await server.db.all("SELECT n, kind, ref FROM audience WHERE room = ?1 ORDER BY n", room);
  assert.deepEqual(log, ids.map((ref, i) => ({ n: i + 1, kind: "push", ref })), "the room's log holds each push once");
  const addressed = await server.db.all(
    `SELECT id FROM notifications WHERE EXISTS (SELECT 1 FROM json_each(audience) WHERE value ->> 0 = ?1) ORDER BY id`,
    room,
  );
  assert.deepEqual(addressed.map(({ id }) => id), ids.toSorted(), "the record holds each notification once");

  await until(async () => (await server.hubInfo(user)).owed === 0, { what: "the hub owes the record nothing" });
  assert.equal((await server.hubInfo(user)).cursor, ids.length);
  const listed = oldestFirst.map(({ id, delivery_status }) => [id, delivery_status]);
  assert.deepEqual(await deliveries(server, user), Object.fromEntries(listed), "list and record agree on deliveries");
}

/** Waits until a user who has come for the first time has caught up with the record, which comes after `authenticated`. */
export function caughtUp(server, user) {
  const since = async () => (await server.hubInfo(user)).memberships.rooms.broadcast?.from.after;
  return until(async () => (await since()) !== undefined, { what: `${user} has caught up` });
}

/** The user's whole list, newest first, and the counts that came with it. Reading it makes every item delivered. */
export async function inbox(server, user) {
  const items = [];
  for (let cursor = ""; ; ) {
    const path = `/v1/me/notifications?limit=${PAGE}${cursor && `&cursor=${cursor}`}`;
    const { status, body } = await server.api("GET", path, { token: server.token(user) });
    assert.equal(status, 200, JSON.stringify(body));
    items.push(...body.items);
    if (body.next_cursor === null) return { ...body, items };
    cursor = encodeURIComponent(body.next_cursor);
  }
}

/** What the record says about the user's deliveries: status by notification id. */
export async function deliveries(server, user) {
  const rows = await server.db.all("SELECT notification_id AS id, status FROM deliveries WHERE user_id = ?1", user);
  const statuses = Object.fromEntries(rows.map(({ id, status }) => [id, status]));
  assert.equal(Object.keys(statuses).length, rows.length, "one row for each delivery");
  return statuses;
}

/** Waits until the record says so about a notification. */
export function recorded(server, user, id, status) {
  return until(async () => (await deliveries(server, user))[id] === status, { what: `the record says ${status}` });
}

export async function presence(server, user) {
  const path = `/v1/presence/users/${encodeURIComponent(user)}`;
  const { status, body } = await server.api("GET", path, { key: server.serviceKey });
  assert.equal(status, 200, JSON.stringify(body));
  return body;
}

/** Connects a device that acknowledges each notification when it comes. */
export async function device(server, user, options) {
  const socket = server.connect(user, { query: { ack: "on" }, ...options });
  socket.on("notification:new", ({ recipient_id }) => socket.emit("notification:acknowledge", { recipient_id }));
  await connected(socket);
  await nextEvent(socket, "authenticated");
  return socket;
}

/** The ids of the notifications a client was sent, in the order they came; of those in one batch the oldest first. */
export function received(socket) {
  return socket.events.flatMap(({ name, data }) => {
    if (name === "notification:batch") return data.notifications.map(({ id }) => id).reverse();
    return name === "notification:new" ? [data.id] : [];
  });
}

/** The counts as a client knows them: those with the highest `seq` it was told. */
export function known(socket) {
  const told = socket.events.flatMap(({ name, data }) => {
    if (name === "authenticated") return [{ unread: data.unread, seq: data.seq }];
    return name === "unread:count" ? [{ unread: data.count, seq: data.seq }] : [];
  });
  return told.reduce((best, counts) => (counts.seq >= best.seq ? counts : best));
}

/** A push that is answered 2xx; gives its id. */
export async function pushed(server, user, options) {
  const { status, body } = await server.push(user, options);
  assert.equal(status, 201, JSON.stringify(body));
  return body.id;
}

/** A push that is stored and answered while its user's hub hears of it neither directly nor from the queue. */
export async function pushUnheard(server, user, options) {
  await server.failPoint("nudge-received");
  await server.failPoint("nudge-queued");
  const { status, body } = await server.push(user, options);
  assert.equal(status, 201, JSON.stringify(body));
  assert.deepEqual(body.results, [{ to: `user:${user}`, status: "accepted", seq: null }]);
  return body.id;
}

/**
 * Puts pushes to a user into the record, of which the user's hub has not heard: what it hears of next brings them. `contents`
 * are what a push says, as the record holds it, or what it says besides the ordinary. Gives their ids, oldest first.
 */
export async function recordUnheard(server, user, contents) {
  const room = `user:${user}`;
  const [{ last }] = await server.db.all("SELECT COALESCE(MAX(n), 0) AS last FROM audience WHERE room = ?1", room);
  const created_at = Date.now();
  const rows = contents.map((content, i) => ({
    id: notificationId(created_at, i),
    user,
    room,
    created_at,
    n: last + 1 + i,
    content: JSON.stringify({ title: "Hello", content: "", priority: "normal", ...content }),
  }));
  const insert = (table, columns, values) => ({
    sql: `INSERT INTO ${table} (${columns}) SELECT ${values.replaceAll("$", "value ->> ")} FROM json_each(?1)`,
    params: [JSON.stringify(rows)],
  });
  await server.db.batch([
    insert("audience", "room, n, kind, ref", "$'room', $'n', 'push', $'id'"),
    insert("deliveries", "notification_id, user_id, status, attempts", "$'id', $'user', 'pending', 0"),
    insert("notifications", "id, created_at, content, audience",
      "$'id', $'created_at', $'content', json_array(json_array($'room', $'n'))"),
  ]);
  return rows.map(({ id }) => id);
}

/** A UUIDv7 of that moment, in the order of `i`. */
function notificationId(ms, i) {
  const [time, order] = [ms.toString(16).padStart(12, "0"), i.toString(16).padStart(6, "0")];
  return [time.slice(0, 8), time.slice(8), `7${order.slice(0, 3)}`, `8${order.slice(3)}`, randomBytes(6).toString("hex")].join("-");
}

/** Counts the server's heartbeats at a stock client, from now on. */
export function heartbeats(socket) {
  const seen = { count: 0 };
  socket.io.on("ping", () => (seen.count += 1));
  return seen;
}

function numbers(count) {
  return Array.from({ length: count }, (_, i) => i + 1);
}
