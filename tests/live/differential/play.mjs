// Plays a row against a server and writes down, line by line, what a client gets to see.
//
// A row is a list of steps:
//   { request: "GET", to, body, headers, held }  one HTTP request; `held` names one whose answer a later step takes
//   { answer: name }                             the answer to a held request
//   { open: to, as }                             a WebSocket; it has a name when there are several
//   { send: [frames], as }                       back to back; Buffers are binary frames
//   { receive: count, as }                       so many frames
//   { settle: path, as }                         everything that what was sent so far leads to
//   { closed: true, as }                         the close
//   { drain: path }                              as `settle`, by polling
//   { wait: milliseconds }
// `{sid}` in a target stands for the latest sid. Only what differs from server to server by design is made equal: sids,
// and how the same JSON is written.
import { Agent } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { Socket, http } from "../wire.mjs";

const SEPARATOR = "\x1e";
const HEADERS = [
  "content-type",
  "cache-control",
  "set-cookie",
  "access-control-allow-origin",
  "access-control-allow-credentials",
  "access-control-allow-methods",
  "access-control-allow-headers",
  "access-control-max-age",
];

export async function play(url, row) {
  const player = new Player(url);
  try {
    for (const step of row.steps) await player.play(step);
  } finally {
    player.end();
  }
  return player.lines;
}

class Player {
  lines = [];
  #url;
  #sid = "none";
  #sockets = new Map();
  #held = new Map();
  #sentinels = 0;
  #agent = new Agent({ keepAlive: true });

  constructor(url) {
    this.#url = url;
  }

  async play(step) {
    const socket = this.#sockets.get(step.as);
    if (step.request) return this.#request(step);
    if (step.answer) return this.#note(await this.#held.get(step.answer), step.answer);
    if (step.open) return this.#open(step);
    if (step.send) return socket.send(...step.send);
    if (step.receive) return this.#receive(socket, step.receive);
    if (step.settle) return this.#settle(socket, step.settle);
    if (step.closed) return socket.refusal || this.lines.push(`closed ${await socket.closed()}`);
    if (step.drain) return this.#drain(step.drain);
    return delay(step.wait);
  }

  end() {
    for (const socket of this.#sockets.values()) socket.terminate();
    this.#agent.destroy();
  }

  #target(to) {
    return to.replaceAll("{sid}", encodeURIComponent(this.#sid));
  }

  #http(to, options) {
    return http(this.#url, this.#target(to), { agent: this.#agent, ...options }).catch((error) => ({ error }));
  }

  async #request({ request: method, to, body, headers, held }) {
    const answer = this.#http(to, { method, body, headers });
    if (held === undefined) return this.#note(await answer, method);
    this.#held.set(held, answer);
    // It is to arrive before what comes next.
    await delay(150);
  }

  #note({ error, status, headers, body }, what) {
    if (error) {
      this.lines.push(`${what} -> ${error.code}`);
      return;
    }
    this.#learn(body);
    if (status === 404) {
      this.lines.push(`${what} -> 404`); // It is nobody's request; who says so, and how, is the service's business.
      return;
    }
    const shown = HEADERS.filter((name) => headers[name] !== undefined).map((name) => `${name}: ${headers[name]}`);
    const frames = body.split(SEPARATOR).map(canonical).join(" | ");
    this.lines.push([`${what} -> ${status}`, ...shown, frames].filter(Boolean).join("; "));
  }

  /** The sid, from a packet that opens a session. */
  #learn(packet) {
    if (/^0\{"sid"/.test(packet)) this.#sid = JSON.parse(packet.slice(1)).sid;
  }

  async #open({ open, as, headers }) {
    const socket = new Socket(this.#url, this.#target(open), { headers });
    this.#sockets.set(as, socket);
    await socket.opened();
    if (socket.refusal) this.#note(socket.refusal, "refused");
  }

  async #receive(socket, count) {
    for (let taken = 0; taken < count; taken += 1) {
      if (!this.#take(socket, await next(socket))) return;
    }
  }

  #take(socket, frame) {
    this.#learn(frame);
    this.lines.push(frame === undefined ? `closed ${socket.closeCode}` : `< ${canonical(frame)}`);
    return frame !== undefined;
  }

  /** Twice: the answer to an event may come after that to what was sent after it, but not by more. */
  async #settle(socket, path) {
    if (socket.refusal) return;
    for (let round = 0; round < 2; round += 1) {
      const { sent, expected } = this.#sentinel(path);
      socket.send(sent);
      for (;;) {
        const frame = await next(socket);
        if (frame === expected) break;
        if (!this.#take(socket, frame)) return;
      }
    }
  }

  /** Something that leads to one known answer and to nothing else. */
  #sentinel(path) {
    this.#sentinels += 1;
    if (path === "/engine.io/") return { sent: `4~${this.#sentinels}`, expected: `4~${this.#sentinels}` };
    const namespace = `/~${this.#sentinels}`;
    return { sent: `40${namespace},`, expected: `44${namespace},{"message":"Invalid namespace"}` };
  }

  async #drain(path) {
    const to = `${path}?EIO=4&transport=polling&sid={sid}`;
    const { sent, expected } = this.#sentinel(path);
    const taken = await this.#http(to, { method: "POST", body: sent });
    if (taken.status !== 200) this.#note(taken, "POST");
    for (;;) {
      const polled = await this.#http(to);
      if (polled.status !== 200) return this.#note(polled, "GET");
      const frames = polled.body.split(SEPARATOR);
      this.lines.push(...frames.filter((frame) => frame !== expected && frame !== "2").map((frame) => `< ${canonical(frame)}`));
      if (frames.includes(expected) || taken.status !== 200) return;
    }
  }
}

/** The next frame that is no ping; pings are answered. */
async function next(socket) {
  for (;;) {
    const frame = await socket.next();
    if (frame !== "2") return frame;
    socket.send("3");
  }
}

/** A frame without its sid, with its JSON written in one way. */
export function canonical(frame) {
  if (Buffer.isBuffer(frame)) return `<${frame.toString("base64")}>`;
  const match = /^(0|4[0-6](?:\d+-)?(?:\/[^,]*,)?\d*|)([[{].*)$/s.exec(frame);
  if (match === null) return frame;
  try {
    return match[1] + JSON.stringify(JSON.parse(match[2], (key, value) => (key === "sid" ? "<sid>" : value)));
  } catch {
    return frame;
  }
}
