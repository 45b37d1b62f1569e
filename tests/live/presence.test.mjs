// Presence is what the open sockets say, at every moment (DESIGN 8).
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { before, test } from "node:test";
import { presence } from "./checks.mjs";
import { connected, nextEvent, startServer, until } from "./harness.mjs";
import { openRaw } from "./raw.mjs";

let server;
before(async () => {
  server = await startServer();
});

/** A stock client that is online: `authenticated` comes after presence is stored. */
async function tab(user) {
  const socket = await connected(server.connect(user));
  await nextEvent(socket, "authenticated");
  return socket;
}

/** Waits until presence is as `condition` wants it. Closes are not acknowledged, so the server is asked until it knows. */
function presenceUntil(user, condition) {
  let last;
  return until(
    async () => {
      last = await presence(server, user);
      return condition(last) && last;
    },
    { what: () => `the presence wanted; it is ${JSON.stringify(last)}` },
  );
}

const offline = ({ online }) => !online;
const connections = (count) => (found) => found.connections === count;

/** Compares presence with the sockets' own ids, whatever their order. */
function checkSockets(found, sockets) {
  const expected = sockets.map((socket) => [socket.id, socket.nsp]);
  assert.deepEqual(found.sockets.map(({ sid, namespace }) => [sid, namespace]).toSorted(), expected.toSorted());
}

/** What presence says about a user without an open socket, apart from when they were seen. */
function checkOffline(found, user) {
  const { last_seen_at, ...rest } = found;
  assert.deepEqual(rest, {
    user_id: user,
    online: false,
    connections: 0,
    online_since: null,
    sockets: [],
    consistency: "strong",
  });
  return Date.parse(last_seen_at);
}

test("a user who was never seen is offline and has no last_seen_at", async () => {
  const found = await presence(server, "never");
  checkOffline(found, "never");
  assert.equal(found.last_seen_at, null);
});

test("asking about a stranger stores nothing", async () => {
  // A server of its own, because the ledger counts for all users and the folder holds the objects of all.
  const own = await startServer();
  await own.resetLedger();
  assert.equal((await presence(own, "stranger")).online, false);
  const ledger = await own.ledger();
  assert.equal(ledger.object_requests, 1);
  assert.equal(ledger.object_rows_written ?? 0, 0);
  assert.equal(ledger.alarms_set ?? 0, 0);

  // Tables would be storage as well, and are not counted as rows.
  const tables = () => tablesOfHubs(own);
  assert.deepEqual(tables(), [0], "one object was asked and has no table");
  await own.push("known");
  assert.notDeepEqual(tables(), [0, 0], "a table would be found");
});

/** The number of tables in each hub's database. `metadata` belongs to the runtime. */
function tablesOfHubs({ persist }) {
  const folder = join(persist, "do/dormouse-UserHub");
  const files = readdirSync(folder).filter((name) => name.endsWith(".sqlite") && !name.startsWith("metadata"));
  return files.map((name) => {
    const database = new DatabaseSync(join(folder, name), { readOnly: true });
    const names = database.prepare("SELECT name FROM sqlite_master").all().map(({ name }) => name);
    database.close();
    // The runtime has tables of its own, for the alarm for example.
    return names.filter((name) => !name.startsWith("_cf_")).length;
  });
}

test("one tab makes its user online, under the sid the client knows", async () => {
  const earliest = Date.now();
  const socket = await tab("one");
  const { last_seen_at, online_since, sockets, ...rest } = await presence(server, "one");
  assert.deepEqual(rest, { user_id: "one", online: true, connections: 1, consistency: "strong" });
  assert.deepEqual(
    sockets.map(({ connected_at, ...socket }) => socket),
    [{ sid: socket.id, namespace: "/notifications" }],
  );
  const times = [sockets[0].connected_at, online_since, last_seen_at].map((time) => Date.parse(time));
  assert.deepEqual(times, times.toSorted(), "connected, then online, then seen");
  assert.ok(times[0] >= earliest && times[2] <= Date.now(), `${times} since ${earliest}`);
});

test("a connection that has joined no namespace is not presence", async () => {
  await openRaw(server, "undecided");
  assert.equal((await server.hubInfo("undecided")).sockets, 1);
  checkOffline(await presence(server, "undecided"), "undecided");
});

test("a user is online until the last of several tabs closes", async () => {
  const tabs = [await tab("several")];
  const { online_since } = await presence(server, "several");
  tabs.push(await tab("several"), await tab("several"));
  let found;
  while (tabs.length > 0) {
    found = await presenceUntil("several", connections(tabs.length));
    checkSockets(found, tabs);
    assert.equal(found.online, true);
    assert.equal(found.online_since, online_since);
    tabs.pop().disconnect();
  }
  const lastSeen = checkOffline(await presenceUntil("several", offline), "several");
  assert.ok(lastSeen >= Date.parse(found.last_seen_at), "it was seen to go");
});

test("a tab that comes back begins a new time online", async () => {
  const first = await tab("back");
  const { online_since } = await presence(server, "back");
  first.disconnect();
  const { last_seen_at } = await presenceUntil("back", offline);
  const second = await tab("back");
  const found = await presence(server, "back");
  checkSockets(found, [second]);
  assert.ok(Date.parse(found.online_since) >= Date.parse(last_seen_at));
  assert.ok(Date.parse(found.online_since) > Date.parse(online_since));
});

test("a connection that is torn off counts as closed", async () => {
  const lost = await openRaw(server, "lost");
  await lost.join();
  const earliest = Date.parse((await presenceUntil("lost", connections(1))).last_seen_at);
  lost.terminate();
  const lastSeen = checkOffline(await presenceUntil("lost", offline), "lost");
  assert.ok(lastSeen >= earliest, "it was seen to go");
});

test("two namespaces of one connection are one connection and two sockets", async () => {
  const notifications = await tab("both");
  const root = notifications.io.socket("/");
  await until(() => root.connected);
  const both = await presenceUntil("both", ({ sockets }) => sockets.length === 2);
  assert.equal(both.connections, 1);
  checkSockets(both, [notifications, root]);
  // The client keeps the transport for the namespace that is left.
  notifications.disconnect();
  const one = await presenceUntil("both", ({ sockets }) => sockets.length === 1);
  assert.equal(one.connections, 1);
  assert.equal(one.online_since, both.online_since);
  checkSockets(one, [root]);
});

test("a connection that has left its namespace is open but not online", async () => {
  const left = await openRaw(server, "left");
  await left.join();
  const earliest = Date.parse((await presenceUntil("left", connections(1))).last_seen_at);
  left.send("41/notifications,");
  const lastSeen = checkOffline(await presenceUntil("left", offline), "left");
  assert.ok(lastSeen >= earliest, "it was seen to go");
  assert.equal((await server.hubInfo("left")).sockets, 1);
  const { sid } = await left.join();
  const found = await presenceUntil("left", connections(1));
  assert.deepEqual(found.sockets.map((socket) => socket.sid), [sid]);
});

test("an evicted hub knows who is connected and sees them go", async () => {
  const tabs = [await tab("evicted"), await tab("evicted")];
  const { last_seen_at: _, ...awake } = await presence(server, "evicted");
  const { instance } = await server.hubInfo("evicted");
  await server.evict("evicted");
  const { last_seen_at, ...woken } = await presence(server, "evicted");
  assert.deepEqual(woken, awake);
  assert.notEqual((await server.hubInfo("evicted")).instance, instance);

  await server.evict("evicted");
  tabs.pop().disconnect();
  checkSockets(await presenceUntil("evicted", connections(1)), tabs);
  await server.evict("evicted");
  tabs.pop().disconnect();
  const lastSeen = checkOffline(await presenceUntil("evicted", offline), "evicted");
  assert.ok(lastSeen >= Date.parse(last_seen_at), "it was seen to go");
});

test("after a killed runtime a user is offline until they come back", async () => {
  await tab("killed");
  const { online_since } = await presence(server, "killed");
  await server.kill();
  await server.restart();
  const lastSeen = checkOffline(await presence(server, "killed"), "killed");
  assert.ok(lastSeen >= Date.parse(online_since), "what is known for certain is kept");

  const socket = await tab("killed");
  const found = await presence(server, "killed");
  checkSockets(found, [socket]);
  assert.equal(found.connections, 1);
  assert.ok(Date.parse(found.online_since) > lastSeen, "online_since is of this time, not of the one that was cut off");
});
