// Whatever happens to switchboards, nobody who is online in the end misses anything (DESIGN 6, 8): joins and leaves that race
// pushes, evicted and crashed switchboards, a record that fails, another number of them.
import assert from "node:assert/strict";
import { afterEach, before, test } from "node:test";
import { received } from "./checks.mjs";
import { connected, startServer, until } from "./harness.mjs";
import {
  PATIENT, RECONNECTING, addMember, attending, changeMembers, got, holds, list, member, names, owed, pushedTo, settled, tab, tabs, visit,
} from "./rooms.mjs";

const ROUNDS = 12;

let server;
before(async () => {
  server = await startServer();
});
afterEach(() => server.clearFailPoints());

// ---- races ----

test("a connection that races a push has it, whichever comes first", async () => {
  const users = names("racer", ROUNDS);
  await changeMembers(server, "room:race", { add: users });
  const ids = [];
  const sockets = await Promise.all(
    users.map(async (user) => {
      const socket = server.connect(user);
      ids.push(await pushedTo(server, "room:race"));
      return connected(socket, PATIENT);
    }),
  );
  for (const socket of sockets) await got(socket, ids);
  for (const user of users) await holds(server, user, ids);
});

test("a membership that begins while pushes are sent begins at one of them, and none is lost after it", async () => {
  const users = names("begins", ROUNDS);
  const sockets = await tabs(server, users);
  await raced("room:begins", users, sockets, (user) => member(server, "PUT", "room:begins", user));
});

test("a membership that ends while pushes are sent ends at one of them", async () => {
  const users = names("ends", ROUNDS);
  const sockets = await tabs(server, users);
  await changeMembers(server, "room:ends", { add: users });
  await raced("room:ends", users, sockets, (user) => member(server, "DELETE", "room:ends", user));
});

/**
 * Changes each user's membership while pushes are sent. Then everybody has what the order in the record says; besides that at
 * most what was pushed before the change was answered: a hub may be told of a push before it is told of the change.
 */
async function raced(room, users, sockets, change) {
  const pushes = [];
  const answeredAt = [];
  const one = async (user, i) => {
    const changed = change(user).then(({ status }) => {
      assert.equal(status, 204);
      answeredAt[i] = performance.now();
    });
    const begun = performance.now();
    pushes.push({ begun, id: await pushedTo(server, room) });
    await changed;
  };
  for (let i = 0; i < users.length; i += 4) await Promise.all(users.slice(i, i + 4).map((user, j) => one(user, i + j)));
  const last = await pushedTo(server, room);
  const counts = new Set();
  for (const [i, user] of users.entries()) {
    const must = await owed(server, room, user);
    counts.add(must.length);
    await got(sockets[i], must);
    const listed = (await list(server, user)).items.map(({ id }) => id);
    const may = pushes.filter(({ begun, id }) => begun < answeredAt[i] && !must.includes(id)).map(({ id }) => id);
    assert.deepEqual(listed.filter((id) => !may.includes(id)).toSorted(), must.toSorted(), user);
    await holds(server, user, listed);
    await got(sockets[i], listed);
    assert.deepEqual(received(sockets[i]).toSorted(), listed.toSorted(), user);
    assert.equal(listed.includes(last), must.includes(last));
  }
  assert.ok(counts.size > 1, "the memberships did not all change at the same push");
}

test("clients that come and go while pushes are sent miss nothing", async () => {
  const users = names("flaps", 8);
  await changeMembers(server, "room:flaps", { add: users });
  let pushing = true;
  const flap = async (user) => {
    while (pushing) {
      const socket = await tab(server, user);
      await settled(socket);
      socket.disconnect();
    }
    return tab(server, user);
  };
  const flapping = Promise.all(users.map(flap));
  const ids = [];
  for (let i = 0; i < 25; i++) ids.push(await pushedTo(server, "room:flaps"));
  pushing = false;
  const sockets = await flapping;
  const last = await pushedTo(server, "room:flaps");
  for (const socket of sockets) await got(socket, [last]);
  for (const user of users) await holds(server, user, [...ids, last]);
});

// ---- what may fail ----

test("evicted switchboards know who is online, and bring them what is pushed", async () => {
  const users = names("evicted", 12);
  await changeMembers(server, "room:evicted", { add: users });
  const sockets = await tabs(server, users);
  await attending(server, users);
  for (let i = 0; i < 4; i++) await server.evict(`${i}/4`, "Switchboard");
  const { body } = await server.push({ to: ["room:evicted"], title: "Hello" });
  assert.deepEqual(body.results, [{ to: "room:evicted", status: "accepted", online_users: users.length }]);
  for (const socket of sockets) await got(socket, [body.id]);
  await server.evictAll("Switchboard");
  await attending(server, users);
});

test("evicted switchboards and evicted hubs together miss nothing", async () => {
  const users = names("both", 8);
  await changeMembers(server, "room:both", { add: users });
  const sockets = await tabs(server, users);
  const ids = [];
  for (let i = 0; i < 6; i++) {
    const evictions = [server.evictAll("Switchboard"), ...users.slice(i % 4).map((user) => server.evict(user))];
    const [id] = await Promise.all([pushedTo(server, "room:both"), ...evictions]);
    ids.push(id);
  }
  for (const socket of sockets) await got(socket, ids);
  for (const user of users) await holds(server, user, ids);
});

/** Where a hub's question, or what it owes, can be lost. */
const POINTS = ["attend-before-read", "attend-read", "settle-before-write", "settle-written"];

for (const point of POINTS) {
  test(`a failure at ${point} is made up for`, async () => {
    const user = `fails-${point}`;
    await addMember(server, `room:${user}`, user);
    await visit(server, user);
    const missed = await pushedTo(server, `room:${user}`);
    await server.failPoint(point, { times: 2 });
    const socket = await tab(server, user, { query: { ack: "on" } });
    socket.on("notification:new", ({ recipient_id }) => socket.emit("notification:acknowledge", { recipient_id }));
    for (const { data } of socket.events.filter(({ name }) => name === "notification:new")) {
      socket.emit("notification:acknowledge", { recipient_id: data.recipient_id });
    }
    const id = await pushedTo(server, `room:${user}`);
    await got(socket, [missed, id], { timeout: 45_000 });
    await until(async () => (await server.failPoints())[point].hits > 0, { ...PATIENT, what: `${point} is reached` });
    const sql = "SELECT count(*) AS count FROM deliveries WHERE user_id = ?1 AND status = 'delivered'";
    await until(async () => (await server.db.all(sql, user))[0].count === 2, { timeout: 45_000, what: "the record has both" });
    await holds(server, user, [missed, id]);
  });

  test(`a runtime killed at ${point} loses nothing`, async () => {
    const own = await startServer();
    const user = "killed";
    await addMember(own, "room:killed", user);
    await visit(own, user);
    const missed = await pushedTo(own, "room:killed");
    await own.failPoint(point, { action: "stall" });
    const socket = own.connect(user, RECONNECTING);
    await until(async () => (await own.failPoints())[point].hits === 1, { ...PATIENT, what: `${point} is reached` });
    await own.kill();
    await own.restart();
    const id = await pushedTo(own, "room:killed");
    await until(() => socket.connected && [missed, id].every((id) => received(socket).includes(id)), { ...PATIENT, what: "both" });
    await holds(own, user, [missed, id]);
    const sql = "SELECT notification_id AS id, status FROM deliveries WHERE user_id = ?1 ORDER BY id";
    await until(async () => (await own.db.all(sql, user)).length === 2, { ...PATIENT, what: "the record has both" });
    assert.deepEqual(await own.db.all(sql, user), [missed, id].toSorted().map((id) => ({ id, status: "delivered" })));
    await own.stop();
  });
}

// ---- another number of them ----

for (const [from, to] of [[4, 2], [2, 5]]) {
  test(`of ${from} switchboards ${to} are made, and nobody misses anything or gets it twice`, async () => {
    const own = await startServer({ vars: { SWITCHBOARDS: String(from) } });
    const users = names("moved", 12);
    await changeMembers(own, "room:moved", { add: users });
    const sockets = await tabs(own, users, RECONNECTING);
    await attending(own, users);
    const registered = async () => (await own.db.all("SELECT name FROM switchboards ORDER BY name")).map(({ name }) => name);
    const old = await until(async () => (await registered()).length === Math.min(from, users.length) && registered(), PATIENT);
    assert.ok(old.every((name) => name.endsWith(`/${from}`)), `${old}`);
    const ids = [await pushedTo(own, "room:moved")];
    for (const socket of sockets) await got(socket, ids);
    const [here, gone] = [users.slice(0, 9), users.slice(9)];
    await own.kill();
    for (const socket of sockets.slice(9)) socket.disconnect();
    await own.restart({ vars: { SWITCHBOARDS: String(to) } });
    ids.push(await pushedTo(own, "room:moved"));
    await until(() => sockets.slice(0, 9).every(({ connected }) => connected), { ...PATIENT, what: "all are back" });
    ids.push(await pushedTo(own, "room:moved"));
    await attending(own, here, gone);
    ids.push(await pushedTo(own, "room:moved"));
    for (const socket of sockets.slice(0, 9)) await got(socket, ids);
    for (const user of users) await holds(own, user, ids);
    // Those of before are empty by and by, and are not asked any more.
    await until(async () => (await registered()).every((name) => name.endsWith(`/${to}`)), {
      ...PATIENT,
      what: () => "only switchboards of the new generation are registered",
    });
    const last = await pushedTo(own, "room:moved");
    for (const socket of sockets.slice(0, 9)) await got(socket, [...ids, last]);
    await own.stop();
  });
}

test("the rosters of before count nobody twice", async () => {
  const own = await startServer({ vars: { SWITCHBOARDS: "3" } });
  const users = names("counted", 6);
  const sockets = await tabs(own, users, RECONNECTING);
  await attending(own, users);
  await own.restart({ vars: { SWITCHBOARDS: "1" } });
  await until(() => sockets.every(({ connected }) => connected), { ...PATIENT, what: "all are back" });
  await attending(own, users);
  const count = async () => (await own.api("GET", "/v1/presence/count", { key: own.serviceKey })).body.online_users;
  assert.equal(await count(), users.length);
  const { body } = await own.push({ to: ["broadcast"], title: "Hello" });
  for (const socket of sockets) await got(socket, [body.id]);
  await own.stop();
});
