// Announcements (DESIGN 6, 8): one row in the record, and in the list of everybody, online or not, exactly once.
import assert from "node:assert/strict";
import { before, beforeEach, test } from "node:test";
import { known, received } from "./checks.mjs";
import { nextEvent, startServer, until } from "./harness.mjs";
import { PATIENT, got, holds, names, pushedTo, retract, settled, statusOf, tab, tabs, visit } from "./rooms.mjs";

let server;
before(async () => {
  server = await startServer();
});

// Everybody hears of every announcement: each test has users of its own, who come when it begins.
let run = 0;
let user;
beforeEach(() => {
  run += 1;
  user = (name) => `${name}-${run}`;
});

test("users who are online and users who are not have it once each, with a read state of their own", async () => {
  const [on, away] = [[user("on-1"), user("on-2")], [user("off-1"), user("off-2")]];
  for (const name of away) await visit(server, name);
  const sockets = await tabs(server, on);
  const id = await pushedTo(server, "broadcast");
  for (const socket of sockets) await got(socket, [id]);
  assert.equal((await sockets[0].emitWithAck("mark:read", { notification_id: id })).unread, 0);
  const [read] = await holds(server, on[0], [id]);
  assert.notEqual(read.read_at, null);
  for (const name of [on[1], ...away]) {
    const [item] = await holds(server, name, [id]);
    assert.equal(item.read_at, null, name);
  }
  for (const socket of sockets) assert.deepEqual(received(socket), [id]);
  const back = await tab(server, away[0]);
  await settled(back);
  assert.deepEqual(known(back), { unread: 1, seq: 1 });
});

test("it is one row in the record however many have it", async () => {
  const sockets = await tabs(server, names(user("row"), 10));
  const id = await pushedTo(server, ["broadcast", "announcements"]);
  for (const socket of sockets) await got(socket, [id]);
  const entries = await server.db.all("SELECT room FROM audience WHERE ref = ?1 AND kind = 'push'", id);
  assert.deepEqual(entries, [{ room: "broadcast" }]);
  assert.deepEqual((await statusOf(server, id)).audience, ["broadcast"]);
});

test("what was announced before the first contact of a user is not theirs", async () => {
  await pushedTo(server, "broadcast");
  const socket = await tab(server, user("new"));
  const { body } = await server.api("GET", "/v1/me/notifications", { token: server.token(user("new-http")) });
  assert.deepEqual(body.items, []);
  const id = await pushedTo(server, "broadcast");
  await got(socket, [id]);
  await holds(server, user("new"), [id]);
  await holds(server, user("new-http"), [id]);
});

test("a user who only ever uses HTTP has what was announced since they first did, in list and count", async () => {
  const token = server.token(user("http"));
  const counts = () => server.api("GET", "/v1/me/notifications/unread-count", { token });
  assert.deepEqual((await counts()).body, { unread: 0, unseen: 0, seq: 0 });
  const first = await pushedTo(server, "broadcast");
  assert.deepEqual((await counts()).body, { unread: 1, unseen: 1, seq: 1 });
  const second = await pushedTo(server, "broadcast");
  await holds(server, user("http"), [first, second]);
});

test("a push to one's own inbox is no contact: the first one still decides", async () => {
  const own = await server.push(user("pushed"));
  assert.equal(own.status, 201);
  await pushedTo(server, "broadcast");
  const socket = await tab(server, user("pushed"));
  const id = await pushedTo(server, "broadcast");
  await got(socket, [own.body.id, id]);
  await holds(server, user("pushed"), [own.body.id, id]);
});

test("a retracted announcement leaves every inbox, of those online and of those not", async () => {
  await visit(server, user("off"));
  await visit(server, user("late"));
  const socket = await tab(server, user("on"));
  const id = await pushedTo(server, "broadcast");
  await got(socket, [id]);
  await holds(server, user("off"), [id]);
  await retract(server, id);
  const deleted = await nextEvent(socket, "notification:deleted", undefined, PATIENT);
  assert.deepEqual([deleted.notification_id, deleted.reason, deleted.unread], [id, "retracted", 0]);
  for (const name of ["on", "off", "late"]) await holds(server, user(name), []);
  await retract(server, id);
});

test("who has muted its category does not have it", async () => {
  const body = { muted: ["news"] };
  for (const name of ["deaf", "deaf-off"]) {
    const { status } = await server.api("PUT", "/v1/me/preferences", { token: server.token(user(name)), body });
    assert.equal(status, 200);
  }
  await visit(server, user("deaf-off"));
  const deaf = await tab(server, user("deaf"));
  const hears = await tab(server, user("hears"));
  const news = await pushedTo(server, "broadcast", { category: "news" });
  const other = await pushedTo(server, "broadcast", { category: "other" });
  await got(hears, [news, other]);
  await got(deaf, [other]);
  await holds(server, user("deaf"), [other]);
  await holds(server, user("deaf-off"), [other]);
  assert.deepEqual(received(deaf), [other]);
});

test("an announcement that has expired is shown to nobody", async () => {
  await visit(server, user("off"));
  const socket = await tab(server, user("on"));
  const id = await pushedTo(server, "broadcast", { ttl: 2 });
  await got(socket, [id]);
  const { reason } = await nextEvent(socket, "notification:deleted", undefined, PATIENT);
  assert.equal(reason, "expired");
  await holds(server, user("on"), []);
  await holds(server, user("off"), []);
});

test("everybody's own acknowledgement makes it delivered to them", async () => {
  const options = { query: { ack: "on" } };
  const [yes, no] = [await tab(server, user("yes"), options), await tab(server, user("no"), options)];
  const id = await pushedTo(server, "broadcast");
  await got(no, [id]);
  const { recipient_id } = await nextEvent(yes, "notification:new", undefined, PATIENT);
  assert.deepEqual((await yes.emitWithAck("notification:acknowledge", { recipient_id })).ok, true);
  const status = async (name) => {
    const sql = "SELECT status FROM deliveries WHERE notification_id = ?1 AND user_id = ?2";
    return (await server.db.all(sql, id, user(name))).map(({ status }) => status);
  };
  await until(async () => (await status("yes"))[0] === "delivered", { ...PATIENT, what: "delivered" });
  assert.notDeepEqual(await status("no"), ["delivered"]);
});

test("a deleted announcement stays deleted for who deleted it", async () => {
  const [one, two] = await tabs(server, [user("one"), user("two")]);
  const id = await pushedTo(server, "broadcast");
  await got(one, [id]);
  await got(two, [id]);
  const token = server.token(user("one"));
  assert.equal((await server.api("DELETE", `/v1/me/notifications/${id}`, { token })).status, 204);
  one.disconnect();
  const back = await tab(server, user("one"));
  const next = await pushedTo(server, "broadcast");
  await got(back, [next]);
  await holds(server, user("one"), [next]);
  await holds(server, user("two"), [id, next]);
});

test("users erased and back again have only what was announced since", async () => {
  const socket = await tab(server, user("erased"));
  const id = await pushedTo(server, "broadcast");
  await got(socket, [id]);
  const { status } = await server.api("DELETE", `/v1/users/${user("erased")}`, { key: server.serviceKey });
  assert.equal(status, 202);
  // Tokens from before are refused: those of the same second count among them.
  const claims = { iat: Math.floor(Date.now() / 1000) + 1 };
  await until(
    async () => (await server.api("GET", "/v1/me/notifications", { token: server.token(user("erased"), { claims }) })).status === 200,
    { ...PATIENT, what: "a new inbox" },
  );
  const next = await pushedTo(server, "broadcast");
  await holds(server, user("erased"), [next], { claims });
});

test("a room and an announcement bring a user the same push once", async () => {
  const departments = ["overlap"];
  const socket = await tab(server, user("overlap"), { departments });
  await visit(server, user("overlap-off"), { departments });
  const id = await pushedTo(server, ["dept:overlap", "broadcast"]);
  const marker = await pushedTo(server, "dept:overlap");
  await got(socket, [id, marker]);
  await holds(server, user("overlap"), [id, marker], { departments });
  await holds(server, user("overlap-off"), [id, marker], { departments });
});
