// The ledger: what each action costs in the units the platform bills, counted, not estimated.
//
// It runs the instruments' bundle, does one thing at a time and prints what was counted. Rows read in D1 and in objects
// are printed too, although they are next to free: a number that grows with the inbox would show a missing index.
import { connected, nextEvent, until } from "../tests/live/client.mjs";
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
const HOUR_MS = 3_600_000;
const KEEPALIVE_MS = 25_000;
const DEFAULT_INTERVAL_MS = 90_000;

const rows = [];

/** Counts what `action` costs, `settled` telling when all of it has happened. */
async function counted(name, server, action, settled = () => true) {
  await server.resetLedger();
  await action();
  await until(settled, { what: `${name} has settled` });
  const { worker_requests = 0, ...rest } = await server.ledger();
  // The request that reads the ledger is counted by the Worker before it answers.
  rows.push([name, { worker_requests: worker_requests - 1, ...rest }]);
}

const delivered = (server, user) => async () => {
  const pending = await server.db.all("SELECT 1 FROM deliveries WHERE user_id = ?1 AND status <> 'delivered'", user);
  const { owed } = await server.hubInfo(user);
  return pending.length === 0 && owed === 0;
};

/** Looking costs requests of its own: they are taken off again. */
async function countedWithLooks(name, server, action, user) {
  let looks = 0;
  const settled = delivered(server, user);
  await counted(name, server, action, () => ((looks += 1), settled()));
  const [, units] = rows.at(-1);
  units.worker_requests -= looks;
  units.object_requests -= looks;
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
    await counted("the same, token in auth, polling first", server, async () => {
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
    await countedWithLooks(
      "push to an online user, delivered and acknowledged",
      server,
      async () => {
        await server.push(user);
        const { recipient_id } = await nextEvent(socket, "notification:new");
        await socket.timeout(5_000).emitWithAck("notification:acknowledge", { recipient_id });
      },
      user,
    );
    await server.push("offline");
    await counted("push to an offline user", server, () => server.push("offline"));
    for (let i = 0; i < 20; i += 1) await server.push("reader");
    const list = () => server.api("GET", "/v1/me/notifications", { token: server.token("reader") });
    await countedWithLooks("list page of 20, first time", server, list, "reader");
    await counted("list page of 20, again", server, list);
  } finally {
    await server.stop();
  }
}

/** An idle hour of a stock client: counted over some short intervals, scaled to the default one. */
async function idleHour() {
  const server = await startServer({ vars: { PING_INTERVAL_MS: "1000", PING_TIMEOUT_MS: "5000" } });
  try {
    const socket = await connected(server.connect("idle"));
    await nextEvent(socket, "authenticated");
    await server.resetLedger();
    await until(async () => (await server.ledger()).alarms >= INTERVALS, { timeout: 60_000, what: "heartbeats" });
    const counters = await server.ledger();
    const factor = HOUR_MS / DEFAULT_INTERVAL_MS / counters.alarms;
    const scaled = Object.entries(counters).map(([unit, count]) => [unit, Math.round(count * factor)]);
    // What looked at the ledger is not the idle user's.
    rows.push(["idle stock connection, an hour *", { ...Object.fromEntries(scaled), worker_requests: 0 }]);
  } finally {
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
await idleHour();
await keepaliveHour();

const header = ["", ...UNITS.map(([, title]) => title)];
const table = rows.map(([name, counters]) => [name, ...UNITS.map(([unit]) => String(counters[unit] ?? 0))]);
const widths = header.map((_, i) => Math.max(...[header, ...table].map((row) => row[i].length)));
for (const row of [header, ...table]) {
  console.log(row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join("  "));
}
console.log(
  `\n* counted over ${INTERVALS} intervals of 1 s and scaled to an hour of the default ${DEFAULT_INTERVAL_MS / 1000} s.`,
);
