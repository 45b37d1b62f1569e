// Which frames end a connection, and with what close code (DESIGN 4; the rules are those of the reference server). Each ends
// only its own connection: another tab of the same user goes on.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { connected, nextEvent, startServer, until } from "./harness.mjs";
import { openRaw } from "./raw.mjs";

const NO_CODE = 1005;
const TOO_LARGE = 1009;
const MAX_PAYLOAD_BYTES = 100_000;
const CONNECT_TIMEOUT_MS = 1000;

let server;
let impatient;
before(async () => {
  [server, impatient] = await Promise.all([
    startServer(),
    startServer({ vars: { CONNECT_TIMEOUT_MS: String(CONNECT_TIMEOUT_MS) } }),
  ]);
});

const placeholder = (num) => `{"_placeholder":true,"num":${num}}`;
const upload = (attachments, num = 0) => `45${attachments}-/notifications,["upload",${placeholder(num)}]`;

// ---- after CONNECT ----

const afterConnect = {
  // Frames that are no packet.
  "an empty frame": [""],
  "text that is no frame": ["hello"],
  "a type the engine does not have": ["7"],
  "an empty message": ["4"],
  "a packet type there is not": ["47"],
  "a null character": ["\0"],
  "a lone surrogate's bytes": [Buffer.from([0xed, 0xa0, 0x80])],
  // Payloads that are not what the packet carries.
  "an event that is not JSON": ['42/notifications,["ping"'],
  "an event that is no array": ['42/notifications,{"ping":1}'],
  "an event without a name": ["42/notifications,[]"],
  "an event named null": ["42/notifications,[null]"],
  "an event named by an object": ["42/notifications,[{}]"],
  "an event with text after its JSON": ['42/notifications,["ping"]x'],
  "an ack that is no array": ["43/notifications,1{}"],
  "an ack id over 64 bits": ['42/notifications,99999999999999999999["ping"]'],
  "a CONNECT of null": ["40null"],
  "a CONNECT of an array": ["40[1]"],
  "a CONNECT of text": ['40"x"'],
  "a DISCONNECT with a payload": ["41/notifications,{}"],
  // Packets that are not allowed at this point.
  "a second CONNECT": ["40/notifications,"],
  "an event to a namespace that was not joined": ['42["ping"]'],
  "an event to a namespace that was left": ["41/notifications,", '42/notifications,["join","x"]'],
  "an event to a namespace there is not": ['42/nowhere,["ping"]'],
  "an ack to a namespace that was not joined": ["431[]"],
  "leaving a namespace that was not joined": ["41"],
  "leaving twice": ["41/notifications,", "41/notifications,"],
  "a CONNECT_ERROR from the client": ['44/notifications,{"message":"x"}'],
  "a ping from the client": ["2"],
  "a probe on an open WebSocket": ["2probe"],
  // Attachments.
  "eleven attachments": [upload(11)],
  "no attachments announced as some": [upload(0)],
  "attachments without a number": [upload("")],
  "attachments without an end": [upload("99999999999999999999999")],
  "a binary frame out of nowhere": [Buffer.from([1, 2, 3])],
  "base64 out of nowhere": ["bAQID"],
  "a text message while an attachment is due": [upload(1), '42/notifications,["join","x"]'],
  "a placeholder for an attachment there is not": [upload(1, 1), Buffer.from([1])],
  "a negative placeholder": [upload(1, -1), Buffer.from([1])],
};
for (const name of ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"]) {
  afterConnect[`the reserved event ${name}`] = [`42/notifications,["${name}"]`];
}
for (const [what, frames] of Object.entries(afterConnect)) {
  test(`${what} closes the connection without a code`, () => endsAlone(frames, NO_CODE));
}

const oversize = {
  "a text frame of one byte too many": [`42/notifications,["${"x".repeat(MAX_PAYLOAD_BYTES - 20)}"]`],
  "a text frame of few characters and too many bytes": [`42/notifications,["${"é".repeat(MAX_PAYLOAD_BYTES / 2)}"]`],
  "a text frame of 1 MB": [`42/notifications,["${"x".repeat(1_000_000)}"]`],
  "a stray binary frame of one byte too many": [Buffer.alloc(MAX_PAYLOAD_BYTES + 1)],
  "an attachment of one byte too many": [upload(1), Buffer.alloc(MAX_PAYLOAD_BYTES + 1)],
};
for (const [what, frames] of Object.entries(oversize)) {
  test(`${what} closes the connection with ${TOO_LARGE}`, () => endsAlone(frames, TOO_LARGE));
}

let offenders = 0;

async function endsAlone(frames, code) {
  const user = `offender-${offenders++}`;
  const tab = await connected(server.connect(user));
  const connection = await openRaw(server, user);
  await connection.join();
  connection.send(...frames);
  assert.equal(await connection.closed(), code);

  const { body } = await server.push(user);
  assert.equal((await nextEvent(tab, "notification:new")).id, body.id);
  assert.deepEqual(tab.lifecycle.map(({ name }) => name), ["connect"]);
  assert.ok(!connection.frames.some((frame) => frame.includes(body.id)), "a closed connection gets nothing");
  assert.equal((await server.hubInfo(user)).sockets, 1);
}

test("nothing that follows a fatal frame is carried out", async () => {
  const connection = await openRaw(server, "late");
  connection.send("40/notifications,", "hello", '42/notifications,1["ping"]', "40");
  assert.equal(await connection.closed(), NO_CODE);
  assert.ok(!connection.frames.some((frame) => frame.startsWith("43") || frame.includes("pong")));
  assert.ok(!connection.frames.some((frame) => frame.startsWith("40{")));
});

// ---- before CONNECT, with an identity and without ----

const beforeConnect = {
  "an event": ['42["ping"]'],
  "an event to a namespace there is": ['42/notifications,["join","x"]'],
  "a DISCONNECT": ["41"],
  "an ack": ["430[]"],
  "a CONNECT_ERROR": ["44{}"],
  "a binary event": [upload(1), Buffer.from([1]), '42["ping"]'],
  "text that is no frame": ["hello"],
  "an empty frame": [""],
  "a CONNECT of null": ["40null"],
  "a ping": ["2"],
  "a binary frame": [Buffer.from([1, 2, 3])],
  "base64": ["bAQID"],
};
const tooLarge = {
  "an oversize text frame": [`40/notifications,{"token":"${"x".repeat(MAX_PAYLOAD_BYTES)}"}`],
  "an oversize binary frame": [Buffer.alloc(MAX_PAYLOAD_BYTES + 1)],
};
for (const [who, token] of [["a user", undefined], ["a stranger", null]]) {
  for (const [code, table] of [[NO_CODE, beforeConnect], [TOO_LARGE, tooLarge]]) {
    for (const [what, frames] of Object.entries(table)) {
      test(`${what} before CONNECT closes the connection of ${who} with ${code}`, async () => {
        const connection = await openRaw(server, "early", { token });
        connection.send(...frames);
        assert.equal(await connection.closed(), code);
        assert.deepEqual(connection.frames, []);
      });
    }
  }
}

test("a stranger who was refused is not heard for ever", async () => {
  const connection = await openRaw(server, undefined, { token: null });
  connection.send(...Array(100).fill("40/notifications,"));
  assert.equal(await connection.closed(), NO_CODE);
  assert.ok(connection.frames.length < 100);
});

// ---- time ----

test("a user's connection without a CONNECT is closed after CONNECT_TIMEOUT_MS, one that joined is not", async () => {
  const joined = await openRaw(impatient, "waiting");
  await joined.join();
  const left = await openRaw(impatient, "waiting");
  await left.join();
  left.send("41/notifications,");
  const started = performance.now();
  const silent = await openRaw(impatient, "waiting");
  // Not `closed`: after the close frames, workerd keeps the TCP connection of a socket that never spoke for ten seconds.
  await until(() => !silent.isOpen, { what: "the close of a silent connection" });
  // Timers may be early by the resolution of the clock.
  assert.ok(performance.now() - started > CONNECT_TIMEOUT_MS - 50);
  assert.deepEqual(await joined.settled(), { ok: true });
  // Leaving every namespace ends nothing: the reference counts only what was never joined.
  await left.join();
});

test("neither a pong nor a refused namespace stops the connect timeout", async () => {
  const connection = await openRaw(impatient, "lost");
  connection.send("3", "40/nowhere,");
  await connection.next((frame) => frame.startsWith("44/nowhere,"));
  assert.equal(await connection.closed(), NO_CODE);
});

test("a stranger's connection is closed after CONNECT_TIMEOUT_MS, whether or not it was refused before", async () => {
  const silent = await openRaw(impatient, undefined, { token: null });
  const refused = await openRaw(impatient, undefined, { token: null });
  refused.send("40");
  assert.match(await refused.next(), /^44\{"message":"Authentication failed"/);
  assert.equal(await silent.closed(), NO_CODE);
  assert.equal(await refused.closed(), NO_CODE);
});
