// `/chat` (DESIGN 8): clients hear who comes and goes, of those they may hear of, and nothing of the inbox.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { nextEvent, startServer, until } from "./harness.mjs";
import { PATIENT, attending, changeMembers, names, pushedTo, settled, tab, tabs } from "./rooms.mjs";

const QUIET = { PING_INTERVAL_MS: "1800000" };
const CHAT = { namespace: "/chat" };

let server;
before(async () => {
  server = await startServer({ vars: QUIET });
});

/** A client on /chat, whom the switchboards know to follow presence. */
async function watcher(at, user, departments) {
  const socket = await tab(at, user, { ...CHAT, departments });
  await attending(at, [user]);
  return socket;
}

/** What a client was told of users, in order: `[user, online]`. */
function told(socket) {
  const updates = socket.events.filter(({ name }) => name === "presence:update");
  return updates.flatMap(({ data }) => data.users.map(({ user_id, online }) => [user_id, online]));
}

const toldOf = (socket, user) => told(socket).filter(([id]) => id === user).map(([, online]) => online);

async function hears(socket, user, online) {
  await until(() => toldOf(socket, user).at(-1) === online, {
    ...PATIENT,
    what: () => `${user} online: ${online}, at a client that heard ${JSON.stringify(told(socket))}`,
  });
}

test("who comes and who goes is told to those who share a department, and to nobody else", async () => {
  const [mine, other] = [await watcher(server, "share-w", ["share"]), await watcher(server, "share-o", ["share-not"])];
  const socket = await tab(server, "share-u", { departments: ["share"] });
  await hears(mine, "share-u", true);
  const [{ data }] = mine.events.filter(({ name, data }) => name === "presence:update" && data.users.some(({ user_id }) => user_id === "share-u"));
  const user = data.users.find(({ user_id }) => user_id === "share-u");
  assert.deepEqual(Object.keys(user).toSorted(), ["last_seen_at", "online", "user_id"]);
  assert.ok(Math.abs(Date.now() - Date.parse(user.last_seen_at)) < 60_000);
  socket.disconnect();
  await hears(mine, "share-u", false);
  assert.deepEqual(toldOf(mine, "share-u"), [true, false]);
  // Somebody both may hear of, as a marker.
  await tab(server, "share-m", { departments: ["share", "share-not"] });
  await hears(other, "share-m", true);
  assert.deepEqual(toldOf(other, "share-u"), []);
});

test("rooms of the membership API that are departments count, named rooms do not", async () => {
  await changeMembers(server, "dept:made", { add: ["made-w", "made-u"] });
  await changeMembers(server, "room:made", { add: ["made-w", "made-n"] });
  const socket = await watcher(server, "made-w");
  await tab(server, "made-n");
  await attending(server, ["made-n"]);
  await tab(server, "made-u");
  await hears(socket, "made-u", true);
  assert.deepEqual(toldOf(socket, "made-n"), []);
});

test("only the first tab and the last are told; a reload within the grace time is not", async () => {
  const departments = ["tabs"];
  const socket = await watcher(server, "tabs-w", departments);
  const first = await tab(server, "tabs-u", { departments });
  await hears(socket, "tabs-u", true);
  const second = await tab(server, "tabs-u", { departments });
  first.disconnect();
  second.disconnect();
  const third = await tab(server, "tabs-u", { departments });
  await attending(server, ["tabs-u"]);
  third.disconnect();
  await hears(socket, "tabs-u", false);
  assert.deepEqual(toldOf(socket, "tabs-u"), [true, false]);
  const fourth = await tab(server, "tabs-u", { departments });
  await hears(socket, "tabs-u", true);
  assert.deepEqual(toldOf(socket, "tabs-u"), [true, false, true]);
  fourth.disconnect();
});

test("several who come within a second are one event", async () => {
  const own = await startServer({ vars: { ...QUIET, SWITCHBOARDS: "1" } });
  const departments = ["batch"];
  const socket = await watcher(own, "batch-w", departments);
  const users = names("batch-u", 12);
  await tabs(own, users, { departments });
  for (const user of users) await hears(socket, user, true);
  const events = socket.events.filter(({ name }) => name === "presence:update");
  assert.ok(events.length <= 3, `${events.length} events for ${users.length} users`);
  for (const user of users) assert.deepEqual(toldOf(socket, user), [true]);
  await own.stop();
});

test("nobody is told of themselves, and the tabs of a user on other namespaces hear nothing", async () => {
  const departments = ["self"];
  const socket = await watcher(server, "self-w", departments);
  const beside = await tab(server, "self-w", { departments });
  const plain = await tab(server, "self-p", { departments });
  await hears(socket, "self-p", true);
  socket.disconnect();
  const again = await tab(server, "self-w", { ...CHAT, departments });
  await tab(server, "self-u", { departments });
  await hears(again, "self-u", true);
  await Promise.all([settled(beside), settled(plain)]);
  assert.deepEqual([...toldOf(socket, "self-w"), ...toldOf(again, "self-w")], []);
  for (const other of [beside, plain]) assert.ok(!other.events.some(({ name }) => name === "presence:update"));
});

test("an evicted hub with a client on /chat is told; evicted switchboards still know whom to tell", async () => {
  const departments = ["asleep"];
  const socket = await watcher(server, "asleep-w", departments);
  await Promise.all([server.evict("asleep-w"), server.evictAll("Switchboard")]);
  const user = await tab(server, "asleep-u", { departments });
  await hears(socket, "asleep-u", true);
  await server.evictAll("Switchboard");
  user.disconnect();
  await hears(socket, "asleep-u", false);
});

test("a department with more users online than the limit hears of nobody; a smaller one beside it does", async () => {
  const own = await startServer({ vars: { ...QUIET, PRESENCE_ROOM_LIMIT: "4" } });
  const socket = await watcher(own, "limit-w", ["large", "small"]);
  await tabs(own, names("limit-l", 4), { departments: ["large"] });
  await attending(own, names("limit-l", 4));
  const before = told(socket).length;
  await tab(own, "limit-u", { departments: ["large"] });
  await attending(own, ["limit-u"]);
  await tab(own, "limit-s", { departments: ["small"] });
  await hears(socket, "limit-s", true);
  assert.deepEqual(toldOf(socket, "limit-u"), []);
  assert.ok(before <= 4);
  await own.stop();
});

test("a limit of 0 switches it off; presence:query still answers", async () => {
  const own = await startServer({ vars: { ...QUIET, PRESENCE_ROOM_LIMIT: "0" } });
  const departments = ["none"];
  const socket = await watcher(own, "none-w", departments);
  await tab(own, "none-u", { departments });
  await attending(own, ["none-u"]);
  const { users } = await socket.emitWithAck("presence:query", { users: ["none-u"] });
  assert.equal(users[0].online, true);
  // A batch waits a second; another user's coming and going takes longer.
  const other = await tab(own, "none-o", { departments });
  other.disconnect();
  await attending(own, [], ["none-o"]);
  await settled(socket);
  assert.deepEqual(told(socket), []);
  await own.stop();
});

test("with the scope `all` everybody is told of everybody, and may ask about everybody", async () => {
  const own = await startServer({ vars: { ...QUIET, PRESENCE_SCOPE: "all" } });
  const socket = await watcher(own, "all-w");
  const user = await tab(own, "all-u", { departments: ["x"] });
  await hears(socket, "all-u", true);
  const { ok, users } = await socket.emitWithAck("presence:query", { users: ["all-u", "all-w", "all-n"] });
  assert.deepEqual([ok, users.map(({ user_id, online }) => [user_id, online])], [true, [["all-u", true], ["all-w", true], ["all-n", false]]]);
  user.disconnect();
  await hears(socket, "all-u", false);
  await own.stop();
});

// ---- presence:query ----

test("presence:query is answered on every namespace, in the order asked, about those who share a department", async () => {
  const departments = ["query"];
  await tab(server, "query-on", { departments });
  await tab(server, "query-other", { departments: ["query-not"] });
  const gone = await tab(server, "query-off", { departments });
  await attending(server, ["query-on", "query-other", "query-off"]);
  gone.disconnect();
  await attending(server, [], ["query-off"]);
  for (const namespace of ["/chat", "/notifications", "/"]) {
    const socket = await tab(server, "query-w", { namespace, departments });
    const asked = ["query-other", "query-off", "query-never", "query-on"];
    const answer = await socket.emitWithAck("presence:query", { users: asked });
    assert.equal(answer.ok, true, JSON.stringify(answer));
    assert.equal(answer.consistency, "eventual");
    const [other, off, never, on] = answer.users;
    assert.deepEqual(other, { user_id: "query-other", online: false, last_seen_at: null });
    assert.deepEqual([off.user_id, off.online, off.last_seen_at === null], ["query-off", false, false]);
    assert.deepEqual(never, { user_id: "query-never", online: false, last_seen_at: null });
    assert.deepEqual([on.user_id, on.online], ["query-on", true]);
    socket.disconnect();
  }
});

test("presence:query about too many, nobody or nonsense is refused, and the socket stays", async () => {
  const socket = await tab(server, "wrong-w", CHAT);
  for (const payload of [{ users: names("w", 101) }, { users: [] }, { users: [""] }, { users: "u1" }, {}, null, 7]) {
    const answer = await socket.emitWithAck("presence:query", payload);
    assert.deepEqual([answer.ok, answer.error.code], [false, "INVALID_PAYLOAD"], JSON.stringify(payload));
  }
  assert.equal((await socket.emitWithAck("presence:query", { users: names("w", 100) })).users.length, 100);
});

// ---- what /chat is not ----

test("nothing of the inbox comes on /chat, and nothing of it can be done there", async () => {
  const departments = ["inbox"];
  const chat = await watcher(server, "inbox-u", departments);
  const beside = server.connectOver(chat, "/notifications");
  await until(() => beside.connected, { what: "both namespaces" });
  const id = await pushedTo(server, ["dept:inbox", "user:inbox-u"]);
  await nextEvent(beside, "notification:new", ({ id: other }) => other === id, PATIENT);
  for (const [event, payload] of [["mark:read", { notification_id: id }], ["mark:all:read"], ["notification:acknowledge", { recipient_id: id }]]) {
    const answer = await chat.emitWithAck(event, ...(payload ? [payload] : [{}]));
    assert.equal(answer.ok, false, event);
  }
  await settled(chat);
  const inbox = chat.events.filter(({ name }) => /^(notification|notifications|unread)/.test(name));
  assert.deepEqual(inbox, []);
});

test("a user with a client on /chat alone is online, and has what is pushed when they look", async () => {
  const departments = ["alone"];
  await watcher(server, "alone-u", departments);
  const id = await pushedTo(server, "dept:alone");
  const token = server.token("alone-u", { departments });
  await until(
    async () => (await server.api("GET", "/v1/me/notifications", { token })).body.items.some((item) => item.id === id),
    { ...PATIENT, what: "it is listed" },
  );
});

// ---- what it costs ----

test("a hub without a client on /chat is not woken by presence", async () => {
  const own = await startServer({ vars: QUIET });
  const departments = ["cheap"];
  const socket = await watcher(own, "cheap-w", departments);
  const cost = async (user) => {
    const before = toldOf(socket, user).length;
    await own.resetLedger();
    const other = await tab(own, user, { departments });
    await until(() => toldOf(socket, user).length === before + 1, { ...PATIENT, what: `${user} came` });
    other.disconnect();
    await until(() => toldOf(socket, user).length === before + 2, { ...PATIENT, what: `${user} went` });
    return (await own.ledger()).object_requests;
  };
  const alone = await cost("cheap-u");
  const silent = names("cheap-s", 30);
  await tabs(own, silent, { departments });
  await attending(own, silent);
  for (const user of silent) await hears(socket, user, true);
  const among = await cost("cheap-u");
  assert.ok(among < alone + silent.length / 2, `${among} calls of objects among ${silent.length} others, ${alone} without them`);
  await own.stop();
});

test("with nobody on /chat, presence costs no call of an object", async () => {
  const own = await startServer({ vars: { ...QUIET, SWITCHBOARDS: "4" } });
  const departments = ["nobody"];
  const users = names("nobody", 20);
  await own.resetLedger();
  const sockets = await tabs(own, users, { departments });
  await until(async () => (await own.ledger()).record_batches > 0, PATIENT);
  for (const socket of sockets) socket.disconnect();
  await until(async () => (await Promise.all(users.map((user) => own.hubInfo(user)))).every((hub) => hub.sockets === 0), PATIENT);
  const before = await own.ledger();
  await attending(own, [], users);
  const asked = (await own.ledger()).object_requests - before.object_requests;
  // Whoever asks is counted: each look asks each switchboard once, and there are no others than those.
  const looks = (await own.ledger()).worker_requests - before.worker_requests;
  assert.ok(asked <= looks * 4, `${asked} calls of objects in ${looks} looks`);
  await own.stop();
});
