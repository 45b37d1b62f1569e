// Clients of another code base: python-socketio, asyncio and synchronous. `make python` installs them.
//
// They upgrade before they send CONNECT, know no connection state recovery, and hand every argument of an event to its
// handler: the offset too, unless the client asks for `recovery=off`.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { startServer, until } from "./harness.mjs";

const ROOT = join(import.meta.dirname, "../..");
const PYTHON = join(ROOT, ".venv/bin/python");
const OFFSET = /^\u001f\d+$/;

let server;
before(async () => {
  assert.ok(existsSync(PYTHON), "there is no .venv: run `make python`");
  server = await startServer();
});

const children = new Set();
after(() => children.forEach((child) => child.kill()));

let users = 0;
const newUser = () => `u${++users}`;

/** Runs client.py: `said` is what it printed, `emit` gives the answer to an event, `leave` ends it in good order. */
function python(settings) {
  const child = spawn(PYTHON, ["-u", join(ROOT, "tests/python/client.py"), JSON.stringify({ url: server.url, ...settings })], {
    stdio: ["pipe", "pipe", "pipe"],
  });
  children.add(child);
  const client = { said: [], errors: "", exit: new Promise((resolve) => child.on("exit", resolve)) };
  createInterface(child.stdout).on("line", (line) => client.said.push(JSON.parse(line)));
  child.stderr.setEncoding("utf8").on("data", (text) => (client.errors += text));
  client.next = async (what, matches = () => true) => {
    const found = () => client.said.find((line) => !line.taken && what in line && matches(line));
    const line = await until(found, {
      timeout: 20_000,
      what: () => `${what} from the client, which said ${JSON.stringify(client.said)} and ${client.errors}`,
    });
    line.taken = true;
    return line;
  };
  client.event = async (name) => (await client.next("event", ({ event }) => event === name)).args;
  client.emit = async (emit, args) => {
    child.stdin.write(`${JSON.stringify({ emit, args })}\n`);
    return (await client.next("answer")).answer;
  };
  client.leave = async () => {
    child.stdin.end();
    await client.exit;
    children.delete(child);
  };
  return client;
}

const TRANSPORTS = { "the default transports": undefined, "WebSocket alone": ["websocket"], "polling alone": ["polling"] };

for (const kind of ["async", "sync"]) {
  for (const place of ["auth", "query"]) {
    for (const [name, transports] of Object.entries(TRANSPORTS)) {
      test(`${kind}, token in ${place}, ${name}: connected, pushed to, acknowledged`, async () => {
        const user = newUser();
        const client = python({ kind, place, transports, token: server.token(user), query: { ack: "on" } });
        const [authenticated] = await client.event("authenticated");
        assert.equal(authenticated.user_id, user);
        const ends = transports?.at(-1) ?? "websocket";
        assert.equal((await client.next("transport")).transport, ends);
        const { sockets, polling, instance } = await server.hubInfo(user);
        assert.deepEqual([sockets, polling], ends === "websocket" ? [1, 0] : [0, 1]);
        if (ends === "websocket") await server.evict(user);
        await server.push(user);
        const [notification] = await client.event("notification:new");
        const { recipient_id } = notification;
        assert.deepEqual(await client.emit("notification:acknowledge", { recipient_id }), { ok: true, acknowledged: 1 });
        if (ends === "websocket") assert.notEqual((await server.hubInfo(user)).instance, instance);
        await client.leave();
        assert.equal(client.errors, "");
        await until(async () => {
          const { body } = await server.api("GET", `/v1/presence/users/${user}`, { key: server.serviceKey });
          return body.online === false;
        }, { what: "offline" });
      });
    }
  }

  test(`${kind}: a handler is given the offset after the payload`, async () => {
    const user = newUser();
    const client = python({ kind, token: server.token(user) });
    await client.next("transport");
    await server.push(user);
    const args = await client.event("notification:new");
    assert.equal(args.length, 2);
    assert.match(args[1], OFFSET);
    await client.leave();
  });

  test(`${kind}: with \`recovery=off\` a handler of one argument is enough`, async () => {
    const user = newUser();
    const client = python({ kind, token: server.token(user), query: { recovery: "off" }, handler: "payload" });
    await client.next("transport");
    await server.push(user);
    const args = await client.event("notification:new");
    assert.deepEqual(args.map(({ title }) => title), ["Hello"]);
    await client.leave();
    assert.equal(client.errors, "");
  });

  for (const [name, transports] of Object.entries(TRANSPORTS)) {
    test(`${kind}, ${name}: a refusal says why`, async () => {
      const client = python({ kind, transports, token: "junk" });
      const [error] = await client.event("connect_error");
      assert.equal(error.message, "Authentication failed");
      assert.equal(error.data.code, "INVALID_TOKEN");
      await client.next("failed");
      await client.leave();
    });

    test(`${kind}, ${name}: a client that says \`since\` misses nothing when the runtime is killed`, async () => {
      const user = newUser();
      const client = python({ kind, transports, token: server.token(user), since: true, query: { recovery: "off" } });
      await client.next("transport");
      await server.push(user);
      await client.event("notification:new");
      await server.kill();
      await server.restart();
      await server.push(user);
      await client.event("authenticated");
      await client.event("authenticated");
      await server.push(user);
      const seqs = () => client.said.filter(({ event }) => event === "notification:new").map(({ args }) => args[0].seq);
      await until(() => seqs().length >= 3, { timeout: 20_000, what: () => `three notifications, not ${seqs()}` });
      await client.emit("ping");
      // In whatever order: the synchronous client runs each handler in a thread of its own.
      assert.deepEqual(seqs().sort(), [1, 2, 3]);
      await client.leave();
    });
  }
}
