// What the load generator is made of: users with stock clients, and services that push. It keeps account of who should
// have got what, so that a figure of pushes that got lost, or came twice, or to somebody else, is none.
import { Agent, request } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { io } from "socket.io-client";
import { signJwt, userClaims } from "../scripts/jwt.mjs";

/** What takes longer does not come at all. */
const PATIENCE_MS = 60_000;
/** Connections that are opened at the same time. */
const WIDTH = 32;
const CONTENT = "The order was **paid by card** and leaves the house today. ".repeat(3);

/** One subject under load, seen from outside. */
export class Load {
  #agent = new Agent({ keepAlive: true });
  #clients = new Set();
  #subject;
  /** [room, id] of every push that was answered. */
  pushed = [];
  /** How many deliveries, each to one user, are acknowledged in the end. */
  deliveries = 0;

  constructor(subject) {
    this.#subject = subject;
  }

  /** A client of `user`, who is in the departments `rooms`; not connected yet. `query` is added to that of the handshake. */
  client(user, { rooms = [], query = {} } = {}) {
    const token = signJwt(userClaims(user, { departments: rooms }), this.#subject.jwtSecret);
    const departments = rooms.length === 0 ? {} : { rooms: rooms.map((id) => `dept:${id}`).join(" ") };
    // `user` and `rooms` are for the floor, which looks into no token; the others take no notice.
    const client = new Client(this.#subject.url, user, token, { token, user, ...departments, ...query });
    this.#clients.add(client);
    return client;
  }

  /** Pushes to a room that these clients are in; gives the id and when it was answered. */
  async push(room, clients, { users = new Set(clients.map(({ user }) => user)).size } = {}) {
    const body = { to: [room], title: "Order 1042", content: CONTENT, data: { order: 1042 } };
    const { id } = await this.#ask("POST", "/v1/notifications", this.#subject.serviceKey, body);
    const answered = performance.now();
    this.pushed.push([room, id]);
    this.deliveries += users;
    for (const client of clients) client.expected.add(id);
    return { id, answered };
  }

  /** Pushes, and waits until all these clients have it: ms until it was answered, and until the first and the last had it. */
  async pushTo(room, clients) {
    const begun = performance.now();
    const { id, answered } = await this.push(room, clients);
    const arrivals = await Promise.all(clients.map((client) => client.arrival(id)));
    return { answered: answered - begun, first: Math.min(...arrivals) - begun, last: Math.max(...arrivals) - begun };
  }

  /** All pages of a client's list, as an application reads them. */
  async list(client) {
    const ids = [];
    for (let cursor = ""; cursor !== null; ) {
      const page = await this.#ask("GET", `/v1/me/notifications?limit=100${cursor}`, client.token);
      ids.push(...page.items.map(({ id }) => id));
      cursor = page.next_cursor === null ? null : `&cursor=${encodeURIComponent(page.next_cursor)}`;
    }
    return ids;
  }

  #ask(method, path, credential, body) {
    return new Promise((resolve, reject) => {
      const headers = { authorization: `Bearer ${credential}`, ...(body && { "content-type": "application/json" }) };
      const outgoing = request(new URL(path, this.#subject.url), { method, headers, agent: this.#agent }, (incoming) => {
        const chunks = [];
        incoming.on("data", (chunk) => chunks.push(chunk));
        incoming.on("error", reject);
        incoming.on("end", () => {
          const text = Buffer.concat(chunks).toString();
          if (incoming.statusCode < 300) resolve(JSON.parse(text));
          else reject(new Error(`${method} ${path} was answered ${incoming.statusCode} ${text}`));
        });
      });
      outgoing.on("error", reject);
      outgoing.end(body && JSON.stringify(body));
    });
  }

  /** Fails unless every client got what it should have got, once, and nothing else. */
  check() {
    for (const client of this.#clients) client.check();
  }

  close() {
    for (const client of this.#clients) client.disconnect();
    this.#agent.destroy();
  }
}

/** One stock client, which acknowledges as the README's does. */
class Client {
  #url;
  #query;
  #socket;
  /** When each notification came first. */
  #arrivals = new Map();
  #waiting = new Map();
  #twice = [];
  #batch = Promise.withResolvers();
  expected = new Set();

  constructor(url, user, token, query) {
    this.#url = url;
    this.#query = query;
    this.user = user;
    this.token = token;
  }

  /** Connects; gives the ms until the client was told that it is authenticated. */
  async connect() {
    const begun = performance.now();
    const options = { transports: ["websocket"], forceNew: true, reconnection: false, query: this.#query };
    const socket = io(`${this.#url}/notifications`, options);
    this.#socket = socket;
    socket.on("notification:new", ({ id, recipient_id }) => {
      this.take(id);
      socket.emit("notification:acknowledge", { recipient_id });
    });
    socket.on("notification:batch", ({ notifications }) => {
      for (const { id } of notifications) this.take(id);
      socket.emit("notification:acknowledge", notifications.map(({ recipient_id }) => ({ recipient_id })));
      this.#batch.resolve();
    });
    const authenticated = new Promise((resolve, reject) => {
      socket.on("authenticated", resolve);
      socket.on("connect_error", (error) => reject(new Error(`${this.user}: ${error.message} ${error.description?.message ?? ""}`)));
    });
    await within(authenticated, `${this.user} is connected`);
    return performance.now() - begun;
  }

  take(id) {
    if (this.#arrivals.has(id)) {
      this.#twice.push(id);
      return;
    }
    const now = performance.now();
    this.#arrivals.set(id, now);
    this.#waiting.get(id)?.(now);
    this.#waiting.delete(id);
  }

  /** Waits for the first `notification:batch`. */
  batch() {
    return within(this.#batch.promise, `a batch is at ${this.user}`);
  }

  has(id) {
    return this.#arrivals.has(id);
  }

  /** When the client got the notification, which may still be to come. */
  arrival(id) {
    const came = this.#arrivals.get(id);
    if (came !== undefined) return came;
    return within(new Promise((resolve) => this.#waiting.set(id, resolve)), `${id} is at ${this.user}`);
  }

  check() {
    const fault = (what, id) => {
      throw new Error(`${this.user} got ${id} ${what}`);
    };
    for (const id of this.#twice) fault("twice", id);
    for (const id of this.#arrivals.keys()) if (!this.expected.has(id)) fault("without reason", id);
    for (const id of this.expected) if (!this.#arrivals.has(id)) fault("never", id);
  }

  disconnect() {
    this.#socket?.disconnect();
  }
}

/** Does `action` with each of these, some at the same time; gives what each gave. `perSecond` paces them. */
export async function all(items, action, { width = WIDTH, perSecond = Infinity } = {}) {
  const begun = performance.now();
  const results = [];
  const left = [...items.entries()];
  const work = async () => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) {
      const early = begun + (next[0] * 1_000) / perSecond - performance.now();
      if (early > 0) await delay(early);
      results[next[0]] = await action(next[1]);
    }
  };
  await Promise.all(Array.from({ length: width }, work));
  return results;
}

async function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${PATIENCE_MS} ms: ${what}`)), PATIENCE_MS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
