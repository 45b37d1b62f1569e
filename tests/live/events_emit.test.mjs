// Events of a service's own, `POST /v1/events` (DESIGN 8): volatile, to users and rooms, and to those who are online only.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { newServiceKey } from "../../scripts/service-key.mjs";
import { nextEvent, startServer, until } from "./harness.mjs";
import { PATIENT, attending, changeMembers, holds, names, settled, tab, tabs, visit } from "./rooms.mjs";

const full = newServiceKey("full");
const pusher = newServiceKey("pusher", ["push:user", "push:room", "push:broadcast"]);

let server;
before(async () => {
  server = await startServer({
    vars: { SERVICE_KEYS: JSON.stringify([full.record, pusher.record]), PING_INTERVAL_MS: "1800000" },
  });
  server.serviceKey = full.key;
});

const emit = (body, { key = full.key } = {}) => server.api("POST", "/v1/events", { key, body });

async function emitted(to, event, data) {
  const { status, body } = await emit({ to: [to].flat(), event, data });
  assert.equal(status, 202, JSON.stringify(body));
  return body;
}

const named = (socket, event) => socket.events.filter(({ name }) => name === event);

test("a named user gets it on every device, with its payload untouched, and the answer says who is online", async () => {
  const sockets = [await tab(server, "named"), await tab(server, "named", { namespace: "/", query: { case: "camel" } })];
  await attending(server, ["named"]);
  const data = { order_id: 1042, nested: { snake_case: [1, null, "ü"] } };
  const answer = await emitted(["user:named", "user:named-off"], "order:paid", data);
  assert.deepEqual(answer, {
    event: "order:paid",
    results: [
      { to: "user:named", status: "accepted", online: true },
      { to: "user:named-off", status: "accepted", online: false },
    ],
  });
  for (const socket of sockets) {
    assert.deepEqual(await nextEvent(socket, "order:paid", undefined, PATIENT), data);
    await settled(socket);
    assert.equal(named(socket, "order:paid").length, 1);
  }
});

test("members of rooms get it, each once, and nobody else does", async () => {
  const users = names("member", 4);
  const sockets = await tabs(server, users, { departments: ["emit"] });
  const other = await tab(server, "member-other", { departments: ["emit-not"] });
  await changeMembers(server, "room:emit", { add: users.slice(0, 2) });
  await attending(server, [...users, "member-other"]);
  const { results } = await emitted(["dept:emit", "room:emit", "user:member-0", "room:emit-nobody"], "round:1", { n: 1 });
  assert.deepEqual(results, [
    { to: "dept:emit", status: "accepted", online_users: 4 },
    { to: "room:emit", status: "accepted", online_users: 2 },
    { to: "user:member-0", status: "accepted", online: true },
    { to: "room:emit-nobody", status: "accepted", online_users: 0 },
  ]);
  for (const socket of sockets) assert.deepEqual(await nextEvent(socket, "round:1", undefined, PATIENT), { n: 1 });
  await emitted(["broadcast"], "round:2");
  for (const socket of [...sockets, other]) assert.deepEqual(await nextEvent(socket, "round:2", undefined, PATIENT), {});
  for (const socket of sockets) {
    await settled(socket);
    assert.equal(named(socket, "round:1").length, 1);
  }
  assert.deepEqual(named(other, "round:1"), []);
});

test("nothing of it is stored: who is offline never gets it, no list has it and no row is written", async () => {
  await visit(server, "later", { departments: ["later"] });
  const here = await tab(server, "later-on", { departments: ["later"] });
  await attending(server, ["later-on"], ["later"]);
  const rows = () => server.db.all("SELECT (SELECT count(*) FROM notifications) AS pushes, (SELECT count(*) FROM audience) AS entries");
  const before = await rows();
  await emitted(["dept:later", "user:later", "broadcast"], "now:or-never", { a: 1 });
  await nextEvent(here, "now:or-never", undefined, PATIENT);
  const back = await tab(server, "later", { departments: ["later"] });
  await attending(server, ["later"]);
  await settled(back);
  assert.deepEqual(named(back, "now:or-never"), []);
  await holds(server, "later", [], { departments: ["later"] });
  await holds(server, "later-on", [], { departments: ["later"] });
  assert.deepEqual(await rows(), before);
});

test("users who are offline are not woken", async () => {
  const users = names("woken", 12);
  await changeMembers(server, "room:woken", { add: users });
  await server.resetLedger();
  await emitted(["room:woken", ...users.map((user) => `user:${user}`)], "wake:up");
  const { object_requests } = await server.ledger();
  assert.ok(object_requests < users.length, `${object_requests} calls of objects, none of the ${users.length} users is online`);
});

test("it does not come on /chat", async () => {
  const chat = await tab(server, "chat", { namespace: "/chat" });
  const beside = server.connectOver(chat, "/notifications");
  await until(() => beside.connected, { what: "both namespaces" });
  await attending(server, ["chat"]);
  await emitted("user:chat", "not:chat");
  await nextEvent(beside, "not:chat", undefined, PATIENT);
  await settled(chat);
  assert.deepEqual(named(chat, "not:chat"), []);
});

test("evicted hubs and switchboards bring it all the same", async () => {
  const socket = await tab(server, "asleep", { departments: ["asleep"] });
  await attending(server, ["asleep"]);
  await server.evict("asleep");
  await server.evictAll("Switchboard");
  await emitted("dept:asleep", "good:morning");
  await nextEvent(socket, "good:morning", undefined, PATIENT);
});

test("admins get what is for admin:notifications, and nobody else does", async () => {
  const admin = await tab(server, "admin", { token: server.token("admin", { claims: { roles: ["admin"] } }) });
  const plain = await tab(server, "plain");
  await attending(server, ["admin", "plain"]);
  await emitted("admin:notifications", "disk:full");
  await nextEvent(admin, "disk:full", undefined, PATIENT);
  await emitted("broadcast", "all:done");
  await nextEvent(plain, "all:done", undefined, PATIENT);
  assert.deepEqual(named(plain, "disk:full"), []);
});

test("an event may be emitted right after a member was put into the room", async () => {
  const socket = await tab(server, "fresh");
  await attending(server, ["fresh"]);
  await changeMembers(server, "room:fresh", { add: ["fresh"] });
  await until(async () => {
    await emitted("room:fresh", "hello:again");
    return named(socket, "hello:again").length > 0;
  }, { ...PATIENT, what: "the switchboard knows the member" });
  await changeMembers(server, "room:fresh", { remove: ["fresh"] });
  await emitted("room:fresh", "good:bye");
  await emitted("user:fresh", "still:here");
  await nextEvent(socket, "still:here", undefined, PATIENT);
  assert.deepEqual(named(socket, "good:bye"), []);
});

test("who was taken out of a room while offline gets nothing for it, though their hub has yet to read of that", async () => {
  await visit(server, "late");
  await changeMembers(server, "room:late", { add: ["late"] });
  const before = await tab(server, "late");
  const rooms = async () => Object.keys((await server.hubInfo("late")).memberships.rooms);
  await until(async () => (await rooms()).includes("room:late"), { ...PATIENT, what: "the hub knows of the room" });
  before.disconnect();
  await attending(server, [], ["late"]);
  await changeMembers(server, "room:late", { remove: ["late"] });
  await server.failPoint("attend-before-read");
  const socket = await tab(server, "late");
  await until(async () => (await server.failPoints())["attend-before-read"].hits === 1, { ...PATIENT, what: "a failed question" });
  const { results } = await emitted("room:late", "good:bye");
  assert.equal(results[0].online_users, 1, "the switchboard takes them for a member still");
  await emitted("user:late", "still:here");
  await nextEvent(socket, "still:here", undefined, PATIENT);
  await settled(socket);
  assert.deepEqual(named(socket, "good:bye"), []);
});

// ---- bad input ----

test("names of the service and of the library are refused", async () => {
  for (const event of [
    "connect", "connect_error", "disconnect", "disconnecting", "error", "newListener", "removeListener", "ping", "pong", "join",
    "authenticated", "auth_error", "auth:refresh", "auth:x", "notification:new", "notification:x", "notifications:seen",
    "notifications:x", "unread:count", "unread:x", "presence:update", "presence:x", "mark:read", "mark:x", "admin:push", "admin:x",
  ]) {
    const { status, body } = await emit({ to: ["user:x"], event });
    assert.deepEqual([status, body.code], [422, "reserved_event"], event);
  }
});

test("what is no event is refused, with all its mistakes", async () => {
  const ok = { to: ["user:x"], event: "x" };
  for (const [more, pointers] of [
    [{ event: undefined }, ["/event"]],
    [{ event: "" }, ["/event"]],
    [{ event: "x".repeat(129) }, ["/event"]],
    [{ event: "a\nb" }, ["/event"]],
    [{ event: 7 }, ["/event"]],
    [{ to: [] }, ["/to"]],
    [{ to: undefined }, ["/to"]],
    [{ to: names("user:u", 101) }, ["/to"]],
    [{ data: [] }, ["/data"]],
    [{ data: "x" }, ["/data"]],
    [{ data: { x: "x".repeat(17_000) } }, ["/data"]],
    [{ event: 7, data: 7 }, ["/event", "/data"]],
  ]) {
    const { status, body } = await emit({ ...ok, ...more });
    assert.ok(status === 400 || status === 422, JSON.stringify(more).slice(0, 80));
    assert.deepEqual(body.errors.map(({ pointer }) => pointer).toSorted(), pointers.toSorted());
  }
  const { status, body } = await emit({ ...ok, ack: true });
  assert.deepEqual([status, body.code], [400, "unknown_field"]);
});

test("what is no room is rejected, what is one is done: 207; with nothing left 422", async () => {
  const socket = await tab(server, "partly");
  await attending(server, ["partly"]);
  const { status, body } = await emit({ to: ["user:partly", "lobby", "dept:"], event: "part:ly" });
  assert.equal(status, 207);
  assert.deepEqual(body.results.map(({ status }) => status), ["accepted", "rejected", "rejected"]);
  await nextEvent(socket, "part:ly", undefined, PATIENT);
  const refused = await emit({ to: ["lobby", "dept:"], event: "part:ly" });
  assert.deepEqual([refused.status, refused.body.code], [422, "invalid_recipient"]);
});

test("it takes its own scope, and no user may emit over HTTP", async () => {
  assert.equal((await emit({ to: ["user:x"], event: "x" }, { key: pusher.key })).status, 403);
  assert.equal((await server.api("POST", "/v1/events", { body: { to: ["user:x"], event: "x" } })).status, 401);
  const { status } = await server.api("POST", "/v1/events", { token: server.token("x"), body: { to: ["user:x"], event: "x" } });
  assert.ok(status === 401 || status === 403);
});
