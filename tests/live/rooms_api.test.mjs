// The HTTP API of rooms (DESIGN 8, 9): who may change members, send events and ask about presence, what is refused, and what
// the record holds afterwards. What clients see of it is tested elsewhere.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { newServiceKey } from "../../scripts/service-key.mjs";
import { connected, nextEvent, startServer, until } from "./harness.mjs";

const MAX_ROOMS = 200;

const full = newServiceKey("full");
const pusher = newServiceKey("pusher", ["push:user", "push:room", "push:broadcast"]);
let server;
before(async () => {
  server = await startServer({ vars: { SERVICE_KEYS: JSON.stringify([full.record, pusher.record]) } });
});

const ask = (method, path, body, options) => server.api(method, path, { key: full.key, body, ...options });
const members = (room) => `/v1/rooms/${encodeURIComponent(room)}/members`;
const member = (room, user) => `${members(room)}/${encodeURIComponent(user)}`;

async function stored() {
  const counts = ["audience", "memberships"].map((table) => `(SELECT count(*) FROM ${table}) AS ${table}`);
  return (await server.db.all(`SELECT ${counts}`))[0];
}

/** A request that is refused like this, and of which nothing is stored. */
async function refusal(method, path, body, [status, code, pointers], options) {
  const before = await stored();
  const { status: found, body: problem, headers } = await ask(method, path, body, options);
  assert.deepEqual([found, problem.code], [status, code], JSON.stringify(problem));
  assert.equal(headers["content-type"], "application/problem+json");
  if (pointers) assert.deepEqual(problem.errors?.map(({ pointer, parameter }) => pointer ?? parameter), pointers);
  assert.doesNotMatch(JSON.stringify({ ...problem, request_id: undefined }), /RustError|serde|D1_|SQL/, "no internal text");
  assert.deepEqual(await stored(), before);
  return problem;
}

/** Tests of refusals: `{ what: [expected, method, path, body] }`. */
function refusals(table) {
  for (const [what, [expected, method, path, body]] of Object.entries(table)) {
    test(`${what} is refused with ${expected[0]} ${expected[1]}`, () => refusal(method, path, body, expected));
  }
}

const log = (user) => server.db.all("SELECT n, kind, ref FROM audience WHERE room = ?1 ORDER BY n", `user:${user}`);
const rows = (room) =>
  server.db.all("SELECT user_id, source, since, removed_at FROM memberships WHERE room = ?1 ORDER BY user_id", room);
const ids = (prefix, count) => Array.from({ length: count }, (_, i) => `${prefix}${i}`);

// ---- scopes ----

for (const [method, path, body] of [
  ["PUT", member("room:x", "u1")],
  ["DELETE", member("room:x", "u1")],
  ["POST", members("room:x"), { add: ["u1"] }],
  ["POST", "/v1/events", { to: ["user:u1"], event: "x" }],
  ["POST", "/v1/presence/query", { users: ["u1"] }],
  ["GET", "/v1/presence/rooms/room:x"],
  ["GET", "/v1/presence/count"],
]) {
  test(`${method} ${path} takes a service key of its own scope`, async () => {
    await refusal(method, path, body, [403, "forbidden"], { key: pusher.key });
    await refusal(method, path, body, [401, "unauthenticated"], { key: undefined });
    await refusal(method, path, body, [401, "invalid_credential"], { key: undefined, token: server.token("u1") });
  });
}

// ---- members: refusals ----

for (const room of ["broadcast", "announcements", "admin:notifications", "user:u1", "lobby", "dept:", "room:a\nb", `room:${"x".repeat(129)}`]) {
  test(`nobody is put into ${JSON.stringify(room.slice(0, 30))}`, async () => {
    await refusal("PUT", member(room, "u1"), undefined, [422, "invalid_room"]);
    await refusal("DELETE", member(room, "u1"), undefined, [422, "invalid_room"]);
    await refusal("POST", members(room), { add: ["u1"] }, [422, "invalid_room"]);
  });
}

const changes = members("room:refused");
refusals({
  "a room that is not percent-encoded UTF-8": [[422, "invalid_room"], "PUT", "/v1/rooms/room:%ff/members/u1"],
  "a member without an id": [[400, "invalid_parameter", ["user"]], "PUT", member("room:refused", "")],
  "a member with a control character": [[400, "invalid_parameter", ["user"]], "PUT", member("room:refused", "a\nb")],
  "a member with too long an id": [[400, "invalid_parameter", ["user"]], "DELETE", member("room:refused", "x".repeat(129))],
  "no change of members": [[422, "invalid_request", [""]], "POST", changes, {}],
  "a change of 1,001 members": [[422, "invalid_request", [""]], "POST", changes, { add: ids("a", 500), remove: ids("r", 501) }],
  "a member both added and removed": [[422, "invalid_request", ["/remove"]], "POST", changes, { add: ["a"], remove: ["a"] }],
  "members that are no ids": [
    [422, "invalid_request", ["/add/1", "/add/2", "/remove"]], "POST", changes, { add: ["a", "", 7], remove: "b" },
  ],
  "an unknown field beside members": [[400, "unknown_field", ["/set"]], "POST", changes, { add: ["a"], set: ["b"] }],
  "a list for a body of members": [[400, "malformed_json"], "POST", changes, ["a"]],
  "members without a media type": [[415, "unsupported_media_type"], "POST", changes, JSON.stringify({ add: ["a"] })],
  "a body of members of more than 256,000 bytes": [
    [413, "payload_too_large"], "POST", changes, { add: ["a".repeat(256_000)] },
  ],
});

// ---- members: what is stored ----

test("a member is put in, once, and taken out, once", async () => {
  const [room, user] = ["room:once", "once"];
  for (let i = 0; i < 2; i += 1) {
    const { status, body } = await ask("PUT", member(room, user));
    assert.deepEqual([status, body], [204, ""]);
  }
  assert.deepEqual(await log(user), [{ n: 1, kind: "member_add", ref: '["room:once",0]' }]);
  assert.deepEqual(await rows(room), [{ user_id: user, source: "api", since: 0, removed_at: null }]);
  for (let i = 0; i < 2; i += 1) assert.equal((await ask("DELETE", member(room, user))).status, 204);
  const [, removal, ...more] = await log(user);
  assert.deepEqual([removal.n, removal.kind, more.length], [2, "member_remove", 0]);
  const [name, until, at] = JSON.parse(removal.ref);
  assert.deepEqual([name, until, Number.isInteger(at)], [room, 0, true]);
  assert.deepEqual(await rows(room), [{ user_id: user, source: "api", since: 0, removed_at: at }]);
});

test("who was never in a room is taken out of it without a trace", async () => {
  assert.equal((await ask("DELETE", member("room:never", "never"))).status, 204);
  assert.deepEqual(await log("never"), []);
});

test("a department is left also by those whose token put them there, which the record need not know", async () => {
  assert.equal((await ask("DELETE", member("dept:token", "by-token"))).status, 204);
  assert.deepEqual((await log("by-token")).map(({ kind }) => kind), ["member_remove"]);
});

test("ids and names are taken as they are meant, whatever they are made of", async () => {
  const [room, user] = ['dept:é/"%2f 🐭', 'a/b "c" é'];
  assert.equal((await ask("PUT", member(room, user))).status, 204);
  assert.deepEqual((await rows(room)).map(({ user_id }) => user_id), [user]);
  assert.deepEqual(JSON.parse((await log(user))[0].ref), [room, 0]);
});

test("many are put in and taken out at once, and only changes count", async () => {
  const room = "room:many";
  const path = members(room);
  const first = await ask("POST", path, { add: [...ids("many", 600), "many0"], remove: ["stranger"] });
  assert.deepEqual([first.status, first.body], [200, { added: 600, removed: 0 }]);
  const second = await ask("POST", path, { add: ids("many", 500), remove: ids("many", 600).slice(500) });
  assert.deepEqual([second.status, second.body], [200, { added: 0, removed: 100 }]);
  const live = (await rows(room)).filter(({ removed_at }) => removed_at === null);
  assert.equal(live.length, 500);
  const again = await ask("POST", path, { add: ["many550"] });
  assert.deepEqual(again.body, { added: 1, removed: 0 });
  assert.deepEqual((await log("many550")).map(({ n, kind }) => [n, kind]), [[1, "member_add"], [2, "member_remove"], [3, "member_add"]]);
});

test("a member gets what is pushed from then on: the entry begins after the room's last", async () => {
  const room = "room:since";
  for (const title of ["One", "Two"]) {
    const { status } = await server.push({ to: [room], title }, { key: full.key });
    assert.equal(status, 202);
  }
  assert.equal((await ask("PUT", member(room, "since"))).status, 204);
  assert.deepEqual(await log("since"), [{ n: 1, kind: "member_add", ref: '["room:since",2]' }]);
  assert.deepEqual((await rows(room)).map(({ since }) => since), [2]);
});

test("nobody is in more rooms than there may be, and then nobody is changed", async () => {
  await server.db.run(
    `INSERT INTO memberships (user_id, room, source, since, created_at)
     SELECT 'full', 'room:' || value, 'api', 0, 0 FROM json_each(?1)`,
    JSON.stringify(ids("r", MAX_ROOMS)),
  );
  const problem = await refusal("PUT", member("room:one-more", "full"), undefined, [422, "too_many_rooms", [""]]);
  assert.match(problem.errors[0].detail, /^full /);
  assert.equal((await ask("PUT", member("room:r7", "full"))).status, 204, "in that room the user is already");
  assert.equal((await ask("PUT", member("room:other", "leaver"))).status, 204);
  const change = { add: ["free", "full"], remove: ["leaver"] };
  await refusal("POST", members("room:other"), change, [422, "too_many_rooms", [""]]);
  assert.equal((await ask("DELETE", member("room:r7", "full"))).status, 204);
  const { status, body } = await ask("POST", members("room:other"), change);
  assert.deepEqual([status, body], [200, { added: 2, removed: 1 }]);
});

test("former members are forgotten once everything they got is", async () => {
  const long = Date.now() - 91 * 24 * 60 * 60 * 1_000;
  await server.db.batch([
    { sql: "INSERT INTO memberships VALUES ('former', 'room:old', 'api', 0, ?1, ?1)", params: [long] },
    { sql: "INSERT INTO memberships VALUES ('still', 'room:old', 'api', 0, ?1, NULL)", params: [long] },
    { sql: "INSERT INTO memberships VALUES ('lately', 'room:old', 'token', 0, ?1, ?2)", params: [long, Date.now()] },
  ]);
  await server.cron("23 * * * *");
  assert.deepEqual((await rows("room:old")).map(({ user_id }) => user_id), ["lately", "still"]);
});

// ---- events ----

const event = (more) => ({ to: ["user:u1"], event: "order:paid", ...more });
const events = (expected, more) => [expected, "POST", "/v1/events", event(more)];
refusals({
  "an event for nobody": events([422, "invalid_request", ["/to"]], { to: [] }),
  "an event for 101": events([422, "invalid_request", ["/to"]], { to: Array(101).fill("user:u1") }),
  "an event for no rooms there are": events([422, "invalid_recipient", ["/to/0", "/to/1"]], { to: ["lobby", "dept:"] }),
  "an event without a name": events([422, "invalid_request", ["/event"]], { event: "" }),
  "an event with too long a name": events([422, "invalid_request", ["/event"]], { event: "x".repeat(129) }),
  "an event with a control character in its name": events([422, "invalid_request", ["/event"]], { event: "a\u0000" }),
  "an event with a list for data": events([422, "invalid_request", ["/data"]], { data: [] }),
  "an event with data of 17,000 bytes": events([422, "invalid_request", ["/data"]], { data: { x: "x".repeat(17_000) } }),
  "an event with an unknown field": events([400, "unknown_field", ["/ttl"]], { ttl: 1 }),
});

for (const name of [
  "authenticated", "notification:new", "notifications:other", "unread:count", "mark:read", "presence:update", "auth:refresh",
  "auth_error", "admin:stats", "join", "ping", "pong", "error", "connect", "connect_error", "disconnect", "disconnecting",
  "newListener", "removeListener",
]) {
  test(`the name ${name} is reserved`, () =>
    refusal("POST", "/v1/events", event({ event: name }), [422, "reserved_event", ["/event"]]));
}

test("an event reaches who is online and says of each recipient what became of it", async () => {
  const socket = await connected(server.connect("listener", { departments: ["events"] }));
  await nextEvent(socket, "authenticated");
  const to = ["user:listener", "user:nobody", "dept:events", "dept:empty", "user:"];
  const sent = await until(
    async () => {
      const { status, body } = await ask("POST", "/v1/events", { to, event: "order:paid", data: { order_id: 7 } });
      return body.results?.[2].online_users === 1 && { status, body };
    },
    { what: "the switchboard knows who is in the department" },
  );
  const [user, nobody, dept, empty, rejected] = sent.body.results;
  assert.deepEqual([sent.status, sent.body.event], [207, "order:paid"]);
  assert.deepEqual(user, { to: "user:listener", status: "accepted", online: true });
  assert.deepEqual(nobody, { to: "user:nobody", status: "accepted", online: false });
  assert.deepEqual(dept, { to: "dept:events", status: "accepted", online_users: 1 });
  assert.deepEqual(empty, { to: "dept:empty", status: "accepted", online_users: 0 });
  assert.deepEqual([rejected.to, rejected.status, rejected.problem.code], ["user:", "rejected", "invalid_recipient"]);
  assert.deepEqual(await nextEvent(socket, "order:paid"), { order_id: 7 });
});

test("an event without data has an empty object for a payload, and leaves no trace", async () => {
  const socket = await connected(server.connect("bare"));
  await nextEvent(socket, "authenticated");
  const before = await stored();
  await until(async () => {
    const { status, body } = await ask("POST", "/v1/events", { to: ["user:bare"], event: "x" });
    return status === 202 && body.results[0].online;
  });
  assert.deepEqual(await nextEvent(socket, "x"), {});
  assert.deepEqual(await stored(), before);
});

// ---- presence ----

const query = (expected, users) => [expected, "POST", "/v1/presence/query", { users }];
refusals({
  "a question about nobody": query([422, "invalid_request", ["/users"]], []),
  "a question about 1,001": query([422, "invalid_request", ["/users"]], ids("u", 1_001)),
  "a question without users": query([422, "invalid_request", ["/users"]]),
  "a question about what are no ids": query([422, "invalid_request", ["/users/1", "/users/2"]], ["a", "", 7]),
  "a question with an unknown field": [
    [400, "unknown_field", ["/rooms"]], "POST", "/v1/presence/query", { users: ["a"], rooms: [] },
  ],
  "a user's room for a list of who is in it": [[422, "invalid_room"], "GET", "/v1/presence/rooms/user:u1"],
  "a malformed room for a list of who is in it": [[422, "invalid_room"], "GET", "/v1/presence/rooms/room:"],
  "a page of 101": [[400, "invalid_parameter", ["limit"]], "GET", "/v1/presence/rooms/room:x?limit=101"],
  "a page after nothing": [[400, "invalid_parameter", ["cursor"]], "GET", "/v1/presence/rooms/room:x?cursor=x"],
});

test("a user asks for nobody's presence over HTTP, their own included", async () => {
  const token = server.token("asker");
  for (const [method, path, body] of [
    ["GET", "/v1/presence/users/asker"],
    ["POST", "/v1/presence/query", { users: ["asker"] }],
  ]) {
    await refusal(method, path, body, [401, "invalid_credential"], { key: undefined, token });
  }
});

test("who is online is told of many, in the order asked", async () => {
  const socket = await connected(server.connect("there"));
  const asked = ["not-there", "there", "not-there", ...ids("nobody", 997)];
  const { users, consistency } = await until(async () => {
    const { status, body } = await ask("POST", "/v1/presence/query", { users: asked });
    assert.equal(status, 200, JSON.stringify(body));
    return body.users[1].online && body;
  });
  assert.equal(consistency, "eventual");
  assert.deepEqual(users.map(({ user_id }) => user_id), asked);
  assert.ok(Math.abs(Date.parse(users[1].last_seen_at) - Date.now()) < 60_000);
  assert.deepEqual(users[0], { user_id: "not-there", online: false, last_seen_at: null });
  assert.ok(socket.connected);
});

test("who is online in a room is listed in pages, each with their sockets", async () => {
  const room = "dept:paged";
  const users = ids("paged-", 5);
  for (const user of users) await connected(server.connect(user, { departments: ["paged"] }));
  const page = async (cursor = "") => {
    const { status, body } = await ask("GET", `/v1/presence/rooms/${room}?limit=2${cursor && `&cursor=${cursor}`}`);
    assert.equal(status, 200, JSON.stringify(body));
    return body;
  };
  await until(async () => (await page()).online === users.length, { what: "all are known to be in the room" });
  const found = [];
  let cursor;
  do {
    const { room: named, online, items, next_cursor } = await page(cursor);
    assert.deepEqual([named, online, items.length <= 2], [room, 5, true]);
    found.push(...items);
    cursor = next_cursor;
  } while (cursor !== null);
  assert.deepEqual(found.map(({ user_id }) => user_id), users);
  for (const { online, sockets, consistency } of found) {
    assert.deepEqual([online, sockets.length, sockets[0].namespace, consistency], [true, 1, "/notifications", "strong"]);
  }
  const { body: empty } = await ask("GET", "/v1/presence/rooms/room:nobody-there");
  assert.deepEqual(empty, { room: "room:nobody-there", online: 0, items: [], next_cursor: null });
});

test("users who are online are counted, whatever number of connections they have", async () => {
  const own = await startServer();
  const count = async () => (await own.api("GET", "/v1/presence/count", { key: own.serviceKey })).body.online_users;
  assert.equal(await count(), 0);
  const sockets = ["a", "a", "b"].map((user) => own.connect(user));
  await Promise.all(sockets.map((socket) => connected(socket)));
  await until(async () => (await count()) === 2, { what: "two users are counted" });
  sockets[2].disconnect();
  await until(async () => (await count()) === 1, { what: "one user is counted" });
});
