// A real workerd with the Worker's bundle, on a port of its own, with its data in a folder of its own.
//
// The runtime lives in a process group of its own, so that all of it can be killed at once, as in a crash.
import { spawn } from "node:child_process";
import { randomBytes, randomInt } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { request } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { io } from "socket.io-client";
import { signJwt, userClaims } from "../../scripts/jwt.mjs";
import { newServiceKey } from "../../scripts/service-key.mjs";
import { until } from "./client.mjs";

const ROOT = join(import.meta.dirname, "../..");
// `environment` is one of wrangler.toml.
const BUNDLES = {
  production: { folder: join(ROOT, "build") },
  instruments: { folder: join(ROOT, "build-instruments") },
  conformance: { folder: join(ROOT, "build-conformance"), environment: "conformance" },
};
const HUB = "UserHub";
const DATABASE = "DB";
const LOG_LINES = 1000;
const MANY = 1_000_000_000;

/** Those that run, for whoever cleans up. */
export const servers = new Set();

/**
 * Starts a server and applies the migrations.
 *
 * `vars` (texts) override those of wrangler.toml; null removes one. `persist` is a folder to keep (default: a temporary one,
 * removed at the end). `bundle` is "instruments" (default), "production" or "conformance". `workers` are the options of others
 * that run beside it. `limits` are how much the rate-limiting bindings let through; without them, wrangler.toml's, but any number of
 * handshakes: all clients of a test have one address.
 * `inspected`: its heaps can be looked at.
 */
export async function startServer({ vars = {}, persist, port, bundle = "instruments", workers = [], limits = { HANDSHAKES: MANY }, inspected = false } = {}) {
  const server = new Server({ vars, persist, port: port ?? (await freePort()), bundle, workers, limits, inspected });
  servers.add(server);
  try {
    await server.restart();
  } catch (cause) {
    await server.stop();
    throw new Error(["the server did not start; it logged:", ...server.log].join("\n"), { cause });
  }
  return server;
}

class Server {
  #temporary = mkdtempSync(join(tmpdir(), "dormouse-"));
  #bundle;
  #workers;
  #limits;
  #inspected;
  #runtime;
  #sockets = new Set();

  constructor({ vars, persist, port, bundle, workers, limits, inspected }) {
    const { key, record } = newServiceKey("test");
    this.port = port;
    this.url = `http://127.0.0.1:${port}`;
    this.persist = persist ?? join(this.#temporary, "state");
    this.serviceKey = key;
    this.jwtSecret = vars.JWT_SECRET ?? randomBytes(32).toString("hex");
    this.vars = { JWT_SECRET: this.jwtSecret, SERVICE_KEYS: JSON.stringify([record]), ...vars };
    this.log = [];
    this.logged = 0;
    this.#bundle = BUNDLES[bundle];
    this.#workers = workers;
    this.#limits = limits;
    this.#inspected = inspected;
  }

  // ---- the process ----

  /** The process that leads the runtime's group. */
  get pid() {
    return this.#runtime?.pid;
  }

  /** SIGKILL to the whole runtime, as a crash: nothing is flushed, closed or announced. */
  async kill() {
    if (this.#runtime === undefined) return;
    await this.#runtime.kill();
    this.#runtime = undefined;
    // The child is gone; once the port is free as well, so is workerd with its locks on the data.
    await until(() => isFree(this.port), { what: `port ${this.port} is free` });
  }

  /** Starts again on the same port and data, after `kill` or instead of it. `vars` changes settings. */
  async restart({ vars = {} } = {}) {
    await this.kill();
    Object.assign(this.vars, vars);
    const scratch = join(this.#temporary, "tmp");
    mkdirSync(scratch, { recursive: true });
    this.#runtime = new Runtime(scratch, (line) => this.#record(line));
    const { options, applyMigrations } = await import("./config.mjs");
    await this.#runtime.ask("start", {
      options: options(this.vars, this.#bundle.environment, this.#limits),
      bundle: this.#bundle.folder,
      persist: this.persist,
      port: this.port,
      workers: this.#workers,
      inspected: this.#inspected,
    });
    await applyMigrations(this.db);
  }

  /** SIGKILL to workerd alone, which is started again on the same port and data: faster than `kill` and `restart`. */
  crash() {
    return this.#runtime.ask("crash");
  }

  /** Closes the clients, ends the runtime and removes the temporary files. */
  async stop() {
    servers.delete(this);
    for (const socket of this.#sockets) socket.disconnect();
    await this.kill();
    this.removeFiles();
  }

  /** For the end of the process, when nothing can be awaited any more. */
  endNow() {
    this.#runtime?.killNow();
    this.removeFiles();
  }

  removeFiles() {
    rmSync(this.#temporary, { recursive: true, force: true, maxRetries: 3 });
  }

  #record(line) {
    this.logged += 1;
    this.log.push(line);
    if (this.log.length > LOG_LINES) this.log.shift();
  }

  lastLines(count) {
    return count > 0 ? this.log.slice(-count) : [];
  }

  // ---- what is inside ----

  /** The process that everything of the runtime descends from. */
  get pid() {
    return this.#runtime.pid;
  }

  /** The D1 database: `all` gives rows, `run` gives what changed, `batch` runs `{ sql, params }` in one transaction. */
  db = {
    all: async (sql, ...params) => (await this.db.batch([{ sql, params }]))[0].results,
    run: async (sql, ...params) => (await this.db.batch([{ sql, params }]))[0].meta,
    batch: (statements) => this.#runtime.ask("sql", { binding: DATABASE, statements }),
  };

  /** Asks a Worker that runs beside this one. */
  async ask(name, path, { method = "POST", headers, body } = {}) {
    const { status, text } = await this.#runtime.ask("ask", { name, path, init: { method, headers, body: JSON.stringify(body) } });
    return { status, body: text === "" ? undefined : JSON.parse(text) };
  }

  /** Hands messages `{ id, timestamp, body, attempts }` over as if they came from that queue; how they were settled. */
  deliver(queue, messages) {
    return this.#runtime.ask("deliver", { queue, messages });
  }

  /** Takes a user's hub out of memory, its sockets hibernated: what an idle object goes through. */
  evict(user, className = HUB) {
    return this.#runtime.ask("evict", { className, name: user });
  }

  evictAll(className = HUB) {
    return this.#runtime.ask("evictAll", { className });
  }

  /** Bytes in the JavaScript heap of each isolate, without garbage: ours is `core:user:dormouse`, the others are Miniflare's. */
  heaps() {
    return this.#runtime.ask("heaps");
  }

  /** The ids of the objects of a class that there are. */
  objects(className = HUB) {
    return this.#runtime.ask("objects", { className });
  }

  hubInfo(user) {
    return this.#instrument("GET", `hub/${encodeURIComponent(user)}`);
  }

  /** The next `times` passes through the named point do `action`. */
  failPoint(name, { action = "error", times = 1 } = {}) {
    return this.#instrument("PUT", `fail-points/${encodeURIComponent(name)}`, { action, times });
  }

  /** Plants a fault until the runtime ends. */
  plantFault(name) {
    return this.#instrument("PUT", `faults/${encodeURIComponent(name)}`);
  }

  failPoints() {
    return this.#instrument("GET", "fail-points");
  }

  clearFailPoints() {
    return this.#instrument("DELETE", "fail-points");
  }

  ledger() {
    return this.#instrument("GET", "ledger");
  }

  resetLedger() {
    return this.#instrument("DELETE", "ledger");
  }

  async #instrument(method, path, body) {
    const answer = await this.api(method, `/__test/${path}`, { body });
    if (answer.status >= 300) throw new Error(`${method} /__test/${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
    return answer.body;
  }

  // ---- the clock ----

  /** Puts the clock of Worker and objects forward, for good. Alarms that are set already go off when they would have. */
  putClockForward(ms) {
    return this.#instrument("PUT", `clock/${ms}`);
  }

  /** Fires a cron trigger and waits until the Worker is done with it. */
  async cron(expression = "* * * * *") {
    const path = `/cdn-cgi/local/scheduled?${new URLSearchParams({ cron: expression, format: "json" })}`;
    const { status, body } = await this.api("GET", path);
    if (status !== 200) throw new Error(`GET ${path}: ${status} ${JSON.stringify(body)}`);
  }

  // ---- what a service does ----

  /** One request on a connection of its own. Never throws for a status; throws when there is no answer. */
  api(method, path, { token, key, body, headers = {} } = {}) {
    const credential = token ?? key;
    const json = body !== undefined && typeof body !== "string" && !Buffer.isBuffer(body);
    return send(new URL(path, this.url), method, json ? JSON.stringify(body) : body, {
      ...(credential === undefined ? {} : { authorization: `Bearer ${credential}` }),
      ...(json ? { "content-type": "application/json" } : {}),
      ...headers,
    });
  }

  /** `what` is a push, or a user id for an ordinary push to that user. */
  push(what, { key = this.serviceKey, token, idempotencyKey, headers = {} } = {}) {
    const body = typeof what === "string" ? { to: [`user:${what}`], title: "Hello" } : what;
    const idempotency = idempotencyKey === undefined ? {} : { "idempotency-key": idempotencyKey };
    return this.api("POST", "/v1/notifications", { key, token, body, headers: { ...idempotency, ...headers } });
  }

  // ---- what a client does ----

  /** Many pushes in one request. */
  pushBatch(items, { key = this.serviceKey, headers = {} } = {}) {
    return this.api("POST", "/v1/notifications/batch", { key, body: { items }, headers });
  }

  /** A token for `user`. A negative `ttl` (seconds) gives an expired one; a claim set to undefined is left out. */
  token(user, { ttl, departments, claims, alg, header, secret = this.jwtSecret } = {}) {
    return signJwt(userClaims(user, { ttl, departments, claims }), secret, { alg, header });
  }

  /**
   * A stock client, connecting. `token` (default: a fresh one of `user`; null: none) goes into the query; the rest are the
   * client's own options. `url` is where the client finds the server, for one behind a proxy. `socket.events` records what
   * the server sent, in order, as `{ name, data, args }`; `socket.lifecycle` does so for connect, connect_error and disconnect.
   */
  connect(user, { token, departments, ttl, url = this.url, namespace = "/notifications", query = {}, ...options } = {}) {
    const credential = token === undefined ? this.token(user, { departments, ttl }) : token;
    const socket = io(url + namespace, {
      transports: ["websocket"],
      forceNew: true,
      reconnection: false,
      query: { ...(credential === null ? {} : { token: credential }), ...query },
      ...options,
    });
    return this.#follow(socket);
  }

  /** Another namespace of a client's connection, recorded in the same way. */
  connectOver(socket, namespace, options) {
    return this.#follow(socket.io.socket(namespace, options));
  }

  #follow(socket) {
    socket.events = [];
    socket.lifecycle = [];
    socket.onAny((name, ...args) => socket.events.push({ name, data: args[0], args }));
    for (const name of ["connect", "connect_error", "disconnect"]) {
      socket.on(name, (...args) => socket.lifecycle.push({ name, data: args[0], args }));
    }
    this.#sockets.add(socket);
    return socket;
  }
}

/** The child process that runs one Miniflare. */
export class Runtime {
  #child;
  #exited;
  #asked = new Map();
  #next = 0;

  constructor(scratch, onLog) {
    this.#child = spawn(process.execPath, [join(import.meta.dirname, "runtime.mjs")], {
      cwd: ROOT,
      // A new process group, led by the child: its id names the child and workerd together.
      detached: true,
      // What a killed runtime leaves lying about goes with the server's own files.
      env: { ...process.env, TMPDIR: scratch },
      serialization: "advanced",
      stdio: ["ignore", "pipe", "pipe", "ipc"],
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.setEncoding("utf8").on("data", (text) => text.split("\n").filter(Boolean).forEach(onLog));
      stream.unref();
    }
    this.#child.on("message", ({ id, result, error, log }) => {
      if (log !== undefined) return onLog(log);
      const { resolve, reject } = this.#asked.get(id);
      this.#asked.delete(id);
      if (error) reject(Object.assign(new Error(error.message), { stack: error.stack }));
      else resolve(result);
    });
    this.#exited = new Promise((resolve) => {
      this.#child.on("exit", () => {
        for (const { reject } of this.#asked.values()) reject(new Error("the test server has ended"));
        this.#asked.clear();
        resolve();
      });
    });
  }

  /** Of the child; workerd is a child of it. */
  get pid() {
    return this.#child.pid;
  }

  ask(command, args) {
    return new Promise((resolve, reject) => {
      const id = this.#next++;
      this.#asked.set(id, { resolve, reject });
      this.#child.send({ id, command, ...args }, (error) => {
        if (error && this.#asked.delete(id)) reject(error);
      });
    });
  }

  async kill() {
    this.killNow();
    await this.#exited;
  }

  killNow() {
    try {
      process.kill(-this.#child.pid, "SIGKILL");
    } catch (error) {
      if (error.code !== "ESRCH") throw error;
    }
  }
}


function send(url, method, body, headers) {
  return new Promise((resolve, reject) => {
    // No kept-alive connection: after a restart it would be a dead one.
    const outgoing = request(url, { method, headers, agent: false }, async (incoming) => {
      try {
        const text = Buffer.concat(await incoming.toArray()).toString();
        const json = /[/+]json\b/.test(incoming.headers["content-type"] ?? "") && text !== "";
        resolve({ status: incoming.statusCode, headers: incoming.headers, body: json ? JSON.parse(text) : text });
      } catch (error) {
        reject(error);
      }
    });
    outgoing.on("error", reject);
    outgoing.end(body);
  });
}

/** A port that no outgoing connection is given: while a server is down, one could take it, or connect to itself. */
export async function freePort() {
  for (;;) {
    const port = randomInt(20_000, 30_000);
    if (await isFree(port)) return port;
  }
}

function isFree(port) {
  return new Promise((resolve) => {
    const probe = createServer().once("error", () => resolve(false));
    probe.listen(port, "127.0.0.1", () => probe.close(() => resolve(true)));
  });
}

process.on("exit", () => {
  for (const server of servers) server.endNow();
});
for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143]]) process.on(signal, () => process.exit(code));
