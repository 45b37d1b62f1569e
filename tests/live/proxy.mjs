// The network between clients and a server, which fails in the ways networks do.
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { after } from "node:test";

const proxies = new Set();

// Registered while the modules load, so it runs whatever the tests did.
after(() => proxies.forEach((proxy) => proxy.close()));

/** A TCP proxy in front of a server. `webSockets: false`: upgrades are answered with 400, as some proxies do. */
export async function startProxy(server, { webSockets = true } = {}) {
  const proxy = new FaultyNetwork(server.port, webSockets);
  await proxy.listening;
  proxies.add(proxy);
  return proxy;
}

class FaultyNetwork {
  #target;
  #webSockets;
  #listener = createServer((client) => this.#accept(client));
  /** Clients that have not said anything yet. */
  #greeted = new Set();
  #pairs = new Set();
  #open = true;
  /** Upgrades that were refused. */
  refusedUpgrades = 0;

  constructor(target, webSockets) {
    this.#target = target;
    this.#webSockets = webSockets;
    this.listening = once(this.#listener.listen(0, "127.0.0.1"), "listening");
  }

  get url() {
    return `http://127.0.0.1:${this.#listener.address().port}`;
  }

  /** Every connection ends at once, with a reset and no word at either end. Who comes again gets through. */
  cut() {
    for (const client of this.#greeted) client.resetAndDestroy();
    for (const { client, upstream } of this.#pairs) {
      client.resetAndDestroy();
      upstream.resetAndDestroy();
    }
    this.#pairs.clear();
  }

  /** The same, and nobody gets through until `restore`. */
  interrupt() {
    this.#open = false;
    this.cut();
  }

  restore() {
    this.#open = true;
  }

  /** The clients' ends are reset; the server's stay open, and the server knows nothing of it. */
  loseClients() {
    for (const { client, upstream } of this.#pairs) {
      client.unpipe(upstream);
      client.removeAllListeners("close");
      upstream.unpipe(client);
      upstream.resume();
      client.resetAndDestroy();
    }
  }

  /** Nothing that the server sends on these connections arrives any more; what the clients send does. */
  mute() {
    for (const { client, upstream } of this.#pairs) {
      upstream.unpipe(client);
      upstream.resume();
    }
  }

  close() {
    proxies.delete(this);
    this.#listener.close();
    this.cut();
  }

  #accept(client) {
    client.on("error", () => {});
    if (!this.#open) return client.resetAndDestroy();
    this.#greeted.add(client);
    client.on("close", () => this.#greeted.delete(client));
    client.once("data", (head) => {
      this.#greeted.delete(client);
      if (!this.#webSockets && /^upgrade: *websocket\r$/im.test(head.toString("latin1"))) {
        this.refusedUpgrades += 1;
        return client.end("HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
      }
      this.#pass(client, head);
    });
  }

  #pass(client, head) {
    const upstream = connect(this.#target, "127.0.0.1");
    const pair = { client, upstream };
    this.#pairs.add(pair);
    upstream.on("error", () => client.destroy());
    upstream.on("close", () => this.#pairs.delete(pair));
    upstream.write(head);
    client.pipe(upstream);
    upstream.pipe(client);
    client.on("close", () => upstream.destroy());
  }
}
