// What tests of shared rooms do: put users into rooms, push to rooms, and look at who has what.
import assert from "node:assert/strict";
import { received } from "./checks.mjs";
import { connected, nextEvent, until } from "./client.mjs";

/** Reads of the record are paced: a second or two may pass before a hub has what it missed. */
export const PATIENT = { timeout: 20_000 };

/** Most ids of one `POST /v1/presence/query`. */
const MOST_ASKED = 1_000;

export const RECONNECTING = {
  reconnection: true,
  reconnectionDelay: 50,
  reconnectionDelayMax: 300,
  randomizationFactor: 0.5,
};

// ---- members ----

/** One request about one member. */
export function member(server, method, room, user, options = { key: server.serviceKey }) {
  return server.api(method, `/v1/rooms/${encodeURIComponent(room)}/members/${encodeURIComponent(user)}`, options);
}

export async function addMember(server, room, user) {
  const { status, body } = await member(server, "PUT", room, user);
  assert.equal(status, 204, JSON.stringify(body));
}

export async function removeMember(server, room, user) {
  const { status, body } = await member(server, "DELETE", room, user);
  assert.equal(status, 204, JSON.stringify(body));
}

/** Many of them in one request: `{ add, remove }`. Gives how many there were of each. */
export async function changeMembers(server, room, changes) {
  const path = `/v1/rooms/${encodeURIComponent(room)}/members`;
  const { status, body } = await server.api("POST", path, { key: server.serviceKey, body: changes });
  assert.equal(status, 200, JSON.stringify(body));
  return body;
}

// ---- pushes ----

/** A push to rooms that is answered 202; gives its id. */
export async function pushedTo(server, to, more = {}, options) {
  const { status, body } = await server.push({ to: [to].flat(), title: "Hello", ...more }, options);
  assert.equal(status, 202, JSON.stringify(body));
  return body.id;
}

export async function retract(server, id) {
  const { status, body } = await server.api("DELETE", `/v1/notifications/${id}`, { key: server.serviceKey });
  assert.equal(status, 204, JSON.stringify(body));
}

export async function statusOf(server, id) {
  const { status, body } = await server.api("GET", `/v1/notifications/${id}`, { key: server.serviceKey });
  assert.equal(status, 200, JSON.stringify(body));
  return body;
}

// ---- clients ----

/** A stock client that was told `authenticated`. */
export async function tab(server, user, options) {
  const socket = await connected(server.connect(user, options), PATIENT);
  await nextEvent(socket, "authenticated", undefined, PATIENT);
  return socket;
}

/** A tab of each of these users. */
export function tabs(server, users, options) {
  return Promise.all(users.map((user) => tab(server, user, options)));
}

/** Makes a user known, with the rooms of their token, and leaves them offline. */
export async function visit(server, user, options) {
  const socket = await tab(server, user, options);
  await until(() => knowsRooms(server, user), { ...PATIENT, what: `${user} was in the roster` });
  socket.disconnect();
  await until(async () => (await server.hubInfo(user)).sockets === 0, { what: `${user} is gone` });
}

async function knowsRooms(server, user) {
  return (await query(server, [user]))[0].online;
}

/** Waits until a client was sent these notifications, each once on this connection. */
export async function got(socket, ids, { timeout } = PATIENT) {
  const have = () => received(socket);
  await until(() => ids.every((id) => have().includes(id)), {
    timeout,
    what: () => `${ids} at a client, which got ${have().join(", ") || "nothing"}`,
  });
  for (const id of ids) assert.equal(have().filter((other) => other === id).length, 1, `${id} came once`);
}

/** Waits until everything a client has asked for so far was answered, and so until what was sent before has come. */
export function settled(socket) {
  return socket.timeout(PATIENT.timeout).emitWithAck("ping");
}

// ---- lists ----

/** The user's whole inbox, newest first, with its counts. To look is a contact of the user, with a token of these departments. */
export async function list(server, user, options) {
  const token = server.token(user, options);
  const items = [];
  for (let cursor = ""; ; ) {
    const path = `/v1/me/notifications?limit=100${cursor && `&cursor=${encodeURIComponent(cursor)}`}`;
    const { status, body } = await server.api("GET", path, { token });
    assert.equal(status, 200, JSON.stringify(body));
    items.push(...body.items);
    if (body.next_cursor === null) return { ...body, items };
    cursor = body.next_cursor;
  }
}

/** The user lists each of these once and nothing else, in whatever order, and the counts agree. Gives the items, newest first. */
export async function holds(server, user, ids, options) {
  const { items, unread, unseen, seq } = await list(server, user, options);
  assert.deepEqual(items.map(({ id }) => id).toSorted(), ids.toSorted(), `${user} lists each once and nothing else`);
  assert.equal(unread, items.filter(({ read_at }) => read_at === null).length, `the unread count of ${user}`);
  const token = server.token(user, options);
  const counts = await server.api("GET", "/v1/me/notifications/unread-count", { token });
  assert.deepEqual(counts.body, { unread, unseen, seq }, `list and unread-count of ${user} agree`);
  const seqs = items.map((item) => item.seq);
  assert.deepEqual(seqs, [...new Set(seqs)].toSorted((a, b) => b - a), `the seqs of ${user}`);
  return items;
}

// ---- presence ----

/** What the switchboards say about users, in the order asked. */
export async function query(server, users) {
  const found = [];
  for (let i = 0; i < users.length; i += MOST_ASKED) {
    const asked = users.slice(i, i + MOST_ASKED);
    const { status, body } = await server.api("POST", "/v1/presence/query", { key: server.serviceKey, body: { users: asked } });
    assert.equal(status, 200, JSON.stringify(body));
    assert.deepEqual(body.users.map(({ user_id }) => user_id), asked);
    found.push(...body.users);
  }
  return found;
}

/** Waits until the switchboards take exactly these of the users for online. */
export async function attending(server, online, offline = [], { timeout } = PATIENT) {
  const users = [...online, ...offline];
  const wanted = new Set(online);
  let wrong = users;
  await until(
    async () => {
      const found = await query(server, users);
      wrong = found.filter((one) => one.online !== wanted.has(one.user_id)).map(({ user_id }) => user_id);
      return wrong.length === 0;
    },
    { timeout, what: () => `the presence of ${wrong}` },
  );
}

/** Everybody in a room, by what `GET /v1/presence/rooms/{room}` gives page by page. */
export async function present(server, room, { limit = 100 } = {}) {
  const items = [];
  for (let cursor = ""; ; ) {
    const path = `/v1/presence/rooms/${encodeURIComponent(room)}?limit=${limit}${cursor && `&cursor=${encodeURIComponent(cursor)}`}`;
    const { status, body } = await server.api("GET", path, { key: server.serviceKey });
    assert.equal(status, 200, JSON.stringify(body));
    items.push(...body.items);
    if (body.next_cursor === null) return { ...body, items };
    cursor = body.next_cursor;
  }
}

// ---- the record ----

/**
 * What a user must have of a room by the order in its log, whatever raced: the pushes between each time the membership API put
 * them in and the next time it took them out. For users whom no token puts into the room.
 */
export async function owed(server, room, user) {
  const changes = await server.db.all(
    "SELECT kind, ref FROM audience WHERE room = ?1 AND kind IN ('member_add', 'member_remove') ORDER BY n",
    `user:${user}`,
  );
  const spans = [];
  for (const { kind, ref } of changes) {
    const [of, n] = JSON.parse(ref);
    if (of !== room) continue;
    if (kind === "member_add") {
      if (spans.at(-1)?.until !== Infinity) spans.push({ since: n, until: Infinity });
    } else if (spans.length > 0) spans.at(-1).until = Math.min(spans.at(-1).until, n);
  }
  const pushes = await server.db.all("SELECT n, ref FROM audience WHERE room = ?1 AND kind = 'push' ORDER BY n", room);
  return pushes.filter(({ n }) => spans.some(({ since, until }) => n > since && n <= until)).map(({ ref }) => ref);
}

/** Names of users or rooms that no other test has. */
export function names(prefix, count) {
  return Array.from({ length: count }, (_, i) => `${prefix}-${i}`);
}
