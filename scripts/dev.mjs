// `make dev`, after the build: migrates the local database, runs `wrangler dev`, and says when it is ready.
// Ends wrangler and its workerd when it is ended itself.
import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { createServer } from "node:net";
import { join, resolve } from "node:path";
import { text } from "node:stream/consumers";
import { setInterval as every, setTimeout as delay } from "node:timers/promises";
import { fail, port, url } from "./arguments.mjs";

const ROOT = join(import.meta.dirname, "..");
const STATE = resolve(process.env.STATE);
// An environment of wrangler.toml; none for the product itself.
const ENVIRONMENT = process.env.ENVIRONMENT;
const DEFAULT_PORT = 8787;
const READY_WITHIN_MS = 60_000;
const END_WITHIN_MS = 5_000;
const MINUTE_MS = 60_000;
// Where wrangler takes it that a cron trigger fires.
const TRIGGER = "/cdn-cgi/local/scheduled";
// As in wrangler.toml: the one fires every minute, the other once an hour.
const DELIVER = "* * * * *";
const FORGET = "23 * * * *";

// Nothing here asks anything of the network, and nothing is written outside STATE and the project's ignored folders.
// A rebuild that wrangler starts is a make of its own.
const { MAKEFLAGS, MFLAGS, MAKELEVEL, ...inherited } = process.env;
const env = {
  ...inherited,
  PATH: `${join(ROOT, "node_modules/.bin")}:${process.env.PATH}`,
  WRANGLER_SEND_METRICS: "false",
  WRANGLER_SEND_ERROR_REPORTS: "false",
  WRANGLER_HIDE_BANNER: "true",
  WRANGLER_LOG_PATH: join(ROOT, ".wrangler/logs"),
  WRANGLER_REGISTRY_PATH: join(ROOT, ".wrangler/registry"),
  CLOUDFLARE_CF_FETCH_ENABLED: "false",
  // Where wrangler keeps an account and a device id; a local run has neither.
  XDG_CONFIG_HOME: join(ROOT, ".wrangler/config"),
};

let running;
let ending = false;
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => end(0));

if (!Number.isInteger(port) || port < 1 || port > 65_535) fail("PORT is a number from 1 to 65535");
if (!(await isFree(port))) fail(`port ${port} is in use: stop what listens there, or choose another with PORT=...`);

console.log("==> migrating the local database");
mkdirSync(STATE, { recursive: true });
// With CI set it does not wait for a "yes". What it says matters only when it fails.
const migrate = wrangler(["d1", "migrations", "apply", "DB", "--local"], { env: { ...env, CI: "1" }, stdio: "pipe" });
const said = Promise.all([text(migrate.stdout), text(migrate.stderr)]);
const migrated = await exit(migrate);
if (migrated !== 0) {
  console.error((await said).join(""));
  await end(migrated);
}

console.log(`==> starting on port ${port}`);
const server = exit(wrangler(["dev", "--port", String(port), "--show-interactive-dev-session=false"]));
const ready = await Promise.race([answers(`${url}/healthz`), server.then(() => false)]);
if (ready) console.log(ENVIRONMENT ? `\nDormouse (${ENVIRONMENT}) is ready on ${url}\n` : next());
if (ready && !ENVIRONMENT) fireCrons();
await end(await server);

/** Starts wrangler in a process group of its own, whose id then names all of its processes. */
function wrangler(args, options = {}) {
  const program = join(ROOT, "node_modules/wrangler/bin/wrangler.js");
  running = spawn(process.execPath, [program, ...args, "--persist-to", STATE, ...(ENVIRONMENT ? ["--env", ENVIRONMENT] : [])], {
    cwd: ROOT,
    env,
    detached: true,
    stdio: ["ignore", "inherit", "inherit"],
    ...options,
  });
  return running;
}

function exit(child) {
  return new Promise((resolve) => child.on("exit", (code) => resolve(code ?? 1)));
}

async function answers(address) {
  const deadline = performance.now() + READY_WITHIN_MS;
  while (performance.now() < deadline) {
    const response = await fetch(address).catch(() => undefined);
    if (response?.ok) return true;
    await delay(100);
  }
  console.error(`no answer from ${address} within ${READY_WITHIN_MS / 1000} s`);
  await end(1);
}

/** On a developer's machine crons fire only when they are asked to. */
async function fireCrons() {
  let minutes = 0;
  for await (const _ of every(MINUTE_MS)) {
    minutes += 1;
    await fire(DELIVER);
    if (minutes % 60 === 23) await fire(FORGET);
  }
}

/** What goes wrong is in the Worker's log, and the next minute comes. */
async function fire(cron) {
  const response = await fetch(`${url}${TRIGGER}?${new URLSearchParams({ cron })}`).catch(() => undefined);
  await response?.arrayBuffer();
}

/** Ends what runs and then this process. Does not return: whoever awaits it goes no further. */
async function end(code) {
  if (ending) return new Promise(() => {});
  ending = true;
  if (running) await endGroup(-running.pid);
  process.exit(code);
}

async function endGroup(group) {
  try {
    process.kill(group, "SIGTERM");
    for (const deadline = performance.now() + END_WITHIN_MS; performance.now() < deadline; await delay(50)) {
      process.kill(group, 0);
    }
    process.kill(group, "SIGKILL");
  } catch (error) {
    if (error.code !== "ESRCH") throw error; // ESRCH: the group is empty, which is what was wanted.
  }
}

function isFree(port) {
  return new Promise((resolve) => {
    const probe = createServer().once("error", () => resolve(false));
    probe.listen(port, "127.0.0.1", () => probe.close(() => resolve(true)));
  });
}

function next() {
  const at = port === DEFAULT_PORT ? "" : ` PORT=${port}`;
  const commands = [
    [`make watch USER=u1${at}`, "a client that prints every event it gets"],
    [`make push USER=u1 TITLE="Hello"${at}`, "a notification for it"],
    ["make token USER=u1", "a token for a client of your own"],
  ];
  const width = Math.max(...commands.map(([command]) => command.length));
  const lines = commands.map(([command, what]) => `  ${command.padEnd(width)}   # ${what}`);
  return `\nDormouse is ready on ${url}\n\nIn other terminals:\n${lines.join("\n")}\n`;
}
