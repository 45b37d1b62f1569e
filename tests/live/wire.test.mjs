// Frames on the wire (DESIGN 4, 5): the handshake, namespaces, and what each frame of a client is answered with.
// Frames that close the connection are in wire_close.test.mjs.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { startServer } from "./harness.mjs";
import { eventOf, openRaw } from "./raw.mjs";

const PING_INTERVAL_MS = 61_000;
const PING_TIMEOUT_MS = 62_000;
const MAX_PAYLOAD_BYTES = 100_000;
const UNKNOWN_ID = "00000000-0000-5000-8000-000000000000";

let server;
before(async () => {
  server = await startServer({
    vars: { PING_INTERVAL_MS: String(PING_INTERVAL_MS), PING_TIMEOUT_MS: String(PING_TIMEOUT_MS) },
  });
});

/** A connection that has joined `/notifications` and taken the first event. */
async function joined(user, options) {
  const connection = await openRaw(server, user, options);
  await connection.join();
  await connection.nextEvent("authenticated");
  return connection;
}

// ---- handshake ----

for (const [who, token] of [["a user", undefined], ["a stranger", null]]) {
  test(`the packet that opens the connection of ${who} has exactly the five fields, as configured`, async () => {
    const { handshake } = await openRaw(server, "opener", { token });
    assert.match(handshake.sid, /^[\w-]{20,}$/);
    assert.deepEqual(handshake, {
      sid: handshake.sid,
      upgrades: [],
      pingInterval: PING_INTERVAL_MS,
      pingTimeout: PING_TIMEOUT_MS,
      maxPayload: MAX_PAYLOAD_BYTES,
    });
  });
}

test("unknown query parameters are ignored", async () => {
  const connection = await openRaw(server, "parameters", { query: { t: "1795tq", b64: "1", room: "x&y" } });
  await connection.join();
  assert.equal((await connection.nextEvent("authenticated")).user_id, "parameters");
});

test("each namespace has a sid of its own, and none is the engine's", async () => {
  const connection = await openRaw(server, "sids");
  const root = await connection.join("/");
  const notifications = await connection.join("/notifications");
  for (const { sid } of [root, notifications]) assert.match(sid, /^[\w-]{20,}$/);
  // The engine's sid is a credential; the others are shown around.
  assert.equal(new Set([connection.handshake.sid, root.sid, notifications.sid]).size, 3);
});

test("a namespace may be written without its comma", async () => {
  const connection = await openRaw(server, "spelling");
  connection.send("40/notifications");
  assert.match(await connection.next(), /^40\/notifications,\{"sid":/);
});

test("authenticated is the first event, right after CONNECT is answered", async () => {
  const connection = await openRaw(server, "first");
  connection.send("40/notifications,", '42/notifications,["ping"]');
  const frames = [];
  for (let i = 0; i < 3; i++) frames.push(await connection.next());
  assert.match(frames[0], /^40\/notifications,\{"sid":"[\w-]+","pid":"[\w.-]+"\}$/);
  assert.deepEqual(frames.slice(1).map((frame) => eventOf(frame).name), ["authenticated", "pong"]);
  const { data } = eventOf(frames[1]);
  assert.deepEqual(data, { user_id: "first", connected_at: data.connected_at, unread: 0, seq: 0 });
  assert.ok(Math.abs(Date.parse(data.connected_at) - Date.now()) < 60_000);
});

// ---- namespaces ----

test("two namespaces share one connection and both get every event", async () => {
  const connection = await openRaw(server, "both");
  await connection.join("/");
  await connection.join("/notifications");
  const { body } = await server.push("both");
  for (const namespace of ["/", "/notifications"]) {
    assert.equal((await connection.nextEvent("authenticated", namespace)).user_id, "both");
    assert.equal((await connection.nextEvent("notification:new", namespace)).id, body.id);
    assert.equal((await connection.nextEvent("unread:count", namespace)).count, 1);
  }
  assert.equal((await server.hubInfo("both")).sockets, 1);
});

test("leaving one namespace leaves the other", async () => {
  const connection = await joined("leaver");
  await connection.join("/");
  connection.send("41/notifications,");
  await connection.settled("/");
  const { body } = await server.push("leaver");
  assert.equal((await connection.nextEvent("notification:new", "/")).id, body.id);
  await connection.settled("/");
  assert.ok(!connection.frames.some((frame) => frame.startsWith("42/notifications,")), "nothing to a left namespace");
});

test("a namespace that was left can be joined again, under a new sid", async () => {
  const connection = await openRaw(server, "returner");
  const first = await connection.join();
  connection.send("41/notifications,");
  const second = await connection.join();
  assert.notEqual(first.sid, second.sid);
  const { body } = await server.push("returner");
  assert.equal((await connection.nextEvent("notification:new")).id, body.id);
});

test("a refused namespace leaves the connection and the others as they are", async () => {
  const connection = await joined("picky");
  connection.send("40/nowhere,", '40/nowhere,{"token":"x"}');
  const refusal = '44/nowhere,{"message":"Invalid namespace"}';
  for (let i = 0; i < 2; i++) assert.equal(await connection.next((frame) => frame.startsWith("44")), refusal);
  assert.deepEqual(await connection.settled(), { ok: true });
});

test("a refused CONNECT can be repeated with a better token", async () => {
  const connection = await openRaw(server, "stubborn");
  connection.send(`40/notifications,${JSON.stringify({ token: server.token("somebody") })}`);
  const refusal = await connection.next();
  assert.match(refusal, /^44\/notifications,\{"message":"Authentication failed","data":\{"code":"USER_MISMATCH"/);
  await connection.join("/notifications", { token: server.token("stubborn") });
  assert.deepEqual(await connection.settled(), { ok: true });
});

// ---- frames that are no errors ----

const harmless = {
  "an unsolicited pong": ["3"],
  "a pong with data": ["3probe"],
  "a noop": ["6"],
  "an upgrade without a probe": ["5"],
  "the engine's close packet": ["1"],
  "an open packet": ["0{}"],
  "an ack nobody asked for": ["43/notifications,99[]", '43/notifications,99[{"a":1}]', "43/notifications,[]"],
  "a bare event": ["42/notifications,", "42/notifications,7"],
  "a binary ack nobody asked for": ['461-/notifications,5[{"_placeholder":true,"num":0}]', Buffer.from([1])],
};
for (const [what, frames] of Object.entries(harmless)) {
  test(`${what} is not answered and changes nothing`, async () => {
    const connection = await joined("harmless");
    connection.send(...frames);
    assert.deepEqual(await connection.settled(), { ok: true });
    assert.deepEqual(connection.frames, []);
  });
}

// ---- events and what they are answered with ----

const SELF = "asker";
const fails = (code) => ({ ok: false, code });
const placeholder = (num) => `{"_placeholder":true,"num":${num}}`;

// Each is sent with an ack id and without; `answers` is the code of the `error` event, or the event that comes instead.
const events = [
  ["ping", '["ping"]', { ok: true }, { name: "pong", data: {} }],
  ["ping with arguments", '["ping",1,{"a":[]},"x"]', { ok: true }, { name: "pong", data: {} }],
  ["join of one's own room", `["join","${SELF}"]`, { ok: true }],
  ["join of another's room", '["join","somebody"]', fails("FORBIDDEN")],
  ["join of nothing", '["join"]', fails("INVALID_PAYLOAD")],
  ["join of a number", '["join",5]', fails("INVALID_PAYLOAD")],
  ["join of an impossible id", '["join","a\\u0000b"]', fails("INVALID_PAYLOAD")],
  ["an unknown event", '["no:such","x"]', fails("UNKNOWN_EVENT")],
  ["an event of the server", '["notification:new",{}]', fails("UNKNOWN_EVENT")],
  ["an event with an empty name", '[""]', fails("UNKNOWN_EVENT")],
  ["an event with a number for a name", "[7,8]", fails("UNKNOWN_EVENT")],
  ["acknowledging nothing", '["notification:acknowledge"]', fails("INVALID_PAYLOAD")],
  ["acknowledging null", '["notification:acknowledge",null]', fails("INVALID_PAYLOAD")],
  ["acknowledging an empty list", '["notification:acknowledge",[]]', fails("INVALID_PAYLOAD")],
  ["acknowledging text", `["notification:acknowledge","${UNKNOWN_ID}"]`, fails("INVALID_PAYLOAD")],
  ["acknowledging without an id", '["notification:acknowledge",{"id":1}]', fails("INVALID_PAYLOAD")],
  ["acknowledging what is no id", '["notification:acknowledge",{"recipient_id":"x"}]', fails("INVALID_PAYLOAD")],
  ["acknowledging a list for an object", `["notification:acknowledge",[["${UNKNOWN_ID}"]]]`, fails("INVALID_PAYLOAD")],
  [
    "acknowledging a list with one mistake",
    `["notification:acknowledge",[{"recipient_id":"${UNKNOWN_ID}"},7]]`,
    fails("INVALID_PAYLOAD"),
  ],
  [
    "acknowledging 1,001 at once",
    JSON.stringify(["notification:acknowledge", Array(1001).fill({ recipient_id: UNKNOWN_ID })]),
    fails("INVALID_PAYLOAD"),
  ],
  ["acknowledging what is not there", `["notification:acknowledge",{"recipient_id":"${UNKNOWN_ID}"}]`, fails("NOT_FOUND")],
];
for (const [what, data, expected, event] of events) {
  test(`${what} is answered with ${expected.code ?? "ok"}`, async () => {
    const connection = await joined(SELF);
    for (const ackId of ["", "17"]) {
      connection.send(`42/notifications,${ackId}${data}`);
      await connection.settled();
      const answers = connection.frames.splice(0);
      const told = answers.map(eventOf).filter(Boolean);
      if (event !== undefined) assert.deepEqual(told, [{ namespace: "/notifications", ...event }]);
      else if (expected.ok) assert.deepEqual(told, []);
      else {
        assert.equal(told.length, 1);
        assert.equal(told[0].name, "error");
        assert.equal(told[0].data.code, expected.code);
        assert.match(told[0].data.message, /\w/);
      }
      const acks = answers.filter((frame) => frame.startsWith("43"));
      if (ackId === "") assert.deepEqual(acks, [], "no ack that was not asked for");
      else {
        assert.equal(acks.length, 1);
        assert.match(acks[0], /^43\/notifications,17\[/);
        const [{ ok, error, ...more }] = JSON.parse(acks[0].slice("43/notifications,17".length));
        assert.deepEqual({ ok, code: error?.code, more }, { ok: expected.ok, code: expected.code, more: {} });
      }
    }
  });
}

test("an event of great depth is an unknown event like any other", async () => {
  const connection = await joined("deep");
  const levels = 45_000;
  connection.send(`42/notifications,["deep",${"[".repeat(levels)}${"]".repeat(levels)}]`);
  assert.equal((await connection.nextEvent("error")).code, "UNKNOWN_EVENT");
  connection.send(`42/notifications,["join",${"[".repeat(levels)}${"]".repeat(levels)}]`);
  assert.equal((await connection.nextEvent("error")).code, "INVALID_PAYLOAD");
  const deepConnect = await openRaw(server, "deep");
  await deepConnect.join("/notifications", { token: JSON.parse(`${"[".repeat(1000)}${"]".repeat(1000)}`) });
  assert.deepEqual(await connection.settled(), { ok: true });
});

test("a long event name is not sent back whole", async () => {
  const connection = await joined("long-name");
  connection.send(`42/notifications,["${"x".repeat(90_000)}"]`);
  const { code, message } = await connection.nextEvent("error");
  assert.equal(code, "UNKNOWN_EVENT");
  assert.ok(message.length < 200);
});

test("an ack goes to the namespace and under the id it was asked for, up to 64 bits", async () => {
  const connection = await joined("acker");
  await connection.join("/");
  const id = "18446744073709551615";
  connection.send(`42${id}["ping"]`, `42/notifications,${id}["ping"]`);
  await connection.next((frame) => frame === `43${id}[{"ok":true}]`);
  await connection.next((frame) => frame === `43/notifications,${id}[{"ok":true}]`);
});

test("a binary event is taken whole and answered as an unknown event", async () => {
  const connection = await joined("binary");
  connection.send(
    `452-/notifications,3["upload",${placeholder(0)},{"more":${placeholder(1)}}]`,
    Buffer.alloc(1000, 7),
    // The attachment of a client that only sends text.
    "bAQIDBA==",
    '42/notifications,4["ping"]',
  );
  assert.equal((await connection.nextEvent("error")).code, "UNKNOWN_EVENT");
  const ack = await connection.next((frame) => frame.startsWith("43/notifications,3["));
  assert.equal(JSON.parse(ack.slice("43/notifications,3".length))[0].error.code, "UNKNOWN_EVENT");
  await connection.next((frame) => frame === '43/notifications,4[{"ok":true}]');
});

test("ten attachments are taken", async () => {
  const connection = await joined("attachments");
  const places = Array.from({ length: 10 }, (_, i) => placeholder(i)).join(",");
  connection.send(`4510-/notifications,["upload",${places}]`, ...Array(10).fill(Buffer.from("x")));
  assert.equal((await connection.nextEvent("error")).code, "UNKNOWN_EVENT");
  assert.deepEqual(await connection.settled(), { ok: true });
});

test("a frame of exactly the advertised size is taken", async () => {
  const connection = await joined("largest");
  const [head, tail] = ['42/notifications,5["ping","', '"]'];
  connection.send(head + "x".repeat(MAX_PAYLOAD_BYTES - head.length - tail.length) + tail);
  await connection.next((frame) => frame === '43/notifications,5[{"ok":true}]');
  connection.send(`451-/notifications,["upload",${placeholder(0)}]`, Buffer.alloc(MAX_PAYLOAD_BYTES));
  assert.equal((await connection.nextEvent("error")).code, "UNKNOWN_EVENT");
});
