// What a user does on one device, or over HTTP, is on all devices, in the list and in the record (DESIGN 5, 6).
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { pushed, recordUnheard } from "./checks.mjs";
import { connected, nextEvent, startServer, until } from "./harness.mjs";
import { deletedIds, everything, follow } from "./mirror.mjs";
import { startProxy } from "./proxy.mjs";
import { eventOf, openRaw } from "./raw.mjs";

const UNKNOWN = "01a1f916-0000-7000-8000-000000000000";
const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
const RECONNECTING = { reconnection: true, reconnectionDelay: 20, reconnectionDelayMax: 100, randomizationFactor: 0 };

let server;
let camelServer;
let network;
before(async () => {
  const quiet = { PING_INTERVAL_MS: "1800000", CONNECT_TIMEOUT_MS: "300000" };
  [server, camelServer] = await Promise.all([
    startServer({ vars: quiet }),
    startServer({ vars: { ...quiet, PAYLOAD_CASE: "camel" } }),
  ]);
  network = await startProxy(server);
});

let users = 0;
const newUser = () => `u${++users}`;

const me = (user, method, path, body) => server.api(method, `/v1/me/notifications${path}`, { token: server.token(user), body });
const counts = async (user) => (await me(user, "GET", "/unread-count")).body;
const emit = (socket, ...args) => socket.timeout(10_000).emitWithAck(...args);

async function tab(user, { on = server, ...options } = {}) {
  const socket = await connected(on.connect(user, options));
  await nextEvent(socket, "authenticated");
  return socket;
}

/** One device of each kind there is; the first one acts. */
function devices(user) {
  const inConnect = { token: null, auth: { token: server.token(user) } };
  return Promise.all([
    tab(user),
    tab(user, { namespace: "/" }),
    tab(user, { transports: ["polling"] }),
    tab(user, { query: { keepalive: "client", ack: "on" } }),
    tab(user, inConnect),
  ]);
}

/** Everything that was sent to these clients by now has come. */
const settled = (...sockets) => Promise.all(sockets.map((socket) => emit(socket, "ping")));
const range = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);
const named = (socket, name) => socket.events.filter((event) => event.name === name).map(({ data }) => data);

async function pushes(user, count) {
  const ids = [];
  for (let i = 0; i < count; i++) ids.push(await pushed(server, user));
  return ids;
}

/** What an ack says besides that all is well. */
function well({ ok, ...rest }) {
  assert.equal(ok, true, JSON.stringify(rest));
  return rest;
}

/** Waits for the same event on every device, and for the counts after it. */
async function told(sockets, event, payload, { unread, unseen }) {
  for (const socket of sockets) {
    assert.deepEqual(await nextEvent(socket, event), payload);
    const counts = await nextEvent(socket, "unread:count", ({ seq }) => seq >= payload.seq);
    assert.deepEqual(counts, { count: unread, unseen, seq: payload.seq });
  }
}

// ---- one item ----

/** What is done to the second of three items: by which event and path, after what, and how the inbox is then. */
const MARKS = {
  "notification:read": { event: "mark:read", path: "read", after: [], read: true, archived: false, unread: 2 },
  "notification:unread": { event: "mark:unread", path: "unread", after: ["read"], read: false, archived: false, unread: 3 },
  "notification:archived": { event: "notification:archive", path: "archive", after: [], read: false, archived: true, unread: 2 },
  "notification:unarchived": {
    event: "notification:unarchive", path: "unarchive", after: ["read", "archive"], read: true, archived: false, unread: 2,
  },
};
const WAYS = ["by a socket", "over HTTP"];

for (const [name, { event, path, after, read, archived, unread }] of Object.entries(MARKS)) {
  for (const way of WAYS) {
    test(`${event} ${way}: every device is told ${name} once, and to repeat it changes nothing`, async () => {
      const user = newUser();
      const [, id] = await pushes(user, 3);
      const sockets = await devices(user);
      for (const step of after) assert.equal((await me(user, "POST", `/${id}/${step}`)).status, 200);
      await settled(...sockets);
      sockets.forEach((socket) => (socket.events.length = 0));
      const begin = Date.now();
      const bySocket = async () => well(await emit(sockets[0], event, { notification_id: id }));
      const overHttp = async () => {
        const { status, body } = await me(user, "POST", `/${id}/${path}`);
        assert.equal(status, 200, JSON.stringify(body));
        return body;
      };
      const answer = await (way === WAYS[0] ? bySocket() : overHttp());
      const { recipient_id, read_at, archived_at, ...rest } = answer;
      assert.deepEqual(rest, { id, notification_id: id, unread, seq: 3 + after.length + 1 });
      for (const [at, isSet] of [[read_at, read], [archived_at, archived]]) {
        if (isSet) assert.match(at, ISO);
        else assert.equal(at, null);
      }
      const fresh = name === "notification:read" ? read_at : name === "notification:archived" ? archived_at : null;
      if (fresh) assert.ok(Math.abs(Date.parse(fresh) - begin) < 60_000);
      await told(sockets, name, answer, { unread, unseen: 2 });

      assert.deepEqual(await bySocket(), answer);
      assert.deepEqual(await overHttp(), answer);
      await settled(...sockets);
      for (const socket of sockets) assert.equal(named(socket, name).length, 1);
      const { items, archive } = await everything(server, user);
      const item = [...items, ...archive].find((item) => item.id === id);
      assert.deepEqual([item.recipient_id, item.read_at, item.archived_at], [recipient_id, read_at, archived_at]);
      assert.match(item.seen_at, ISO, "what is dealt with was seen");
      assert.equal(archive.length, archived ? 1 : 0);
    });
  }
}

for (const way of WAYS) {
  test(`a deletion ${way}: every device is told once, the item is gone for good, and to repeat it changes nothing`, async () => {
    const user = newUser();
    const idempotencyKey = `delete-${user}`;
    const { body } = await server.push(user, { idempotencyKey });
    const [{ recipient_id }] = body.results;
    const [other] = await pushes(user, 1);
    const sockets = await devices(user);
    const bySocket = async () => well(await emit(sockets[0], "notification:delete", { recipient_id }));
    const overHttp = async () => {
      const answer = await me(user, "DELETE", `/${body.id}`);
      assert.deepEqual([answer.status, answer.body], [204, ""]);
    };
    const expected = { id: body.id, recipient_id, notification_id: body.id, reason: "deleted", unread: 1, seq: 3 };
    if (way === WAYS[0]) assert.deepEqual(await bySocket(), expected);
    else await overHttp();
    await told(sockets, "notification:deleted", expected, { unread: 1, unseen: 1 });

    assert.deepEqual(await bySocket(), expected);
    await overHttp();
    // Nothing else can be done to it, and the same push does not bring it back.
    for (const { event, path } of Object.values(MARKS)) {
      const { ok, error } = await emit(sockets[0], event, { notification_id: body.id });
      assert.deepEqual([ok, error.code], [false, "NOT_FOUND"], event);
      assert.equal((await me(user, "POST", `/${body.id}/${path}`)).status, 404, path);
    }
    assert.equal((await server.push(user, { idempotencyKey })).headers["idempotent-replayed"], "true");
    await settled(...sockets);
    for (const socket of sockets) assert.equal(named(socket, "notification:deleted").length, 1);
    const { items, archive } = await everything(server, user);
    assert.deepEqual([items.map(({ id }) => id), archive], [[other], []]);
    await until(async () => (await server.hubInfo(user)).owed === 0);
    assert.deepEqual(await deletedIds(server, user), [body.id]);
  });
}

test("an item goes by any of its names", async () => {
  const user = newUser();
  const socket = await tab(user);
  for (const name of ["notification_id", "notificationId", "recipient_id", "recipientId"]) {
    const { body } = await server.push(user);
    const id = name.startsWith("n") ? body.id : body.results[0].recipient_id;
    const { id: marked } = well(await emit(socket, "mark:read", { [name]: id }));
    assert.equal(marked, body.id, name);
    assert.equal((await nextEvent(socket, "notification:read")).id, body.id, name);
  }
});

// ---- the whole inbox ----

for (const way of WAYS) {
  test(`reading everything ${way}, up to and including a number and then all: archived items stay as they are`, async () => {
    const user = newUser();
    const ids = await pushes(user, 6);
    await me(user, "POST", `/${ids[0]}/archive`);
    await me(user, "POST", `/${ids[1]}/read`);
    const sockets = await devices(user);
    const readAll = async (body) => {
      if (way === WAYS[0]) return well(await emit(sockets[0], "mark:all:read", ...(body ? [body] : [])));
      const answer = await me(user, "POST", "/read-all", body);
      assert.equal(answer.status, 200);
      return answer.body;
    };
    const { read_at, ...first } = await readAll({ before_seq: 4 });
    assert.deepEqual(first, { before_seq: 4, marked_count: 2, unread: 2, seq: 9 });
    assert.match(read_at, ISO);
    await told(sockets, "notifications:read_all", { ...first, read_at }, { unread: 2, unseen: 2 });
    const state = async () => {
      const { items, archive } = await everything(server, user);
      return [...items, ...archive].toSorted((a, b) => a.seq - b.seq).map((item) => item.read_at !== null);
    };
    assert.deepEqual(await state(), [false, true, true, true, false, false]);

    for (const nothing of [{ before_seq: 4 }, { before_seq: 0 }]) {
      const { marked_count, unread, seq } = await readAll(nothing);
      assert.deepEqual({ marked_count, unread, seq }, { marked_count: 0, unread: 2, seq: 9 });
    }
    const second = await readAll(way === WAYS[0] ? undefined : {});
    assert.deepEqual([second.before_seq, second.marked_count, second.unread, second.seq], [9, 2, 0, 10]);
    await told(sockets, "notifications:read_all", second, { unread: 0, unseen: 0 });
    assert.equal((await readAll({ before_seq: 1_000_000 })).marked_count, 0);
    assert.deepEqual(await state(), [false, true, true, true, true, true]);
    await settled(...sockets);
    for (const socket of sockets) assert.equal(named(socket, "notifications:read_all").length, 2);
    // The archived one is as unread as it was, and counts again when it comes back.
    await me(user, "POST", `/${ids[0]}/unarchive`);
    assert.deepEqual(await counts(user), { unread: 1, unseen: 0, seq: 11 });
  });

  test(`seeing everything ${way}, up to and including a number: what is unread stays unread`, async () => {
    const user = newUser();
    const ids = await pushes(user, 5);
    await me(user, "POST", `/${ids[0]}/archive`);
    const sockets = await devices(user);
    const see = async (up_to_seq) => {
      if (way === WAYS[0]) return well(await emit(sockets[0], "mark:seen", { up_to_seq }));
      const answer = await me(user, "POST", "/seen", { up_to_seq });
      assert.equal(answer.status, 200);
      return answer.body;
    };
    const first = await see(3);
    assert.deepEqual(first, { up_to_seq: 3, unseen: 2, seq: 7 });
    await told(sockets, "notifications:seen", first, { unread: 4, unseen: 2 });
    for (const [up_to, answered] of [[3, 3], [0, 0], [2, 2]]) {
      assert.deepEqual(await see(up_to), { up_to_seq: answered, unseen: 2, seq: 7 });
    }
    const all = await see(1_000_000);
    assert.deepEqual(all, { up_to_seq: 7, unseen: 0, seq: 8 });
    await told(sockets, "notifications:seen", all, { unread: 4, unseen: 0 });
    await settled(...sockets);
    for (const socket of sockets) assert.equal(named(socket, "notifications:seen").length, 2);
    const { items } = await everything(server, user);
    assert.ok(items.every(({ seen_at, read_at }) => ISO.test(seen_at) && read_at === null));
    // What comes later is new, although its number was named.
    await pushes(user, 1);
    assert.deepEqual(await counts(user), { unread: 5, unseen: 1, seq: 9 });
  });
}

test("what is archived is counted neither as unread nor as unseen, until it comes back", async () => {
  const user = newUser();
  const [first, second, third] = await pushes(user, 3);
  const steps = [
    ["POST", `/${first}/archive`, [2, 2]],
    ["POST", `/${second}/read`, [1, 1]],
    ["POST", `/${second}/archive`, [1, 1]],
    ["POST", `/${first}/read`, [1, 1]],
    ["POST", `/${first}/unread`, [1, 1]],
    ["POST", `/${second}/unarchive`, [1, 1]],
    ["POST", `/${second}/unread`, [2, 1]],
    ["POST", `/${first}/unarchive`, [3, 1]],
    ["POST", `/${third}/archive`, [2, 0]],
    ["DELETE", `/${third}`, [2, 0]],
    ["DELETE", `/${first}`, [1, 0]],
    ["DELETE", `/${second}`, [0, 0]],
  ];
  let seq = 3;
  for (const [method, path, [unread, unseen]] of steps) {
    assert.ok((await me(user, method, path)).status < 300, path);
    assert.deepEqual(await counts(user), { unread, unseen, seq: ++seq }, `${method} ${path}`);
  }
});

// ---- what ends by itself ----

test("what is replaced or over goes from every device, and says why", async () => {
  const user = newUser();
  const sockets = await devices(user);
  const [first] = await recordUnheard(server, user, [{ collapse_key: "k" }]);
  await pushes(user, 1);
  const [second] = await recordUnheard(server, user, [{ collapse_key: "k" }]);
  const [third] = await recordUnheard(server, user, [{ expires_at: Date.now() + 1_500 }]);
  await pushes(user, 1);
  for (const socket of sockets) {
    const collapsed = await nextEvent(socket, "notification:deleted");
    assert.deepEqual([collapsed.id, collapsed.reason, collapsed.seq], [first, "collapsed", 3]);
    const expired = await nextEvent(socket, "notification:deleted");
    assert.deepEqual([expired.id, expired.reason, expired.unread], [third, "expired", 3]);
  }
  const { items } = await everything(server, user);
  assert.deepEqual(items.map(({ id }) => id).filter((id) => [first, second, third].includes(id)), [second]);
});

test("what is over while nobody is there is known to the record when somebody asks for the counts", async () => {
  const user = newUser();
  const [id] = await recordUnheard(server, user, [{ expires_at: Date.now() + 500 }]);
  await pushes(user, 1);
  await until(async () => (await counts(user)).unread === 1, { what: "one has expired" });
  const status = async () => (await server.db.all("SELECT status FROM deliveries WHERE notification_id = ?1", id))[0].status;
  await until(async () => (await status()) === "expired", { what: "the record knows" });
});

// ---- what is refused ----

test("what is not in the inbox is NOT_FOUND, and nothing changes", async () => {
  const [user, other] = [newUser(), newUser()];
  const socket = await tab(user);
  await pushes(user, 1);
  const { body } = await server.push(other);
  const foreign = [{ notification_id: body.id }, { recipient_id: body.results[0].recipient_id }];
  const names = [...Object.values(MARKS).map(({ event }) => event), "notification:delete"];
  const before = await counts(user);
  for (const which of [...foreign, { notification_id: UNKNOWN }, { recipient_id: UNKNOWN }]) {
    for (const name of names) {
      const { ok, error } = await emit(socket, name, which);
      assert.deepEqual([ok, error.code], [false, "NOT_FOUND"], `${name} ${JSON.stringify(which)}`);
      assert.equal((await nextEvent(socket, "error")).code, "NOT_FOUND");
    }
  }
  for (const id of [body.id, UNKNOWN, "1", body.id.slice(1), `${body.id}0`]) {
    for (const [method, path] of [...Object.values(MARKS).map(({ path }) => ["POST", `/${id}/${path}`]), ["DELETE", `/${id}`]]) {
      const answer = await me(user, method, path);
      assert.deepEqual([answer.status, answer.body.code], [404, "not_found"], `${method} ${path}`);
    }
  }
  assert.deepEqual(await counts(user), before);
  assert.deepEqual(await counts(other), { unread: 1, unseen: 1, seq: 1 });
});

test("what no event takes is INVALID_PAYLOAD, and nothing changes", async () => {
  const user = newUser();
  const socket = await tab(user);
  const [id] = await pushes(user, 1);
  const before = await counts(user);
  const names = [...Object.values(MARKS).map(({ event }) => event), "notification:delete"];
  const wrong = {
    "mark:all:read": [[1], "1", 1, { before_seq: "1" }, { before_seq: -1 }, { before_seq: 1.5 }, { before_seq: {} }],
    "mark:seen": [undefined, null, [1], 1, {}, { up_to_seq: null }, { up_to_seq: "1" }, { up_to_seq: -1 }, { before_seq: 1 }],
  };
  for (const name of names) wrong[name] = [undefined, null, id, [id], {}, { id }, { notification_id: "x" }, { notification_id: 1 }];
  for (const [name, payloads] of Object.entries(wrong)) {
    for (const payload of payloads) {
      const { ok, error } = await emit(socket, name, ...(payload === undefined ? [] : [payload]));
      assert.deepEqual([ok, error.code], [false, "INVALID_PAYLOAD"], `${name} ${JSON.stringify(payload)}`);
      assert.deepEqual(await nextEvent(socket, "error"), error);
    }
  }
  assert.ok(socket.connected);
  assert.deepEqual(await counts(user), before);
});

test("an event without an ack does the same", async () => {
  const user = newUser();
  const socket = await tab(user);
  const [id] = await pushes(user, 1);
  socket.emit("mark:read", { notification_id: id });
  assert.equal((await nextEvent(socket, "notification:read")).id, id);
  socket.emit("mark:read", { notification_id: UNKNOWN });
  assert.equal((await nextEvent(socket, "error")).code, "NOT_FOUND");
});

// ---- camelCase ----

const camelKey = (key) => key.replaceAll(/_(.)/g, (_, letter) => letter.toUpperCase());

/** The same with its keys in camelCase, but for those of the pusher's own object. */
function camel(value) {
  if (Array.isArray(value)) return value.map(camel);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [camelKey(key), key === "data" ? inner : camel(inner)]));
}

const DATA = { order_id: 1, nested_map: { inner_key: [{ deep_key: null }] }, data: { data_key: 1 } };
const FULL = {
  title: "T", content: "c", data: DATA, action: { url: "/x", text: "X" }, category: "c_d",
  type: { id: "order_created", name: "N", icon: "i", color: "red" }, sender: { id: "s_1", username: "u", display_name: "D" },
};

test("a connection that asks for camelCase, in the query or in CONNECT, gets every payload and ack so; data is left alone", async () => {
  const user = newUser();
  const snake = await tab(user);
  const camels = [
    await connected(server.connect(user, { query: { case: "camel" } })),
    await connected(server.connect(user, { auth: { case: "camel" } })),
  ];
  for (const socket of camels) {
    const { userId, connectedAt, unread, seq, ...rest } = await nextEvent(socket, "authenticated");
    assert.deepEqual([userId, unread, seq, rest], [user, 0, 0, {}]);
    assert.match(connectedAt, ISO);
  }
  const { body } = await server.push({ to: [`user:${user}`], ...FULL });
  const { recipient_id } = body.results[0];
  const events = ["mark:read", "mark:unread", "notification:archive", "notification:unarchive"];
  for (const name of events) assert.ok((await emit(camels[0], name, { recipientId: recipient_id })).recipientId, name);
  assert.deepEqual(Object.keys(await emit(camels[1], "mark:seen", { upToSeq: 100 })).toSorted(), ["ok", "seq", "unseen", "upToSeq"]);
  assert.deepEqual(
    Object.keys(await emit(camels[0], "mark:all:read", { beforeSeq: 100 })).toSorted(),
    ["beforeSeq", "markedCount", "ok", "readAt", "seq", "unread"],
  );
  assert.equal((await emit(camels[0], "notification:delete", { notificationId: body.id })).notificationId, body.id);
  assert.equal((await emit(camels[0], "mark:read", { notificationId: body.id })).error.code, "NOT_FOUND");
  await settled(snake, ...camels);
  const ofAll = ({ name }) => /^(notifications?|unread):/.test(name);
  const expected = snake.events.filter(ofAll).map(({ name, data }) => [name, camel(data)]);
  assert.ok(expected.length >= 14);
  assert.deepEqual(expected[0][1].data, DATA);
  for (const socket of camels) assert.deepEqual(socket.events.filter(ofAll).map(({ name, data }) => [name, data]), expected);
});

test("with PAYLOAD_CASE=camel all get camelCase over sockets, batches as well, and HTTP stays as it is", async () => {
  const user = newUser();
  for (let i = 0; i < 21; i++) await camelServer.push({ to: [`user:${user}`], ...FULL });
  const socket = await connected(camelServer.connect(user));
  assert.equal((await nextEvent(socket, "authenticated")).userId, user);
  const { notifications, unreadCount, hasMore, seq } = await nextEvent(socket, "notification:batch");
  const { body } = await camelServer.api("GET", "/v1/me/notifications?limit=100", { token: camelServer.token(user) });
  assert.deepEqual(notifications, body.items.map(camel));
  assert.deepEqual([unreadCount, hasMore, seq], [21, false, 21]);
  assert.deepEqual(notifications[0].data, DATA);
  assert.equal(body.items[0].sender.display_name, "D");
});

// ---- three tabs ----

/** Numbers in [0, 1) that are the same each time (mulberry32). */
function seeded(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

test("three tabs stay equal to each other, to the list and to the record through 1,000 changes from everywhere", async () => {
  const CHANGES = 1_000;
  const AT_ONCE = 8;
  const user = newUser();
  const random = seeded(20_261_120);
  const upTo = (n) => Math.floor(random() * n);
  const pick = (list) => list[upTo(list.length)];
  const wobbly = await tab(user, { ...RECONNECTING, url: network.url });
  const tabs = [
    wobbly,
    await tab(user, { query: { case: "camel" }, transports: ["polling"] }),
    await tab(user, { query: { keepalive: "client" }, token: null, auth: { token: server.token(user) } }),
  ];
  const mirrors = tabs.map(follow);
  const ids = [];

  const changes = {
    "mark:read": "read", "mark:unread": "unread", "notification:archive": "archive", "notification:unarchive": "unarchive",
    "notification:delete": undefined,
  };
  /** One change; what it is about may be gone by then. */
  const change = async () => {
    const what = upTo(100);
    if (what < 40 || ids.length < 3) return ids.push(await pushed(server, user));
    const known = { before_seq: pick(tabs).events.length % 500 };
    if (what < 43) return over(["mark:all:read", known], ["POST", "/read-all", known]);
    if (what < 47) return over(["mark:seen", { up_to_seq: known.before_seq }], ["POST", "/seen", { up_to_seq: known.before_seq }]);
    const [event, path] = pick(Object.entries(changes));
    const id = pick(ids.slice(-60));
    return over([event, { notificationId: id }], path === undefined ? ["DELETE", `/${id}`] : ["POST", `/${id}/${path}`]);
  };
  const over = async (event, request) => {
    if (random() < 0.5) {
      const { status } = await me(user, ...request);
      assert.ok([200, 204, 404].includes(status), `${request} ${status}`);
      return;
    }
    // A connection that breaks takes the answer with it.
    const { ok, error } = await emit(pick(tabs.filter((socket) => socket.connected)), ...event).catch(() => ({ ok: true }));
    assert.ok(ok || error.code === "NOT_FOUND", JSON.stringify(error));
  };

  let cuts = 0;
  for (let done = 0; done < CHANGES; done += AT_ONCE) {
    if (random() < 0.1) {
      cuts += 1;
      if (random() < 0.5) network.cut();
      else network.interrupt();
    }
    await Promise.all(Array.from({ length: AT_ONCE }, change));
    if (random() < 0.5) network.restore();
  }
  network.restore();
  await until(() => wobbly.connected, { what: "the tab is back" });
  await until(async () => (await server.hubInfo(user)).owed === 0);
  const { seq, unread, unseen } = await counts(user);
  for (const mirror of mirrors) await until(() => mirror.seq === seq, { what: () => `change ${seq} at a tab that is at ${mirror.seq}` });

  assert.ok(cuts > 5 && wobbly.recovered, "the connection was lost and recovered");
  const { items, archive } = await everything(server, user);
  const list = [...items, ...archive].toSorted((a, b) => a.seq - b.seq);
  const stateOf = ({ id, seq, read_at, archived_at, seen_at }) => ({ id, seq, read_at, archived_at, seen: seen_at !== null });
  for (const mirror of mirrors) {
    assert.deepEqual(mirror.items(), list.map(stateOf));
    assert.deepEqual(mirror.counts, { unread, unseen, seq });
    assert.deepEqual(mirror.counted(), { unread, unseen });
    assert.deepEqual(mirror.misplaced, [], "each change once, in order");
  }
  // What came and went while a client was away it is not sent; whoever was there was sent each change.
  const [missed, ...others] = mirrors.map(({ changes }) => range(1, seq).filter((n) => !changes.has(n)));
  assert.deepEqual(others, [[], []]);
  const kept = new Set(list.map(({ id }) => id));
  for (const n of missed) {
    const [name, id] = mirrors[2].changes.get(n);
    assert.deepEqual([name, kept.has(id)], ["notification:new", false], `change ${n}`);
  }
  assert.equal(unread, items.filter(({ read_at }) => read_at === null).length);

  const rows = await server.db.all(
    "SELECT notification_id AS id, status, read_at, seen_at, archived_at, deleted_at FROM deliveries WHERE user_id = ?1 ORDER BY 1",
    user,
  );
  assert.deepEqual(rows.map(({ id }) => id), ids.toSorted());
  const iso = (ms) => (ms === null ? null : new Date(ms).toISOString());
  const present = rows.filter(({ deleted_at }) => deleted_at === null);
  const listed = list.map(({ id, delivery_status, read_at, seen_at, archived_at }) => [id, delivery_status, read_at, seen_at, archived_at]);
  assert.deepEqual(
    present.map(({ id, status, ...at }) => [id, status, iso(at.read_at), iso(at.seen_at), iso(at.archived_at)]),
    listed.toSorted(([a], [b]) => (a < b ? -1 : 1)),
  );
  assert.ok(rows.every(({ status }) => status === "delivered"));
  assert.ok(rows.length > present.length, "some were deleted");
});

// ---- what was missed ----

/** The network fails; `meanwhile` happens; then it works again and the client is back. */
async function interrupted(socket, meanwhile) {
  const times = socket.lifecycle.filter(({ name }) => name === "connect").length;
  network.interrupt();
  await until(() => !socket.connected, { what: "disconnect" });
  await meanwhile();
  network.restore();
  const back = () => socket.connected && socket.lifecycle.filter(({ name }) => name === "connect").length > times;
  await until(back, { what: "reconnect", timeout: 20_000 });
  await settled(socket);
}

for (const [missed, recovered] of [[0, true], [1, true], [99, true], [100, true], [101, false]]) {
  test(`a client that missed ${missed} notifications ${recovered ? "gets each of them" : "gets the newest 100 at once"}`, async () => {
    const user = newUser();
    const socket = await tab(user, { ...RECONNECTING, url: network.url });
    const mirror = follow(socket);
    await interrupted(socket, async () => {
      if (missed > 1) await recordUnheard(server, user, Array(missed - 1).fill({}));
      if (missed > 0) await pushes(user, 1);
    });
    assert.equal(socket.recovered, recovered);
    assert.equal(named(socket, "notification:new").length, recovered ? missed : 0);
    assert.deepEqual(named(socket, "notification:batch").map(({ notifications }) => notifications.length), recovered ? [] : [100]);
    const { items } = await everything(server, user);
    assert.deepEqual(mirror.items().map(({ id }) => id), items.map(({ id }) => id).reverse().slice(-100));
    assert.deepEqual(mirror.counts, { unread: missed, unseen: missed, seq: missed });
  });
}

test("a client that missed 5,000 notifications gets the newest at once and finds all in the list; one that was there gets all", async () => {
  const COUNT = 5_000;
  const user = newUser();
  const socket = await tab(user, { ...RECONNECTING, url: network.url });
  const present = await tab(user);
  const mirror = follow(present);
  let ids;
  await interrupted(socket, async () => {
    ids = await recordUnheard(server, user, Array(COUNT - 1).fill({}));
    ids.push(...(await pushes(user, 1)));
  });
  assert.equal(socket.recovered, false);
  assert.deepEqual(named(socket, "notification:new"), []);
  const [batch, ...more] = named(socket, "notification:batch");
  assert.deepEqual(more, []);
  assert.deepEqual(batch.notifications.map(({ id }) => id), ids.slice(-100).reverse());
  assert.deepEqual([batch.unread_count, batch.seq, batch.has_more], [COUNT, COUNT, true]);
  assert.deepEqual(named(socket, "unread:count").at(-1), { count: COUNT, unseen: COUNT, seq: COUNT });
  await until(() => mirror.seq === COUNT);
  assert.deepEqual(mirror.items().map(({ id }) => id), ids);
  const { items } = await everything(server, user);
  assert.deepEqual(items.map(({ id }) => id), ids.toReversed());
  assert.deepEqual(items.map(({ seq }) => seq), ids.map((_, i) => COUNT - i));

  const all = await emit(socket, "mark:all:read");
  assert.deepEqual([all.marked_count, all.unread, all.seq], [COUNT, 0, COUNT + 1]);
  assert.equal((await nextEvent(present, "notifications:read_all")).marked_count, COUNT);
  await until(async () => (await server.hubInfo(user)).owed === 0);
  const [{ n }] = await server.db.all("SELECT count(*) AS n FROM deliveries WHERE user_id = ?1 AND read_at IS NOT NULL", user);
  assert.equal(n, COUNT, "the record knows that all are read");
});

test("a client that missed reads, deletions and archivings of what it had and of what it had not is as if it had been there", async () => {
  const user = newUser();
  const socket = await tab(user, { ...RECONNECTING, url: network.url });
  const mirrors = [follow(socket), follow(await tab(user))];
  const had = await pushes(user, 10);
  await until(() => mirrors[0].seq === 10);
  const { id } = socket;
  await interrupted(socket, async () => {
    const fresh = await pushes(user, 20);
    await me(user, "POST", "/read-all", { before_seq: 15 });
    for (const list of [had, fresh]) {
      await me(user, "DELETE", `/${list[0]}`);
      await me(user, "POST", `/${list[1]}/archive`);
      await me(user, "POST", `/${list[2]}/unread`);
      await me(user, "POST", `/${list[9]}/read`);
      await me(user, "DELETE", `/${list[8]}`);
    }
    await me(user, "POST", "/seen", { up_to_seq: 25 });
    await pushes(user, 5);
  });
  assert.deepEqual([socket.recovered, socket.id], [true, id]);
  assert.deepEqual(mirrors[0].items(), mirrors[1].items());
  assert.deepEqual(mirrors[0].counts, mirrors[1].counts);
  assert.deepEqual(mirrors[0].counted(), mirrors[1].counted());
  const { items, archive } = await everything(server, user);
  assert.deepEqual(mirrors[0].items().map(({ id }) => id), [...items, ...archive].toSorted((a, b) => a.seq - b.seq).map(({ id }) => id));
});

test("a session that is cut off before the batch it began with is sent all of it when it recovers", async () => {
  const COUNT = 21;
  const user = newUser();
  await pushes(user, COUNT);
  const first = await openRaw(server, user);
  const { pid, sid } = await first.join();
  const greeting = await first.next((frame) => eventOf(frame)?.name === "authenticated");
  const offset = JSON.parse(greeting.slice(greeting.indexOf("["))).at(-1);
  await first.nextEvent("notification:batch");
  first.terminate();
  const second = await openRaw(server, user);
  assert.deepEqual(await second.join("/notifications", { pid, offset }), { pid, sid });
  await second.settled();
  const seqs = second.frames.map(eventOf).filter((event) => event?.name === "notification:new").map(({ data }) => data.seq);
  assert.deepEqual(seqs, range(1, COUNT));
  await second.close();
});

test("more of what was parked than a burst takes is all sent to a session that recovers", async () => {
  const COUNT = 25;
  const own = await startServer({ vars: { ACK_TIMEOUT_MS: "3000", RETRY_DELAYS_MS: "3600000" } });
  const far = await startProxy(own);
  const user = newUser();
  const socket = await connected(own.connect(user, { ...RECONNECTING, url: far.url, query: { ack: "on" } }));
  await Promise.all(Array.from({ length: COUNT }, () => pushed(own, user)));
  await until(() => named(socket, "notification:new").length === COUNT);
  far.interrupt();
  await until(async () => (await own.hubInfo(user)).sockets === 0);
  // Those that failed while the client was there wait for an hour; nothing else does.
  const waiting = "SELECT count(*) AS n FROM deliveries WHERE user_id = ?1 AND status = 'pending'";
  await until(async () => (await own.db.all(waiting, user))[0].n === 0);
  const [{ n: parked }] = await own.db.all("SELECT count(*) AS n FROM deliveries WHERE user_id = ?1 AND next_retry_at IS NULL", user);
  far.restore();
  await until(() => socket.connected);
  await emit(socket, "ping");
  assert.equal(socket.recovered, true);
  assert.equal(named(socket, "notification:new").filter(({ attempt, redelivered }) => attempt === 2 && redelivered).length, parked);
  await own.stop();
});
