// Users come and go, are put into rooms and taken out, rooms and users are pushed to, and objects are evicted, all at random
// and at the same time. An oracle that knows only what was answered, and when, says who must have what.
import { received } from "./checks.mjs";
import { connected, nextEvent, until } from "./client.mjs";
import { Dice } from "./dice.mjs";
import { onServerInMemory } from "./in_memory.mjs";
import { PATIENT, attending, list, member, names, settled } from "./rooms.mjs";

const SWITCHBOARDS = 4;
/** What an evicted switchboard has forgotten it hears with the next ticks. */
const VARS = { PING_INTERVAL_MS: "2000", PING_TIMEOUT_MS: "60000" };
const ROOMS = names("room:storm", 4);
const DEPARTMENTS = names("storm", 3);
/** Actions under way at the same time: one for so many users, and at least so many. */
const USERS_AN_ACTION = 10;
const LEAST_WIDTH = 8;
const MOST_TABS = 2;
/** What happens, and how often in comparison. */
const ACTIONS = {
  connect: 10, disconnect: 6, add: 6, remove: 5, pushToRooms: 8, broadcast: 1, pushToUser: 3, read: 3, evictSwitchboard: 2, evictHub: 4,
};

/** Runs the storm on a server of its own; what was wrong in the end, in words, and figures. */
export function roomStormOnServer(bundle, options) {
  const vars = { ...VARS, SWITCHBOARDS: String(SWITCHBOARDS) };
  return onServerInMemory({ bundle, vars }, (server) => new Storm(server, options).run());
}

class Storm {
  #server;
  #users;
  #dice;
  #ms;
  #width;
  #note;
  #pushes = [];
  /** Changes of each user's place in each room that the API was asked for, one after the other. */
  #changes = new Map();
  #busy = new Set();
  #done = {};
  #wrong = [];

  constructor(server, { users, ms, seed, note = () => {} }) {
    this.#server = server;
    this.#users = names("storm", users).map((name, i) => ({
      name,
      departments: [DEPARTMENTS[i % DEPARTMENTS.length]],
      tabs: [],
    }));
    this.#dice = new Dice(seed);
    this.#ms = ms;
    this.#width = Math.max(LEAST_WIDTH, Math.floor(users / USERS_AN_ACTION));
    this.#note = note;
  }

  async run() {
    // From their first contact on, everybody has what is announced, and what their department is told.
    for (let i = 0; i < this.#users.length; i += this.#width) {
      await Promise.all(this.#users.slice(i, i + this.#width).map((user) => this.#open(user)));
    }
    await attending(this.#server, this.#users.map(({ name }) => name), [], { timeout: 60_000 });
    this.#note(`${this.#users.length} users are there`);
    const end = performance.now() + this.#ms;
    const act = async () => {
      while (performance.now() < end) await this.#act();
    };
    await Promise.all(Array.from({ length: this.#width }, act));
    this.#note(`it is over: ${JSON.stringify(this.#done)}`);
    await this.#check();
    return { wrong: this.#wrong, figures: { ...this.#done, pushes: this.#pushes.length, ...this.#verdicts() } };
  }

  // ---- what happens ----

  async #act() {
    const action = this.#dice.of(ACTIONS);
    const user = this.#dice.pick(this.#users);
    await this[`_${action}`](user);
    this.#done[action] = (this.#done[action] ?? 0) + 1;
  }

  async #open(user) {
    const socket = this.#server.connect(user.name, { departments: user.departments });
    const tab = { socket, since: Infinity };
    user.tabs.push(tab);
    await connected(socket, { timeout: 30_000 });
    await nextEvent(socket, "authenticated", undefined, PATIENT);
    tab.since = performance.now();
  }

  async _connect(user) {
    if (user.tabs.length < MOST_TABS) await this.#open(user);
  }

  async _disconnect(user) {
    const ready = user.tabs.findIndex(({ since }) => since !== Infinity);
    if (ready >= 0) user.tabs.splice(ready, 1)[0].socket.disconnect();
  }

  _add(user) {
    return this.#change(user, "PUT");
  }

  _remove(user) {
    return this.#change(user, "DELETE");
  }

  async #change({ name }, method) {
    const room = this.#dice.pick(ROOMS);
    const place = `${room} ${name}`;
    if (this.#busy.has(place)) return;
    this.#busy.add(place);
    const change = { method, begun: performance.now(), ended: Infinity };
    const changes = this.#changes.get(place) ?? [];
    this.#changes.set(place, [...changes, change]);
    const { status, body } = await member(this.#server, method, room, name);
    if (status === 204) change.ended = performance.now();
    else this.#wrong.push(`${method} of ${name} in ${room} was answered ${status} ${JSON.stringify(body)}`);
    this.#busy.delete(place);
  }

  _pushToRooms() {
    const rooms = [this.#dice.pick(ROOMS), this.#dice.pick([...ROOMS, ...DEPARTMENTS.map((name) => `dept:${name}`)])];
    return this.#push([...new Set(rooms)]);
  }

  _broadcast() {
    return this.#push(["broadcast"]);
  }

  _pushToUser({ name }) {
    return this.#push([`user:${name}`]);
  }

  async #push(to) {
    const idempotencyKey = `storm-${this.#pushes.length}`;
    const push = { to, begun: performance.now(), ended: Infinity };
    this.#pushes.push(push);
    for (let attempt = 0; attempt < 5 && push.id === undefined; attempt++) {
      const { status, body } = await this.#server.push({ to, title: "Hello" }, { idempotencyKey });
      if (status === 201 || status === 202) [push.id, push.ended] = [body.id, performance.now()];
      else this.#done[`push answered ${status}`] = (this.#done[`push answered ${status}`] ?? 0) + 1;
    }
    if (push.id === undefined) this.#wrong.push(`a push to ${to} was not answered 2xx in five attempts`);
  }

  async _read(user) {
    const tab = user.tabs.find(({ since }) => since !== Infinity);
    if (tab === undefined) return;
    const last = received(tab.socket).at(-1);
    if (last !== undefined) tab.socket.emit("mark:read", { notification_id: last });
  }

  _evictSwitchboard() {
    return this.#server.evict(`${Math.floor(this.#dice.between(0, SWITCHBOARDS))}/${SWITCHBOARDS}`, "Switchboard");
  }

  _evictHub({ name }) {
    return this.#server.evict(name);
  }

  // ---- who must have what ----

  /** Whether a push is a user's: `must`, `may` or `not`. */
  #verdict(push, user) {
    const verdicts = push.to.map((room) => {
      if (room === "broadcast" || room === `user:${user.name}` || room === `dept:${user.departments[0]}`) return "must";
      return ROOMS.includes(room) ? this.#verdictOfRoom(push, room, user) : "not";
    });
    return ["must", "may"].find((verdict) => verdicts.includes(verdict)) ?? "not";
  }

  /** How many of the deliveries there could be must, may and must not be. */
  #verdicts() {
    const counts = { must: 0, may: 0, not: 0 };
    for (const push of this.#pushes) for (const user of this.#users) counts[this.#verdict(push, user)] += 1;
    return counts;
  }

  #verdictOfRoom(push, room, { name }) {
    const changes = this.#changes.get(`${room} ${name}`) ?? [];
    const before = changes.filter(({ ended }) => ended < push.begun).at(-1);
    if (changes.some(({ begun, ended }) => begun < push.ended && ended > push.begun)) return "may";
    return before?.method === "PUT" ? "must" : "not";
  }

  // ---- the end ----

  async #check() {
    const there = this.#users.filter(({ tabs }) => tabs.length > 0);
    const gone = this.#users.filter(({ tabs }) => tabs.length === 0);
    await this.#try("presence is not as it is", () =>
      attending(this.#server, there.map(({ name }) => name), gone.map(({ name }) => name), { timeout: 60_000 }),
    );
    // What comes last comes to everybody: then what was pushed before has come as well, as far as it comes at all.
    await this.#push(["broadcast"]);
    const last = this.#pushes.at(-1).id;
    const tabs = there.flatMap(({ tabs }) => tabs);
    const lacking = () => tabs.filter(({ socket }) => !received(socket).includes(last));
    await this.#try("the last announcement did not come", () =>
      until(() => lacking().length === 0, { timeout: 60_000, what: () => `it at ${lacking().length} of ${tabs.length} clients` }),
    );
    await Promise.all(there.flatMap((user) => user.tabs.map((tab) => this.#checkTab(user, tab))));
    for (let i = 0; i < this.#users.length; i += this.#width) {
      await Promise.all(this.#users.slice(i, i + this.#width).map((user) => this.#checkList(user)));
    }
  }

  async #try(what, condition) {
    try {
      await condition();
    } catch (error) {
      this.#wrong.push(`${what}: ${error.message}`);
    }
  }

  async #checkTab(user, { socket, since }) {
    const expected = this.#pushes.filter((push) => push.id && push.begun > since && this.#verdict(push, user) === "must");
    const lacks = () => expected.filter(({ id }) => !received(socket).includes(id));
    await this.#try(`a client of ${user.name} was not told of everything`, () =>
      until(() => lacks().length === 0, { ...PATIENT, what: () => lacks().map(({ id, to }) => `${id} to ${to}`).join() }),
    );
    await settled(socket);
    const ids = received(socket);
    if (new Set(ids).size !== ids.length) this.#wrong.push(`a client of ${user.name} was told of something twice`);
    const seqs = socket.events.filter(({ name }) => name === "notification:new").map(({ data }) => data.seq);
    if (seqs.some((seq, i) => i > 0 && seq <= seqs[i - 1])) this.#wrong.push(`a client of ${user.name} was told out of order: ${seqs}`);
  }

  async #checkList({ name, departments, tabs }) {
    const user = { name, departments, tabs };
    const options = { departments };
    const { items, unread, unseen, seq } = await list(this.#server, name, options);
    const ids = items.map(({ id }) => id);
    const listed = new Set(ids);
    if (listed.size !== ids.length) this.#wrong.push(`${name} lists something twice`);
    const byId = new Map(this.#pushes.map((push) => [push.id, push]));
    for (const push of this.#pushes) {
      const verdict = this.#verdict(push, user);
      if (verdict === "must" && !listed.has(push.id)) this.#wrong.push(`${name} lacks ${push.id} to ${push.to}`);
      if (verdict === "not" && listed.has(push.id)) this.#wrong.push(`${name} lists ${push.id} to ${push.to}, which is not theirs`);
    }
    for (const id of ids) if (!byId.has(id)) this.#wrong.push(`${name} lists ${id}, which was not pushed`);
    const counted = items.filter(({ read_at }) => read_at === null).length;
    if (unread !== counted) this.#wrong.push(`${name} has ${counted} unread and counts ${unread}`);
    const token = this.#server.token(name, options);
    const { body } = await this.#server.api("GET", "/v1/me/notifications/unread-count", { token });
    if (body.unread !== unread || body.unseen !== unseen || body.seq !== seq) {
      this.#wrong.push(`the counts of ${name} are ${JSON.stringify(body)} and ${JSON.stringify({ unread, unseen, seq })}`);
    }
  }
}
