// The ledger: what each action costs in the units the platform bills, counted, not estimated.
//
// It runs the instruments' bundle, does one thing at a time and prints what was counted, then what that comes to in a month.
// What was counted is kept in bench/results/ledger.json; `make bench-report` writes it into docs/performance.md.
import assert from "node:assert/strict";
import { connected, nextEvent, until } from "../tests/live/client.mjs";
import { startServer } from "../tests/live/server.mjs";
import { keepAs } from "./results.mjs";
import { acknowledge, connect, idle, idleKeepalive, lose, push, pushOnline, recover, withCrowd } from "./ledger/actions.mjs";
import { counted } from "./ledger/counting.mjs";
import { actions, assumed, months, text } from "./ledger/tables.mjs";

const INTERVALS = 5;
const CROWD = 50;
const INBOX = 1_000;
const PAGE = 20;
const HOUR_MS = 3_600_000;
const KEEPALIVE_MS = 25_000;
const DEFAULT_INTERVAL_MS = 90_000;
const PATIENT = { timeout: 60_000 };
/**
 * Nothing but what is done sets an alarm for the near future. Without a ping soon, which wakes the hub anyway, some of what is
 * done sets one that it doesn't need otherwise: what is counted is the most it costs, that of a client that is not pinged.
 */
const QUIET = { PING_INTERVAL_MS: "1800000", CONNECT_TIMEOUT_MS: "300000" };
/** Alarms go off when the action that set them has been counted, and before the next one begins. */
const ALARMS_MS = "10000";

const rows = {};

/** Counts `action` as the row `id`. */
async function row(id, title, server, action, done) {
  rows[id] = { title, units: await counted(server, title, action, done) };
}

/** Counts the alarm that the action before has set. */
async function alarmOf(id, title, server) {
  const before = Object.values(rows).at(-1);
  assert.equal(before.units.alarms, undefined, `${before.title}: too slow, its alarm is in its row`);
  await row(id, title, server, () => {}, alarmed);
}

/** Alarms that were counted elsewhere go off. */
const alarmIsOver = (server) => counted(server, "an alarm", () => {}, alarmed);

const alarmed = ({ alarms = 0 }) => alarms > 0;

/** A request of `user` about their own inbox; it has to be done, or the figures mean nothing. */
async function mine(server, user, method, path) {
  const { status, body } = await server.api(method, `/v1/me/notifications${path}`, { token: server.token(user) });
  assert.equal(status, 200);
  return body;
}

async function withServer(vars, action) {
  const server = await startServer({ vars: { ...QUIET, ...vars } });
  try {
    await action(server);
  } finally {
    await server.stop();
  }
}

/** A user whose one client comes, is pushed to, goes and comes back. */
async function online(server) {
  const user = "ledger";
  let socket;
  await row("connect_new", "connect, a new user", server, async () => {
    socket = await connect(server, user);
  });
  await alarmIsOver(server);
  // Their switchboard waits some seconds before it notes that they have left.
  await row("disconnect", "disconnect ‡", server, () => void socket.disconnect(), alarmed);
  await row("connect_known", "connect, a known user", server, async () => {
    socket = await connect(server, user);
  });
  await alarmOf("connect_alarm", "the alarm of a connect, later", server);

  await row("push_online", "push to an online user, delivered and acknowledged", server, () => pushOnline(server, user, socket));
  await alarmOf("push_online_alarm", "the alarm of a push, later", server);
  await row("push_online_keyed", "push with an Idempotency-Key, delivered and acknowledged", server, () =>
    pushOnline(server, user, socket, { idempotencyKey: "online" }),
  );
  await alarmIsOver(server);
  const { data } = socket.events.findLast(({ name }) => name === "notification:new");
  await row("mark_read", "mark one as read, over the socket", server, async () => {
    const { ok } = await socket.timeout(5_000).emitWithAck("mark:read", { notification_id: data.id });
    assert.ok(ok);
  });
  await alarmOf("mark_read_alarm", "the alarm of a read, later", server);

  await row("lost", "the connection is lost ‡", server, () => lose(socket), alarmed);
  await row("recover", "reconnect with recovery, nothing missed", server, () => recover(socket));
  await alarmIsOver(server);
  await counted(server, "away", () => lose(socket), alarmed);
  await counted(server, "a push meanwhile", () => push(server, user));
  await row("recover_missed", "reconnect with recovery, one missed, acknowledged", server, async () => {
    await recover(socket);
    await acknowledge(socket, await nextEvent(socket, "notification:new"));
  });
}

/** Clients that say who they are in CONNECT; and pushes and lists while nobody is there. */
async function offline(server) {
  const inConnect = (user) => ({ token: null, auth: { token: server.token(user) } });
  for (const user of ["polls", "relayed"]) {
    const socket = await connect(server, user);
    await counted(server, "away", () => void socket.disconnect(), alarmed);
  }
  await row("connect_polling", "connect, a known user, token in auth, polling first †", server, async () => {
    const socket = await connect(server, "polls", { ...inConnect("polls"), transports: ["polling", "websocket"] });
    await until(() => socket.io.engine.transport.name === "websocket");
  });
  await row("connect_relay", "connect, a known user, token in auth, WebSocket first", server, () =>
    connect(server, "relayed", inConnect("relayed")),
  );

  await push(server, "offline");
  const keyed = () => push(server, "offline", { idempotencyKey: "offline" });
  await row("push_offline", "push to an offline user", server, () => push(server, "offline"));
  await row("push_offline_keyed", "push with an Idempotency-Key to an offline user", server, keyed);
  await row("push_repeated", "the same push again, not done again", server, keyed);

  for (let i = 0; i < PAGE; i += 1) await push(server, "reader");
  const list = () => mine(server, "reader", "GET", "");
  await row("list_first", `list page of ${PAGE}, first time`, server, list);
  await row("list_again", `list page of ${PAGE}, again`, server, list);
}

/** A session whose token is about to end. */
async function token(server) {
  // Some seconds more than `AUTH_EXPIRING_MS`: by then the alarm of the connection has gone off, and everything is quiet.
  const socket = await connect(server, "expires", { token: server.token("expires", { ttl: 80 }) });
  await alarmIsOver(server);
  await row("token", "a token is about to end; the client is told and sends another", server, async () => {
    await nextEvent(socket, "auth:expiring", undefined, PATIENT);
    const { ok } = await socket.timeout(5_000).emitWithAck("auth:refresh", { token: server.token("expires") });
    assert.ok(ok);
  });
}

/** A push of which the first attempt is not acknowledged and the second is. */
async function retry(server) {
  const socket = await connect(server, "retried");
  await row("push_retried", "push to an online user, acknowledged at the second attempt", server, async () => {
    await push(server, "retried");
    await nextEvent(socket, "notification:new");
    const again = await nextEvent(socket, "notification:new");
    assert.equal(again.attempt, 2);
    await acknowledge(socket, again);
  });
}

/** A push that waits for its time, and the run of the cron that delivers it. */
async function scheduled(server) {
  const deliver_at = new Date(Date.now() + HOUR_MS).toISOString();
  await push(server, "later");
  await row("push_scheduled", "push with deliver_at, to an offline user", server, () =>
    server.push({ to: ["user:later"], title: "Hello", deliver_at }),
  );
  await server.db.run("UPDATE scheduled SET deliver_at = ?1", Date.now() - HOUR_MS);
  await row("scheduled", "its delivery", server, () => server.cron());
  await row("cron", "a minute with nothing to deliver", server, () => server.cron());
}

/** An inbox of many: what is asked of it must not cost more for that. */
async function fullInbox(server) {
  const user = "collector";
  const ids = [];
  while (ids.length < INBOX) {
    const { body } = await server.pushBatch(Array(100).fill({ to: [`user:${user}`], title: "Hello" }));
    ids.push(...body.items.map((item) => item.body.id));
  }
  await row("read_all", `read-all of ${INBOX}`, server, () => mine(server, user, "POST", "/read-all"));
  for (const id of ids.slice(0, PAGE)) await mine(server, user, "POST", `/${id}/unread`);
  await row("list_unread", `list page of ${PAGE}, the unread ones of ${INBOX}`, server, async () => {
    const { items } = await mine(server, user, "GET", `?filter=unread&limit=${PAGE}`);
    assert.equal(items.length, PAGE);
  });
  await row("mark_read_http", `mark one of ${INBOX} as read, over HTTP`, server, () => mine(server, user, "POST", `/${ids[0]}/read`));
}

/** What each of the crowd costs, `times` over. */
function share(units, times = 1) {
  const shares = Object.entries(units).map(([unit, count]) => [unit, Number(((count * times) / CROWD).toPrecision(4))]);
  return Object.fromEntries(shares);
}

async function roomPush() {
  await withCrowd({ size: CROWD, vars: QUIET }, async (server, { members }) => {
    const title = `push to a room of ${CROWD} who are online, for each of them`;
    await row("room_push", title, server, async () => {
      assert.equal((await server.push({ to: ["broadcast"], title: "All" })).status, 202);
      await until(() => members.every(({ events }) => events.length === 1), PATIENT);
    });
    await row("room_push_alarm", "the alarm of that push, later, for each of them", server, () => {}, ({ alarms = 0 }) => alarms >= CROWD);
    for (const id of ["room_push", "room_push_alarm"]) rows[id].units = share(rows[id].units);
  });
}

/** Idle hours: counted over some short intervals of heartbeats, scaled to the default one. */
async function idleHours() {
  const { units, heartbeats } = await idle(CROWD, INTERVALS);
  rows.idle_stock = {
    title: `idle stock connection, an hour, of ${CROWD} *`,
    units: share(units, HOUR_MS / DEFAULT_INTERVAL_MS / heartbeats),
  };
  const pings = HOUR_MS / KEEPALIVE_MS;
  const kept = await idleKeepalive(CROWD, pings, INTERVALS);
  rows.idle_keepalive = { title: `idle keepalive=client connection, an hour (${pings} pings), of ${CROWD} *`, units: share(kept) };
}

await withServer({ CONNECT_TIMEOUT_MS: ALARMS_MS, ACK_TIMEOUT_MS: ALARMS_MS }, online);
await withServer({}, offline);
await withServer({ CONNECT_TIMEOUT_MS: "3000" }, token);
await withServer({ ACK_TIMEOUT_MS: "300", RETRY_DELAYS_MS: "400" }, retry);
await withServer({}, scheduled);
await withServer({}, fullInbox);
await roomPush();
await idleHours();

console.log(text(actions(rows)).join("\n"));
console.log(`
What ${CROWD} users share, such as the alarm of their switchboard, is divided among them.
An alarm that was set for later goes off later: that has a row of its own where it is frequent.
Of clients that are not pinged soon: a ping wakes the hub as well, and with one every ${DEFAULT_INTERVAL_MS / 1000} s some alarms are not set.
* counted over ${INTERVALS} intervals of 3 s; that of the stock client is scaled to an hour of the default ${DEFAULT_INTERVAL_MS / 1000} s.
† one poll less, with a Worker and two object requests, when CONNECT is answered only after the WebSocket was probed.
‡ with the alarm of the switchboard that notes, seconds later, who has left: one for all who leave in that time.
`);
for (const table of [assumed(rows), months(rows)]) console.log(`${text(table).join("\n")}\n`);
keepAs("ledger", "make ledger", { rows });
