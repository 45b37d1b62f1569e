// Connection state recovery: a stock client that was away goes on where it was, however it was cut off.
import assert from "node:assert/strict";
import { before, beforeEach, test } from "node:test";
import { connected, nextEvent, refused, startServer, until } from "./harness.mjs";
import { startProxy } from "./proxy.mjs";
import { eventOf, openRaw } from "./raw.mjs";

const RECONNECTING = { reconnection: true, reconnectionDelay: 20, reconnectionDelayMax: 100, randomizationFactor: 0 };
const OFFSET = /^\u001f\d+$/;

let server;
let network;
before(async () => {
  server = await startServer();
  network = await startProxy(server);
});
beforeEach(() => network.restore());

let users = 0;
const newUser = () => `u${++users}`;

const TOKEN_PLACES = {
  query: (token) => ({ token }),
  CONNECT: (token) => ({ token: null, auth: { token } }),
};

/** A connected client that reconnects, behind the network that fails; what it is told first is taken. */
async function client(user, { place = "query", ...options } = {}) {
  const credential = TOKEN_PLACES[place](server.token(user));
  const socket = await connected(server.connect(user, { url: network.url, ...RECONNECTING, ...credential, ...options }));
  await nextEvent(socket, "authenticated");
  return socket;
}

/** Pushes `count` notifications, one after the other. */
async function pushes(user, count) {
  for (let i = 0; i < count; i++) assert.equal((await server.push(user)).status, 201);
}

/** The same, `width` at a time: in whatever order. */
async function manyPushes(user, count, width = 10) {
  for (let done = 0; done < count; done += width) {
    await Promise.all(Array.from({ length: Math.min(width, count - done) }, () => pushes(user, 1)));
  }
}

/** Pushes that somebody has fetched: no client that connects is sent them for being new. */
async function fetchedPushes(user, count) {
  await manyPushes(user, count);
  const { status } = await server.api("GET", "/v1/me/notifications?limit=100", { token: server.token(user) });
  assert.equal(status, 200);
}

/** The `seq` of every notification the client was sent, in order. */
const seqs = (socket) => socket.events.filter(({ name }) => name === "notification:new").map(({ data }) => data.seq);
const upTo = (count) => Array.from({ length: count }, (_, i) => i + 1);
const connects = (socket) => socket.lifecycle.filter(({ name }) => name === "connect").length;
const named = (socket, name) => socket.events.filter((event) => event.name === name);

/** Waits until the client has connected that often, and until what the server sent by then has arrived. */
async function back(socket, times = 2) {
  await until(() => connects(socket) >= times && socket.connected, {
    timeout: 20_000,
    what: () => `connection no. ${times} of a client that saw ${JSON.stringify(socket.lifecycle)}`,
  });
  await socket.timeout(10_000).emitWithAck("ping");
  return socket;
}

/** The network fails; `meanwhile` happens; then it works again and the client is back. */
async function interrupted(socket, meanwhile = () => {}) {
  const times = connects(socket) + 1;
  network.interrupt();
  await until(() => !socket.connected, { what: "disconnect" });
  await meanwhile();
  network.restore();
  return back(socket, times);
}

/** The client loses its connection, and the server does not hear of it. */
async function lose(socket) {
  // Again and again: a client that polls is now and then between two connections.
  await until(() => {
    network.loseClients();
    return socket.lifecycle.some(({ name }) => name === "disconnect");
  }, { what: "disconnect" });
}

function assertRecovered(socket, id) {
  assert.equal(socket.recovered, true, "recovered");
  assert.equal(socket.id, id, "the same socket.id");
}

// ---- however the connection was lost ----

const INTERRUPTIONS = {
  "a cut connection": async (user, socket, meanwhile) => {
    await interrupted(socket, meanwhile);
  },
  "an evicted object and a cut connection": async (user, socket, meanwhile) => {
    const { instance } = await server.hubInfo(user);
    await interrupted(socket, async () => {
      await server.evict(user);
      await meanwhile();
    });
    assert.notEqual((await server.hubInfo(user)).instance, instance);
  },
  "a killed and restarted runtime": async (user, socket, meanwhile) => {
    const times = connects(socket) + 1;
    network.interrupt();
    await server.kill();
    await server.restart();
    await meanwhile();
    network.restore();
    await back(socket, times);
  },
};
const TRANSPORTS = {
  "WebSocket alone": ["websocket"],
  "the default transports": ["polling", "websocket"],
  "polling alone": ["polling"],
};

for (const [interruption, interrupt] of Object.entries(INTERRUPTIONS)) {
  for (const [name, transports] of Object.entries(TRANSPORTS)) {
    for (const place of Object.keys(TOKEN_PLACES)) {
      test(`after ${interruption}, over ${name} with the token in ${place}, a client is recovered: nothing missed, nothing twice`, async () => {
        const user = newUser();
        const socket = await client(user, { place, transports });
        const { id } = socket;
        await until(() => socket.io.engine.transport.name === transports.at(-1), { what: "upgrade" });
        await pushes(user, 2);
        await until(() => seqs(socket).length === 2, { what: "two notifications" });
        await interrupt(user, socket, () => pushes(user, 3));
        assertRecovered(socket, id);
        await pushes(user, 1);
        await until(() => seqs(socket).length >= 6, { what: () => `six notifications, not ${seqs(socket)}` });
        await socket.timeout(10_000).emitWithAck("ping");
        assert.deepEqual(seqs(socket), upTo(6));
        socket.disconnect();
      });
    }
  }
}

test("what is pushed while the connection breaks again and again arrives once and in order", async () => {
  const user = newUser();
  const socket = await client(user);
  const { id } = socket;
  const pushing = pushes(user, 40);
  for (let i = 0; i < 5; i++) {
    const times = connects(socket) + 1;
    network.cut();
    await back(socket, times);
    assertRecovered(socket, id);
  }
  await pushing;
  await until(() => seqs(socket).length >= 40, { what: () => `40 notifications, not ${seqs(socket)}` });
  await back(socket, 1);
  assert.deepEqual(seqs(socket), upTo(40));
});

test("an evicted object sends what its hibernated socket is owed, and recovers it later", async () => {
  const user = newUser();
  const socket = await client(user);
  const { id } = socket;
  await server.evict(user);
  await pushes(user, 1);
  await until(() => seqs(socket).length === 1, { what: "a notification from a woken object" });
  await server.evict(user);
  await interrupted(socket, () => pushes(user, 1));
  assertRecovered(socket, id);
  assert.deepEqual(seqs(socket), upTo(2));
});

// ---- how far the client came ----

test("a session that saw nothing but `authenticated` is recovered", async () => {
  const user = newUser();
  const socket = await client(user);
  const { id } = socket;
  assert.deepEqual(socket.events.map(({ name }) => name), ["authenticated"]);
  await interrupted(socket, () => pushes(user, 2));
  assertRecovered(socket, id);
  assert.deepEqual(seqs(socket), upTo(2));
});

test("a quiet session is recovered, as often as it breaks, and hears of no notification", async () => {
  const user = newUser();
  const socket = await client(user);
  const { id } = socket;
  for (let i = 0; i < 3; i++) {
    await interrupted(socket);
    assertRecovered(socket, id);
  }
  assert.deepEqual(seqs(socket), []);
  assert.deepEqual(named(socket, "notification:batch"), []);
});

test("a client that has no offset at all is recovered from where its session began", async () => {
  const user = newUser();
  await fetchedPushes(user, 2);
  const socket = await client(user);
  const { id } = socket;
  await pushes(user, 2);
  await until(() => seqs(socket).length === 2, { what: "two notifications" });
  await interrupted(socket, async () => {
    socket._lastOffset = undefined;
    await pushes(user, 1);
  });
  assertRecovered(socket, id);
  assert.deepEqual(seqs(socket), [3, 4, 3, 4, 5]);
});

for (const poison of ["somebody's words", "", "7", "\u001f", "\u001f1x", "\u001f-1", "\u001f99999999999999999999"]) {
  test(`a client whose offset is ${JSON.stringify(poison)} is recovered from where its session began`, async () => {
    const user = newUser();
    await fetchedPushes(user, 1);
    const socket = await client(user);
    const { id } = socket;
    await pushes(user, 1);
    await until(() => seqs(socket).length === 1, { what: "a notification" });
    await interrupted(socket, async () => {
      socket._lastOffset = poison;
      await pushes(user, 2);
    });
    assertRecovered(socket, id);
    assert.deepEqual(seqs(socket), [2, 2, 3, 4]);
  });
}

test("an offset ahead of the inbox is not believed: the client is sent the newest instead", async () => {
  const user = newUser();
  const socket = await client(user);
  await pushes(user, 2);
  await interrupted(socket, () => {
    socket._lastOffset = "\u001f1000";
  });
  assert.equal(socket.recovered, false);
  const batch = await nextEvent(socket, "notification:batch");
  assert.deepEqual(batch.notifications.map(({ seq }) => seq), [2, 1]);
});

test("a session that began with what had waited for it is recovered from before that", async () => {
  const user = newUser();
  await fetchedPushes(user, 1);
  await pushes(user, 2);
  const socket = await client(user);
  const { id } = socket;
  await until(() => seqs(socket).length === 2, { what: "what had waited" });
  await interrupted(socket, () => {
    socket._lastOffset = undefined;
  });
  assertRecovered(socket, id);
  assert.deepEqual(seqs(socket), [2, 3, 2, 3]);
});

test("a gap of 100 notifications is recovered one by one", async () => {
  const user = newUser();
  const socket = await client(user);
  const { id } = socket;
  await interrupted(socket, () => manyPushes(user, 100));
  assertRecovered(socket, id);
  assert.deepEqual(seqs(socket), upTo(100));
  assert.deepEqual(named(socket, "notification:batch"), []);
  assert.equal(named(socket, "unread:count").at(-1).data.count, 100);
});

test("a gap of 101 notifications is a new session with one batch of the newest 100", async () => {
  const user = newUser();
  const socket = await client(user);
  const { id } = socket;
  await interrupted(socket, () => manyPushes(user, 101));
  assert.equal(socket.recovered, false);
  assert.notEqual(socket.id, id);
  assert.deepEqual(seqs(socket), []);
  const batch = await nextEvent(socket, "notification:batch");
  assert.deepEqual(batch.notifications.map(({ seq }) => seq), upTo(101).slice(1).reverse());
  assert.deepEqual([batch.has_more, batch.unread_count, batch.seq], [true, 101, 101]);
  // From here on it is recovered as ever; what the batch had no room for is sent now.
  const next = socket.id;
  await interrupted(socket, () => pushes(user, 1));
  assertRecovered(socket, next);
  assert.deepEqual(seqs(socket), [1, 102]);
  await interrupted(socket);
  assert.deepEqual(seqs(socket), [1, 102]);
});

for (const [count, change] of [[50, "100"], [51, "more than 100"]]) {
  test(`${count} notifications and ${count} reads of them are a gap of ${change} changes`, async () => {
    const user = newUser();
    const socket = await client(user);
    await interrupted(socket, async () => {
      await manyPushes(user, count);
      const token = server.token(user);
      const { body } = await server.api("GET", "/v1/me/notifications?limit=100", { token });
      for (const { id } of body.items) await server.api("POST", `/v1/me/notifications/${id}/read`, { token });
    });
    const recovered = count === 50;
    assert.equal(socket.recovered, recovered);
    const kinds = recovered ? [["notification:new", count], ["notification:read", count]] : [["notification:batch", 1]];
    for (const [name, times] of kinds) assert.equal(named(socket, name).length, times, name);
    if (!recovered) assert.ok((await nextEvent(socket, "notification:batch")).notifications.every(({ read_at }) => read_at));
    assert.deepEqual(named(socket, "unread:count").at(-1).data, { count: 0, unseen: 0, seq: 2 * count });
  });
}

// ---- the old connection ----

test("a client that comes back while its old connection is still open takes its place", async () => {
  const user = newUser();
  const old = await openRaw(server, user);
  const { pid, sid } = await old.join();
  await old.nextEvent("authenticated");
  await pushes(user, 1);
  await old.nextEvent("notification:new");
  const fresh = await openRaw(server, user);
  assert.deepEqual(await fresh.join("/notifications", { pid, offset: "\u001f0" }), { sid, pid });
  await old.told();
  assert.equal((await fresh.nextEvent("notification:new")).seq, 1);
  const { sockets } = await server.hubInfo(user);
  assert.equal(sockets, 1);
});

test("a client whose old connection the server still takes for open is recovered", async () => {
  const user = newUser();
  const socket = await client(user);
  const { id } = socket;
  await pushes(user, 1);
  await lose(socket);
  await back(socket);
  assertRecovered(socket, id);
  await pushes(user, 1);
  await back(socket);
  assert.deepEqual(seqs(socket), upTo(2));
  await until(async () => (await server.hubInfo(user)).sockets === 1, { what: "one socket" });
});

test("behind the relay as well, the old connection makes place", async () => {
  const user = newUser();
  const socket = await client(user, { place: "CONNECT" });
  const { id } = socket;
  await lose(socket);
  await pushes(user, 1);
  await back(socket);
  assertRecovered(socket, id);
  assert.deepEqual(seqs(socket), upTo(1));
  await until(async () => (await server.hubInfo(user)).sockets === 1, { what: "one socket" });
});

test("a polling session that is still open makes place for its successor", async () => {
  const user = newUser();
  const socket = await client(user, { transports: ["polling"] });
  const { id } = socket;
  await lose(socket);
  await pushes(user, 1);
  await back(socket);
  assertRecovered(socket, id);
  assert.deepEqual(seqs(socket), upTo(1));
  await until(async () => (await server.hubInfo(user)).polling === 1, { what: "one polling session" });
});

// ---- who may recover ----

for (const [place, credential] of Object.entries(TOKEN_PLACES)) {
  const present = (socket, token) => {
    const { auth = socket.auth, token: query } = credential(token);
    socket.auth = auth;
    if (query === null) return;
    socket.io.opts.query.token = query;
  };

  test(`a client that comes back with an expired token in ${place} is refused, pid or not`, async () => {
    const user = newUser();
    const socket = await client(user, { place });
    network.interrupt();
    await until(() => !socket.connected);
    present(socket, server.token(user, { ttl: -60 }));
    socket.lifecycle.length = 0;
    network.restore();
    await until(() => socket.lifecycle.some(({ data }) => data?.data?.code === "EXPIRED_TOKEN"), {
      what: () => `a refusal, not ${JSON.stringify(socket.lifecycle)}`,
    });
    assert.equal(socket.connected, false);
    assert.equal(socket.active, false);
  });

  test(`another user's token in ${place} does not recover a stolen pid`, async () => {
    const [owner, thief] = [newUser(), newUser()];
    const socket = await client(owner, { place });
    const { id } = socket;
    await pushes(owner, 1);
    await until(() => seqs(socket).length === 1, { what: "a notification" });
    await interrupted(socket, async () => {
      present(socket, server.token(thief));
      socket._lastOffset = "\u001f0";
      await pushes(owner, 1);
    });
    assert.equal(socket.recovered, false);
    assert.notEqual(socket.id, id);
    assert.equal((await nextEvent(socket, "authenticated")).user_id, thief);
    assert.deepEqual(seqs(socket), [1], "nothing of the owner's");
  });
}

test("a pid that this service did not make is not recovered", async () => {
  const user = newUser();
  const socket = await client(user);
  for (const forge of [() => "forged", (pid) => `x${pid}`, (pid) => `${pid}x`, (pid) => pid.replace(/\.\d+\./, ".9.")]) {
    const { id } = socket;
    await interrupted(socket, () => {
      socket._pid = forge(socket._pid);
    });
    assert.equal(socket.recovered, false);
    assert.notEqual(socket.id, id);
  }
});

test("a pid of another namespace is not recovered", async () => {
  const user = newUser();
  const first = await openRaw(server, user);
  const { pid, sid } = await first.join("/");
  const second = await openRaw(server, user);
  const joined = await second.join("/notifications", { pid });
  assert.notEqual(joined.sid, sid);
  assert.notEqual(joined.pid, pid);
});

// ---- several namespaces ----

for (const [name, transports] of Object.entries(TRANSPORTS)) {
  test(`the namespaces of one connection are each recovered, over ${name}`, async () => {
    const user = newUser();
    const socket = await client(user, { transports });
    const root = await connected(server.connectOver(socket, "/"));
    const ids = [socket.id, root.id];
    await pushes(user, 1);
    await until(() => seqs(socket).length === 1 && seqs(root).length === 1, { what: "a notification in both" });
    await interrupted(socket, () => pushes(user, 2));
    await back(root);
    assertRecovered(socket, ids[0]);
    assertRecovered(root, ids[1]);
    assert.deepEqual(seqs(socket), upTo(3));
    assert.deepEqual(seqs(root), upTo(3));
    const { sockets, polling } = await server.hubInfo(user);
    assert.equal(sockets + polling, 1, "one connection");
  });
}

// ---- clients without recovery ----

const WITHOUT_RECOVERY = { query: { recovery: "off" } };

test("`recovery=off` in the query: no pid, no offset, and a new session each time", async () => {
  const user = newUser();
  const socket = await client(user, WITHOUT_RECOVERY);
  const { id } = socket;
  assert.equal(socket._pid, undefined);
  await pushes(user, 1);
  await nextEvent(socket, "notification:new");
  await interrupted(socket);
  assert.equal(Boolean(socket.recovered), false);
  assert.notEqual(socket.id, id);
  for (const { name, args } of socket.events) assert.equal(args.length, 1, `${name} has its payload alone`);
});

test("`recovery=off` in CONNECT does the same", async () => {
  const user = newUser();
  const socket = await client(user, { auth: { recovery: "off" } });
  assert.equal(socket._pid, undefined);
  await pushes(user, 1);
  await nextEvent(socket, "notification:new");
  for (const { name, args } of socket.events) assert.equal(args.length, 1, `${name} has its payload alone`);
});

test("a client that says `since` is sent what came after it, one by one up to 100", async () => {
  const user = newUser();
  await fetchedPushes(user, 3);
  await manyPushes(user, 100);
  const socket = await client(user, { ...WITHOUT_RECOVERY, auth: { since: 3 } });
  await back(socket, 1);
  assert.deepEqual(seqs(socket), upTo(103).slice(3));
  assert.deepEqual(named(socket, "notification:batch"), []);
  const { count, seq } = named(socket, "unread:count").at(-1).data;
  assert.deepEqual([count, seq], [103, 103]);
});

test("a client that says `since` and missed more than 100 is sent the newest 100 as one batch", async () => {
  const user = newUser();
  await manyPushes(user, 103);
  const socket = await client(user, { ...WITHOUT_RECOVERY, auth: { since: 2 } });
  const batch = await nextEvent(socket, "notification:batch");
  assert.deepEqual(batch.notifications.map(({ seq }) => seq), upTo(103).slice(3).reverse());
  assert.deepEqual([batch.has_more, batch.unread_count, batch.seq], [true, 103, 103]);
  assert.deepEqual(seqs(socket), []);
});

test("a client that is up to date is sent no notification for its `since`", async () => {
  const user = newUser();
  await fetchedPushes(user, 2);
  const socket = await client(user, { auth: { since: 2 } });
  await back(socket, 1);
  assert.deepEqual(seqs(socket), []);
  assert.deepEqual(named(socket, "notification:batch"), []);
});

test("what nobody was sent yet is sent to a client that says `since` as well", async () => {
  const user = newUser();
  await pushes(user, 2);
  const socket = await client(user, { ...WITHOUT_RECOVERY, auth: { since: 1 } });
  await back(socket, 1);
  assert.deepEqual(seqs(socket), [1, 2]);
  const again = await client(user, { ...WITHOUT_RECOVERY, auth: { since: 2 } });
  await back(again, 1);
  assert.deepEqual(seqs(again), []);
});

test("a client with recovery counts its pid before its `since`", async () => {
  const user = newUser();
  await pushes(user, 2);
  const socket = await client(user, { auth: { since: 0 } });
  const { id } = socket;
  await until(() => seqs(socket).length === 2, { what: "two notifications" });
  await interrupted(socket, () => pushes(user, 1));
  assertRecovered(socket, id);
  assert.deepEqual(seqs(socket), upTo(3));
});

// ---- offsets ----

test("every event the server sends ends with an offset", async () => {
  const expiring = await startServer({ vars: { JWT_LEEWAY_SECONDS: "60" } });
  const user = newUser();
  for (let i = 0; i < 101; i++) await expiring.push(user);
  // The session outlives its token by 25 seconds, and the token has been over for 19 of them.
  const short = expiring.token(user, { ttl: -19 });
  const socket = await connected(expiring.connect(user, { namespace: "/", token: short, auth: { since: 0 } }));
  await nextEvent(socket, "notification:batch");
  const { body } = await expiring.push(user);
  socket.emit("ping");
  socket.emit("no such event");
  const { recipient_id } = body.results[0];
  for (const name of ["mark:read", "mark:unread", "notification:archive", "notification:unarchive", "notification:delete"]) {
    socket.emit(name, { recipient_id });
  }
  socket.emit("mark:seen", { up_to_seq: 3 });
  socket.emit("mark:all:read");
  await nextEvent(socket, "auth_error");
  const names = new Set(socket.events.map(({ name }) => name));
  assert.deepEqual([...names].sort(), [
    "auth:expiring", "auth_error", "authenticated", "error", "notification:archived", "notification:batch", "notification:deleted",
    "notification:new", "notification:read", "notification:unarchived", "notification:unread", "notifications:read_all",
    "notifications:seen", "pong", "unread:count",
  ]);
  for (const { name, args } of socket.events) {
    assert.equal(args.length, 2, name);
    assert.equal(typeof args[0], "object", name);
    assert.match(args[1], OFFSET, name);
  }
  await expiring.stop();
});

test("a notification that is sent again keeps its `seq`; its offset says how far the client is then", async () => {
  const user = newUser();
  const first = await openRaw(server, user);
  const { pid } = await first.join();
  await pushes(user, 3);
  const second = await openRaw(server, user);
  await second.join("/notifications", { pid, offset: "\u001f1" });
  await second.settled();
  const news = second.frames.filter((frame) => eventOf(frame)?.name === "notification:new");
  assert.deepEqual(
    news.map((frame) => [eventOf(frame).data.seq, JSON.parse(frame.slice(frame.indexOf("["))).at(-1)]),
    [[2, "\u001f2"], [3, "\u001f3"]],
  );
});

test("RECOVERY=off: no pid, no offset, for anybody", async () => {
  const without = await startServer({ vars: { RECOVERY: "off" } });
  for (const options of [{}, { token: null, auth: { token: without.token("u") } }, { query: { recovery: "on" } }]) {
    const socket = await connected(without.connect("u", options));
    await nextEvent(socket, "authenticated");
    await without.push("u");
    await nextEvent(socket, "notification:new");
    assert.equal(socket._pid, undefined);
    for (const { name, args } of socket.events) assert.equal(args.length, 1, name);
    socket.disconnect();
  }
  await without.stop();
});

test("a client that is refused is refused again with its pid", async () => {
  const socket = server.connect("nobody", { token: null, auth: { token: "junk", pid: "x.0.y", offset: "\u001f0" } });
  assert.equal((await refused(socket)).data.code, "INVALID_TOKEN");
});
