// Who is in which room (DESIGN 8): by token, by the membership API, and what counts when both have something to say.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { received } from "./checks.mjs";
import { startServer } from "./harness.mjs";
import {
  addMember, attending, changeMembers, got, holds, member, names, pushedTo, removeMember, settled, tab, tabs, visit,
} from "./rooms.mjs";

let server;
before(async () => {
  server = await startServer();
});

const seconds = (ms) => Math.floor(ms / 1000);

/** A token that was issued at that moment, in seconds. */
const issued = (user, iat, departments) => server.token(user, { departments, claims: { iat } });

/** A moment, in seconds, that is after now by every clock. */
const soon = () => seconds(Date.now()) + 1;

// ---- by the API ----

test("a user is put into a room and taken out while online: only what is pushed between is theirs", async () => {
  const socket = await tab(server, "on");
  const witness = await tab(server, "on-witness");
  await addMember(server, "room:on", "on-witness");
  const ids = [await pushedTo(server, "room:on")];
  await addMember(server, "room:on", "on");
  ids.push(await pushedTo(server, "room:on"));
  await got(socket, [ids[1]]);
  await removeMember(server, "room:on", "on");
  ids.push(await pushedTo(server, "room:on"));
  await got(witness, ids);
  await settled(socket);
  assert.deepEqual(received(socket), [ids[1]]);
  await holds(server, "on", [ids[1]]);
});

test("a user who is taken out while their hub can't read the record gets nothing of what is pushed then", async () => {
  const socket = await tab(server, "unread");
  const witness = await tab(server, "unread-witness");
  await changeMembers(server, "room:unread", { add: ["unread", "unread-witness"] });
  const ids = [await pushedTo(server, "room:unread")];
  await got(socket, ids);
  await server.failPoint("catch-up-before-pull");
  // Nor does the hub hear of it by the queue.
  await server.failPoint("nudge-queued");
  await removeMember(server, "room:unread", "unread");
  await server.evict("unread");
  ids.push(await pushedTo(server, "room:unread"));
  await got(witness, ids);
  await settled(socket);
  assert.deepEqual(received(socket), [ids[0]]);
  await holds(server, "unread", [ids[0]]);
});

test("a user is put into a room and taken out while offline: only what is pushed between is theirs", async () => {
  await visit(server, "off");
  await pushedTo(server, "room:off");
  await addMember(server, "room:off", "off");
  const id = await pushedTo(server, "room:off");
  await removeMember(server, "room:off", "off");
  await pushedTo(server, "room:off");
  const socket = await tab(server, "off");
  await got(socket, [id]);
  await holds(server, "off", [id]);
  await pushedTo(server, "room:off");
  await settled(socket);
  await holds(server, "off", [id]);
});

test("a user who was never seen is put into a room and has what is pushed from then on", async () => {
  await pushedTo(server, "room:never");
  await addMember(server, "room:never", "never");
  const id = await pushedTo(server, "room:never");
  await got(await tab(server, "never"), [id]);
  await holds(server, "never", [id]);
});

test("who is taken out still lists what they got, and may read it", async () => {
  await visit(server, "keeps-off");
  const socket = await tab(server, "keeps");
  await changeMembers(server, "room:keeps", { add: ["keeps", "keeps-off"] });
  const id = await pushedTo(server, "room:keeps");
  await got(socket, [id]);
  assert.deepEqual(await changeMembers(server, "room:keeps", { remove: ["keeps", "keeps-off"] }), { added: 0, removed: 2 });
  await pushedTo(server, "room:keeps");
  assert.equal((await socket.emitWithAck("mark:read", { notification_id: id })).unread, 0);
  await holds(server, "keeps", [id]);
  await holds(server, "keeps-off", [id]);
});

test("a member who was away from a room misses what came between, for ever", async () => {
  const socket = await tab(server, "between");
  await addMember(server, "room:between", "between");
  const first = await pushedTo(server, "room:between");
  await removeMember(server, "room:between", "between");
  await pushedTo(server, "room:between");
  await addMember(server, "room:between", "between");
  const last = await pushedTo(server, "room:between");
  await got(socket, [first, last]);
  await holds(server, "between", [first, last]);
});

test("to put somebody in twice or take them out twice changes nothing", async () => {
  const socket = await tab(server, "twice");
  await addMember(server, "room:twice", "twice");
  const first = await pushedTo(server, "room:twice");
  await addMember(server, "room:twice", "twice");
  const second = await pushedTo(server, "room:twice");
  await got(socket, [first, second]);
  await removeMember(server, "room:twice", "twice");
  await removeMember(server, "room:twice", "twice");
  await removeMember(server, "room:twice", "twice-nobody");
  await pushedTo(server, "room:twice");
  await holds(server, "twice", [first, second]);
});

test("many are put in and taken out at once, and the answer says how many", async () => {
  const users = names("bulk", 20);
  const online = users.slice(0, 10);
  const sockets = await tabs(server, online);
  assert.deepEqual(await changeMembers(server, "room:bulk", { add: users }), { added: 20, removed: 0 });
  assert.deepEqual(await changeMembers(server, "room:bulk", { add: users }), { added: 0, removed: 0 });
  const first = await pushedTo(server, "room:bulk");
  await Promise.all(sockets.map((socket) => got(socket, [first])));
  const [left, stay] = [users.filter((_, i) => i % 2 === 0), users.filter((_, i) => i % 2 === 1)];
  assert.deepEqual(await changeMembers(server, "room:bulk", { remove: left, add: ["bulk-new"] }), { added: 1, removed: 10 });
  const second = await pushedTo(server, "room:bulk");
  await Promise.all(sockets.filter((_, i) => i % 2 === 1).map((socket) => got(socket, [first, second])));
  await Promise.all([
    ...stay.map((user) => holds(server, user, [first, second])),
    ...left.map((user) => holds(server, user, [first])),
    holds(server, "bulk-new", [second]),
  ]);
});

test("membership survives evicted objects and a killed runtime", async () => {
  await addMember(server, "room:survives", "survives");
  await addMember(server, "room:survives", "survives-off");
  await visit(server, "survives");
  await server.evictAll();
  await server.evictAll("Switchboard");
  const first = await pushedTo(server, "room:survives");
  await server.kill();
  await server.restart();
  const socket = await tab(server, "survives");
  const second = await pushedTo(server, "room:survives");
  await got(socket, [first, second]);
  await holds(server, "survives-off", [first, second]);
});

// ---- by the token ----

test("a newer token without a department takes its user out; what they got stays", async () => {
  const first = await tab(server, "drops", { token: issued("drops", soon() - 10, ["drops"]) });
  const id = await pushedTo(server, "dept:drops");
  await got(first, [id]);
  const second = await tab(server, "drops", { token: issued("drops", soon(), []) });
  const marker = await pushedTo(server, ["dept:drops", "user:drops"]);
  const later = await pushedTo(server, "dept:drops");
  await got(second, [marker]);
  await settled(first);
  assert.ok(!received(first).includes(later));
  await holds(server, "drops", [id, marker]);
});

test("an older token than the newest one seen brings no room and takes none away", async () => {
  const now = soon();
  await tab(server, "older", { token: issued("older", now, ["older-a"]) });
  const old = await tab(server, "older", { token: issued("older", now - 100, ["older-b"]) });
  const id = await pushedTo(server, "dept:older-a");
  await pushedTo(server, "dept:older-b");
  await got(old, [id]);
  await holds(server, "older", [id], { departments: ["older-a"], claims: { iat: now } });
});

test("a user who changes department has of each what was pushed while they were in it", async () => {
  const now = soon();
  const first = await tab(server, "moves", { token: issued("moves", now - 20, ["moves-a"]) });
  const a = await pushedTo(server, "dept:moves-a");
  await pushedTo(server, "dept:moves-b");
  await got(first, [a]);
  const second = await tab(server, "moves", { token: issued("moves", now - 10, ["moves-b"]) });
  await pushedTo(server, "dept:moves-a");
  const b = await pushedTo(server, "dept:moves-b");
  await got(second, [b]);
  const third = await tab(server, "moves", { token: issued("moves", now, ["moves-a", "moves-b"]) });
  const both = await pushedTo(server, ["dept:moves-a", "dept:moves-b"]);
  await got(third, [both]);
  await holds(server, "moves", [a, b, both], { departments: ["moves-a", "moves-b"] });
});

test("the record knows the rooms of a token, and only changes are written", async () => {
  await visit(server, "known", { departments: ["known-a", "known-b"] });
  await attending(server, [], ["known"]);
  const rows = () =>
    server.db.all("SELECT room, source, removed_at IS NULL AS live FROM memberships WHERE user_id = 'known' ORDER BY room");
  const both = ["dept:known-a", "dept:known-b"].map((room) => ({ room, source: "token", live: 1 }));
  assert.deepEqual(await rows(), both);
  await visit(server, "known", { departments: ["known-b"] });
  assert.deepEqual((await rows()).map(({ room, live }) => [room, live]), [["dept:known-a", 0], ["dept:known-b", 1]]);
});

// ---- when both have something to say ----

test("a token from before a removal by the API does not bring the department back; a newer one does", async () => {
  const before = issued("both", seconds(Date.now()), ["both"]);
  const socket = await tab(server, "both", { token: before });
  const first = await pushedTo(server, "dept:both");
  await got(socket, [first]);
  await removeMember(server, "dept:both", "both");
  const after = soon();
  await pushedTo(server, "dept:both");
  socket.disconnect();
  const again = await tab(server, "both", { token: before });
  await attending(server, ["both"]);
  const marker = await pushedTo(server, ["dept:both", "user:both"]);
  await got(again, [marker]);
  await holds(server, "both", [first, marker], { departments: ["both"], claims: { iat: after - 10 } });

  const newer = await tab(server, "both", { token: issued("both", after, ["both"]) });
  const last = await pushedTo(server, "dept:both");
  await got(newer, [last]);
  await holds(server, "both", [first, marker, last], { departments: ["both"], claims: { iat: after } });
});

test("a removal by the API of a user who was never seen holds against their older token", async () => {
  const token = issued("early", seconds(Date.now()), ["early"]);
  await removeMember(server, "dept:early", "early");
  const socket = await tab(server, "early", { token });
  await attending(server, ["early"]);
  await pushedTo(server, "dept:early");
  const marker = await pushedTo(server, ["dept:early", "user:early"]);
  await got(socket, [marker]);
  const { body } = await server.api("GET", "/v1/me/notifications", { token });
  assert.deepEqual(body.items.map(({ id }) => id), [marker]);
});

test("membership by the API survives a token without the department", async () => {
  await addMember(server, "dept:api", "api");
  const socket = await tab(server, "api", { departments: [] });
  const first = await pushedTo(server, "dept:api");
  await got(socket, [first]);
  // Also when a token had it meanwhile and the next has it no more.
  const now = soon();
  await tab(server, "api", { token: issued("api", now, ["api"]) });
  const newest = await tab(server, "api", { token: issued("api", now + 1, []) });
  const second = await pushedTo(server, "dept:api");
  await got(newest, [second]);
  await holds(server, "api", [first, second], { claims: { iat: now + 1 } });
});

test("a member by token whom the API adds as well misses nothing and gets nothing twice", async () => {
  const socket = await tab(server, "adds", { departments: ["adds"] });
  const first = await pushedTo(server, "dept:adds");
  await addMember(server, "dept:adds", "adds");
  const second = await pushedTo(server, "dept:adds");
  await got(socket, [first, second]);
  await holds(server, "adds", [first, second], { departments: ["adds"] });
});

test("the API puts back whom it has taken out, whatever their token says", async () => {
  const token = issued("returns", seconds(Date.now()), ["returns"]);
  const socket = await tab(server, "returns", { token });
  await removeMember(server, "dept:returns", "returns");
  await pushedTo(server, "dept:returns");
  await addMember(server, "dept:returns", "returns");
  const id = await pushedTo(server, "dept:returns");
  await got(socket, [id]);
  const { body } = await server.api("GET", "/v1/me/notifications", { token });
  assert.deepEqual(body.items.map((item) => item.id), [id]);
});

// ---- who may ask, and for what ----

test("memberships of other rooms, and of no room, are refused", async () => {
  for (const room of ["broadcast", "announcements", "admin:notifications", "user:x", "dept:", "room:", "lobby"]) {
    for (const method of ["PUT", "DELETE"]) {
      const { status, body } = await member(server, method, room, "x");
      assert.equal(status, 422, `${method} ${room}: ${JSON.stringify(body)}`);
    }
  }
});

test("only a service changes memberships", async () => {
  const user = { token: server.token("self") };
  for (const options of [{}, user]) {
    const { status } = await member(server, "PUT", "room:own", "self", options);
    assert.ok(status === 401 || status === 403, `answered ${status}`);
  }
  await pushedTo(server, "room:own");
  await holds(server, "self", []);
});

test("1,000 changes are one request's most", async () => {
  const change = (body) => server.api("POST", "/v1/rooms/room%3Amost/members", { key: server.serviceKey, body });
  assert.equal((await change({ add: names("m", 1_001) })).status, 422);
  assert.equal((await change({ add: names("m", 501), remove: names("n", 500) })).status, 422);
  assert.deepEqual(await server.db.all("SELECT 1 FROM memberships WHERE room = 'room:most'"), []);
  const { status, body } = await change({ add: names("m", 1_000) });
  assert.deepEqual([status, body], [200, { added: 1_000, removed: 0 }]);
  const [{ count }] = await server.db.all("SELECT count(*) AS count FROM memberships WHERE room = 'room:most'");
  assert.equal(count, 1_000);
});
