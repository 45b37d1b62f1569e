// The ledger: what each action costs in the units the platform bills, counted, not estimated.
//
// It runs the instruments' bundle, does one thing at a time and prints what was counted. Rows read in D1 and in objects
// are printed too, although they are next to free: a number that grows with the inbox would show a missing index.
import assert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";
import { connected, nextEvent, until } from "../tests/live/client.mjs";
import { Crowd } from "../tests/live/crowd.mjs";
import { startServer } from "../tests/live/server.mjs";

const UNITS = [
  ["worker_requests", "Worker req"],
  ["object_requests", "object req"],
  ["alarms", "alarms"],
  ["alarms_set", "set alarm"],
  ["messages_received", "messages in"],
  ["object_rows_written", "object rows w"],
  ["object_rows_read", "object rows r"],
  ["record_batches", "D1 calls"],
  ["record_rows_written", "D1 rows w"],
  ["record_rows_read", "D1 rows r"],
];
const INTERVALS = 5;
const CROWD = 50;
const INBOX = 1_000;
const PAGE = 20;
// Looks at the ledger, some 10 ms apart, that find it as it was.
// What a hub owes the record may wait for a second.
const QUIET_LOOKS = 150;
const HOUR_MS = 3_600_000;
const KEEPALIVE_MS = 25_000;
const DEFAULT_INTERVAL_MS = 90_000;

const rows = [];

/** Counts what `action` costs, until nothing more is counted for a while. */
async function counted(name, server, action) {
  await server.resetLedger();
  await action();
  let [units, looks, quiet] = [{}, 0, 0];
  const settled = async () => {
    const { worker_requests, ...rest } = await server.ledger();
    // A request that reads the ledger is counted by the Worker before it answers.
    looks += 1;
    const seen = { worker_requests: worker_requests - looks, ...rest };
    quiet = isDeepStrictEqual(seen, units) ? quiet + 1 : 0;
    units = seen;
    return quiet === QUIET_LOOKS;
  };
  await until(settled, { timeout: 30_000, what: `${name} has settled` });
  rows.push([name, units]);
}

const acknowledge = (socket, { recipient_id }) => socket.timeout(5_000).emitWithAck("notification:acknowledge", { recipient_id });

/** A request of `user` about their own inbox; it has to be done, or the figures mean nothing. */
async function mine(server, user, method, path) {
  const { status, body } = await server.api(method, `/v1/me/notifications${path}`, { token: server.token(user) });
  assert.equal(status, 200);
  return body;
}

async function oneUser() {
  const server = await startServer();
  const user = "ledger";
  const acks = { query: { ack: "on" } };
  let socket;
  const connect = async () => {
    socket = await connected(server.connect(user, acks));
    await nextEvent(socket, "authenticated");
  };
  try {
    await counted("connect, a new user", server, connect);
    socket.disconnect();
    await until(async () => (await server.hubInfo(user)).sockets === 0);
    await counted("connect, a known user", server, connect);
    await counted("the same, token in auth, polling first †", server, async () => {
      const stock = server.connect(user, { token: null, auth: { token: server.token(user) }, transports: ["polling", "websocket"] });
      await nextEvent(await connected(stock), "authenticated");
      await until(() => stock.io.engine.transport.name === "websocket");
      stock.disconnect();
    });
    await counted("the same, token in auth, WebSocket first", server, async () => {
      const stock = server.connect(user, { token: null, auth: { token: server.token(user) } });
      await nextEvent(await connected(stock), "authenticated");
      stock.disconnect();
    });
    await counted("push to an online user, delivered and acknowledged", server, async () => {
      await server.push(user);
      await acknowledge(socket, await nextEvent(socket, "notification:new"));
    });
    await server.push("offline");
    await counted("push to an offline user", server, () => server.push("offline"));
    const keyed = () => server.push("offline", { idempotencyKey: "ledger" });
    await counted("the same with an Idempotency-Key", server, keyed);
    await counted("the same push again, not done again", server, keyed);
    for (let i = 0; i < PAGE; i += 1) await server.push("reader");
    const list = () => mine(server, "reader", "GET", "");
    await counted(`list page of ${PAGE}, first time`, server, list);
    await counted(`list page of ${PAGE}, again`, server, list);
  } finally {
    await server.stop();
  }
}

/** A push of which the first attempt is not acknowledged and the second is. */
async function retry() {
  // Nothing else sets an alarm for the near future.
  const quiet = { PING_INTERVAL_MS: "1800000", CONNECT_TIMEOUT_MS: "300000" };
  const server = await startServer({ vars: { ...quiet, ACK_TIMEOUT_MS: "300", RETRY_DELAYS_MS: "400" } });
  try {
    const socket = await connected(server.connect("retried", { query: { ack: "on" } }));
    await nextEvent(socket, "authenticated");
    await counted("push to an online user, acknowledged at the second attempt", server, async () => {
      await server.push("retried");
      await nextEvent(socket, "notification:new");
      const again = await nextEvent(socket, "notification:new");
      assert.equal(again.attempt, 2);
      await acknowledge(socket, again);
    });
  } finally {
    await server.stop();
  }
}

/** A push that waits for its time, and the run of the cron that delivers it. */
async function scheduled() {
  const server = await startServer();
  try {
    const deliver_at = new Date(Date.now() + HOUR_MS).toISOString();
    await server.push("later");
    await counted("push with deliver_at, to an offline user", server, () =>
      server.push({ to: ["user:later"], title: "Hello", deliver_at }),
    );
    await server.db.run("UPDATE scheduled SET deliver_at = ?1", Date.now() - HOUR_MS);
    await counted("its delivery", server, () => server.cron());
    await counted("a minute with nothing to deliver", server, () => server.cron());
  } finally {
    await server.stop();
  }
}

/** An inbox of many: what is asked of it must not cost more for that. */
async function fullInbox() {
  const server = await startServer();
  const user = "collector";
  const ids = [];
  try {
    while (ids.length < INBOX) {
      const { body } = await server.pushBatch(Array(100).fill({ to: [`user:${user}`], title: "Hello" }));
      ids.push(...body.items.map((item) => item.body.id));
    }
    await counted(`read-all of ${INBOX}`, server, () => mine(server, user, "POST", "/read-all"));
    for (const id of ids.slice(0, PAGE)) await mine(server, user, "POST", `/${id}/unread`);
    await counted(`list page of ${PAGE}, the unread ones of ${INBOX}`, server, async () => {
      const { items } = await mine(server, user, "GET", `?filter=unread&limit=${PAGE}`);
      assert.equal(items.length, PAGE);
    });
    await counted(`mark one of ${INBOX} as read`, server, () => mine(server, user, "POST", `/${ids[0]}/read`));
  } finally {
    await server.stop();
  }
}

/** What each of many users of one switchboard costs: a push to a room that all are in, and an idle hour. */
async function manyUsers() {
  const server = await startServer({ vars: { SWITCHBOARDS: "1", PING_INTERVAL_MS: "3000", PING_TIMEOUT_MS: "20000" } });
  const crowd = new Crowd(server, Array.from({ length: CROWD }, (_, i) => `member-${i}`));
  const each = ([name, units], factor) => {
    const shares = Object.entries(units).map(([unit, count]) => [unit, Math.round((count * factor * 10) / CROWD) / 10]);
    rows.push([name, Object.fromEntries(shares)]);
  };
  try {
    await crowd.connect();
    await counted("", server, async () => {
      assert.equal((await server.push({ to: ["broadcast"], title: "All" })).status, 202);
      await until(() => crowd.members.every(({ events }) => events.length === 1), { timeout: 60_000 });
    });
    const [, pushed] = rows.pop();
    each([`push to a room of ${CROWD} who are online, for each of them`, pushed], 1);

    const requests = CROWD * INTERVALS;
    await server.resetLedger();
    await until(async () => (await server.ledger()).object_requests >= requests, { timeout: 120_000, what: "heartbeats" });
    const { worker_requests, ...units } = await server.ledger();
    assert.ok(worker_requests > 0, "what looked at the ledger is not the users'");
    const factor = HOUR_MS / DEFAULT_INTERVAL_MS / (units.object_requests / CROWD);
    each([`idle stock connection, an hour, of ${CROWD} *`, units], factor);
  } finally {
    crowd.close();
    await server.stop();
  }
}

/** An hour's keepalive of a client that keeps itself alive, without the hour between its pings. */
async function keepaliveHour() {
  const server = await startServer();
  try {
    const socket = await connected(server.connect("keepalive", { query: { keepalive: "client" } }));
    await nextEvent(socket, "authenticated");
    await server.evict("keepalive");
    const pings = HOUR_MS / KEEPALIVE_MS;
    await counted(`idle keepalive=client connection, an hour (${pings} pings)`, server, async () => {
      for (let i = 0; i < pings; i += 1) {
        socket.emit("ping");
        await nextEvent(socket, "pong");
      }
    });
  } finally {
    await server.stop();
  }
}

await oneUser();
await retry();
await scheduled();
await fullInbox();
await manyUsers();
await keepaliveHour();

const header = ["", ...UNITS.map(([, title]) => title)];
const table = rows.map(([name, counters]) => [name, ...UNITS.map(([unit]) => String(counters[unit] ?? 0))]);
const widths = header.map((_, i) => Math.max(...[header, ...table].map((row) => row[i].length)));
for (const row of [header, ...table]) {
  console.log(row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join("  "));
}
console.log(`
What ${CROWD} users share, such as the alarm of their switchboard, is divided among them.
An alarm that was set for later goes off later: that is not in its row.
* counted over ${INTERVALS} intervals of 3 s and scaled to an hour of the default ${DEFAULT_INTERVAL_MS / 1000} s.
† 5 and 8 when CONNECT is answered before the WebSocket is probed, which takes one poll more; else 4 and 6.`);
