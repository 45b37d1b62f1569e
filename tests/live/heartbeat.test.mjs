// The heartbeat keeps answering clients and ends the others (DESIGN 4). The tests count pings, never seconds.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { heartbeats, presence } from "./checks.mjs";
import { connected, nextEvent, startServer, until } from "./harness.mjs";
import { openRaw } from "./raw.mjs";

const INTERVAL_MS = 1000;
// A client gives up after the interval and this together: long, because the machine may be busy.
const TIMEOUT_MS = 20_000;
const CONNECT_TIMEOUT_MS = 2500;
const BEATS = 4;
// The local runtime keeps the TCP connection of a socket it closed until the object leaves memory: about 10 s.
const CLOSED = { timeout: 30_000 };

const vars = {
  PING_INTERVAL_MS: String(INTERVAL_MS),
  PING_TIMEOUT_MS: String(TIMEOUT_MS),
  CONNECT_TIMEOUT_MS: String(CONNECT_TIMEOUT_MS),
};

let server;
before(async () => {
  server = await startServer({ vars });
});

async function tab(user, at = server) {
  const socket = await connected(at.connect(user));
  await nextEvent(socket, "authenticated");
  return socket;
}

const pings = ({ frames }) => frames.filter((frame) => frame === "2").length;

/** Answers every ping until the connection is closed, and gives how many there were. */
async function answerUntilClosed(connection) {
  const deadline = performance.now() + CLOSED.timeout;
  for (let answered = 0; performance.now() < deadline; ) {
    await until(() => pings(connection) > 0 || connection.closeCode !== undefined, CLOSED);
    if (connection.closeCode !== undefined) return answered;
    await connection.next((frame) => frame === "2");
    connection.send("3");
    answered += 1;
  }
  throw new Error("the connection was not closed");
}

test("the heartbeat is advertised as it is configured", async () => {
  const { handshake } = await openRaw(server, "advertised");
  assert.equal(handshake.pingInterval, INTERVAL_MS);
  assert.equal(handshake.pingTimeout, TIMEOUT_MS);
});

test("a stock client is pinged and stays", async () => {
  const socket = await tab("stays");
  const seen = heartbeats(socket);
  // Long past the connect timeout, which is not for those that have joined.
  await until(() => seen.count >= BEATS, { timeout: 30_000 });
  assert.deepEqual(socket.lifecycle.map(({ name }) => name), ["connect"]);
  const answer = await server.push("stays");
  assert.equal(answer.body.results[0].online, true);
  await nextEvent(socket, "notification:new");
});

test("a client that answers no ping is closed at the next one and is offline", async () => {
  const witness = await tab("silent");
  const silent = await openRaw(server, "silent");
  await silent.join();
  assert.equal(await silent.closed(CLOSED), 1005);
  assert.equal(pings(silent), 1, "closed when the second ping was due");
  assert.equal((await presence(server, "silent")).connections, 1);
  assert.ok(witness.connected, "the client that answers stays");

  witness.disconnect();
  await until(async () => !(await presence(server, "silent")).online);
});

test("a client that talks but answers no ping is closed all the same", async () => {
  const talks = await openRaw(server, "talks");
  await talks.join();
  await talks.next((frame) => frame === "2");
  await talks.settled();
  await talks.closed(CLOSED);
  assert.equal(pings(talks), 0);
});

test("a connection that joins no namespace is closed though it answers", async () => {
  const undecided = await openRaw(server, "undecided");
  const answered = await answerUntilClosed(undecided);
  assert.equal(undecided.closeCode, 1005);
  assert.ok(answered <= CONNECT_TIMEOUT_MS / INTERVAL_MS, `closed after ${answered} pings`);
  assert.equal((await server.hubInfo("undecided")).sockets, 0);
});

// ---- ticks: the ledger counts for all users, so these have servers of their own ----

test("one tick an interval serves all tabs", async () => {
  const own = await startServer({ vars });
  const tabs = [];
  for (let i = 0; i < 5; i++) tabs.push(await tab("tabs", own));
  const seen = tabs.map(heartbeats);
  // They joined at different moments; after one ping each they have the same rhythm.
  await beat(seen, 1);
  await own.resetLedger();
  const beats = await beat(seen, BEATS);
  const { object_requests: ticks, alarms, alarms_set } = await own.ledger();
  assert.ok(ticks >= BEATS - 1 && ticks <= beats + 1, `${ticks} ticks for ${beats} pings of each tab`);
  assert.ok(alarms <= beats + 1, `${alarms} alarms, all of the switchboard, for ${beats} pings`);
  assert.ok(alarms_set <= alarms + 1, `${alarms_set} alarms set for ${alarms}`);
  assert.ok(tabs.every(({ connected }) => connected));
});

test("a closed connection leaves no tick and no alarm of its hub behind", async () => {
  const own = await startServer({ vars });
  const seen = [heartbeats(await tab("witness", own))];
  const gone = await tab("gone", own);
  const torn = await openRaw(own, "torn");
  await torn.join();
  gone.disconnect();
  torn.terminate();
  for (const user of ["gone", "torn"]) {
    await until(async () => (await own.hubInfo(user)).sockets === 0, { what: `${user} has no socket` });
    await until(async () => !(await isOnline(own, user)), { what: `${user} has left the roster`, timeout: 20_000 });
  }
  // The witness is the clock: in its intervals nobody else is ticked.
  await own.resetLedger();
  const beats = await beat(seen, BEATS);
  const { object_requests: ticks } = await own.ledger();
  assert.ok(ticks <= beats + 1, `${ticks} ticks for ${beats} pings of the only client`);
});

async function isOnline(own, user) {
  const { body } = await own.api("POST", "/v1/presence/query", { key: own.serviceKey, body: { users: [user] } });
  return body.users[0].online;
}

test("idle connections of many users cost one alarm an interval together, and no row of their hubs", async () => {
  const own = await startServer({ vars: { ...vars, SWITCHBOARDS: "1" } });
  const users = Array.from({ length: 12 }, (_, i) => `idle-${i}`);
  const seen = (await Promise.all(users.map((user) => tab(user, own)))).map(heartbeats);
  // The alarm for who joins no namespace was set when they came, and goes off once.
  await beat(seen, Math.ceil(CONNECT_TIMEOUT_MS / INTERVAL_MS) + 1);
  await own.resetLedger();
  const beats = await beat(seen, BEATS);
  const { alarms, alarms_set, object_rows_written = 0, record_batches = 0 } = await own.ledger();
  assert.ok(alarms <= beats + 2, `${alarms} alarms for ${beats} pings of each of ${users.length} users`);
  assert.ok(alarms_set <= alarms + 2, `${alarms_set} alarms set for ${alarms}`);
  assert.ok(object_rows_written <= 2 * (beats + 1), `${object_rows_written} rows written`);
  assert.equal(record_batches, 0);
  // What a hub has an alarm for is the end of the token, in an hour.
  for (const user of users) {
    const { alarm_at } = await own.hubInfo(user);
    assert.ok(alarm_at === null || alarm_at > Date.now() + 60 * INTERVAL_MS, `${user} has an alarm at ${alarm_at}`);
  }
  await own.stop();
});

test("pings go on when hubs and switchboards were evicted, and when the runtime was killed", async () => {
  const own = await startServer({ vars });
  const sockets = await Promise.all(["go-1", "go-2", "go-3"].map((user) =>
    connected(own.connect(user, { reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 200 }))));
  const seen = sockets.map(heartbeats);
  await beat(seen, 1);
  for (let i = 0; i < 2; i++) {
    await Promise.all([own.evictAll("Switchboard"), own.evictAll()]);
    await beat(seen, 2);
  }
  assert.ok(sockets.every(({ lifecycle }) => lifecycle.length === 1), "they stayed connected");
  await own.kill();
  await own.restart();
  await until(() => sockets.every(({ connected }) => connected), { timeout: 30_000 });
  await beat(seen, 2);
  await own.stop();
});

/** Waits until every client was pinged `times` more; gives how often the most pinged one was. */
async function beat(seen, times) {
  const start = seen.map(({ count }) => count);
  const more = () => seen.map(({ count }, i) => count - start[i]);
  await until(() => Math.min(...more()) >= times, { timeout: 30_000 });
  return Math.max(...more());
}
