// Conformance mode, from the outside: every fact that the official Engine.IO (v4) and Socket.IO (v5) protocol suites check of
// a server, and some of their neighbours.
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { startServer } from "./harness.mjs";
import { Socket, http } from "./wire.mjs";

const PING_INTERVAL_MS = 300;
const PING_TIMEOUT_MS = 200;
const SEPARATOR = "\x1e";

const ATTEMPTS = 5;

/**
 * A test that may be tried again: with a heartbeat of 300 ms, one attempt on a busy machine can fail for want of time. What is
 * broken fails every attempt.
 */
function fact(name, body) {
  test(name, async () => {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await body();
      } catch (error) {
        if (attempt === ATTEMPTS) throw error;
      }
    }
  });
}

// The suites' own settings, for what is about them; and patient ones for the rest, since a busy machine may take more than
// 200 ms for an answer.
const servers = {};
before(async () => {
  const patience = { PING_TIMEOUT_MS: "20000", CONNECT_TIMEOUT_MS: "20000" };
  [servers.strict, servers.patient] = await Promise.all([
    startServer({ bundle: "conformance" }),
    startServer({ bundle: "conformance", vars: patience }),
  ]);
});

fact("it is healthy", async () => {
  assert.equal((await http(servers.strict.url, "/healthz")).status, 200);
});

/** What a test says to a server at `/engine.io/` or `/socket.io/`. */
class Client {
  constructor(path, manner = "patient") {
    this.path = path;
    this.manner = manner;
  }

  /** The same to the server with the suites' settings. */
  get strict() {
    return new Client(this.path, "strict");
  }

  get url() {
    return servers[this.manner].url;
  }

  query(query) {
    return `${this.path}?${new URLSearchParams({ EIO: "4", ...query })}`;
  }

  get(query, options) {
    return http(this.url, this.query({ transport: "polling", ...query }), options);
  }

  post(sid, body) {
    return this.get({ sid }, { method: "POST", body });
  }

  async openPolling() {
    const { body } = await this.get();
    return JSON.parse(body.slice(1)).sid;
  }

  websocket(query) {
    return new Socket(this.url, this.query({ transport: "websocket", ...query }));
  }

  async openWebSocket() {
    const socket = this.websocket();
    assert.match(await socket.next(), /^0\{/);
    return socket;
  }

  /** A polling session whose WebSocket has answered the probe. */
  async probe() {
    const sid = await this.openPolling();
    const socket = await this.websocket({ sid }).opened();
    socket.send("2probe");
    assert.equal(await socket.next(), "3probe");
    return { sid, socket };
  }
}

const engine = new Client("/engine.io/");
const socketIo = new Client("/socket.io/");

function checkHandshake(packet, upgrades) {
  assert.equal(packet[0], "0");
  const { sid, ...rest } = JSON.parse(packet.slice(1));
  assert.equal(typeof sid, "string");
  assert.deepEqual(rest, {
    upgrades,
    pingInterval: PING_INTERVAL_MS,
    pingTimeout: PING_TIMEOUT_MS,
    maxPayload: 1_000_000,
  });
}

/** The next frame that is no ping; pings are answered. */
async function next(socket) {
  for (;;) {
    const frame = await socket.next();
    if (frame !== "2") return frame;
    socket.send("3");
  }
}

async function exchange(socket, sent, expected) {
  socket.send(...sent);
  for (const frame of expected) assert.deepEqual(await next(socket), frame);
}

for (const [name, client] of Object.entries({ "Engine.IO": engine, "Socket.IO": socketIo })) {
  describe(`${name}: the transport`, { concurrency: 4 }, () => {
    fact("a polling handshake has five keys", async () => {
      const { status, body } = await client.strict.get();
      assert.equal(status, 200);
      checkHandshake(body, ["websocket"]);
    });

    fact("a WebSocket handshake has the same, without upgrades", async () => {
      const socket = client.strict.websocket();
      checkHandshake(await socket.next(), []);
      await socket.close();
    });

    for (const query of ["transport=polling", "EIO=abc&transport=polling", "EIO=4", "EIO=4&transport=abc"]) {
      fact(`?${query} is refused`, async () => {
        assert.equal((await http(client.url, `${client.path}?${query}`)).status, 400);
      });
    }

    for (const method of ["POST", "PUT"]) {
      fact(`a handshake by ${method} is refused`, async () => {
        assert.equal((await client.get({}, { method })).status, 400);
      });
    }

    for (const query of ["transport=websocket", "EIO=abc&transport=websocket", "EIO=4", "EIO=4&transport=abc"]) {
      fact(`a WebSocket to ?${query} comes to nothing`, async () => {
        await new Socket(client.url, `${client.path}?${query}`).closed();
      });
    }

    fact("a polling client that answers pings gets the next one, three times", async () => {
      const sid = await client.openPolling();
      for (let round = 0; round < 3; round += 1) {
        const ping = await client.get({ sid });
        assert.deepEqual([ping.status, ping.body], [200, "2"]);
        assert.equal((await client.post(sid, "3")).status, 200);
      }
    });

    fact("a polling client that does not is unknown right after the timeout", async () => {
      const { strict } = client;
      const sid = await strict.openPolling();
      await delay(PING_INTERVAL_MS + PING_TIMEOUT_MS);
      assert.equal((await strict.get({ sid })).status, 400);
    });

    fact("a WebSocket client that answers pings gets the next one, three times", async () => {
      const socket = await client.openWebSocket();
      for (let round = 0; round < 3; round += 1) {
        assert.equal(await socket.next(), "2");
        socket.send("3");
      }
      await socket.close();
    });

    fact("a WebSocket client that does not is closed", async () => {
      const socket = await client.strict.openWebSocket();
      const began = performance.now();
      await socket.closed();
      assert.deepEqual(socket.frames, ["2"]);
      assert.ok(performance.now() - began < 1_500);
    });

    fact("a polling client that leaves ends its poll with a noop", async () => {
      const sid = await client.openPolling();
      const [poll] = await Promise.all([client.get({ sid }), client.post(sid, "1")]);
      assert.deepEqual([poll.status, poll.body], [200, "6"]);
      assert.equal((await client.get({ sid })).status, 400);
    });

    fact("a WebSocket client that says it leaves is closed", async () => {
      const socket = await client.strict.openWebSocket();
      socket.send("1");
      await socket.closed();
    });

    fact("an upgrade is probed, ends the poll, and goes on by WebSocket", async () => {
      const { sid, socket } = await client.probe();
      const poll = await client.get({ sid });
      assert.deepEqual([poll.status, poll.body], [200, "6"]);
      socket.send("5");
      await exchange(socket, ["40/nowhere"], [client === engine ? "40/nowhere" : '44/nowhere,{"message":"Invalid namespace"}']);
      await socket.close();
    });

    // The suites do not wait for "3probe" everywhere.
    for (const patience of ["patient", "hasty"]) {
      const upgrade = async () => {
        if (patience === "patient") {
          const { sid, socket } = await client.probe();
          socket.send("5");
          return { sid, socket };
        }
        const sid = await client.openPolling();
        const socket = await client.websocket({ sid }).opened();
        socket.send("2probe", "5");
        return { sid, socket };
      };

      fact(`after a ${patience} upgrade the sid is no good for a poll`, async () => {
        const { sid, socket } = await upgrade();
        assert.equal((await client.get({ sid })).status, 400);
        if (patience === "hasty") assert.equal(await socket.next(), "3probe");
        await exchange(socket, ["40/nowhere"], [client === engine ? "40/nowhere" : '44/nowhere,{"message":"Invalid namespace"}']);
        await socket.close();
      });

      fact(`after a ${patience} upgrade the sid is no good for a second WebSocket`, async () => {
        const { sid, socket } = await upgrade();
        await client.websocket({ sid }).closed();
        if (patience === "hasty") assert.equal(await socket.next(), "3probe");
        await exchange(socket, ["40/nowhere"], [client === engine ? "40/nowhere" : '44/nowhere,{"message":"Invalid namespace"}']);
        await socket.close();
      });
    }
  });
}

describe("Engine.IO: messages", { concurrency: 4 }, () => {
  const payloads = {
    "one packet": ["4hello"],
    "several packets": ["4one", "4two", "4three"],
    "text and binary": ["4hello", "bAQIDBA=="],
  };
  for (const [name, packets] of Object.entries(payloads)) {
    fact(`a payload of ${name} comes back`, async () => {
      const sid = await engine.openPolling();
      const payload = packets.join(SEPARATOR);
      const taken = await engine.post(sid, payload);
      assert.deepEqual([taken.status, taken.body], [200, "ok"]);
      const poll = await engine.get({ sid });
      assert.deepEqual([poll.status, poll.body], [200, payload]);
    });
  }

  fact("a payload of no packets ends the session", async () => {
    const sid = await engine.openPolling();
    assert.equal((await engine.post(sid, "abc")).status, 400);
    assert.equal((await engine.get({ sid })).status, 400);
  });

  fact("overlapping polls end the session", async () => {
    const sid = await engine.openPolling();
    const [first, second] = await Promise.all([
      engine.get({ sid }),
      delay(5).then(() => engine.get({ sid, t: "second" })),
    ]);
    // Which of the two came first is not the client's to say.
    const [held, refused] = first.status === 200 ? [first, second] : [second, first];
    assert.deepEqual([held.status, held.body, refused.status], [200, "1", 400]);
    assert.equal((await engine.get({ sid })).status, 400);
  });

  fact("a poll that is given up ends the session", async () => {
    const sid = await engine.openPolling();
    const controller = new AbortController();
    const given = engine.get({ sid }, { signal: controller.signal });
    await delay(5);
    controller.abort();
    await assert.rejects(given);
    assert.equal((await engine.get({ sid })).status, 400);
  });

  fact("a text and a binary frame come back", async () => {
    const socket = await engine.openWebSocket();
    const binary = Buffer.from([1, 2, 3, 4]);
    await exchange(socket, ["4hello", binary], ["4hello", binary]);
    await socket.close();
  });

  fact("a frame that is no packet closes", async () => {
    const socket = await engine.openWebSocket();
    socket.send("abc");
    await socket.closed();
  });
});

describe("Socket.IO: namespaces and events", { concurrency: 4 }, () => {
  async function join(socket, namespace = "/", payload = "") {
    const prefix = namespace === "/" ? "" : `${namespace},`;
    socket.send(`40${prefix}${payload}`);
    const answer = await next(socket);
    assert.ok(answer.startsWith(`40${prefix}{`), answer);
    const handshake = JSON.parse(answer.slice(2 + prefix.length));
    assert.deepEqual(Object.keys(handshake), ["sid"]);
    assert.equal(typeof handshake.sid, "string");
    assert.equal(await next(socket), `42${prefix}["auth",${payload || "{}"}]`);
    return socket;
  }
  const joined = async () => join(await socketIo.openWebSocket());

  for (const namespace of ["/", "/custom"]) {
    for (const payload of ["", '{"token":"123"}']) {
      fact(`CONNECT to ${namespace} with ${payload || "nothing"}`, async () => {
        await (await join(await socketIo.openWebSocket(), namespace, payload)).close();
      });
    }
  }

  fact("an unknown namespace is refused", async () => {
    const socket = await socketIo.openWebSocket();
    await exchange(socket, ["40/random"], ['44/random,{"message":"Invalid namespace"}']);
    await socket.close();
  });

  fact("a client that joins nothing in a second is closed", async () => {
    const socket = await socketIo.strict.openWebSocket();
    const began = performance.now();
    assert.equal(await next(socket), undefined);
    const waited = performance.now() - began;
    assert.ok(waited < 1_900, `${waited} ms`);
  });

  fact("a client that leaves the main namespace stays connected", async () => {
    const socket = await joined();
    socket.send("41");
    assert.equal(await socket.next(), "2");
    await socket.close();
  });

  fact("a client that leaves one namespace stays in the other", async () => {
    const socket = await join(await joined(), "/custom");
    await exchange(socket, ["41/custom", '42["message","to the main one"]'], ['42["message-back","to the main one"]']);
    await socket.close();
  });

  const bytes = [Buffer.from([1, 2, 3]), Buffer.from([4, 5, 6])];
  const places = '{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}';
  const exchanges = {
    "an event": [['42["message",1,"2",{"3":[true]}]'], ['42["message-back",1,"2",{"3":[true]}]']],
    "an event with attachments": [
      [`452-["message",${places}]`, ...bytes],
      [`452-["message-back",${places}]`, ...bytes],
    ],
    "an event with an ack": [['42456["message-with-ack",1,"2",{"3":[false]}]'], ['43456[1,"2",{"3":[false]}]']],
    "an event with attachments and an ack": [
      [`452-789["message-with-ack",${places}]`, ...bytes],
      [`462-789[${places}]`, ...bytes],
    ],
  };
  for (const [name, [sent, expected]] of Object.entries(exchanges)) {
    fact(`${name} is answered`, async () => {
      const socket = await joined();
      await exchange(socket, sent, expected);
      await socket.close();
    });
  }

  fact("a message that is no packet closes before CONNECT", async () => {
    const socket = await socketIo.openWebSocket();
    socket.send("4abc");
    await socket.closed();
  });

  for (const frame of ["4abc", "42{}", '42abc["message-with-ack",1]']) {
    fact(`${frame} closes after CONNECT`, async () => {
      const socket = await joined();
      socket.send(frame);
      await socket.closed();
    });
  }
});
