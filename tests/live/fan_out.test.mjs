// A push to a room reaches all of its members who are online, each once, whatever dies on the way (DESIGN 8).
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { received } from "./checks.mjs";
import { startServer, until } from "./harness.mjs";
import {
  PATIENT, RECONNECTING, attending, changeMembers, got, holds, names, present, pushedTo, settled, statusOf, tab, tabs, visit,
} from "./rooms.mjs";

const USERS = 100;
const SWITCHBOARDS = 4;
const CRASHED = { timeout: 45_000 };

let server;
before(async () => {
  server = await startServer({ vars: { SWITCHBOARDS: String(SWITCHBOARDS) } });
});

/** Members of a room of their own: those who are online, with their clients, and some who are not. */
async function room(at, name, { online, offline = 0 }) {
  const users = names(`${name}-on`, online);
  const away = names(`${name}-off`, offline);
  await changeMembers(at, `room:${name}`, { add: [...users, ...away] });
  await Promise.all(away.map((user) => visit(at, user)));
  const sockets = await tabs(at, users, RECONNECTING);
  await attending(at, users, away);
  // Who has just come is in the roster before their rooms are.
  await until(async () => (await present(at, `room:${name}`)).items.length === online, { ...PATIENT, what: "all are in the room" });
  return { users, away, sockets };
}

/** Every member's list holds these once; those who stayed connected were sent each once, the others at least once. */
async function checkAll(at, { users, away, sockets }, ids, { timeout } = PATIENT) {
  const has = (socket) => ids.every((id) => received(socket).includes(id));
  await until(() => sockets.every((socket) => socket.connected && has(socket)), {
    timeout,
    what: () => `${sockets.filter((socket) => !has(socket)).length} of ${sockets.length} clients lack something`,
  });
  await Promise.all([...users, ...away].map((user) => holds(at, user, ids)));
  await Promise.all(sockets.map(settled));
  for (const socket of sockets) {
    const connections = socket.lifecycle.filter(({ name }) => name === "connect").length;
    if (connections === 1) assert.deepEqual(received(socket).toSorted(), ids.toSorted());
  }
}

test(`${USERS} users who are online in one room all get one push exactly once`, async () => {
  const all = await room(server, "hundred", { online: USERS });
  const { status, body } = await server.push({ to: ["room:hundred"], title: "Hello" });
  assert.equal(status, 202);
  assert.deepEqual(body.results, [{ to: "room:hundred", status: "accepted", online_users: USERS }]);
  await checkAll(server, all, [body.id]);
  const counts = async () => (await statusOf(server, body.id)).counts;
  await until(async () => (await counts()).delivered === USERS, { ...PATIENT, what: "all are delivered in the record" });
  // The same members again: all of it is known by now.
  const more = [];
  for (let i = 0; i < 5; i++) more.push(await pushedTo(server, "room:hundred"));
  for (const socket of all.sockets) await got(socket, more);
  for (const socket of all.sockets) assert.deepEqual(received(socket), [body.id, ...more]);
  for (const socket of all.sockets) socket.disconnect();
});

test("members who are offline are not called", async () => {
  const quiet = { PING_INTERVAL_MS: "1800000" };
  const own = await startServer({ vars: quiet });
  const away = names("away", 20);
  await changeMembers(own, "room:empty", { add: away });
  await Promise.all(away.slice(0, 4).map((user) => visit(own, user)));
  await attending(own, [], away);
  await own.resetLedger();
  await pushedTo(own, "room:empty");
  const { object_requests } = await own.ledger();
  assert.ok(object_requests <= SWITCHBOARDS, `${object_requests} calls of objects, and nobody is online`);
  await own.stop();
});

// ---- the process dies ----

/** Where a fan-out can be cut off, and whether anybody has been told by then. */
const POINTS = { "fan-out-accepted": "nobody", "fan-out-batch-told": "some" };

for (const [point, told] of Object.entries(POINTS)) {
  test(`a runtime killed at ${point}, and everybody has it once`, async () => {
    const own = await startServer();
    const all = await room(own, "killed", { online: 40, offline: 4 });
    const first = await pushedTo(own, "room:killed");
    await checkAll(own, all, [first]);
    await own.failPoint(point, { action: "stall", times: SWITCHBOARDS });
    const answer = own.push({ to: ["room:killed"], title: "Hello" }, { idempotencyKey: point });
    answer.catch(() => {});
    await until(async () => (await own.failPoints())[point].hits === SWITCHBOARDS, { ...PATIENT, what: `${point} is reached` });
    const [{ ref: id }] = await own.db.all("SELECT ref FROM audience WHERE room = 'room:killed' ORDER BY n DESC LIMIT 1");
    assert.notEqual(id, first);
    const reached = all.sockets.filter((socket) => received(socket).includes(id)).length;
    if (told === "nobody") assert.equal(reached, 0);
    else assert.ok(reached > 0 && reached < all.sockets.length, `${reached} were told`);
    await own.kill();
    await own.restart();
    // What was not answered is repeated, as every pusher may.
    const repeated = await own.push({ to: ["room:killed"], title: "Hello" }, { idempotencyKey: point });
    assert.deepEqual([repeated.status, repeated.body.id], [202, id]);
    await checkAll(own, all, [first, id], CRASHED);
    const marker = await pushedTo(own, "room:killed");
    await checkAll(own, all, [first, id, marker], CRASHED);
    await own.stop();
  });

  test(`a switchboard that forgets everything at ${point} goes on where it was, for clients who stay connected`, async () => {
    const own = await startServer();
    const all = await room(own, "forgets", { online: 40, offline: 2 });
    await own.failPoint(point, { action: "error", times: 1 });
    const { status, body } = await own.push({ to: ["room:forgets"], title: "Hello" });
    assert.equal(status, 202, JSON.stringify(body));
    await until(async () => (await own.failPoints())[point].hits === 1, { ...PATIENT, what: `${point} is reached` });
    await own.evictAll("Switchboard");
    await checkAll(own, all, [body.id], CRASHED);
    assert.ok(all.sockets.every((socket) => socket.lifecycle.length === 1), "nobody had to come back");
    await own.stop();
  });
}

test("a hub that can't be reached at first gets it all the same", async () => {
  const all = await room(server, "deaf", { online: 12 });
  await server.failPoint("nudge-received", { times: 5 });
  const id = await pushedTo(server, "room:deaf");
  await checkAll(server, all, [id]);
  assert.equal((await server.failPoints())["nudge-received"].hits, 5);
  await server.clearFailPoints();
});

test("members who come while a fan-out runs have it once too", async () => {
  const all = await room(server, "comers", { online: 30 });
  const late = names("comers-late", 10);
  await changeMembers(server, "room:comers", { add: late });
  const [id, ...sockets] = await Promise.all([pushedTo(server, "room:comers"), ...late.map((user) => tab(server, user))]);
  await Promise.all(sockets.map((socket) => got(socket, [id])));
  await checkAll(server, all, [id]);
  await Promise.all(late.map((user) => holds(server, user, [id])));
});
