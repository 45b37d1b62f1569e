// `make soak`: for SECONDS (300), clients come and go and pushes run, in waves. After each wave everybody leaves, and what the
// runtime then holds is written down: memory, open files, alarms. After the last it must hold what it held after the first.
import { setTimeout as delay } from "node:timers/promises";
import { io } from "socket.io-client";
import { until } from "../tests/live/client.mjs";
import { Dice } from "../tests/live/dice.mjs";
import { onServerInMemory } from "../tests/live/in_memory.mjs";
import { attending, names } from "../tests/live/rooms.mjs";
import { keepAs } from "./results.mjs";
import { memoryKib, openFiles } from "./workerd.mjs";

const USERS = 60;
const WAVES = 5;
const PUSHERS = 3;
/** How long a client stays and stays away, in ms. */
const STAY = [2_000, 12_000];
const AWAY = [500, 4_000];
const TOKEN_SECONDS = 20;
/** A token that is at its end is soon forgotten: an alarm for that is all that a user who has left may leave behind. */
const VARS = { PING_INTERVAL_MS: "2000", PING_TIMEOUT_MS: "20000", AUTH_EXPIRING_MS: "2000", AUTH_GRACE_MS: "2000", SWITCHBOARDS: "2" };
const CLASSES = ["UserHub", "Switchboard", "Lobby"];
/** Until the alarms for the tokens' ends have gone off. */
const PATIENCE_MS = 60_000;
/** What may be held more after the last wave than after the first; docs/performance.md says why so much. */
const MOST_HEAP_MIB = 1;
const MOST_MEMORY = 1.15;
const MOST_FILES = 8;
const OURS = "core:user:dormouse";

const seconds = Number(process.env.SECONDS || 300);
if (!Number.isInteger(seconds) || seconds < 60) {
  console.error("SECONDS is a number from 60");
  process.exit(1);
}

const users = names("soak", USERS);
const dice = new Dice(1);
const figures = { connections: 0, pushes: 0, received: 0, acknowledged: 0, failed_pushes: 0, alarms: 0 };
// Garbage is no leak: it is collected before the heap is measured.
process.env.MINIFLARE_WORKERD_V8_FLAGS = "--expose-gc";
const rests = await onServerInMemory({ vars: VARS, inspected: true }, soak);

const columns = ["wave", "connections", "pushes", "received", "heap, MiB", "others, MiB", "memory, MiB", "open files", "alarms set"];
console.log(columns.map((name) => name.padStart(13)).join(""));
for (const [i, rest] of rests.entries()) {
  const sizes = [rest.heap_mib, rest.other_heaps_mib, rest.memory_mib];
  const cells = [i + 1, rest.connections, rest.pushes, rest.received, ...sizes, rest.open_files, rest.alarms_set];
  console.log(cells.map((cell) => String(cell).padStart(13)).join(""));
}
const [first, last] = [rests[0], rests.at(-1)];
const wrong = [
  last.heap_mib > first.heap_mib + MOST_HEAP_MIB && `the heap has grown from ${first.heap_mib} to ${last.heap_mib} MiB`,
  last.memory_mib > first.memory_mib * MOST_MEMORY && `memory has grown from ${first.memory_mib} to ${last.memory_mib} MiB`,
  last.open_files > first.open_files + MOST_FILES && `open files have grown from ${first.open_files} to ${last.open_files}`,
  last.alarms_set > 0 && `${last.alarms_set} alarms are set for users who have left`,
  figures.failed_pushes > 0 && `${figures.failed_pushes} pushes were not answered 2xx`,
].filter(Boolean);
for (const line of wrong) console.log(line);
console.log(`${figures.alarms} alarms went off`);
if (wrong.length > 0) process.exitCode = 1;
else keepAs("soak", `make soak SECONDS=${seconds}`, { figures, rests });

async function soak(server) {
  // Resting takes its time as well.
  const end = performance.now() + seconds * 1_000;
  const found = [];
  for (let wave = 0; wave < WAVES; wave++) {
    const share = (end - performance.now()) / (WAVES - wave);
    const until = performance.now() + Math.max(5_000, share - TOKEN_SECONDS * 1_000);
    const goesOn = () => performance.now() < until;
    await Promise.all([
      ...users.map((user, i) => comeAndGo(server, user, i, goesOn)),
      ...Array.from({ length: PUSHERS }, () => push(server, goesOn)),
    ]);
    found.push(await rest(server));
  }
  const { alarms = 0 } = await server.ledger();
  figures.alarms = alarms;
  return found;
}

async function comeAndGo(server, user, i, goesOn) {
  while (goesOn()) {
    await delay(dice.between(...AWAY));
    const socket = connect(server, user, i);
    await delay(dice.between(...STAY));
    socket.disconnect();
  }
}

/** Stock clients of two kinds: those that say who they are in the query, and those that do so in CONNECT and begin by polling. */
function connect(server, user, i) {
  const token = server.token(user, { ttl: TOKEN_SECONDS });
  const kind = i % 3 === 0 ? { auth: { token } } : { query: { token }, transports: ["websocket"] };
  const socket = io(`${server.url}/notifications`, { forceNew: true, reconnectionDelay: 200, reconnectionDelayMax: 1_000, ...kind });
  socket.on("connect", () => (figures.connections += 1));
  const acknowledge = (ids) => {
    figures.received += ids.length;
    socket.emit("notification:acknowledge", ids, () => (figures.acknowledged += ids.length));
  };
  socket.on("notification:new", ({ recipient_id }) => acknowledge([recipient_id]));
  socket.on("notification:batch", ({ notifications }) => acknowledge(notifications.map(({ recipient_id }) => recipient_id)));
  return socket;
}

async function push(server, goesOn) {
  while (goesOn()) {
    const to = dice.of({ user: 9, all: 1 }) === "user" ? `user:${dice.pick(users)}` : "broadcast";
    const { status } = await server.push({ to: [to], title: "Hello" });
    figures[status < 300 ? "pushes" : "failed_pushes"] += 1;
    await delay(dice.between(0, 200));
  }
}

/** Everybody has left: what the runtime still holds. */
async function rest(server) {
  await attending(server, [], users, { timeout: 30_000 });
  let set = users;
  const none = async () => {
    const infos = await Promise.all(set.map(async (user) => ({ user, ...(await server.hubInfo(user)) })));
    set = infos.filter(({ alarm_at, owed, sockets }) => alarm_at !== null || owed > 0 || sockets > 0).map(({ user }) => user);
    await delay(500);
    return set.length === 0;
  };
  await until(none, { timeout: PATIENCE_MS }).catch(() => {});
  for (const className of CLASSES) await server.evictAll(className);
  // To look at a heap takes a socket.
  const open_files = openFiles(server.pid);
  const { [OURS]: ours, ...others } = await server.heaps();
  const mib = (bytes) => Number((bytes / 2 ** 20).toFixed(1));
  return {
    ...figures,
    heap_mib: mib(ours),
    other_heaps_mib: mib(Object.values(others).reduce((sum, bytes) => sum + bytes)),
    memory_mib: Math.round(memoryKib(server.pid) / 1_024),
    open_files,
    alarms_set: set.length,
  };
}
