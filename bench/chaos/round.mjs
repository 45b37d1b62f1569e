// One round of chaos: users and rooms that nothing happened to before, what is done with them, and what must be true of them.
import { until } from "../../tests/live/client.mjs";
import { everything } from "../../tests/live/mirror.mjs";
import { member, names } from "../../tests/live/rooms.mjs";
import { User } from "./user.mjs";

const PATIENT = { timeout: 15_000 };
const ROOMS = 2;
const DEPARTMENTS = 2;
const DEAD = "dormouse-pushes-dead";
/** How often a push that is not answered is pushed again. */
const ATTEMPTS = 5;
/** For when something is scheduled; it is made due before that. */
const LATER_MS = 3_600_000;
/** What happens, and how often in comparison. */
const ACTIONS = {
  pushToUser: 8, pushToUsers: 3, pushWithoutKey: 2, repeat: 1, announce: 3, pushToRoom: 4, command: 8, join: 2, leave: 1,
  bounce: 2, comeOrGo: 2, schedule: 1, cron: 1, letter: 1,
};

export class Round {
  #server;
  #dice;
  #name;
  #users;
  #rooms;
  #departments;
  #pushes = [];
  #begun = Date.now();
  /** The last entry of what is for everybody, before this round. */
  #before = 0;
  /** Users something was done with since they were last looked at. */
  #touched = new Set();
  /** Changes of members that were asked for. Of one user there is one at a time, so that no two overtake each other. */
  #changes = [];
  #wrong;
  #note;
  figures;

  constructor(server, { name, users, dice, wrong, figures, note }) {
    [this.#server, this.#name, this.#dice] = [server, name, dice];
    [this.#wrong, this.figures, this.#note] = [wrong, figures, note];
    this.#rooms = names(`room:${name}`, ROOMS);
    this.#departments = names(name, DEPARTMENTS);
    const report = (kind, text) => this.#report(kind, text);
    this.#users = names(`${name}-user`, users).map(
      (user, i) => new User(server, user, [this.#departments[i % DEPARTMENTS]], report),
    );
  }

  #report(kind, text) {
    this.#wrong.push({ kind, text });
    this.#note(`${kind}: ${text}`);
  }

  /** Everybody comes for the first time: from here on they have what is announced, and what their department is told. */
  async begin() {
    const [{ last }] = await this.#server.db.all("SELECT COALESCE(MAX(n), 0) AS last FROM audience WHERE room = 'broadcast'");
    this.#before = last;
    for (const user of this.#users) user.connect();
    const known = async ({ name }) => {
      const { rooms } = (await this.#server.hubInfo(name)).memberships;
      return [`broadcast`, ...Object.keys(rooms)].every((room) => rooms[room]?.from.after !== undefined);
    };
    for (const user of this.#users) await until(() => known(user), { timeout: 30_000, what: `${user.name} has come` });
  }

  end() {
    for (const user of this.#users) user.disconnect();
  }

  // ---- what happens ----

  /** One action, of this name or of any. What fails is what chaos is about. */
  async act(name = this.#dice.of(ACTIONS)) {
    this.figures.actions += 1;
    await this[`_${name}`](this.#dice.pick(this.#users)).catch(() => {
      this.figures.failed_actions += 1;
    });
  }

  _pushToUser(user) {
    return this.#push([`user:${user.name}`]);
  }

  _pushToUsers(user) {
    const others = [user, this.#dice.pick(this.#users), this.#dice.pick(this.#users)];
    return this.#push([...new Set(others)].map(({ name }) => `user:${name}`));
  }

  _pushWithoutKey(user) {
    return this.#push([`user:${user.name}`], { keyed: false });
  }

  _pushToRoom(user) {
    const rooms = [this.#dice.pick([...this.#rooms, ...this.#departments.map((name) => `dept:${name}`)])];
    return this.#push(this.#dice.roll() < 0.3 ? [...rooms, `user:${user.name}`] : rooms);
  }

  _announce() {
    return this.#push(["broadcast"]);
  }

  /** A push that was answered is pushed again under its key: nothing comes of it. */
  async _repeat() {
    const answered = this.#pushes.filter(({ id, key, letter }) => id !== undefined && key !== undefined && !letter);
    if (answered.length > 0) await this.#send(this.#dice.pick(answered));
  }

  async _command(user) {
    if (user.busy) return;
    user.busy = true;
    this.#touched.add(user);
    const answered = await user.command(this.#dice).finally(() => (user.busy = false));
    if (answered !== undefined) this.figures[answered ? "commands_answered" : "commands_unanswered"] += 1;
  }

  _join(user) {
    return this.#change(user, "PUT");
  }

  _leave(user) {
    return this.#change(user, "DELETE");
  }

  async #change(user, method) {
    if (this.#changes.some((change) => change.user === user && change.ended === Infinity)) return;
    this.#touched.add(user);
    const change = { user, method, room: this.#dice.pick(this.#rooms), begun: performance.now(), ended: Infinity };
    this.#changes.push(change);
    await this.#ask(change);
  }

  async #ask(change) {
    const answer = await member(this.#server, change.method, change.room, change.user.name).catch(() => undefined);
    if (answer?.status === 204) change.ended = performance.now();
  }

  async _bounce(user) {
    if (user.online) user.disconnect();
    user.connect();
    await until(() => user.isThere(), { timeout: 1_000 });
  }

  async _comeOrGo(user) {
    if (user.online) user.disconnect();
    else user.connect();
  }

  async _schedule(user) {
    await this.#push([`user:${user.name}`], { later: true });
  }

  async _cron(user) {
    if (!this.#pushes.some(({ later, over }) => later && !over)) await this._schedule(user);
    await this.#fallDue();
    await this.#server.cron();
  }

  #fallDue() {
    return this.#server.db.run("UPDATE scheduled SET deliver_at = ?1", this.#begun);
  }

  /** A push that the queue could not bring is kept as a dead letter and replayed. */
  async _letter(user) {
    const push = this.#pushOf([`user:${user.name}`], { letter: true });
    await this.#deliver(push);
  }

  #pushOf(to, { keyed = true, later = false, letter = false } = {}) {
    const title = `${this.#name} ${this.#pushes.length}`;
    const key = keyed ? title.replace(" ", "-") : undefined;
    const push = { to, title, key, later, letter, begun: performance.now(), ended: Infinity };
    if (later) push.deliver_at = new Date(Date.now() + LATER_MS).toISOString();
    this.#pushes.push(push);
    for (const user of this.#users) if (to.includes(`user:${user.name}`)) this.#touched.add(user);
    return push;
  }

  #push(to, options) {
    return this.#send(this.#pushOf(to, options));
  }

  async #send(push) {
    const { to, title, deliver_at, key } = push;
    this.figures.requests += 1;
    const body = { to, title, ...(deliver_at && { deliver_at }) };
    const answer = await this.#server.push(body, { idempotencyKey: key }).catch(() => undefined);
    if (answer === undefined) this.figures.unanswered += 1;
    else this.#answered(push, answer);
  }

  #answered(push, { status, body }) {
    if (status >= 300) {
      this.figures.refused += 1;
      push.refusal = `${status} ${JSON.stringify(body)}`;
      return;
    }
    const { id } = body;
    if (push.id !== undefined && push.id !== id) this.#report("doubled", `${push.title} was ${push.id} and is ${id}`);
    if (push.id === undefined) {
      this.figures.answered += 1;
      push.ended = performance.now();
    }
    push.id = id;
  }

  /** Does what the queue does with a push it can't bring, and then what an operator does. */
  async #deliver(push) {
    push.message ??= {
      id: crypto.randomUUID().replaceAll("-", ""),
      timestamp: new Date(),
      attempts: 11,
      body: { to: push.to, title: push.title, idempotency_key: push.key },
    };
    if (!push.kept) {
      const { explicitAcks } = await this.#server.deliver(DEAD, [push.message]);
      push.kept = explicitAcks.length === 1;
    }
    if (!push.kept) return;
    const [letter] = await this.#server.db.all("SELECT id FROM dead_letters WHERE instr(body, ?1)", `"${push.key}"`);
    if (letter === undefined) {
      // It was replayed, and nobody heard of it.
      const [row] = await this.#stored(push);
      if (row === undefined) this.#report("lost", `the dead letter of ${push.title}`);
      else this.#answered(push, { status: 200, body: row });
      return;
    }
    const path = `/v1/dead-letters/${letter.id}/replay`;
    this.#answered(push, await this.#server.api("POST", path, { key: this.#server.serviceKey }));
  }

  #stored({ title }) {
    return this.#server.db.all("SELECT id FROM notifications WHERE id >= ?1 AND content ->> 'title' = ?2", this.#since, title);
  }

  /** Ids are in the order of time: all of this round come after this one. */
  get #since() {
    const time = (this.#begun - 60_000).toString(16).padStart(12, "0");
    return `${time.slice(0, 8)}-${time.slice(8)}`;
  }

  // ---- after a crash ----

  /** Something was stored of which clients were not told, while they were told of what came after it. */
  missed() {
    for (const user of this.#users) user.mayHaveMissed = true;
  }

  /** Asks again for what was not answered: pushes under their keys, and changes of members. */
  async repeat() {
    for (const push of this.#pushes.filter(({ ended, key }) => ended === Infinity && key === undefined)) push.ended = performance.now();
    for (const change of this.#changes.filter(({ ended }) => ended === Infinity)) {
      for (let attempt = 0; attempt < ATTEMPTS && change.ended === Infinity; attempt++) await this.#ask(change);
      if (change.ended === Infinity) this.#report("refused", `${change.method} of ${change.user.name} in ${change.room}`);
    }
    for (const push of this.#pushes.filter(({ id, key }) => id === undefined && key !== undefined)) {
      for (let attempt = 0; attempt < ATTEMPTS && push.id === undefined; attempt++) {
        this.figures.retried += 1;
        await (push.letter ? this.#deliver(push).catch(() => {}) : this.#send(push));
      }
      if (push.id === undefined) this.#report("refused", `${push.title} was not answered in ${ATTEMPTS} attempts: ${push.refusal}`);
    }
  }

  /** Brings what waits for its time. */
  async #passTime() {
    const waiting = this.#pushes.filter(({ later, over }) => later && !over);
    const left = () => this.#server.db.all("SELECT id FROM scheduled");
    await this.#try("lost", "what was scheduled is delivered", async () => {
      await this.#fallDue();
      await this.#server.cron();
      return (await left()).length === 0;
    });
    for (const push of waiting) push.over = true;
  }

  async #try(kind, what, condition) {
    try {
      await until(condition, { ...PATIENT, what });
      return true;
    } catch (error) {
      this.#report(kind, `${error.message}${error.cause ? `: ${error.cause.message}` : ""}`);
      return false;
    }
  }

  /** Looks at the record, and at no more than `most` of the users something was done with. */
  async checkTouched(most) {
    const users = this.#sample([...this.#touched], most);
    const record = await this.#checkRecord();
    for (const user of users) await this.#checkUser(user, record);
  }

  /** Looks at everything there is. */
  async checkAll() {
    await this.#passTime();
    const record = await this.#checkRecord();
    const lists = new Map();
    for (const user of this.#users) lists.set(user, await this.#checkUser(user, record));
    for (const user of this.#users) {
      const paid = async () => (await this.#server.hubInfo(user.name)).owed === 0;
      await this.#try("record", `${user.name} owes the record nothing`, paid);
    }
    const deliveries = await this.#deliveries();
    for (const user of this.#users) {
      await this.#checkDeliveries(user, deliveries.get(user.name) ?? [], lists.get(user));
      if (user.online) await this.#checkClient(user, lists.get(user));
    }
    this.figures.full_checks += 1;
  }

  #sample(users, most) {
    const left = [...users];
    return Array.from({ length: Math.min(most, left.length) }, () => left.splice(Math.floor(this.#dice.roll() * left.length), 1)[0]);
  }

  // ---- the record ----

  /** The record has each push once that was answered, and no other twice; no number of a room is left out. */
  async #checkRecord() {
    const rooms = ["broadcast", ...this.#rooms, ...this.#departments.map((name) => `dept:${name}`)];
    const logs = new Map([...rooms, ...this.#users.map(({ name }) => `user:${name}`)].map((room) => [room, []]));
    const starts = [...logs.keys()].map((room) => [room, room === "broadcast" ? this.#before : 0]);
    const rows = await this.#server.db.all(
      `SELECT a.room, a.n, a.kind, a.ref FROM json_each(?1) AS r CROSS JOIN audience AS a
       ON a.room = r.value ->> 0 AND a.n > r.value ->> 1 ORDER BY a.room, a.n`,
      JSON.stringify(starts),
    );
    for (const row of rows) logs.get(row.room).push(row);
    for (const [room, from] of starts) {
      const log = logs.get(room);
      const wrong = log.findIndex(({ n }, i) => n !== from + i + 1);
      if (wrong >= 0) this.#report("gap", `${room} has ${log[wrong].n} where ${from + wrong + 1} is to be`);
      const refs = log.filter(({ kind }) => kind === "push").map(({ ref }) => ref);
      if (new Set(refs).size !== refs.length) this.#report("doubled", `a push is twice in the log of ${room}`);
    }
    const stored = await this.#server.db.all(
      `SELECT id, content ->> 'title' AS title, 0 AS waits FROM notifications WHERE id >= ?1
       UNION ALL SELECT id, content ->> 'title', 1 FROM scheduled
       WHERE canceled_at IS NULL AND id NOT IN (SELECT id FROM notifications)`,
      this.#since,
    );
    const byTitle = Map.groupBy(stored, ({ title }) => title);
    for (const push of this.#pushes) {
      const found = byTitle.get(push.title) ?? [];
      if (found.length > 1) this.#report("doubled", `${push.title} is ${found.length} times in the record`);
      if (push.id !== undefined && !found.some(({ id }) => id === push.id)) this.#report("lost", `${push.title} is not in the record`);
      if (found.some(({ waits }) => waits === 0) && push.id !== undefined) this.#checkPlaces(push, logs);
    }
    this.figures.checked_pushes += this.#pushes.length;
    const titles = new Map(this.#pushes.map((push) => [push.title, push]));
    return { logs, pushes: new Map(stored.map(({ id, title }) => [id, titles.get(title)])) };
  }

  #checkPlaces({ id, title, to }, logs) {
    for (const room of to) {
      if (!logs.get(room).some(({ kind, ref }) => kind === "push" && ref === id)) {
        this.#report("lost", `${title} is not in the log of ${room}`);
      }
    }
  }

  /**
   * What is a user's by the record: their own, what is for everybody, and that of the rooms they were in. `may`: what was pushed to
   * a room while the user was on the way into it or out of it.
   */
  #theirs(user, { logs, pushes }) {
    const { name, departments } = user;
    const own = logs.get(`user:${name}`);
    const all = [own, logs.get("broadcast"), ...departments.map((department) => logs.get(`dept:${department}`))].flat();
    const may = new Set();
    const spans = own.filter(({ kind }) => kind === "member_add" || kind === "member_remove");
    for (const room of this.#rooms) {
      const changes = spans.map(({ kind, ref }) => [kind, ...JSON.parse(ref)]).filter(([, of]) => of === room);
      const isIn = (n) => changes.findLast(([, , at]) => at < n)?.[0] === "member_add";
      const asked = this.#changes.filter((change) => change.user === user && change.room === room);
      for (const entry of logs.get(room)) {
        const push = pushes.get(entry.ref);
        if (asked.some(({ begun, ended }) => begun < push.ended && ended > push.begun)) may.add(entry.ref);
        else if (isIn(entry.n)) all.push(entry);
      }
    }
    const must = new Set(all.filter(({ kind }) => kind === "push").map(({ ref }) => ref));
    return { must, may: may.difference(must) };
  }

  /** Where a push is in the logs of rooms, and when the user was put into those or taken out. */
  #places(id, { name }, { logs }) {
    const places = [...logs].flatMap(([room, log]) => log.filter(({ ref }) => ref === id).map(({ n }) => `${room} ${n}`));
    const changes = logs.get(`user:${name}`).filter(({ kind }) => kind.startsWith("member_")).map(({ n, kind, ref }) => `${n} ${kind} ${ref}`);
    return `${places.join(", ") || "not in the record"}${changes.length > 0 ? `; ${changes.join(", ")}` : ""}`;
  }

  async #deliveries() {
    const rows = await this.#server.db.all(
      `SELECT user_id, notification_id AS id, status, read_at, archived_at, deleted_at FROM deliveries
       WHERE notification_id >= ?1 AND substr(user_id, 1, ?2) = ?3`,
      this.#since, this.#name.length + 1, `${this.#name}-`,
    );
    return Map.groupBy(rows, ({ user_id }) => user_id);
  }

  /** List and record agree on what became of each item. */
  async #checkDeliveries(user, rows, listed) {
    const told = new Map(rows.map((row) => [row.id, row]));
    const time = (text) => (text === null ? null : Date.parse(text));
    for (const { id, delivery_status, read_at, archived_at } of listed) {
      const { status, ...row } = told.get(id) ?? {};
      const here = JSON.stringify([delivery_status, time(read_at), time(archived_at), null]);
      const there = JSON.stringify([status, row.read_at, row.archived_at, row.deleted_at]);
      if (here !== there) this.#report("record", `${user.name}: ${id} is ${here}, and ${there} in the record`);
    }
    const lists = new Set(listed.map(({ id }) => id));
    for (const { id, deleted_at } of rows) {
      if (!lists.has(id) && user.mayHaveDeleted(id) && deleted_at === null) {
        this.#report("record", `${user.name}: the record does not know that ${id} was deleted`);
      }
    }
    this.figures.checked_deliveries += rows.length;
  }

  // ---- a user ----

  /** Each of the user's notifications is in their list once, nothing else is, and the counts are right. Gives the list. */
  async #checkUser(user, record) {
    this.#touched.delete(user);
    const { name } = user;
    if (user.online) await this.#try("unreachable", `${name} is connected`, () => user.isThere());
    // To look is to come: a hub nobody is connected to catches up.
    else await everything(this.#server, name, { token: user.token });
    await this.#checkCursors(user, record);
    const token = user.token;
    const { items, archive, counts, seq } = await this.#look(user, token);
    const listed = [...items, ...archive];
    this.figures.checked_items += listed.length;
    const ids = new Set(listed.map(({ id }) => id));
    if (ids.size !== listed.length) this.#report("doubled", `${name} lists something twice`);
    const { must, may } = this.#theirs(user, record);
    const isTheirs = (id) => must.has(id) || may.has(id);
    const words = (id) => `${record.pushes.get(id)?.title ?? id} (${this.#places(id, user, record)})`;
    for (const id of must) if (!ids.has(id) && !user.mayHaveDeleted(id)) this.#report("lost", `${name} lacks ${words(id)}`);
    for (const id of ids) if (!isTheirs(id)) this.#report("foreign", `${name} lists ${words(id)}, which is not theirs`);
    for (const id of user.toldOf()) if (!isTheirs(id)) this.#report("foreign", `${name} was told of ${words(id)}, which is not theirs`);
    const unread = items.filter(({ read_at }) => read_at === null).length;
    if (counts.unread !== unread) this.#report("counts", `${name} has ${unread} unread and counts ${counts.unread}`);
    const seqs = listed.map((item) => item.seq);
    if (new Set(seqs).size !== seqs.length || seqs.some((number) => number > seq)) this.#report("gap", `${name}: the seqs ${seqs} of ${seq}`);
    user.observe(listed);
    return Object.assign(listed, { counts });
  }

  async #look(user, token) {
    const { items, archive } = await everything(this.#server, user.name, { token });
    const { body: counts } = await this.#server.api("GET", "/v1/me/notifications/unread-count", { token });
    return { items, archive, counts, seq: counts.seq };
  }

  /** The hub has come to the end of every log it follows, and no further. */
  async #checkCursors(user, { logs }) {
    const last = (room) => logs.get(room)?.at(-1)?.n ?? (room === "broadcast" ? this.#before : 0);
    let behind;
    const cursors = async () => {
      const { cursor, memberships } = await this.#server.hubInfo(user.name);
      const rooms = Object.entries(memberships.rooms).filter(([, { standing }]) => standing.left === undefined);
      const all = [[`user:${user.name}`, cursor], ...rooms.map(([room, { from }]) => [room, from.after])];
      behind = all.filter(([room, n]) => n === undefined || n < last(room));
      return all;
    };
    const atTheEnd = async () => {
      await cursors();
      return behind.length === 0;
    };
    await this.#try("cursor", () => `${user.name} has caught up: ${behind.map(([room, n]) => `${room} ${n} of ${last(room)}`)}`, atTheEnd);
    const beyond = (await cursors()).filter(([room, n]) => n > last(room));
    for (const [room, n] of beyond) this.#report("cursor", `${user.name} is at ${n} of ${room}, which ends at ${last(room)}`);
  }

  /** The client was told of every change, and knows the counts. */
  async #checkClient(user, listed) {
    const { counts } = listed;
    const knows = () => user.counts?.seq === counts.seq && user.counts.unread === counts.unread;
    const what = () => `${user.name} knows ${JSON.stringify(user.counts)} of ${JSON.stringify(counts)}`;
    await this.#try("counts", what, knows);
    const gaps = user.gaps(counts.seq);
    if (gaps.length > 0) {
      const items = listed.filter(({ seq }) => gaps.includes(seq)).map(({ id, seq }) => `${seq} is ${id}`);
      this.#report("told", `${user.name} was never told of the changes ${gaps} of ${counts.seq}: ${items}; ${user.history()}`);
    }
    this.figures.checked_changes += user.told.size;
  }
}
