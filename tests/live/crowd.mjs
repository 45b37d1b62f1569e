// A crowd of users, for what has to stay cheap when they are many: raw WebSockets, which cost next to nothing themselves.
import assert from "node:assert/strict";
import WebSocket from "ws";
import { until } from "./client.mjs";
import { attending, pushedTo } from "./rooms.mjs";

const PATIENT = { timeout: 120_000 };
/** What a frame with an event begins with. */
const EVENT = "42/notifications,";
/** Users who connect at the same time. */
const WIDTH = 40;
/** The bill is settled when nothing was added to it for so long. */
const QUIET_MS = 2_500;

/** Users with one connection each. `close` ends them all. */
export class Crowd {
  #server;
  #query;
  members = [];

  constructor(server, users, query = {}) {
    this.#server = server;
    this.#query = query;
    this.members = users.map((user) => ({ user }));
  }

  /** Connects everybody, spread over `overMs`, and waits until the switchboards know them. */
  async connect({ overMs = 0 } = {}) {
    const begun = performance.now();
    const left = this.members.map((member, i) => ({ member, at: begun + (overMs * i) / this.members.length }));
    const connect = async () => {
      for (let next = left.shift(); next !== undefined; next = left.shift()) {
        await until(() => performance.now() >= next.at, PATIENT);
        await this.#open(next.member);
      }
    };
    await Promise.all(Array.from({ length: WIDTH }, connect));
    await attending(this.#server, this.members.map(({ user }) => user), [], PATIENT);
    return performance.now() - begun;
  }

  async #open(member) {
    const url = `${this.#server.url.replace("http", "ws")}/socket.io/?${new URLSearchParams({
      EIO: "4", transport: "websocket", token: this.#server.token(member.user), ...this.#query,
    })}`;
    const ws = new WebSocket(url);
    Object.assign(member, { ws, events: [], pings: 0, pongs: 0, joined: false });
    ws.on("error", () => {});
    ws.on("message", (data) => {
      const frame = data.toString();
      if (frame.startsWith("0")) ws.send("40/notifications,");
      else if (frame === "2") {
        member.pings += 1;
        ws.send("3");
      } else if (frame.startsWith(EVENT)) {
        const [name, data] = JSON.parse(frame.slice(EVENT.length));
        if (name === "authenticated") member.joined = true;
        if (name === "pong") member.pongs += 1;
        if (name === "notification:new") member.events.push({ at: performance.now(), data });
      }
    });
    await until(() => member.joined, { ...PATIENT, what: `${member.user} is connected` });
  }

  /** Closes everybody's connection and waits until they are offline. */
  async disconnect() {
    for (const { ws } of this.members) ws.close();
    await attending(this.#server, [], this.members.map(({ user }) => user), PATIENT);
  }

  close() {
    for (const { ws } of this.members) ws?.terminate();
  }

  /** Waits until everybody was sent a notification; those who were sent it more than once. */
  async got(id) {
    const times = ({ events }) => events.filter(({ data }) => data.id === id).length;
    const lacking = () => this.members.filter((member) => times(member) === 0);
    await until(() => lacking().length === 0, { ...PATIENT, what: () => `${id} at ${lacking().length} of ${this.members.length}` });
    return this.members.filter((member) => times(member) > 1);
  }

  /** Everybody acknowledges a notification they got. */
  acknowledge(id) {
    for (const { ws, events } of this.members) {
      const { recipient_id } = events.find(({ data }) => data.id === id).data;
      ws.send(`${EVENT}${JSON.stringify(["notification:acknowledge", { recipient_id }])}`);
    }
  }

  /** Waits until the record has it as delivered to everybody: then nothing of it is under way any more. */
  async delivered(id) {
    const sql = "SELECT count(*) AS count FROM deliveries WHERE notification_id = ?1 AND status = 'delivered'";
    const all = async () => (await this.#server.db.all(sql, id))[0].count === this.members.length;
    await until(all, { ...PATIENT, what: `${id} is delivered to all` });
  }

  /** When each was sent it, in order. */
  times(id) {
    return this.members.map(({ events }) => events.find(({ data }) => data.id === id).at).toSorted((a, b) => a - b);
  }
}

/** What the record is asked until nothing more is, in calls and in statements. */
export async function billed(server, action) {
  await quiet(server);
  await server.resetLedger();
  await action();
  const { record_batches = 0, record_statements = 0 } = await quiet(server);
  return { record_batches, record_statements };
}

/** Waits until the record has not been asked anything for a while; what was counted by then. */
export async function quiet(server) {
  let [last, since] = ["", performance.now()];
  return until(
    async () => {
      const ledger = await server.ledger();
      const now = `${ledger.record_batches}/${ledger.record_statements}`;
      if (now !== last) [last, since] = [now, performance.now()];
      return performance.now() - since > QUIET_MS && ledger;
    },
    { ...PATIENT, what: "a quiet record" },
  );
}

/** What it costs that the whole crowd comes back within `overMs`, and how long it took; `missed`: and everybody was announced something. */
export async function reconnecting(server, crowd, { overMs, missed }) {
  await crowd.disconnect();
  const id = missed ? await pushedTo(server, "broadcast") : undefined;
  let tookMs;
  const bill = await billed(server, async () => {
    tookMs = await crowd.connect({ overMs });
    if (id !== undefined) assert.deepEqual(await crowd.got(id), []);
  });
  return { ...bill, tookMs };
}

/** What it costs that everybody acknowledges one announcement. */
export async function acknowledging(server, crowd) {
  const id = await pushedTo(server, "broadcast");
  assert.deepEqual(await crowd.got(id), []);
  return billed(server, async () => {
    crowd.acknowledge(id);
    await crowd.delivered(id);
  });
}
