// A user in the chaos: a stock client that comes back by itself, what it was told, and what its commands must have led to.
import { io } from "socket.io-client";

const ACK_TIMEOUT_MS = 5_000;
/** How much of what a client heard is kept, for a report. */
const HISTORY = 60;
const RECONNECTING = { reconnectionDelay: 30, reconnectionDelayMax: 150, randomizationFactor: 0.5 };
const CHANGES = ["read", "unread", "archived", "unarchived", "deleted"].map((name) => `notification:${name}`);

/** What each command makes of an item's state. */
const COMMANDS = {
  read: (state) => ({ ...state, read: true }),
  unread: (state) => ({ ...state, read: false }),
  archive: (state) => ({ ...state, folder: "archived" }),
  unarchive: (state) => ({ ...state, folder: "inbox" }),
  delete: (state) => ({ ...state, folder: "deleted" }),
};
const EVENTS = {
  read: "mark:read",
  unread: "mark:unread",
  archive: "notification:archive",
  unarchive: "notification:unarchive",
  delete: "notification:delete",
};
const FRESH = { read: false, folder: "inbox" };

export class User {
  name;
  departments;
  /** Whether the client is to be connected; it may just be on its way. */
  online = false;
  /** One command at a time: then what an unanswered one may have done is known. */
  busy = false;
  #server;
  #report;
  #socket;
  #sent = -1;
  /** Whether a gap in what the client was told is to be expected. */
  mayHaveMissed = false;
  /** The change that each `seq` was, as the client was told. */
  told = new Map();
  /** Changes up to here may have come together, in a batch. */
  #batched = 0;
  #base;
  /** The counts as the client knows them. */
  counts;
  /** What is known of each item: its `seq` and the states it may be in, more than one after a command without an answer. */
  #items = new Map();
  #readAlls = [];
  #heard = [];
  #torn = [];

  constructor(server, name, departments, report) {
    [this.#server, this.name, this.departments] = [server, name, departments];
    this.#report = (kind, text) => report(kind, `${name}: ${text}`);
  }

  get token() {
    return this.#server.token(this.name, { departments: this.departments });
  }

  // ---- the client ----

  connect() {
    this.online = true;
    if (this.#socket !== undefined) {
      this.#socket.connect();
      return;
    }
    this.#socket = io(`${this.#server.url}/notifications`, {
      transports: ["websocket"],
      forceNew: true,
      query: { token: this.token, ack: "on" },
      ...RECONNECTING,
    });
    this.#socket.on("connect", () => {
      this.#sent = -1;
      this.#note(this.#socket.recovered ? "recovered" : "connected");
    });
    this.#socket.on("disconnect", (reason) => this.#note(reason));
    this.#socket.onAny((name, data) => this.#hear(name, data));
  }

  disconnect() {
    this.online = false;
    this.#socket?.disconnect();
  }

  isThere() {
    return this.#socket?.connected === true;
  }

  /** Waits until everything sent so far has come. */
  settled() {
    return this.#socket.timeout(ACK_TIMEOUT_MS).emitWithAck("ping");
  }

  #hear(name, data) {
    this.#note(`${name} ${data.seq ?? ""}`);
    if (name === "authenticated") {
      this.#base ??= data.seq;
      this.#count(data.unread, data.seq);
    } else if (name === "notification:new") {
      if (!data.redelivered) {
        if (data.seq <= this.#sent) this.#report("order", `${data.seq} came after ${this.#sent}`);
        this.#sent = data.seq;
      }
      this.#tell(data.seq, `new ${data.id}`);
      this.#learn(data);
      this.#socket.emit("notification:acknowledge", { recipient_id: data.recipient_id });
    } else if (name === "notification:batch") {
      for (const item of data.notifications) {
        this.#tell(item.seq, `new ${item.id}`);
        this.#learn(item);
      }
      this.#socket.emit("notification:acknowledge", data.notifications.map(({ recipient_id }) => recipient_id));
      this.#batched = Math.max(this.#batched, data.seq);
    } else if (CHANGES.includes(name)) this.#tell(data.seq, `${name} ${data.id}`);
    else if (name === "notifications:read_all") this.#tell(data.seq, `${name} up to ${data.before_seq}`);
    else if (name === "unread:count") this.#count(data.count, data.seq);
  }

  #tell(seq, what) {
    const before = this.told.get(seq);
    if (before !== undefined && before !== what) this.#report("told", `change ${seq} was "${before}" and is "${what}"`);
    this.told.set(seq, what);
  }

  #note(what) {
    this.#heard.push(`${new Date().toISOString().slice(14, 23)} ${what}`);
    if (this.#heard.length > HISTORY) this.#heard.shift();
  }

  #count(unread, seq) {
    if (seq >= (this.counts?.seq ?? 0)) this.counts = { unread, seq };
  }

  #learn({ id, seq }) {
    const known = this.#items.get(id);
    if (known === undefined) {
      // One command may have read it before anybody saw it.
      const read = this.#readAlls.some((before) => before >= seq) ? [{ ...FRESH, read: true }] : [];
      this.#items.set(id, { seq, possible: [FRESH, ...read] });
    } else if (known.seq !== seq) this.#report("told", `${id} was number ${known.seq} and is ${seq}`);
  }

  /** The last things that the client heard. */
  history() {
    return this.#heard.join("; ");
  }

  /** The ids of what a client was told is new. */
  toldOf() {
    return [...this.told.values()].filter((what) => what.startsWith("new ")).map((what) => what.slice(4));
  }

  /** The changes up to `seq` that the client was never told of. Of what had come and gone while it was away it is not told. */
  gaps(seq) {
    const gone = new Set([...this.#items.values()].filter(({ possible }) => possible[0].folder === "deleted").map((item) => item.seq));
    const numbers = Array.from({ length: seq - (this.#base ?? seq) }, (_, i) => this.#base + 1 + i);
    const gaps = numbers.filter((number) => number > this.#batched && !this.told.has(number) && !gone.has(number));
    if (!this.mayHaveMissed) return gaps;
    for (const number of gaps) this.told.set(number, "never");
    this.mayHaveMissed = false;
    return [];
  }

  // ---- commands ----

  /** Does something with an item, or reads everything; whether it was answered. */
  async command(dice) {
    const name = dice.of({ read: 6, unread: 1, archive: 2, unarchive: 1, delete: 1, readAll: 1 });
    return name === "readAll" ? this.#readAll(dice) : this.#mark(name, dice);
  }

  async #mark(name, dice) {
    const certain = [...this.#items].filter(([, { possible }]) => possible.length === 1 && possible[0].folder !== "deleted");
    if (certain.length === 0) return undefined;
    const [id, item] = dice.pick(certain);
    const [method, path] = name === "delete" ? ["DELETE", ""] : ["POST", `/${name}`];
    const done = union(item.possible.map(COMMANDS[name]));
    item.possible = union(item.possible, done);
    const answered = await this.#say(dice, EVENTS[name], { notification_id: id }, method, `/${id}${path}`);
    if (answered) item.possible = done;
    return answered;
  }

  async #readAll(dice) {
    const before = Math.max(0, ...[...this.#items.values()].map(({ seq }) => seq));
    if (before === 0) return undefined;
    this.#readAlls.push(before);
    const touched = [...this.#items].filter(([, { seq }]) => seq <= before);
    const read = (state) => (state.folder === "inbox" ? COMMANDS.read(state) : state);
    const unread = touched.filter(([, { possible }]) => possible.length === 1 && possible[0].folder === "inbox" && !possible[0].read);
    const done = touched.map(([, item]) => [item, union(item.possible.map(read))]);
    for (const [item, after] of done) item.possible = union(item.possible, after);
    const answered = await this.#say(dice, "mark:all:read", { before_seq: before }, "POST", "/read-all");
    if (answered) for (const [item, after] of done) item.possible = after;
    else this.#torn.push(unread.map(([id]) => id));
    return answered;
  }

  /** Over the socket or over HTTP; true when it was done, false when nobody knows. */
  async #say(dice, event, payload, method, path) {
    try {
      if (this.isThere() && dice.roll() < 0.5) {
        const { ok, error } = await this.#socket.volatile.timeout(ACK_TIMEOUT_MS).emitWithAck(event, payload);
        if (!ok) this.#report("state", `${event} ${JSON.stringify(payload)} was refused: ${JSON.stringify(error)}`);
        return ok;
      }
      const body = path === "/read-all" ? payload : undefined;
      const answer = await this.#server.api(method, `/v1/me/notifications${path}`, { token: this.token, body });
      if (answer.status >= 400 && answer.status < 500) {
        this.#report("state", `${method} ${path} was answered ${answer.status} ${JSON.stringify(answer.body)}`);
      }
      return answer.status < 300;
    } catch {
      return false;
    }
  }

  // ---- what has become of it ----

  /** Whether the user may have deleted it. */
  mayHaveDeleted(id) {
    return this.#items.get(id)?.possible.some(({ folder }) => folder === "deleted") === true;
  }

  /** Holds what is listed against what the commands must have led to; from then on it is what is known. */
  observe(listed) {
    for (const { id, seq } of listed) this.#learn({ id, seq });
    const states = new Map(
      listed.map(({ id, read_at, archived_at }) => [id, { read: read_at !== null, folder: archived_at === null ? "inbox" : "archived" }]),
    );
    for (const ids of this.#torn) {
      const read = ids.map((id) => states.get(id)).filter((state) => state?.folder === "inbox").map((state) => state.read);
      if (new Set(read).size > 1) this.#report("state", "everything was to be read, and only a part of it is");
    }
    this.#torn = [];
    for (const [id, item] of this.#items) {
      const state = states.get(id) ?? { ...item.possible[0], folder: "deleted" };
      const same = ({ read, folder }) => folder === state.folder && (folder === "deleted" || read === state.read);
      if (!item.possible.some(same)) {
        this.#report("state", `${id} is ${JSON.stringify(state)}, and must be one of ${JSON.stringify(item.possible)}`);
      }
      item.possible = [state];
    }
  }
}

function union(...states) {
  const distinct = new Map(states.flat().map((state) => [JSON.stringify(state), state]));
  return [...distinct.values()];
}
