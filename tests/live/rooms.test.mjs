// Pushes to departments and named rooms (DESIGN 8): who gets them, once, online or later, and what the pusher is told.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { newServiceKey } from "../../scripts/service-key.mjs";
import { known, received } from "./checks.mjs";
import { connected, nextEvent, startServer, until } from "./harness.mjs";
import { startProxy } from "./proxy.mjs";
import {
  PATIENT, RECONNECTING, addMember, attending, changeMembers, got, holds, names, pushedTo, retract, settled, statusOf, tab, visit,
} from "./rooms.mjs";

const full = newServiceKey("full");
const toUsers = newServiceKey("users", ["push:user"]);
const toRooms = newServiceKey("rooms", ["push:room"]);

let server;
before(async () => {
  server = await startServer({
    vars: { SERVICE_KEYS: JSON.stringify([full.record, toUsers.record, toRooms.record]) },
  });
  server.serviceKey = full.key;
});

const A = (prefix) => ({ departments: [`${prefix}-a`] });
const B = (prefix) => ({ departments: [`${prefix}-b`] });

// ---- who gets it ----

test("a member of one department never sees what is pushed to another", async () => {
  const a = await tab(server, "iso-1", A("iso"));
  const b = await tab(server, "iso-2", B("iso"));
  const both = await tab(server, "iso-3", { departments: ["iso-a", "iso-b"] });
  const neither = await tab(server, "iso-4");
  const toA = await pushedTo(server, "dept:iso-a");
  const toB = await pushedTo(server, "dept:iso-b");
  await got(a, [toA]);
  await got(b, [toB]);
  await got(both, [toA, toB]);
  await settled(neither);
  assert.deepEqual([a, b, neither].map(received), [[toA], [toB], []]);
  await holds(server, "iso-1", [toA], A("iso"));
  await holds(server, "iso-2", [toB], B("iso"));
  await holds(server, "iso-3", [toA, toB], { departments: ["iso-a", "iso-b"] });
  await holds(server, "iso-4", []);
});

test("who was a member before a push and is offline has it later; who becomes one after it does not", async () => {
  await visit(server, "when-before", A("when"));
  const here = await tab(server, "when-here", A("when"));
  const id = await pushedTo(server, "dept:when-a");
  await got(here, [id]);
  const after = await tab(server, "when-after", A("when"));
  const back = await tab(server, "when-before", A("when"));
  await got(back, [id]);
  assert.equal(known(back).unread, 1);
  const next = await pushedTo(server, "dept:when-a");
  await Promise.all([here, back, after].map((socket) => got(socket, [next])));
  assert.deepEqual(received(after), [next]);
  await holds(server, "when-after", [next], A("when"));
  await holds(server, "when-before", [id, next], A("when"));
});

test("a user in several of the addressed rooms, and addressed by name too, gets it once", async () => {
  const rooms = { departments: ["once-a", "once-b"] };
  const online = await tab(server, "once-on", rooms);
  await visit(server, "once-off", rooms);
  await addMember(server, "room:once", "once-on");
  await addMember(server, "room:once", "once-off");
  const to = ["dept:once-a", "user:once-on", "room:once", "user:once-off", "dept:once-b", "dept:once-none"];
  const id = await pushedTo(server, to);
  const marker = await pushedTo(server, ["dept:once-a", "dept:once-b", "room:once"]);
  await got(online, [id, marker]);
  const [item] = await holds(server, "once-on", [id, marker], rooms);
  assert.equal(item.seq, 2);
  await holds(server, "once-off", [id, marker], rooms);
  await settled(online);
  assert.deepEqual(received(online), [id, marker]);
  assert.deepEqual(known(online), { unread: 2, seq: 2 });
  await until(async () => (await statusOf(server, id)).counts.delivered === 2, { ...PATIENT, what: "each counts once" });
});

test("every device of a member gets it", async () => {
  const sockets = [];
  for (let i = 0; i < 3; i++) sockets.push(await tab(server, "devices", { ...A("devices"), namespace: i < 2 ? "/notifications" : "/" }));
  const id = await pushedTo(server, "dept:devices-a");
  await Promise.all(sockets.map((socket) => got(socket, [id])));
  await Promise.all(sockets.map(settled));
  assert.deepEqual(sockets.map(received), [[id], [id], [id]]);
});

test("an evicted hub gets a room's push as an awake one does", async () => {
  const socket = await tab(server, "asleep", A("asleep"));
  await attending(server, ["asleep"]);
  const { instance } = await server.hubInfo("asleep");
  await server.evict("asleep");
  const id = await pushedTo(server, "dept:asleep-a");
  await got(socket, [id]);
  assert.notEqual((await server.hubInfo("asleep")).instance, instance);
});

test("pushes to one room come in their order, each once, with seqs without gaps", async () => {
  const socket = await tab(server, "order", A("order"));
  await attending(server, ["order"]);
  const ids = [];
  for (let i = 0; i < 15; i++) ids.push(await pushedTo(server, "dept:order-a"));
  await got(socket, ids);
  assert.deepEqual(received(socket), ids);
  const seqs = socket.events.filter(({ name }) => name === "notification:new").map(({ data }) => data.seq);
  assert.deepEqual(seqs, ids.map((_, i) => i + 1));
});

test("concurrent pushes to one room reach its members, each once", async () => {
  const members = names("many", 6);
  await changeMembers(server, "room:many", { add: members });
  const sockets = await Promise.all(members.map((user) => tab(server, user)));
  await attending(server, members);
  const ids = await Promise.all(Array.from({ length: 30 }, () => pushedTo(server, "room:many")));
  await Promise.all(sockets.map((socket) => got(socket, ids)));
  await Promise.all(members.map((user) => holds(server, user, ids)));
});

// ---- what the pusher is told ----

test("a push to rooms is answered 202 with where to look, and how many are online", async () => {
  const [a1, a2] = await Promise.all([tab(server, "told-1", A("told")), tab(server, "told-2", A("told"))]);
  await attending(server, ["told-1", "told-2"]);
  const to = ["dept:told-a", "room:told-nobody", "user:told-1"];
  const { status, headers, body } = await server.push({ to, title: "T" });
  assert.equal(status, 202);
  assert.equal(headers.location, `/v1/notifications/${body.id}`);
  const [room, nobody, user] = body.results;
  assert.deepEqual(room, { to: "dept:told-a", status: "accepted", online_users: 2 });
  assert.deepEqual(nobody, { to: "room:told-nobody", status: "accepted", online_users: 0 });
  assert.deepEqual([user.to, user.status, user.online], ["user:told-1", "created", true]);
  assert.deepEqual(body.counts, { created: 1, accepted: 2, suppressed: 0, rejected: 0 });
  await got(a1, [body.id]);
  await got(a2, [body.id]);
  const asked = await until(
    async () => {
      const found = await statusOf(server, body.id);
      return found.counts.delivered === 2 && found;
    },
    { ...PATIENT, what: "two deliveries" },
  );
  assert.deepEqual([asked.status, asked.audience], ["sent", to]);
  const path = `/v1/notifications/${body.id}/recipients`;
  const recipients = await server.api("GET", path, { key: full.key });
  assert.deepEqual(recipients.body.items.map(({ user_id }) => user_id), ["told-1", "told-2"]);
});

test("what is no room is rejected, what is one is done: 207; with nothing left 422", async () => {
  const socket = await tab(server, "partly", A("partly"));
  const bad = ["dept:", "room:", "admin", "Broadcast", `room:${"x".repeat(129)}`, "dept:a\n", "lobby"];
  const { status, headers, body } = await server.push({ to: ["dept:partly-a", ...bad], title: "T" });
  assert.equal(status, 207);
  assert.equal(headers.location, `/v1/notifications/${body.id}`);
  assert.deepEqual(body.results.map(({ status }) => status), ["accepted", ...bad.map(() => "rejected")]);
  for (const { problem } of body.results.slice(1)) assert.equal(problem.code, "invalid_recipient");
  await got(socket, [body.id]);
  const refused = await server.push({ to: bad, title: "T" });
  assert.deepEqual([refused.status, refused.body.code], [422, "invalid_recipient"]);
});

test("each kind of room takes its own scope, and what is refused is not stored", async () => {
  const stored = () => server.db.all("SELECT count(*) AS count FROM notifications");
  const earlier = await stored();
  for (const [key, to, status] of [
    [toUsers.key, "dept:x", 403],
    [toUsers.key, "room:x", 403],
    [toUsers.key, "admin:notifications", 403],
    [toUsers.key, "broadcast", 403],
    [toRooms.key, "user:x", 403],
    [toRooms.key, "broadcast", 403],
    [toRooms.key, "announcements", 403],
  ]) {
    const answer = await server.push({ to: [to], title: "T" }, { key });
    assert.equal(answer.status, status, `${to}: ${JSON.stringify(answer.body)}`);
    const mixed = await server.push({ to: [to, key === toUsers.key ? "user:y" : "room:y"], title: "T" }, { key });
    assert.equal(mixed.status, status, `${to} among others: ${JSON.stringify(mixed.body)}`);
  }
  assert.deepEqual(await stored(), earlier);
  await pushedTo(server, ["dept:x", "room:x", "admin:notifications"], {}, { key: toRooms.key });
});

test("a push to rooms repeated under its key is answered the same and done once", async () => {
  const socket = await tab(server, "again", A("again"));
  await visit(server, "again-off", A("again"));
  const push = { to: ["dept:again-a", "user:again"], title: "T" };
  const first = await server.push(push, { idempotencyKey: "again" });
  const second = await server.push(push, { idempotencyKey: "again" });
  assert.deepEqual([first.status, second.status], [202, 202]);
  assert.equal(second.body.id, first.body.id);
  assert.equal(second.headers["idempotent-replayed"], "true");
  assert.equal(second.headers.location, first.headers.location);
  const marker = await pushedTo(server, "dept:again-a");
  await got(socket, [first.body.id, marker]);
  await holds(server, "again", [first.body.id, marker], A("again"));
  await holds(server, "again-off", [first.body.id, marker], A("again"));
  const [{ entries }] = await server.db.all("SELECT count(*) AS entries FROM audience WHERE room = 'dept:again-a'");
  assert.equal(entries, 2);
});

test("pushes of a batch go to rooms and users alike, and a room gets them in their order", async () => {
  const socket = await tab(server, "batch", A("batch"));
  await visit(server, "batch-off", A("batch"));
  const { status, body } = await server.pushBatch([
    { to: ["dept:batch-a"], title: "1" },
    { to: ["user:batch"], title: "2" },
    { to: ["dept:batch-a", "user:batch"], title: "3" },
    { to: ["dept:"], title: "4" },
    { to: ["dept:batch-a", "dept:"], title: "5" },
  ]);
  assert.equal(status, 207);
  assert.deepEqual(body.items.map(({ status }) => status), [202, 201, 202, 422, 207]);
  const ids = [0, 1, 2, 4].map((i) => body.items[i].body.id);
  await got(socket, ids);
  const toRoom = ids.filter((id) => id !== ids[1]);
  assert.deepEqual(received(socket).filter((id) => toRoom.includes(id)).filter((id) => id !== ids[2]), [ids[0], ids[3]]);
  await holds(server, "batch", ids, A("batch"));
  const items = await holds(server, "batch-off", toRoom, A("batch"));
  assert.deepEqual(items.map(({ title }) => title), ["5", "3", "1"]);
});

test("a push to rooms that waits is made when it is due, for who is a member then", async () => {
  const deliver_at = new Date(Date.now() + 3_600_000).toISOString();
  const socket = await tab(server, "later", A("later"));
  const { status, body } = await server.push({ to: ["dept:later-a", "user:later"], title: "T", deliver_at });
  assert.equal(status, 202);
  assert.deepEqual(body.results.map(({ status }) => status), ["scheduled", "scheduled"]);
  await visit(server, "later-new", A("later"));
  await server.db.run("UPDATE scheduled SET deliver_at = ?1 WHERE id = ?2", Date.now() - 60_000, body.id);
  await server.cron();
  await got(socket, [body.id]);
  await holds(server, "later", [body.id], A("later"));
  await holds(server, "later-new", [body.id], A("later"));
  assert.equal((await statusOf(server, body.id)).status, "sent");
});

// ---- what becomes of it ----

test("each member reads, counts and deletes for themselves", async () => {
  const one = await tab(server, "self-1", A("self"));
  const two = await tab(server, "self-2", A("self"));
  const ids = [await pushedTo(server, "dept:self-a"), await pushedTo(server, ["dept:self-a", "user:self-1"])];
  await got(one, ids);
  await got(two, ids);
  assert.equal((await one.emitWithAck("mark:read", { notification_id: ids[0] })).unread, 1);
  assert.equal((await nextEvent(one, "notification:read")).notification_id, ids[0]);
  assert.equal((await one.emitWithAck("notification:delete", { notification_id: ids[1] })).ok, true);
  const [item] = await holds(server, "self-1", [ids[0]], A("self"));
  assert.notEqual(item.read_at, null);
  const others = await holds(server, "self-2", ids, A("self"));
  assert.deepEqual(others.map(({ read_at }) => read_at), [null, null]);
  assert.equal(known(two).unread, 2);
  const rows = () => server.db.all("SELECT user_id, status, read_at FROM deliveries WHERE notification_id = ?1 ORDER BY user_id", ids[0]);
  await until(async () => (await rows()).length === 2 && (await rows())[0].read_at !== null, { ...PATIENT, what: "the record" });
  assert.deepEqual((await rows()).map(({ user_id, status, read_at }) => [user_id, status, read_at !== null]), [
    ["self-1", "delivered", true],
    ["self-2", "delivered", false],
  ]);
  assert.equal((await statusOf(server, ids[0])).read, 1);
});

test("a retracted push leaves the inbox of members who are online and of those who are not", async () => {
  const online = await tab(server, "back-on", A("back"));
  await visit(server, "back-off", A("back"));
  await visit(server, "back-late", A("back"));
  const id = await pushedTo(server, "dept:back-a");
  await got(online, [id]);
  await holds(server, "back-off", [id], A("back"));
  await retract(server, id);
  const { reason, unread } = await nextEvent(online, "notification:deleted", ({ id: other }) => other === id, PATIENT);
  assert.deepEqual([reason, unread], ["retracted", 0]);
  for (const user of ["back-on", "back-off", "back-late"]) await holds(server, user, [], A("back"));
  assert.equal((await statusOf(server, id)).status, "retracted");
});

test("a newer push of the same collapse_key takes the place of the older one, at each member who has not read it", async () => {
  const one = await tab(server, "key-1", A("key"));
  const two = await tab(server, "key-2", A("key"));
  await visit(server, "key-off", A("key"));
  const first = await pushedTo(server, "dept:key-a", { collapse_key: "k" });
  await got(one, [first]);
  await got(two, [first]);
  await two.emitWithAck("mark:read", { notification_id: first });
  const second = await pushedTo(server, "dept:key-a", { collapse_key: "k" });
  await got(one, [second]);
  await got(two, [second]);
  assert.equal((await nextEvent(one, "notification:deleted")).reason, "collapsed");
  await holds(server, "key-1", [second], A("key"));
  await holds(server, "key-2", [first, second], A("key"));
  await holds(server, "key-off", [second], A("key"));
});

test("what has expired is shown to no member any more", async () => {
  const online = await tab(server, "ends-on", A("ends"));
  await visit(server, "ends-off", A("ends"));
  const id = await pushedTo(server, "dept:ends-a", { ttl: 3 });
  const stays = await pushedTo(server, "dept:ends-a");
  await got(online, [id, stays]);
  const { reason } = await nextEvent(online, "notification:deleted", undefined, PATIENT);
  assert.equal(reason, "expired");
  await holds(server, "ends-on", [stays], A("ends"));
  await holds(server, "ends-off", [stays], A("ends"));
});

test("a user who is offline sees a department's pushes over HTTP, and their count", async () => {
  await visit(server, "http-off", A("http"));
  const id = await pushedTo(server, "dept:http-a");
  const token = server.token("http-off", A("http"));
  const counts = await server.api("GET", "/v1/me/notifications/unread-count", { token });
  assert.deepEqual(counts.body, { unread: 1, unseen: 1, seq: 1 });
  await holds(server, "http-off", [id], A("http"));
  const read = await server.api("POST", `/v1/me/notifications/${id}/read`, { token });
  assert.deepEqual([read.status, read.body.unread], [200, 0]);
});

// ---- comings and goings ----

test("a client that was cut off is recovered with the room pushes it missed", async () => {
  const network = await startProxy(server);
  const options = { ...RECONNECTING, url: network.url, ...A("cut") };
  const socket = await tab(server, "cut", options);
  const { id } = socket;
  const first = await pushedTo(server, "dept:cut-a");
  await got(socket, [first]);
  network.interrupt();
  await until(() => !socket.connected, { what: "disconnect" });
  const missed = [await pushedTo(server, "dept:cut-a"), await pushedTo(server, ["dept:cut-a", "user:cut"])];
  network.restore();
  await until(() => socket.connected && socket.recovered, { ...PATIENT, what: "recovered" });
  assert.equal(socket.id, id);
  await got(socket, [first, ...missed]);
  await holds(server, "cut", [first, ...missed], A("cut"));
});

test("what a room was pushed while its member was away comes when they are back, as a batch when it is much", async () => {
  await visit(server, "away", A("away"));
  const ids = [];
  for (let i = 0; i < 25; i++) ids.push(await pushedTo(server, "dept:away-a"));
  const socket = await connected(server.connect("away", A("away")));
  const batch = await nextEvent(socket, "notification:batch", undefined, PATIENT);
  assert.equal(batch.unread_count, 25);
  assert.deepEqual(received(socket), ids);
  await holds(server, "away", ids, A("away"));
});

test("nothing of a room is lost or doubled by a killed runtime", async () => {
  const socket = await tab(server, "dies", { ...RECONNECTING, ...A("dies") });
  await visit(server, "dies-off", A("dies"));
  const first = await pushedTo(server, "dept:dies-a");
  await got(socket, [first]);
  await server.kill();
  await server.restart();
  const second = await pushedTo(server, "dept:dies-a");
  await got(socket, [first, second]);
  await holds(server, "dies", [first, second], A("dies"));
  await holds(server, "dies-off", [first, second], A("dies"));
});
