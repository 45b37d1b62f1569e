// Who is online, as the switchboards know it (DESIGN 8): right after the grace time, whatever happened to objects or to the process.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { newServiceKey } from "../../scripts/service-key.mjs";
import { presence } from "./checks.mjs";
import { connected, startServer, until } from "./harness.mjs";
import { openRaw } from "./raw.mjs";
import { PATIENT, RECONNECTING, attending, changeMembers, names, present, query, removeMember, tab, tabs } from "./rooms.mjs";

/** A user who has gone counts as online for so long. */
const GRACE_MS = 5_000;
const TICKING = { PING_INTERVAL_MS: "1000", PING_TIMEOUT_MS: "20000" };

const reader = newServiceKey("reader", ["presence:read"]);
const pusher = newServiceKey("pusher", ["push:room"]);
const full = newServiceKey("full");

let server;
before(async () => {
  server = await startServer({
    vars: { SERVICE_KEYS: JSON.stringify([full.record, reader.record, pusher.record]), PING_INTERVAL_MS: "1800000" },
  });
  server.serviceKey = full.key;
});

const count = async (at) => (await at.api("GET", "/v1/presence/count", { key: at.serviceKey })).body.online_users;
const idsOf = ({ items }) => items.map(({ user_id }) => user_id);

/** Waits until the users online in a room are these, by what it says of itself and page by page. */
async function roomIs(room, users, { timeout } = PATIENT) {
  let found;
  await until(
    async () => {
      found = await present(server, room, { limit: 2 });
      return found.online === users.length && idsOf(found).join() === users.toSorted().join();
    },
    { timeout, what: () => `${users} in ${room}, where there are ${found && idsOf(found)}` },
  );
  return found;
}

test("users are answered in the order asked, with when they were last seen", async () => {
  const socket = await tab(server, "asked-on");
  await tab(server, "asked-off").then((gone) => gone.disconnect());
  await attending(server, ["asked-on"], ["asked-off"]);
  const { status, body } = await server.api("POST", "/v1/presence/query", {
    key: reader.key,
    body: { users: ["asked-never", "asked-on", "asked-off"] },
  });
  assert.equal(status, 200);
  const [never, on, off] = body.users;
  assert.deepEqual(never, { user_id: "asked-never", online: false, last_seen_at: null });
  assert.deepEqual([on.user_id, on.online], ["asked-on", true]);
  assert.ok(Math.abs(Date.now() - Date.parse(on.last_seen_at)) < 10_000, "who is online is seen now");
  assert.deepEqual([off.user_id, off.online], ["asked-off", false]);
  assert.ok(Date.parse(off.last_seen_at) <= Date.now() && Date.parse(off.last_seen_at) > Date.now() - 60_000, "seen to go");
  assert.equal(body.consistency, "eventual");
  socket.disconnect();
});

test("a room lists who is online in it, page by page, with their sockets, as each one's own presence says", async () => {
  const users = names("listed", 5);
  const departments = ["listed"];
  const sockets = await tabs(server, users, { departments });
  const second = await tab(server, users[0], { departments });
  await tab(server, "listed-other", { departments: ["other"] });
  const found = await roomIs("dept:listed", users);
  assert.equal(found.room, "dept:listed");
  for (const item of found.items) {
    const { last_seen_at: _, ...strong } = await presence(server, item.user_id);
    const { last_seen_at: __, ...listed } = item;
    assert.deepEqual(listed, strong);
  }
  assert.deepEqual(found.items[0].sockets.map(({ sid }) => sid).toSorted(), [sockets[0].id, second.id].toSorted());
  for (const socket of [...sockets, second]) socket.disconnect();
  await roomIs("dept:listed", []);
});

test("named rooms, broadcast and the admins' room are listed too, and members who are offline are not", async () => {
  await changeMembers(server, "room:kinds", { add: ["kinds-1", "kinds-2", "kinds-off"] });
  const sockets = await tabs(server, ["kinds-1", "kinds-2"]);
  const admin = await connected(server.connect("kinds-admin", { token: server.token("kinds-admin", { claims: { roles: ["admin"] } }) }));
  await roomIs("room:kinds", ["kinds-1", "kinds-2"]);
  await roomIs("admin:notifications", ["kinds-admin"]);
  const everybody = await present(server, "broadcast");
  assert.ok(everybody.online >= 3);
  assert.ok(["kinds-1", "kinds-2", "kinds-admin"].every((user) => idsOf(everybody).includes(user)));
  await removeMember(server, "room:kinds", "kinds-2");
  await roomIs("room:kinds", ["kinds-1"]);
  assert.deepEqual((await present(server, "room:kinds-nobody")).items, []);
  for (const socket of [...sockets, admin]) socket.disconnect();
});

test("the count is of users, not of their tabs", async () => {
  // A server of its own: the users of other tests may still be on their way out.
  const own = await startServer();
  assert.equal(await count(own), 0);
  const sockets = [await tab(own, "counted-1"), await tab(own, "counted-1"), await tab(own, "counted-2")];
  await until(async () => (await count(own)) === 2, { ...PATIENT, what: "two users" });
  sockets[0].disconnect();
  sockets[2].disconnect();
  await until(async () => (await count(own)) === 1, { ...PATIENT, what: "one user" });
  sockets[1].disconnect();
  await until(async () => (await count(own)) === 0, { ...PATIENT, what: "nobody" });
  await own.stop();
});

test("who goes is online for the grace time and offline after it; who comes back within it never was offline", async () => {
  const [gone, back] = await tabs(server, ["grace-gone", "grace-back"]);
  await attending(server, ["grace-gone", "grace-back"]);
  gone.disconnect();
  back.disconnect();
  const left = Date.now();
  const again = await tab(server, "grace-back");
  const seen = [];
  await until(
    async () => {
      const [first, second] = await query(server, ["grace-gone", "grace-back"]);
      seen.push([Date.now() - left, first.online, second.online]);
      return !first.online;
    },
    { ...PATIENT, what: "offline" },
  );
  assert.ok(seen.every(([, , online]) => online), "who came back is online throughout");
  const early = seen.filter(([ms]) => ms < GRACE_MS / 2);
  assert.ok(early.length > 0 && early.every(([, online]) => online), "nobody is offline at once");
  // The grace of the first connection is over as well.
  await until(() => Date.now() - left > GRACE_MS + 1_000, PATIENT);
  assert.equal((await query(server, ["grace-back"]))[0].online, true);
  again.disconnect();
});

test("a connection that is torn off is offline after the grace time", async () => {
  const torn = await openRaw(server, "torn");
  await torn.join();
  await attending(server, ["torn"]);
  torn.terminate();
  await attending(server, [], ["torn"]);
});

test("presence is right after hubs and switchboards were evicted while users came and went", async () => {
  const own = await startServer({ vars: TICKING });
  const users = names("shaken", 12);
  const sockets = await tabs(own, users);
  await attending(own, users);
  await Promise.all([own.evictAll("Switchboard"), own.evictAll()]);
  for (const socket of sockets.slice(0, 6)) socket.disconnect();
  await own.evictAll("Switchboard");
  await tabs(own, names("shaken-new", 4));
  await own.evictAll("Switchboard");
  await attending(own, [...users.slice(6), ...names("shaken-new", 4)], users.slice(0, 6), { timeout: 30_000 });
  await own.stop();
});

test("a switchboard evicted in the grace time of a user who keeps themselves alive still sees them go", async () => {
  const user = "grace-kept";
  const socket = await tab(server, user, { query: { keepalive: "client" } });
  await attending(server, [user]);
  socket.disconnect();
  await until(async () => (await server.hubInfo(user)).sockets === 0, { what: "the hub knows" });
  await server.evictAll("Switchboard");
  await attending(server, [], [user], { timeout: 30_000 });
});

test("after a killed runtime, presence is right within an interval of ticks", async () => {
  const own = await startServer({ vars: TICKING });
  const [here, gone] = [names("killed-here", 6), names("killed-gone", 6)];
  await tabs(own, here, RECONNECTING);
  const leaving = await tabs(own, gone, RECONNECTING);
  await attending(own, [...here, ...gone]);
  await own.kill();
  for (const socket of leaving) socket.disconnect();
  await own.restart();
  await attending(own, here, gone, { timeout: 30_000 });
  assert.equal(await count(own), here.length);
  await own.stop();
});

// ---- bad input ----

test("what is asked wrongly is refused", async () => {
  const ask = (body, key = reader.key) => server.api("POST", "/v1/presence/query", { key, body });
  assert.equal((await ask({ users: names("q", 1_000) })).status, 200);
  for (const [body, statuses] of [
    [{ users: names("q", 1_001) }, [400, 422]],
    [{ users: [] }, [400, 422]],
    [{ users: ["ok", ""] }, [400, 422]],
    [{ users: ["ok", 7] }, [400, 422]],
    [{ users: "u1" }, [400, 422]],
    [{}, [400, 422]],
    [{ users: ["u1"], rooms: [] }, [400, 422]],
  ]) {
    const { status, body: problem } = await ask(body);
    assert.ok(statuses.includes(status), `${JSON.stringify(body).slice(0, 60)}: ${status}`);
    assert.ok(problem.code);
  }
  for (const room of ["user:u1", "dept:", "lobby", "room:"]) {
    const { status } = await server.api("GET", `/v1/presence/rooms/${encodeURIComponent(room)}`, { key: reader.key });
    assert.equal(status, 422, room);
  }
  for (const query of ["limit=0", "limit=101", "limit=x", "cursor=x"]) {
    const { status } = await server.api("GET", `/v1/presence/rooms/broadcast?${query}`, { key: reader.key });
    assert.ok(status === 400 || status === 422, `${query}: ${status}`);
  }
});

test("presence takes its scope, and no user may ask over HTTP", async () => {
  const asked = [
    ["POST", "/v1/presence/query", { users: ["u1"] }],
    ["GET", "/v1/presence/rooms/broadcast"],
    ["GET", "/v1/presence/count"],
  ];
  for (const [method, path, body] of asked) {
    assert.equal((await server.api(method, path, { key: pusher.key, body })).status, 403, path);
    assert.equal((await server.api(method, path, { body })).status, 401, path);
    const { status } = await server.api(method, path, { token: server.token("u1"), body });
    assert.ok(status === 401 || status === 403, `${path}: ${status}`);
    assert.equal((await server.api(method, path, { key: reader.key, body })).status, 200, path);
  }
});
