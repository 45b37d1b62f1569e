// What both servers are told. Each row is a name and steps for `play.mjs`.
import { readFileSync } from "node:fs";
import { join } from "node:path";

const SIO = "/socket.io/";
const EIO = "/engine.io/";
const SEPARATOR = "\x1e";
const MAX_PAYLOAD_BYTES = 1_000_000;

const polling = (path = SIO, more = "") => `${path}?EIO=4&transport=polling${more}`;
const websocket = (path = SIO, more = "") => `${path}?EIO=4&transport=websocket${more}`;
const session = (path = SIO, more = "") => polling(path, `&sid={sid}${more}`);
const upgrade = (path = SIO, more = "") => websocket(path, `&sid={sid}${more}`);

const get = (to, more) => ({ request: "GET", to, ...more });
const post = (body, to = session(), more) => ({ request: "POST", to, body, ...more });
const OPEN_POLLING = get(polling());
const JOIN = [post("40"), { drain: SIO }];

/** One request, or several. */
const ask = (name, ...steps) => ({ name, steps });

/** A WebSocket on which groups of frames are sent, each when all that the one before leads to has come. */
const talk = (name, ...groups) => talkAt(websocket(), SIO, name, ...groups);
const talkJoined = (name, ...groups) => talk(name, ["40"], ...groups);
const talkEngine = (name, ...groups) => talkAt(websocket(EIO), EIO, name, ...groups);
const talkAt = (to, path, name, ...groups) => ({
  name,
  steps: [{ open: to }, ...groups.flatMap((frames) => [{ send: frames }, { settle: path }])],
});

/** The same by polling: each group is one payload. */
const pollAt = (path, name, ...groups) => ({
  name,
  steps: [get(polling(path)), ...groups.flatMap((frames) => [post(payload(frames), session(path)), { drain: path }])],
});
const payload = (frames) => frames.map((frame) => (Buffer.isBuffer(frame) ? `b${frame.toString("base64")}` : frame)).join(SEPARATOR);

const bytes = (...values) => Buffer.from(values);
const PLACE = '{"_placeholder":true,"num":0}';

// ---- handshakes ----

const HANDSHAKE_QUERIES = [
  "EIO=4&transport=polling",
  "transport=polling&EIO=4",
  "EIO=4&transport=polling&t=abc123",
  "EIO=4&transport=polling&anything=else&b64=1",
  "EIO=4&transport=polling&j=0",
  "&&EIO=4&&transport=polling&",
  "EIO=%34&transport=%70olling",
  "EIO=4&transport=polling&sid=",
  "EIO=4&EIO=3&transport=polling",
  "EIO=3&EIO=4&transport=polling",
  "EIO=4&transport=polling&transport=websocket",
  "EIO=4&transport=websocket&transport=polling",
  "EIO=4&transport=polling#fragment",
  "",
  "EIO=4",
  "transport=polling",
  "EIO=3&transport=polling",
  "EIO=5&transport=polling",
  "EIO=04&transport=polling",
  "EIO=4.0&transport=polling",
  "EIO=&transport=polling",
  "EIO=abc&transport=polling",
  "eio=4&transport=polling",
  "EIO=4&Transport=polling",
  "EIO=4&transport=",
  "EIO=4&transport=Polling",
  "EIO=4&transport=polling+",
  "EIO=4&transport=tcp",
  "EIO=4&transport=webtransport",
  "EIO=4&transport=constructor",
  "EIO=4&transport=__proto__",
  "EIO=4;transport=polling",
  "EIO=4&transport=websocket",
  "EIO=3&transport=websocket",
  "EIO=4&transport=polling&sid=nobody",
  "EIO=4&transport=polling&sid=__proto__",
  "EIO=4&transport=polling&sid=constructor",
  "EIO=4&transport=polling&sid=%ff%fe%00",
  `EIO=4&transport=polling&sid=${"x".repeat(5_000)}`,
  "EIO=3&transport=polling&sid=nobody",
  "EIO=4&transport=websocket&sid=nobody",
  "EIO=4&transport=tcp&sid=nobody",
];

const METHODS = ["POST", "PUT", "DELETE", "PATCH", "HEAD"];

const PATHS = [
  "/socket.io/anything",
  "/socket.io/anything/at/all/",
  "/socket.io/socket.io.js",
  "/socket.io//",
  "/socket.io",
  "/socket.iox/",
  "/socket.io.js/",
  "/Socket.IO/",
  "/%73ocket.io/",
  "//socket.io/",
  "/x/socket.io/",
  "/",
];

const handshakes = [
  ...HANDSHAKE_QUERIES.map((query) => ask(`GET ?${shorten(query)}`, get(`${SIO}?${query}`))),
  ...["EIO=4&transport=polling", "EIO=3&transport=polling", "EIO=4"].map((query) =>
    ask(`GET ?${query} of the engine alone`, get(`${EIO}?${query}`)),
  ),
  ...METHODS.map((request) => ask(`${request} for a handshake`, { request, to: polling() })),
  ...METHODS.map((request) => ask(`${request} of an unknown sid`, { request, to: polling(SIO, "&sid=nobody") })),
  ...METHODS.map((request) => ask(`${request} of an unknown transport`, { request, to: `${SIO}?EIO=4&transport=tcp` })),
  ...PATHS.map((path) => ask(`GET ${path}`, get(polling(path)))),
];

const UPGRADE_QUERIES = [
  "EIO=4&transport=websocket",
  "transport=websocket&EIO=4&t=1",
  "EIO=4&transport=websocket&b64=1",
  "EIO=4&transport=websocket&sid=",
  "EIO=4&transport=polling&transport=websocket",
  "transport=websocket",
  "EIO=3&transport=websocket",
  "EIO=abc&transport=websocket",
  "EIO=4",
  "EIO=4&transport=tcp",
  "EIO=4&transport=polling",
  "EIO=4&transport=websocket&sid=nobody",
  "EIO=4&transport=polling&sid=nobody",
];

const websocketHandshakes = UPGRADE_QUERIES.map((query) => ({
  name: `WebSocket to ?${query}`,
  steps: [{ open: `${SIO}?${query}` }, { settle: SIO }],
}));

// ---- CORS ----

export const ALLOWED_ORIGIN = "http://allowed.example";
const cors = [
  ask("a handshake from an allowed origin", get(polling(), { headers: { origin: ALLOWED_ORIGIN } })),
  ask("a handshake from another origin", get(polling(), { headers: { origin: "http://other.example" } })),
  ask("a refusal for an allowed origin", get(`${SIO}?EIO=3&transport=polling`, { headers: { origin: ALLOWED_ORIGIN } })),
  ask("a POST from an allowed origin", OPEN_POLLING, post("40", session(), { headers: { origin: ALLOWED_ORIGIN } })),
  ask("a preflight", {
    request: "OPTIONS",
    to: polling(),
    headers: { origin: ALLOWED_ORIGIN, "access-control-request-method": "POST", "access-control-request-headers": "content-type" },
  }),
  ask("OPTIONS from nowhere", { request: "OPTIONS", to: polling() }),
];

// ---- Engine.IO frames ----

const engineFrames = [
  ["a text", ["4hello"]],
  ["an empty text", ["4"]],
  ["several texts", ["4a", "4b", "4c"]],
  ["binary", [bytes(1, 2, 3)]],
  ["empty binary", [bytes()]],
  ["text and binary in turn", ["4a", bytes(1), "4b", bytes(2)]],
  ["a text like a Socket.IO packet", ['42["message"]']],
  ["a text of 100,000 bytes", [`4${"x".repeat(99_999)}`]],
  ["a text as long as allowed", [`4${"x".repeat(MAX_PAYLOAD_BYTES - 1)}`]],
  ["a text one byte too long", [`4${"x".repeat(MAX_PAYLOAD_BYTES)}`]],
  ["a text too long in bytes only", [`4${"€".repeat(MAX_PAYLOAD_BYTES / 3 + 1)}`]],
  ["binary one byte too long", [Buffer.alloc(MAX_PAYLOAD_BYTES + 1)]],
  ["a ping", ["2"]],
  ["a probe", ["2probe"]],
  ["a pong nobody waits for", ["3", "4a"]],
  ["a pong with data", ["3probe", "4a"]],
  ["open", ["0", "4a"]],
  ["open with data", ['0{"sid":"x"}', "4a"]],
  ["close", ["1", "4a"]],
  ["upgrade", ["5", "4a"]],
  ["noop", ["6", "4a"]],
  ["a text with a separator", ["4a\x1e4b"]],
].map(([name, frames]) => talkEngine(`engine frames: ${name}`, frames));

// ---- Socket.IO packets ----

const packets = [
  talk("connect", ["40"]),
  talk("connect with a payload", ['40{"token":"123","deep":{"a":[1,null]}}']),
  talk("connect with an empty payload", ["40{}"]),
  talk("connect to another namespace", ["40/custom,"]),
  talk("connect to another namespace without the comma", ["40/custom"]),
  talk("connect to another namespace with a payload", ['40/custom,{"token":"abc"}']),
  talk("connect to both", ["40"], ["40/custom,"]),
  talk("connect to an unknown namespace", ["40/random"]),
  talk("connect to an unknown namespace with a payload", ['40/random,{"a":1}']),
  talk("connect to an unknown namespace and then to a known one", ["40/random"], ["40"]),
  talk("connect to a namespace with a query", ["40/custom?token=1,"]),
  talk("connect to a namespace of another case", ["40/Custom,"]),
  talk("connect to a namespace with a slash more", ["40/custom/,"]),
  talk("connect to a namespace of the prototype", ["40/__proto__,"]),
  talk("connect to a namespace that has to be escaped", ['40/"x\\,']),
  talk("connect to a very long namespace", [`40/${"n".repeat(10_000)},`]),
  talk("connect with a pid", ['40{"pid":"nobody","offset":"x"}']),
  talk("connect with a token that is no token", ['40{"token":17}']),
  talkJoined("connect twice", ["40"]),
  talkJoined("connect twice with a payload", ['40{"a":1}']),
  talkJoined("connect again after leaving", ["41"], ["40"]),
  talkJoined("an event after leaving", ["41"], ['42["message",1]']),
  talkJoined("leave twice", ["41"], ["41"]),
  talkJoined("leave one of two", ["40/custom,"], ["41/custom,"], ['42["message",1]']),
  talkJoined("leave one of two and talk to it", ["40/custom,"], ["41/custom,"], ['42/custom,["message",1]']),
  talkJoined("leave and talk at once", ["40/custom,"], ["41/custom", '42["message","main"]']),
  talkJoined("leave a namespace never joined", ["41/custom,"]),
  talkJoined("leave an unknown namespace", ["41/random,"]),
  talk("leave before connect", ["41"]),
  talk("an event before connect", ['42["message",1]']),
  talk("a binary event before connect", [`451-["message",${PLACE}]`, bytes(1)]),
  talk("an ack before connect", ["430[]"]),
  talk("a connect error from a client before connect", ['44{"message":"x"}']),
  talkJoined("a connect error from a client", ['44{"message":"x"}']),
  talkJoined("an event to a namespace not joined", ['42/custom,["message",1]']),
  talkJoined("an ack to a namespace not joined", ["43/custom,0[]"]),
  talkJoined("an event to an unknown namespace", ['42/random,["message",1]']),
  talkJoined("an event without arguments", ['42["message"]']),
  talkJoined("an event with arguments", ['42["message",1,"2",{"3":[true]},null,-1.5e3,""]']),
  talkJoined("three events at once", ['42["message",1]', '42["message",2]', '42["message",3]']),
  talkJoined("an event nobody knows", ['42["nothing",1]']),
  talkJoined("an event nobody knows, with an ack", ['421["nothing",1]']),
  talkJoined("an event named by a number", ['42[5,"x"]']),
  talkJoined("a bare event", ["42"]),
  talkJoined("a bare event with an ack id", ["425"]),
  talkJoined("an event with an ack", ['42456["message-with-ack",1,"2",{"3":[false]}]']),
  talkJoined("an event with ack id 0", ['420["message-with-ack"]']),
  talkJoined("an event that is to be acked, without an id", ['42["message-with-ack",1]']),
  talkJoined("an event that comes back, with an id", ['427["message",1]']),
  talkJoined("acks in another order than events", ['422["message-with-ack",2]', '421["message-with-ack",1]']),
  talkJoined("an ack in another namespace", ["40/custom,"], ['42/custom,12["message-with-ack","x"]']),
  talkJoined("an ack nobody waits for", ["4399[]"]),
  talkJoined("an ack without an id", ["43[]"]),
  talkJoined("a binary event", [`452-["message",${PLACE},{"_placeholder":true,"num":1}]`, bytes(1, 2, 3), bytes(4)]),
  talkJoined("a binary event in another namespace", ["40/custom,"], [`451-/custom,["message",${PLACE}]`, bytes(9)]),
  talkJoined("a binary event with an ack", [`452-789["message-with-ack",${PLACE},{"x":{"_placeholder":true,"num":1}}]`, bytes(1), bytes(2)]),
  talkJoined("a binary event as base64 text", [`451-["message",${PLACE}]`, "bAQIDBA=="]),
  talkJoined("a binary event of nothing", [`451-["message",${PLACE}]`, bytes()]),
  talkJoined("a large attachment", [`451-["message",${PLACE}]`, Buffer.alloc(500_000, 7)]),
  talkJoined("a binary ack nobody waits for", [`461-5[${PLACE}]`, bytes(1)]),
  talkJoined("eleven attachments", [`4511-["message",${PLACE}]`]),
  talkJoined("no attachments", ['450-["message"]']),
  talkJoined("a text while attachments are due", [`452-["message",${PLACE}]`, bytes(1), '42["message"]']),
  talkJoined("a pong while attachments are due", [`451-["message",${PLACE}]`, "3", bytes(1)]),
  talkJoined("a noop while attachments are due", [`451-["message",${PLACE}]`, "6", bytes(1)]),
  talkJoined("binary that nobody announced", [bytes(1)]),
  talkJoined("base64 that nobody announced", ["bAQID"]),
  talkJoined("binary to a namespace not joined", [`451-/custom,["message",${PLACE}]`, bytes(1)]),
  talkJoined("nothing after the engine's type", ["4"]),
  talk("nothing after the engine's type before connect", ["4"]),
  talk("an unknown packet type before connect", ["4abc"]),
  talkJoined("an unknown packet type", ["4abc"]),
  talkJoined("a ping from a client", ["2"]),
  talkJoined("a close from a client", ["1", '42["message",1]']),
  talkJoined("an event after a frame that is no packet", ["x", '42["message",1]']),
  talkJoined("an event after a malformed one", ["42{}", '42["message",1]']),
  talkJoined("a million bytes", [`42["message","${"x".repeat(MAX_PAYLOAD_BYTES - 14)}"]`]),
  talkJoined("a million and one bytes", [`42["message","${"x".repeat(MAX_PAYLOAD_BYTES - 13)}"]`]),
  talkJoined("deep nesting", [`42["message",${"[".repeat(100)}${"]".repeat(100)}]`]),
  talkJoined("characters of several bytes", ['42["message","€🐭\\ud83d\\udc2d\u2028"]']),
  talkJoined("an event of the prototype", ['42["__proto__",1]']),
  talkJoined("an argument of the prototype", ['42["message",{"__proto__":{"a":1},"constructor":1}]']),
  talkAt(websocket(SIO, "&b64=1"), SIO, "binary to a client that wants base64", ["40"], [`451-["message",${PLACE}]`, bytes(1, 2)]),
  talkAt(websocket(SIO, "&b64="), SIO, "binary to a client that says b64 and means nothing", ["40"], [`451-["message",${PLACE}]`, bytes(1)]),
  talkAt(websocket("/socket.io/anything"), SIO, "a longer path", ["40"], ['42["message",1]']),
];

// ---- polling ----

const polls = [
  ask("poll: connect and its answer", OPEN_POLLING, post("40"), get(session())),
  ask("poll: what was sent while a poll waits", OPEN_POLLING, get(session(), { held: "poll" }), post("40/random"), { answer: "poll" }),
  ask("poll: a connect while a poll waits", OPEN_POLLING, get(session(), { held: "poll" }), post("40"), { answer: "poll" }, { drain: SIO }),
  ask("poll: several packets", OPEN_POLLING, ...JOIN, post('42["message",1]\x1e42["message",2]\x1e423["message-with-ack"]'), get(session())),
  ask("poll: binary", OPEN_POLLING, ...JOIN, post(`451-["message",${PLACE}]\x1ebAQIDBA==`), get(session())),
  ask("poll: binary in two requests", OPEN_POLLING, ...JOIN, post(`451-["message",${PLACE}]`), post("bAQIDBA=="), get(session())),
  ask("poll: several answers in one", OPEN_POLLING, post("40/a\x1e40/b\x1e40/c"), get(session())),
  ask("poll: engine packets come back", get(polling(EIO)), post("4hello\x1ebAQIDBA==\x1e4", session(EIO)), get(session(EIO))),
  ask("poll: another content type", OPEN_POLLING, post("40", session(), { headers: { "content-type": "application/json" } }), { drain: SIO }),
  ask("poll: form data", OPEN_POLLING, post("d=40", session(), { headers: { "content-type": "application/x-www-form-urlencoded" } }), { drain: SIO }),
  ask("poll: octets", OPEN_POLLING, post("40", session(), { headers: { "content-type": "application/octet-stream" } }), get(session())),
  ask("poll: octets while a poll waits", OPEN_POLLING, get(session(), { held: "poll" }), post("40", session(), { headers: { "content-type": "application/octet-stream" } }), { answer: "poll" }, get(session())),
  ask("poll: octets with a parameter", OPEN_POLLING, post("40", session(), { headers: { "content-type": "application/octet-stream;x=1" } }), { drain: SIO }),
  ask("poll: a body as long as allowed", get(polling(EIO)), post(`4${"x".repeat(MAX_PAYLOAD_BYTES - 1)}`, session(EIO)), get(session(EIO))),
  ask("poll: a body one byte too long", get(polling(EIO)), post(`4${"x".repeat(MAX_PAYLOAD_BYTES)}`, session(EIO)), { drain: EIO }),
  ask("poll: a body too long in bytes only", get(polling(EIO)), post(`4${"€".repeat(333_334)}`, session(EIO)), { drain: EIO }),
  ask("poll: close", OPEN_POLLING, post("1"), get(session())),
  ask("poll: close while a poll waits", OPEN_POLLING, get(session(), { held: "poll" }), post("1"), { answer: "poll" }, get(session())),
  ask("poll: packets after a close", OPEN_POLLING, post("1\x1e40"), get(session())),
  ask("poll: packets before a close", OPEN_POLLING, post("40/a\x1e1"), get(session())),
  ask("poll: overlapping polls", OPEN_POLLING, get(session(), { held: "first" }), get(session()), { answer: "first" }, get(session()), post("40")),
  ask("poll: a ping from a client", OPEN_POLLING, post("2"), get(session())),
  ask("poll: a ping from a client while a poll waits", OPEN_POLLING, get(session(), { held: "poll" }), post("2"), { answer: "poll" }, get(session())),
  ask("poll: a pong nobody waits for", OPEN_POLLING, post("3\x1e40/a"), get(session())),
  ask("poll: noop, open and upgrade from a client", OPEN_POLLING, post("6\x1e0\x1e5\x1e40/a"), get(session())),
  ask("poll: a parse error while a poll waits", OPEN_POLLING, get(session(), { held: "poll" }), post("x"), { answer: "poll" }, get(session())),
  ask("poll: an event before connect", OPEN_POLLING, post('42["message"]'), get(session()), get(session())),
  ask("poll: an event before connect while a poll waits", OPEN_POLLING, get(session(), { held: "poll" }), post('42["message"]'), { answer: "poll" }, get(session())),
  ask("poll: an event to a namespace not joined", OPEN_POLLING, ...JOIN, post('42/custom,["message"]'), get(session()), get(session())),
  ask("poll: a malformed packet", OPEN_POLLING, ...JOIN, post("42{}"), get(session()), get(session())),
  ask("poll: a malformed packet after a good one", OPEN_POLLING, ...JOIN, post('42["message",1]\x1e42{}'), get(session()), get(session())),
  ask("poll: a malformed packet while a poll waits", OPEN_POLLING, ...JOIN, get(session(), { held: "poll" }), post("42{}"), { answer: "poll" }, get(session())),
  ask("poll: connect twice", OPEN_POLLING, ...JOIN, post("40"), get(session()), get(session())),
  ask("poll: disconnect", OPEN_POLLING, ...JOIN, post("41"), { drain: SIO }),
  ask("poll: extra parameters", get(polling(SIO, "&t=1")), post("40", session(SIO, "&t=2&x=y")), get(session(SIO, "&t=3"))),
  ask("poll: the sid first", OPEN_POLLING, post("40", `${SIO}?sid={sid}&transport=polling&EIO=4`), get(`${SIO}?sid={sid}&transport=polling&EIO=4`)),
  ask("poll: the sid twice", OPEN_POLLING, post("40", session(SIO, "&sid=nobody")), get(session())),
  ask("poll: a longer path", OPEN_POLLING, post("40", session("/socket.io/anything")), get(session("/socket.io/else"))),
  ask("poll: PUT", OPEN_POLLING, { request: "PUT", to: session(), body: "40" }, { drain: SIO }),
  ask("poll: DELETE", OPEN_POLLING, { request: "DELETE", to: session() }, { drain: SIO }),
  ask("poll: HEAD", OPEN_POLLING, { request: "HEAD", to: session() }, { drain: SIO }),
  ask("poll: another protocol version", OPEN_POLLING, get(`${SIO}?EIO=3&transport=polling&sid={sid}`), post("40"), get(session())),
  ask("poll: no protocol version", OPEN_POLLING, post("40", `${SIO}?transport=polling&sid={sid}`), post("40"), get(session())),
  ask("poll: no transport", OPEN_POLLING, get(`${SIO}?EIO=4&sid={sid}`), post("40"), get(session())),
  ask("poll: the other transport without an upgrade", OPEN_POLLING, get(upgrade()), post("40"), get(session())),
  ask("poll: a POST by the other transport", OPEN_POLLING, post("40", upgrade()), post("40"), get(session())),
];

const PAYLOADS = [
  "",
  SEPARATOR,
  `${SEPARATOR}4a`,
  `4a${SEPARATOR}`,
  `4a${SEPARATOR}${SEPARATOR}4b`,
  `x${SEPARATOR}4a`,
  `4a${SEPARATOR}x${SEPARATOR}4b`,
  `4a${SEPARATOR}4b${SEPARATOR}bAQ`,
  `bAQ${SEPARATOR}4a`,
  "b",
  "4",
  "2:40",
  "6:4hello",
  "4€🐭",
  "4\ufeff",
  " 4a",
  "4a\n",
  "abc",
];
const payloads = PAYLOADS.map((body) => ask(`payload ${JSON.stringify(body)}`, get(polling(EIO)), post(body, session(EIO)), { drain: EIO }));

// ---- upgrades ----

const PROBE = [{ send: ["2probe"] }, { receive: 1 }];
const upgrades = [
  ask("upgrade: in order", OPEN_POLLING, { open: upgrade() }, ...PROBE, get(session()), { send: ["5"] }, { settle: SIO }),
  ask("upgrade: with a poll that waits", OPEN_POLLING, get(session(), { held: "poll" }), { open: upgrade() }, ...PROBE, { answer: "poll" }, { send: ["5"] }, { settle: SIO }),
  ask("upgrade: after connect", OPEN_POLLING, ...JOIN, { open: upgrade() }, ...PROBE, { send: ["5"] }, { settle: SIO }, { send: ['42["message",1]'] }, { settle: SIO }),
  ask("upgrade: what was not fetched goes by WebSocket", OPEN_POLLING, post("40"), { open: upgrade() }, ...PROBE, { send: ["5"] }, { settle: SIO }),
  ask("upgrade: of the engine alone", get(polling(EIO)), post("4before", session(EIO)), { open: upgrade(EIO) }, ...PROBE, { send: ["5", "4after"] }, { settle: EIO }),
  ask("upgrade: without a probe", OPEN_POLLING, { open: upgrade() }, { send: ["5"] }, { settle: SIO }),
  ask("upgrade: probed twice", OPEN_POLLING, { open: upgrade() }, ...PROBE, ...PROBE, { send: ["5"] }, { settle: SIO }),
  ask("upgrade: polling goes on while it is probed", OPEN_POLLING, { open: upgrade() }, ...PROBE, post("40"), get(session()), { send: ["5"] }, { settle: SIO }),
  ...["2", "2nope", "2probe2", "3probe", "1", "6", "0", "4hello", "40", "", "x"].map((frame) =>
    ask(`upgrade: ${JSON.stringify(frame)} for a probe`, OPEN_POLLING, { open: upgrade() }, { send: [frame] }, { closed: true }, post("40"), get(session())),
  ),
  ask("upgrade: binary for a probe", OPEN_POLLING, { open: upgrade() }, { send: [bytes(50)] }, { closed: true }, post("40"), get(session())),
  ask("upgrade: a message between probe and upgrade", OPEN_POLLING, { open: upgrade() }, ...PROBE, { send: ["40"] }, { closed: true }, post("40"), get(session())),
  ask("upgrade: tried again after a wrong probe", OPEN_POLLING, { open: upgrade(), as: "a" }, { send: ["2nope"], as: "a" }, { closed: true, as: "a" }, { open: upgrade() }, ...PROBE, { send: ["5"] }, { settle: SIO }),
  ask("upgrade: a second WebSocket before the probe", OPEN_POLLING, { open: upgrade() }, { open: upgrade(), as: "b" }, { closed: true, as: "b" }, ...PROBE, { send: ["5"] }, { settle: SIO }),
  ask("upgrade: a second WebSocket after the probe", OPEN_POLLING, { open: upgrade() }, ...PROBE, { open: upgrade(), as: "b" }, { closed: true, as: "b" }, { send: ["5"] }, { settle: SIO }),
  ask("upgrade: a second WebSocket after the upgrade", OPEN_POLLING, { open: upgrade() }, ...PROBE, { send: ["5"] }, { settle: SIO }, { open: upgrade(), as: "b" }, { closed: true, as: "b" }, { settle: SIO }),
  ask("upgrade: a poll after it", OPEN_POLLING, { open: upgrade() }, ...PROBE, { send: ["5"] }, { settle: SIO }, get(session()), { settle: SIO }),
  ask("upgrade: a POST after it", OPEN_POLLING, { open: upgrade() }, ...PROBE, { send: ["5"] }, { settle: SIO }, post("40"), { settle: SIO }),
  ask("upgrade: of a closed session", OPEN_POLLING, post("1"), { open: upgrade() }),
  ask("upgrade: of a session that never polled", { open: websocket() }, { receive: 1 }, { open: upgrade(), as: "b" }, { settle: SIO }),
  ask("upgrade: by another protocol version", OPEN_POLLING, { open: `${SIO}?EIO=3&transport=websocket&sid={sid}` }, post("40"), get(session())),
  ask("upgrade: to polling", OPEN_POLLING, { open: session() }, { closed: true }, post("40"), get(session())),
  ask("upgrade: a close while the session moves", OPEN_POLLING, { open: upgrade() }, ...PROBE, post("1"), { closed: true }, get(session())),
];

// ---- the vectors of the codecs ----

/** Frames that say something, one group for each packet: the names of the vectors stand for what the server knows. */
function vectorFrames({ messages }) {
  const groups = [];
  let due = 0;
  for (const message of messages) {
    const frame = typeof message === "string" ? `4${retold(message)}` : Buffer.from(message.base64, "base64");
    if (due > 0) groups.at(-1).push(frame);
    else groups.push([frame]);
    due = due > 0 ? due - 1 : Number(/^[56](\d+)-/.exec(message)?.[1] ?? 0);
  }
  return groups;
}
const retold = (text) => text.replace("/chat", "/custom").replace(/\["(hello|a)"/, '["message"');

/** All by WebSocket; by polling those with binary messages, and one for each error. */
function packetVectors({ accepted, refused }) {
  const errors = new Set();
  return [...accepted, ...refused].flatMap((vector) => {
    const isFirst = vector.error !== undefined && !errors.has(vector.error);
    errors.add(vector.error);
    const polls = isFirst || vector.messages.some((message) => typeof message !== "string");
    const groups = vector.messages[0][0] === "0" ? [] : [["40", "40/custom,"]];
    groups.push(...vectorFrames(vector));
    return [
      talk(`vector: ${vector.name} (WebSocket)`, ...groups),
      ...(polls ? [pollAt(SIO, `vector: ${vector.name} (polling)`, ...groups)] : []),
    ];
  });
}

function frameVectors({ packets, base64, refused }) {
  return [...packets, ...base64, ...refused].map(({ name, wire }) =>
    talkEngine(`vector: ${name} (engine)`, [typeof wire === "string" ? wire : Buffer.from(wire.base64, "base64")]),
  );
}

function read(name) {
  return JSON.parse(readFileSync(join(import.meta.dirname, "../../vectors", name), "utf8"));
}

function shorten(text) {
  return text.length <= 80 ? text : `${text.slice(0, 60)}... (${text.length})`;
}

export const ROWS = [
  ...handshakes,
  ...websocketHandshakes,
  ...cors,
  ...engineFrames,
  ...packets,
  ...polls,
  ...payloads,
  ...upgrades,
  ...packetVectors(read("socket.json")),
  ...frameVectors(read("engine.json")),
];

// ---- rows about time, for servers with short heartbeats ----

export const TIMED_ROWS = [
  ask("a WebSocket client that does not answer a ping", { open: websocket() }, { receive: 1 }, { closed: true }),
  ask("a client that joins nothing", { open: websocket() }, { receive: 2 }),
  ask("a polling client that does not answer a ping", OPEN_POLLING, { wait: 600 }, get(session())),
  ask("a polling client that gets a ping and does not answer", OPEN_POLLING, get(session()), { wait: 300 }, get(session())),
];
