// What is measured. Each scenario is given a fresh subject and gives figures; what its figures mean stands beside it.
//
// A figure is of a kind: `rate` (per second, more is better), `time` (ms, less is better) or `cost` (what it takes of the
// machine, less is better). Rates and times are compared by how fast a subject is, costs by how much it takes.
import { setTimeout as delay } from "node:timers/promises";
import { all } from "./clients.mjs";
import { cpuMs, memoryKib } from "./process.mjs";

/** What comes twice comes within this, and what is put off, such as acknowledgements on their way to the database, is done. */
const GRACE_MS = 1_500;
/** Objects hibernate after 10 s. */
const ASLEEP_MS = 15_000;
/** An interval of Dormouse's heartbeat: a shorter time would see all of it or nothing. */
const IDLE_MS = 90_000;
/** A connection takes two open files of workerd, and three more while its object is awake, as all are after a heartbeat. */
const IDLE_CONNECTIONS = 3_000;
const IDLE_CONNECTS_PER_SECOND = 300;
/** Pushes in flight while a subject warms up. */
const WARM_UP_WIDTH = 8;
const SIZES = [10, 100, 300, 1_000];
const QUANTILES = [0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999];

const rate = (title) => ({ title, kind: "rate", unit: "/s" });
const time = (title) => ({ title, kind: "time", unit: "ms" });
const cost = (title, unit) => ({ title, kind: "cost", unit });

export const SCENARIOS = {
  connect: {
    title: "500 clients connect, 32 at a time",
    run: connect,
    figures: {
      new_rate: rate("new users"),
      new_p50: time("new users, p50"),
      new_p99: time("new users, p99"),
      new_cpu: cost("new users, server CPU each", "ms"),
      known_rate: rate("known users"),
      known_p50: time("known users, p50"),
      known_p99: time("known users, p99"),
      known_cpu: cost("known users, server CPU each", "ms"),
    },
  },
  one: {
    title: "push to screen, one at a time",
    run: oneAtATime,
    figures: {
      p50: time("on screen, p50"),
      p99: time("on screen, p99"),
      answered_p50: time("answered, p50"),
      cpu: cost("server CPU a push", "ms"),
    },
  },
  flight: {
    title: "push to screen, 32 in flight",
    run: inFlight,
    figures: {
      rate: rate("pushes"),
      p50: time("on screen, p50"),
      p99: time("on screen, p99"),
      cpu: cost("server CPU a push", "ms"),
    },
  },
  tabs: {
    title: "one user with 20 tabs, one push at a time",
    run: tabs,
    figures: {
      p50: time("on the last screen, p50"),
      p99: time("on the last screen, p99"),
      cpu: cost("server CPU a push", "ms"),
    },
  },
  catchup: {
    title: "a user comes back to 1,000 missed notifications",
    run: catchUp,
    figures: { all: time("all of them at the client"), cpu: cost("server CPU", "ms") },
  },
  room: {
    title: "one push to a room, all of it online",
    run: room,
    figures: Object.fromEntries(
      SIZES.flatMap((size) => [
        [`first_${size}`, time(`room of ${size}, first screen`)],
        [`last_${size}`, time(`room of ${size}, last screen`)],
        [`cpu_${size}`, cost(`room of ${size}, server CPU each`, "ms")],
      ]),
    ),
  },
  idle: {
    title: "3,000 idle connections of as many users",
    run: idle,
    together: true,
    figures: { memory: cost("memory each", "KiB"), cpu: cost("server CPU of all, 60 s", "ms") },
  },
};

// ---- each of them ----

async function connect({ load, subject, scaled }) {
  const users = names(scaled(500));
  const figures = {};
  for (const who of ["new", "known"]) {
    const clients = users.map((user) => load.client(user));
    const cpu = cpuMs(subject.pid);
    const begun = performance.now();
    const times = await all(clients, (client) => client.connect());
    const seconds = (performance.now() - begun) / 1_000;
    await delay(GRACE_MS);
    figures[`${who}_rate`] = users.length / seconds;
    figures[`${who}_p50`] = quantile(times, 0.5);
    figures[`${who}_p99`] = quantile(times, 0.99);
    figures[`${who}_cpu`] = (cpuMs(subject.pid) - cpu) / users.length;
    for (const client of clients) client.disconnect();
    await delay(GRACE_MS);
  }
  return { figures };
}

async function oneAtATime({ load, subject, scaled }) {
  const clients = await online(load, names(10));
  const target = rotation(clients);
  const { pushes, cpu } = await pushing(load, subject, target, { count: scaled(500), warmUp: scaled(500), width: 1 });
  const answered = pushes.map(({ answered }) => answered);
  return { figures: { ...screens(pushes), answered_p50: quantile(answered, 0.5), cpu }, ...distribution(pushes) };
}

async function inFlight({ load, subject, scaled }) {
  const target = rotation(await online(load, names(64)));
  const { pushes, cpu, seconds } = await pushing(load, subject, target, { count: scaled(1_000), warmUp: scaled(500), width: 32 });
  return { figures: { rate: pushes.length / seconds, ...screens(pushes), cpu }, ...distribution(pushes) };
}

async function tabs({ load, subject, scaled }) {
  const clients = await online(load, Array(20).fill("u0"));
  const { pushes, cpu } = await pushing(load, subject, () => ["user:u0", clients], { count: scaled(200), warmUp: scaled(200), width: 1 });
  return { figures: { ...screens(pushes), cpu }, ...distribution(pushes) };
}

async function catchUp({ load, subject, scaled }) {
  const [first] = await online(load, ["u0"]);
  first.disconnect();
  await delay(GRACE_MS);
  const client = load.client("u0", { query: { missed: "1" } });
  await all(Array(scaled(1_000)).fill("user:u0"), (room) => load.push(room, [client]));
  await delay(GRACE_MS);
  const cpu = cpuMs(subject.pid);
  const begun = performance.now();
  await client.connect();
  if (subject.lists) await fetchMissed(load, client);
  await Promise.all([...client.expected].map((id) => client.arrival(id)));
  const took = performance.now() - begun;
  await delay(GRACE_MS);
  return { figures: { all: took, cpu: cpuMs(subject.pid) - cpu } };
}

/** The newest of what was missed comes by itself; an application takes the rest from the list. */
async function fetchMissed(load, client) {
  await client.batch();
  const ids = await load.list(client);
  if (new Set(ids).size !== ids.length) throw new Error("the list has a notification twice");
  for (const id of ids.filter((id) => !client.has(id))) client.take(id);
}

async function room({ load, subject, scaled }) {
  const sizes = SIZES.map(scaled);
  const roomsOf = (i) => SIZES.filter((_, k) => i < sizes[k]).map((size) => `r${size}`);
  const clients = names(Math.max(...sizes)).map((user, i) => load.client(user, { rooms: roomsOf(i) }));
  await all(clients, (client) => client.connect());
  await delay(GRACE_MS);
  const figures = {};
  for (const [k, size] of SIZES.entries()) {
    const members = clients.slice(0, sizes[k]);
    const target = () => [`dept:r${size}`, members];
    const { pushes, cpu } = await pushing(load, subject, target, { count: 5, warmUp: 2, width: 1 });
    figures[`first_${size}`] = quantile(pushes.map(({ first }) => first), 0.5);
    figures[`last_${size}`] = quantile(pushes.map(({ last }) => last), 0.5);
    figures[`cpu_${size}`] = cpu / members.length;
  }
  return { figures };
}

async function idle({ load, subject, scaled, together }) {
  const [clients, first] = [names(scaled(IDLE_CONNECTIONS)).map((user) => load.client(user)), load.client("first")];
  // What is needed for the first connection is not counted.
  await first.connect();
  await delay(GRACE_MS);
  const before = memoryKib(subject.pid);
  await all(clients, (client) => client.connect(), { perSecond: IDLE_CONNECTS_PER_SECOND });
  await together();
  await delay(ASLEEP_MS);
  const memory = (memoryKib(subject.pid) - before) / clients.length;
  const cpu = cpuMs(subject.pid);
  await delay(IDLE_MS);
  return { figures: { memory, cpu: ((cpuMs(subject.pid) - cpu) * 60_000) / IDLE_MS } };
}

// ---- what they share ----

const names = (count) => Array.from({ length: count }, (_, i) => `u${i}`);

/** Users with a connection each. */
async function online(load, users) {
  const clients = users.map((user) => load.client(user));
  await all(clients, (client) => client.connect());
  return clients;
}

/** Each push goes to the next of them. */
function rotation(clients) {
  let next = 0;
  return () => {
    const client = clients[next++ % clients.length];
    return [`user:${client.user}`, [client]];
  };
}

/** Pushes `count` times, `width` at the same time, after some that are not counted. CPU is in ms a push. */
async function pushing(load, subject, target, { count, warmUp, width }) {
  const push = () => load.pushTo(...target());
  // The code of the Workers is compiled better once it has run: the first 300 pushes take twice the CPU of those after them.
  await all(Array(warmUp).fill(), push, { width: Math.max(width, WARM_UP_WIDTH) });
  await delay(GRACE_MS);
  const cpu = cpuMs(subject.pid);
  const begun = performance.now();
  const pushes = await all(Array(count).fill(), push, { width });
  const seconds = (performance.now() - begun) / 1_000;
  await delay(GRACE_MS);
  return { pushes, seconds, cpu: (cpuMs(subject.pid) - cpu) / count };
}

const lasts = (pushes) => pushes.map(({ last }) => last);

const screens = (pushes) => ({ p50: quantile(lasts(pushes), 0.5), p99: quantile(lasts(pushes), 0.99) });

const distribution = (pushes) => ({ distribution: QUANTILES.map((q) => [q, quantile(lasts(pushes), q)]) });

/** The value that a share `q` of them does not exceed. */
export function quantile(values, q) {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
}
