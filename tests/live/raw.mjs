// Frames as they are on the wire: a WebSocket without a Socket.IO client, which would hide or repair what matters here.
import { after } from "node:test";
import WebSocket from "ws";
import { until } from "./client.mjs";

const open = new Set();

// Registered while the modules load, so it runs whatever the tests did.
after(() => open.forEach((connection) => connection.terminate()));

/**
 * Opens a connection and waits for the packet that opens it, `connection.handshake`. `token` goes into the query as with
 * `server.connect` (null: none); `query` and `headers` are added.
 */
export async function openRaw(server, user, { token, query = {}, headers = {} } = {}) {
  const credential = token === undefined ? server.token(user) : token;
  const connection = new RawConnection(
    handshakeUrl(server, { ...(credential === null ? {} : { token: credential }), ...query }),
    headers,
  );
  connection.handshake = JSON.parse((await connection.next((frame) => frame.startsWith("0"))).slice(1));
  return connection;
}

/** Opens the WebSocket that a polling session may move to; the probe is the caller's. */
export async function openProbe(server, sid, query = {}) {
  const connection = new RawConnection(handshakeUrl(server, { sid, ...query }), {});
  await connection.opened();
  return connection;
}

/** The HTTP answer to an upgrade that is refused. */
export function refusedUpgrade(server, query) {
  return new Promise((resolve, reject) => {
    const ws = new WebSocket(handshakeUrl(server, query));
    ws.on("open", () => reject(new Error("the upgrade was accepted")));
    ws.on("error", reject);
    ws.on("unexpected-response", async (_request, response) => {
      const text = Buffer.concat(await response.toArray()).toString();
      resolve({ status: response.statusCode, headers: response.headers, body: JSON.parse(text) });
    });
  });
}

/** An event frame taken apart; undefined for any other frame. A server may add arguments after the payload. */
export function eventOf(frame) {
  const match = /^42(?:(\/[^,]*),)?(\d*)(\[.*\])$/s.exec(frame);
  if (match === null) return undefined;
  const [name, data] = JSON.parse(match[3]);
  return { namespace: match[1] ?? "/", name, data };
}

function handshakeUrl(server, query) {
  const parameters = new URLSearchParams({ EIO: "4", transport: "websocket", ...query });
  return `${server.url.replace("http", "ws")}/socket.io/?${parameters}`;
}

class RawConnection {
  #ws;
  #nextAckId = 1000;
  /** Text frames that no `next` has taken. */
  frames = [];
  /** The close code, once the connection is closed; 1005 stands for none. */
  closeCode;

  constructor(url, headers) {
    open.add(this);
    this.#ws = new WebSocket(url, { headers });
    this.#ws.on("message", (data, isBinary) => this.frames.push(isBinary ? data : data.toString()));
    // What went wrong is told by the close that follows.
    this.#ws.on("error", () => {});
    this.#ws.on("close", (code) => {
      this.closeCode = code;
      open.delete(this);
    });
  }

  /** False from the moment the server's close frame has come; `closed` also waits for the end of the TCP connection. */
  get isOpen() {
    return this.#ws.readyState === WebSocket.OPEN;
  }

  opened() {
    return until(() => this.#ws.readyState !== WebSocket.CONNECTING, { what: "an open WebSocket" });
  }

  /** A text is a text frame, a Buffer a binary one. */
  send(...frames) {
    for (const frame of frames) this.#ws.send(frame);
  }

  /** Takes the first frame for which `matches` is true, when it has come. */
  async next(matches = () => true) {
    const index = () => this.frames.findIndex(matches);
    const state = () => `there are ${JSON.stringify(this.frames)}`;
    await until(() => index() >= 0 || this.closeCode !== undefined, { what: () => `a frame; ${state()}` });
    if (index() < 0) throw new Error(`closed with ${this.closeCode} instead of a frame; ${state()}`);
    return this.frames.splice(index(), 1)[0];
  }

  /** The next event of that name in that namespace. */
  async nextEvent(name, namespace = "/notifications") {
    const matches = (frame) => {
      const event = eventOf(frame);
      return event?.name === name && event.namespace === namespace;
    };
    return eventOf(await this.next(matches)).data;
  }

  /** Joins a namespace; gives what CONNECT is answered with. */
  async join(namespace = "/notifications", auth) {
    const prefix = namespace === "/" ? "" : `${namespace},`;
    this.send(`40${prefix}${auth === undefined ? "" : JSON.stringify(auth)}`);
    const answer = await this.next((frame) => frame.startsWith(`40${prefix}{`));
    return JSON.parse(answer.slice(2 + prefix.length));
  }

  /**
   * Waits until everything sent so far has been dealt with: frames are answered in order, and the last one now is an event
   * whose ack comes back.
   */
  async settled(namespace = "/notifications") {
    const prefix = namespace === "/" ? "" : `${namespace},`;
    const id = this.#nextAckId++;
    this.send(`42${prefix}${id}["ping"]`);
    const answer = await this.next((frame) => frame.startsWith(`43${prefix}${id}[`));
    await this.nextEvent("pong", namespace);
    return JSON.parse(answer.slice(`43${prefix}${id}`.length))[0];
  }

  /** Waits for the close and gives its code. */
  async closed({ timeout } = {}) {
    await until(() => this.closeCode !== undefined, {
      timeout,
      what: () => `the close of a connection that got ${JSON.stringify(this.frames)}`,
    });
    return this.closeCode;
  }

  /** Waits until the server has said that it closes. `closed` may come much later: the TCP connection may outlive that. */
  async told() {
    await until(() => this.#ws.readyState !== WebSocket.OPEN, {
      what: () => `a close frame on a connection that got ${JSON.stringify(this.frames)}`,
    });
  }

  async close() {
    this.#ws.close();
    await this.closed();
  }

  terminate() {
    this.#ws.terminate();
  }
}
