// HTTP requests and WebSockets of a client that knows no protocol: what goes in and out is what the test says.
import { once } from "node:events";
import { request } from "node:http";
import { after } from "node:test";
import WebSocket from "ws";

const WAIT_MS = 10_000;

const open = new Set();
after(() => open.forEach((socket) => socket.terminate()));

/** One request, on a connection of its own unless an agent keeps some; `target` goes out as it is. Rejects when there is no answer. */
export function http(base, target, { method = "GET", body, headers = {}, signal, agent = false } = {}) {
  const { hostname, port } = new URL(base);
  return new Promise((resolve, reject) => {
    const options = { hostname, port, path: target, method, headers, agent, signal };
    const outgoing = request(options, async (incoming) => {
      try {
        const text = Buffer.concat(await incoming.toArray()).toString();
        resolve({ status: incoming.statusCode, headers: incoming.headers, body: text });
      } catch (error) {
        reject(error);
      }
    });
    outgoing.on("error", reject);
    outgoing.end(body);
  });
}

/** A WebSocket. Frames are texts or Buffers. */
export class Socket {
  #ws;
  #arrived = new EventTarget();
  /** Frames that no `next` has taken. */
  frames = [];
  /** The close code, once the socket is closed; 1005 stands for none, 1006 for no close frame. */
  closeCode;
  /** The HTTP answer, when there is no WebSocket. */
  refusal;

  constructor(base, target, { headers } = {}) {
    open.add(this);
    // Not the `URL` of the base: that would tidy up the target.
    this.#ws = new WebSocket(base.replace("http", "ws") + target, { headers, perMessageDeflate: false });
    this.#ws.on("message", (data, isBinary) => {
      this.frames.push(isBinary ? data : data.toString());
      this.#notify();
    });
    this.#ws.on("unexpected-response", async (_request, response) => {
      const body = Buffer.concat(await response.toArray()).toString();
      this.refusal = { status: response.statusCode, headers: response.headers, body };
      this.#end(1006);
    });
    this.#ws.on("open", () => this.#notify());
    // What went wrong is told by the close that follows.
    this.#ws.on("error", () => {});
    this.#ws.on("close", (code) => this.#end(code));
  }

  #end(code) {
    this.closeCode ??= code;
    open.delete(this);
    this.#notify();
  }

  #notify() {
    this.#arrived.dispatchEvent(new Event("change"));
  }

  async #wait(condition, what) {
    const signal = AbortSignal.timeout(WAIT_MS);
    while (!condition()) {
      await once(this.#arrived, "change", { signal }).catch((cause) => {
        throw new Error(`no ${what} within ${WAIT_MS} ms; there are ${JSON.stringify(this.frames)}`, { cause });
      });
    }
  }

  /** Waits until the WebSocket is open, or is known not to be. */
  async opened() {
    await this.#wait(() => this.#ws.readyState === WebSocket.OPEN || this.closeCode !== undefined, "open WebSocket");
    return this;
  }

  send(...frames) {
    for (const frame of frames) this.#ws.send(frame);
  }

  /** Takes the next frame; undefined when the socket is closed instead. */
  async next() {
    await this.#wait(() => this.frames.length > 0 || this.closeCode !== undefined, "frame");
    return this.frames.shift();
  }

  /** Waits for the close and gives its code. */
  async closed() {
    await this.#wait(() => this.closeCode !== undefined, "close");
    return this.closeCode;
  }

  async close() {
    this.#ws.close();
    await this.closed();
  }

  terminate() {
    this.#ws.terminate();
  }
}
