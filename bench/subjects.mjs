// Those that are measured, each started as a server of its own with nothing in it.
//
// A subject has a `url` to connect and push to, the process id that all of it descends from, `stored()`, the [room, id] of every
// push its database has, and `delivered()`, how many acknowledged deliveries it has, where it keeps them. Where it `lists`, a client
// takes from its list what does not come by itself.
import { fork } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { until } from "../tests/live/client.mjs";
import { options } from "../tests/live/config.mjs";
import { freePort, Runtime, startServer } from "../tests/live/server.mjs";

// The platform counts in memory. Miniflare does so in an object that commits to the disk for every request.
const UNCOUNTED = { HANDSHAKES: null, SERVICE_REQUESTS: null };
/** Of what a subject logged before it failed. */
const LOG_LINES = 10;
const PEERS = join(import.meta.dirname, "peers");
// No index beside the key: a push is one row.
const FLOOR_SCHEMA =
  "CREATE TABLE notifications (room TEXT NOT NULL, id TEXT NOT NULL, payload TEXT NOT NULL, PRIMARY KEY (room, id)) WITHOUT ROWID";

/** Each starts a subject, with its data in a folder of its own in `place`. */
export const SUBJECTS = { dormouse, floor, node };

/** The product, with the settings it comes with; without rate limits. */
async function dormouse(place) {
  const folder = mkdtempSync(join(place, "dormouse-bench-"));
  const server = await startServer({ bundle: "production", persist: folder, limits: UNCOUNTED });
  return {
    url: server.url,
    pid: server.pid,
    jwtSecret: server.jwtSecret,
    serviceKey: server.serviceKey,
    lists: true,
    async stored() {
      const rows = await server.db.all("SELECT room, ref FROM audience WHERE kind = 'push'");
      return rows.map(({ room, ref }) => [room, ref]);
    },
    async delivered() {
      return (await server.db.all("SELECT count(*) AS count FROM deliveries WHERE status = 'delivered'"))[0].count;
    },
    log: () => server.lastLines(LOG_LINES),
    async stop() {
      await server.stop();
      remove(folder);
    },
  };
}

/** The platform's floor, in the runtime that the product is in, with the same flags. */
async function floor(place) {
  const folder = mkdtempSync(join(place, "dormouse-floor-"));
  const scratch = join(folder, "tmp");
  mkdirSync(scratch);
  const runtime = new Runtime(scratch, (line) => console.error(`floor: ${line}`));
  const { compatibilityDate, compatibilityFlags } = options({});
  const object = (className) => ({ className, useSQLite: true });
  const { url } = await runtime.ask("start", {
    options: {
      name: "floor",
      compatibilityDate,
      compatibilityFlags,
      d1Databases: { DB: "floor" },
      durableObjects: { HUB: object("Hub"), ROOM: object("Room") },
    },
    bundle: join(PEERS, "floor"),
    persist: join(folder, "state"),
    port: await freePort(),
    workers: [],
  });
  const run = (sql) => runtime.ask("sql", { binding: "DB", statements: [{ sql, params: [] }] });
  await run(FLOOR_SCHEMA);
  return {
    url: new URL(url).origin,
    pid: runtime.pid,
    ...credentials(),
    async stored() {
      const [{ results }] = await run("SELECT room, id FROM notifications");
      return results.map(({ room, id }) => [room, id]);
    },
    async stop() {
      await runtime.kill();
      remove(folder);
    },
  };
}

/** Socket.IO on Node. */
async function node(place) {
  const folder = mkdtempSync(join(place, "dormouse-peer-"));
  const port = await freePort();
  const { jwtSecret, serviceKey } = credentials();
  const child = fork(join(PEERS, "node/server.mjs"), {
    env: { ...process.env, PORT: port, DATA: folder, JWT_SECRET: jwtSecret, SERVICE_KEY: serviceKey, NODE_ENV: "production" },
  });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  await new Promise((resolve, reject) => {
    child.once("message", resolve);
    ended.then(() => reject(new Error("the Node peer did not start")));
  });
  const all = (sql) => {
    const db = new DatabaseSync(join(folder, "peer.sqlite"), { readOnly: true });
    try {
      return db.prepare(sql).all();
    } finally {
      db.close();
    }
  };
  return {
    url: `http://127.0.0.1:${port}`,
    pid: child.pid,
    jwtSecret,
    serviceKey,
    stored: async () => all("SELECT room, id FROM notifications").map(({ room, id }) => [room, id]),
    delivered: async () => all("SELECT count(*) AS count FROM deliveries")[0].count,
    async stop() {
      child.kill("SIGKILL");
      await ended;
      remove(folder);
    },
  };
}

function credentials() {
  return { jwtSecret: randomBytes(32).toString("hex"), serviceKey: randomBytes(32).toString("base64url") };
}

function remove(folder) {
  rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
}

/** Fails unless the subject has every push that was made, and no other; and as many deliveries as there were, where it keeps them. */
export async function verify(subject, pushed, deliveries) {
  const sorted = (pairs) => pairs.map((pair) => pair.join(" ")).sort();
  const [made, stored] = [sorted(pushed), sorted(await subject.stored())];
  const strange = stored.find((pair, i) => pair !== made[i]);
  if (made.length !== stored.length || strange !== undefined) {
    throw new Error(`${made.length} were pushed and ${stored.length} are stored${strange === undefined ? "" : `, such as ${strange}`}`);
  }
  if (subject.delivered === undefined) return;
  const all = async () => (await subject.delivered()) === deliveries;
  await until(all, { timeout: 30_000, what: `${deliveries} deliveries are in the database` });
}
