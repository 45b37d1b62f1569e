// The object between many hubs and the record, with real clients: how an entry of shared rooms reaches those who are online, what
// many hubs cost that come at once, and what of it survives a crash.
import assert from "node:assert/strict";
import { before, beforeEach, test } from "node:test";
import { connected, nextEvent, startServer, until } from "./harness.mjs";

const NEW = "notification:new";

let server;
before(async () => {
  server = await startServer({ vars: { SWITCHBOARDS: "2", PING_INTERVAL_MS: "3000" } });
});

let room = 0;
beforeEach(() => {
  room += 1;
});

/** The names of `count` users of this test, and the department they are in. */
const names = (count) => Array.from({ length: count }, (_, n) => `u${room}-${n}`);
const department = () => `d${room}`;

/** Connects these users, in the department, and waits until the switchboards know them. */
async function crowd(users, options = {}) {
  const sockets = users.map((user) => server.connect(user, { departments: [department()], ...options }));
  await Promise.all(sockets.map((socket) => connected(socket, { timeout: 30_000 })));
  await online(users.length);
  return sockets;
}

/** Waits until so many users are online in the department. */
const online = (count) =>
  until(async () => (await presence()).online === count, { timeout: 30_000, what: `${count} users are online` });

async function presence() {
  const { body } = await server.api("GET", `/v1/presence/rooms/dept:${department()}?limit=1`, { key: server.serviceKey });
  return body;
}

async function announce(to = [`dept:${department()}`]) {
  const { status, body } = await server.push({ to, title: "All" });
  assert.ok(status < 300, JSON.stringify(body));
  return body.id;
}

/** With the departments: a newer token without them takes its user out. */
async function listed(user) {
  const token = server.token(user, { departments: [department()] });
  const { body } = await server.api("GET", "/v1/me/notifications", { token });
  return body.items.map(({ id }) => id);
}

const times = (socket, id) => socket.events.filter(({ name, data }) => name === NEW && data.id === id).length;

async function switchboards(count = 2) {
  const infos = Array.from({ length: count }, (_, index) => server.api("GET", `/__test/switchboard/${index}/${count}`));
  return (await Promise.all(infos)).map(({ body }) => body);
}

const idle = () => until(async () => (await switchboards()).every(({ jobs }) => jobs === 0), { what: "no walk is under way" });

test("a push to rooms reaches everybody who is online, once, and the others when they come", async () => {
  const users = names(20);
  const late = `late${room}`;
  await connected(server.connect(late, { departments: [department()] })).then((socket) => socket.disconnect());
  const sockets = await crowd(users);
  const id = await announce([`dept:${department()}`, "broadcast", `user:${users[3]}`]);
  await Promise.all(sockets.map((socket) => nextEvent(socket, NEW, (data) => data.id === id)));
  await idle();
  assert.deepEqual(
    sockets.map((socket) => times(socket, id)),
    users.map(() => 1),
  );
  const socket = server.connect(late, { departments: [department()] });
  await until(() => socket.events.some(({ data }) => data.id === id || data.notifications?.some((item) => item.id === id)));
  for (const user of [...users, late]) assert.equal((await listed(user)).filter((item) => item === id).length, 1, user);
});

test("many hubs that come at once are served by few queries, and what they acknowledge by few statements", async () => {
  const users = names(60);
  const first = await crowd(users);
  for (const socket of first) socket.disconnect();
  await online(0);
  const id = await announce();
  await server.resetLedger();
  const sockets = await crowd(users, { query: { ack: "on" } });
  const arrived = ({ name, data }) =>
    name === NEW ? data.id === id : name === "notification:batch" && data.notifications.some((item) => item.id === id);
  await Promise.all(sockets.map((socket) => until(() => socket.events.some(arrived), { timeout: 30_000, what: "the entry" })));
  const { record_batches: queries } = await server.ledger();
  assert.ok(queries <= 30, `${queries} queries for ${users.length} hubs`);
  await server.resetLedger();
  await Promise.all(
    sockets.map((socket) => {
      const { data } = socket.events.find(arrived);
      const { recipient_id } = data.notifications?.find((item) => item.id === id) ?? data;
      return socket.timeout(10_000).emitWithAck("notification:acknowledge", { recipient_id });
    }),
  );
  await until(
    async () => {
      const [{ n }] = await server.db.all("SELECT COUNT(*) AS n FROM deliveries WHERE notification_id = ?", id);
      return n === users.length;
    },
    { what: "the record has it" },
  );
  const { record_batches: statements } = await server.ledger();
  assert.ok(statements <= 30, `${statements} statements for ${users.length} hubs`);
});

for (const point of ["fan-out-accepted", "fan-out-batch-told"]) {
  test(`a process killed at ${point} leaves nobody out and tells nobody's list twice`, async () => {
    const users = names(30);
    await crowd(users);
    await server.failPoint(point, { action: "stall", times: 2 });
    announce().catch(() => {});
    await until(async () => (await server.failPoints())[point].hits > 0);
    await server.kill();
    await server.restart();
    const [{ id }] = await server.db.all("SELECT id FROM notifications ORDER BY id DESC LIMIT 1");
    await Promise.all(
      users.map((user) => until(async () => (await listed(user)).includes(id), { timeout: 60_000, what: `${user} has it` })),
    );
    await until(async () => (await switchboards()).every(({ jobs }) => jobs === 0), { timeout: 60_000, what: "the walk is over" });
    for (const user of users) assert.equal((await listed(user)).filter((item) => item === id).length, 1, user);
    // Nobody is there any more: the switchboards find out.
    await until(async () => (await switchboards()).every((info) => info.online === 0), { timeout: 30_000, what: "nobody is online" });
  });
}

for (const point of ["fan-out-accepted", "fan-out-batch-told"]) {
  test(`a failure at ${point} leaves nobody out and tells nobody twice`, async () => {
    const users = names(12);
    const sockets = await crowd(users);
    await server.failPoint(point);
    const id = await announce();
    await Promise.all(sockets.map((socket) => nextEvent(socket, NEW, (data) => data.id === id, { timeout: 60_000 })));
    await idle();
    assert.deepEqual(
      sockets.map((socket) => times(socket, id)),
      users.map(() => 1),
    );
  });
}

test("who follows presence on /chat hears of those who share a department", async () => {
  const watcher = server.connect(`w${room}`, { departments: [department()], namespace: "/chat" });
  await connected(watcher);
  await online(1);
  const other = server.connect(`o${room}`, { departments: [department()] });
  const about = (user, online) => (data) => data.users.some((seen) => seen.user_id === user && seen.online === online);
  await nextEvent(watcher, "presence:update", about(`o${room}`, true));
  other.disconnect();
  await nextEvent(watcher, "presence:update", about(`o${room}`, false), { timeout: 15_000 });
  assert.ok(!watcher.events.some(({ data }) => data?.users?.some(({ user_id }) => user_id === `w${room}`)));
});

test("an admin hears who came and how much was pushed", async () => {
  const admin = server.connect(`a${room}`, { token: server.token(`a${room}`, { claims: { roles: ["admin"] } }) });
  await connected(admin);
  await nextEvent(admin, "admin:presence", undefined, { timeout: 15_000 });
  await connected(server.connect(`n${room}`));
  await server.push(`n${room}`);
  await nextEvent(admin, "admin:presence", ({ joined }) => joined > 0, { timeout: 30_000 });
  await nextEvent(admin, "admin:push", ({ pushes }) => pushes > 0, { timeout: 30_000 });
  admin.disconnect();
  await until(async () => (await switchboards()).every(({ board }) => !board.reporting), { timeout: 30_000, what: "reports end" });
});

test("a former generation is covered until its hubs have moved, and then goes", async () => {
  const users = names(6);
  await crowd(users);
  await server.restart({ vars: { SWITCHBOARDS: "3" } });
  // Those of before are stored, though their sockets are gone.
  const registered = async () => (await server.db.all("SELECT name FROM switchboards ORDER BY name")).map(({ name }) => name);
  assert.ok((await registered()).some((name) => name.endsWith("/2")));
  const sockets = users.map((user) => server.connect(user, { departments: [department()] }));
  await Promise.all(sockets.map((socket) => connected(socket, { timeout: 30_000 })));
  const id = await announce();
  await Promise.all(
    users.map((user) => until(async () => (await listed(user)).includes(id), { timeout: 30_000, what: `${user} has it` })),
  );
  await until(async () => (await registered()).every((name) => name.endsWith("/3")), { timeout: 30_000, what: "it goes" });
});
