// Input the HTTP API refuses (DESIGN 9, 10, 11): each with its status, code and pointers, nothing stored, no object asked, and
// nothing said that is not the caller's business. The server lives on.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { newServiceKey } from "../../scripts/service-key.mjs";
import { connected, nextEvent, refused, startServer } from "./harness.mjs";

const PUSH = "/v1/notifications";
const LIST = "/v1/me/notifications";
const MAX_BODY_BYTES = 100_000;

const full = newServiceKey("full");
const reader = newServiceKey("reader", ["presence:read"]);
const pusher = newServiceKey("pusher", ["push:user"]);
let server;
before(async () => {
  server = await startServer({ vars: { SERVICE_KEYS: JSON.stringify([full.record, reader.record, pusher.record]) } });
});

async function stored() {
  const counts = ["notifications", "audience", "deliveries", "idempotency"].map((t) => `(SELECT count(*) FROM ${t}) AS ${t}`);
  return (await server.db.all(`SELECT ${counts}`))[0];
}

/** Sends a request that must be refused like this, and checks all that every refusal has in common. */
async function refusal(method, path, options, { status, code, pointers }) {
  const before = await stored();
  await server.resetLedger();
  const answer = await server.api(method, path, options);
  const { object_requests = 0, record_batches = 0 } = await server.ledger();
  assert.deepEqual({ object_requests, record_batches }, { object_requests: 0, record_batches: 0 }, "no object, no record");
  assert.deepEqual(await stored(), before);

  const problem = answer.body;
  assert.deepEqual([answer.status, problem.code], [status, code], JSON.stringify(problem));
  assert.equal(answer.headers["content-type"], "application/problem+json");
  assert.equal(problem.type, `/problems/${code.replaceAll("_", "-")}`);
  assert.equal(problem.status, status);
  assert.match(problem.title, /^[A-Z]/);
  if (pointers) assert.deepEqual(problem.errors?.map(({ pointer }) => pointer), pointers);
  for (const { detail } of problem.errors ?? []) assert.match(detail, /\w/);

  // Its id is random: it may spell anything.
  const said = JSON.stringify({ ...problem, request_id: undefined });
  assert.doesNotMatch(said, /panic|unreachable|RustError|serde|wasm|\.rs\b|D1_|SQL|at .+:\d+:\d+/, "no internal text");
  for (const secret of [options.key, options.token].filter(Boolean)) {
    assert.ok(!said.includes(secret.slice(-20)), "no credential is repeated");
  }
  assert.doesNotMatch(server.log.join("\n"), /panic|unreachable|RuntimeError/);
  return answer;
}

const json = { "content-type": "application/json" };
const good = { to: ["user:bad-input"], title: "Hello" };
const padded = (bytes) => JSON.stringify(good).padEnd(bytes, " ");

/** Named pushes that are refused: [status, code, pointers, what to send]. */
function pushRefusals(table) {
  for (const [what, [status, code, pointers, options]] of Object.entries(table)) {
    test(`a push with ${what} is refused with ${status} ${code}`, () =>
      refusal("POST", PUSH, { key: full.key, ...options() }, { status, code, pointers }));
  }
}

/** The same for bodies: [status, code, pointers, the body as it is written or what it has besides the good one]. */
function bodyRefusals(table) {
  for (const [what, [status, code, pointers, change]] of Object.entries(table)) {
    const body = typeof change === "string" ? change : { ...good, ...change };
    pushRefusals({ [what]: [status, code, pointers, () => ({ body, headers: json })] });
  }
}

// ---- credentials ----

pushRefusals({
  "no key": [401, "unauthenticated", undefined, () => ({ key: undefined, body: good })],
  "an empty key": [401, "unauthenticated", undefined, () => ({ key: undefined, body: good, headers: { authorization: "" } })],
  "an unknown key": [401, "invalid_credential", undefined, () => ({ key: newServiceKey("full").key, body: good })],
  "a key in other letters": [401, "invalid_credential", undefined, () => ({ key: full.key.toUpperCase(), body: good })],
  "the hash of a key for a key": [401, "invalid_credential", undefined, () => ({ key: full.record.sha256, body: good })],
  "a user's token for a key": [401, "invalid_credential", undefined, () => ({ key: server.token("u1"), body: good })],
  "a key without the scope": [403, "forbidden", undefined, () => ({ key: reader.key, body: good })],
  "a bad body and no key": [401, "unauthenticated", undefined, () => ({ key: undefined, body: "{", headers: json })],
});

test("a key without presence:read is refused there", () =>
  refusal("GET", "/v1/presence/users/u1", { key: pusher.key }, { status: 403, code: "forbidden" }));

test("a push without a key is told which scheme to use", async () => {
  const { headers } = await server.api("POST", PUSH, { body: good });
  assert.equal(headers["www-authenticate"], "Bearer");
});

// ---- the body as a whole ----

const text = (body, headers = json) => () => ({ body, headers });
pushRefusals({
  "no body": [400, "malformed_json", undefined, text("")],
  "half a body": [400, "malformed_json", undefined, text('{"to":["user:bad-input"],')],
  "text after the body": [400, "malformed_json", undefined, text(`${JSON.stringify(good)} x`)],
  "two bodies": [400, "malformed_json", undefined, text(JSON.stringify(good).repeat(2))],
  "an array for a body": [400, "malformed_json", undefined, text("[]")],
  "null for a body": [400, "malformed_json", undefined, text("null")],
  "a number too large for JSON": [422, "invalid_request", ["/title"], text('{"to":["user:bad-input"],"title":1e999}')],
  "bytes that are not UTF-8": [
    400, "malformed_json", undefined, text(Buffer.from('{"to":["user:bad-input"],"title":"\xff\xfe"}', "latin1")),
  ],
  "a byte order mark": [400, "malformed_json", undefined, text(`\ufeff${JSON.stringify(good)}`)],
  "a body that is only depth": [400, "malformed_json", undefined, text("[".repeat(50_000))],
  "no content type": [415, "unsupported_media_type", undefined, text(JSON.stringify(good), {})],
  "a form's content type": [
    // What a page of another origin can send without being asked.
    415, "unsupported_media_type", undefined, text(JSON.stringify(good), { "content-type": "text/plain" }),
  ],
  "a content type that begins alike": [
    415, "unsupported_media_type", undefined, text(JSON.stringify(good), { "content-type": "application/json-patch+json" }),
  ],
  "one byte too many, announced": [413, "payload_too_large", undefined, text(padded(MAX_BODY_BYTES + 1))],
  "one byte too many, in chunks": [
    413, "payload_too_large", undefined, text(padded(MAX_BODY_BYTES + 1), { ...json, "transfer-encoding": "chunked" }),
  ],
});

test("a body of exactly the largest size is taken, announced and in chunks", async () => {
  for (const headers of [json, { ...json, "transfer-encoding": "chunked" }]) {
    const { status } = await server.api("POST", PUSH, { key: full.key, body: padded(MAX_BODY_BYTES), headers });
    assert.equal(status, 201);
  }
});

test("a charset beside the content type is allowed", async () => {
  const headers = { "content-type": "Application/JSON; charset=utf-8" };
  assert.equal((await server.api("POST", PUSH, { key: full.key, body: JSON.stringify(good), headers })).status, 201);
});

// ---- fields ----

const people = (count) => Array.from({ length: count }, (_, i) => `user:bad-input-${i}`);
const deep = (levels) => `${"[".repeat(levels)}${"]".repeat(levels)}`;
const invalid = (...pointers) => [422, "invalid_request", pointers];

bodyRefusals({
  "nothing in it": [...invalid("/to", "/title"), "{}"],
  "an unknown field": [400, "unknown_field", ["/colour"], { colour: "red" }],
  "unknown fields inside others": [
    400, "unknown_field", ["/type/shape", "/sender/e~1mail", "/action/target"],
    { type: { id: "t", shape: 1 }, sender: { id: "s", "e/mail": "x" }, action: { url: "/", target: "_top" } },
  ],
  "an unknown field and a mistake": [400, "unknown_field", ["/colour", "/title"], { colour: "red", title: 5 }],
  "a __proto__ member": [400, "unknown_field", ["/__proto__"], '{"to":["user:bad-input"],"title":"t","__proto__":{"x":1}}'],
  "a member given twice": [...invalid("/title"), '{"to":["user:bad-input"],"title":"a","title":"b"}'],
  "recipients given twice": [...invalid("/to"), '{"to":["user:bad-input"],"title":"a","to":["user:u2"]}'],

  "no recipients": [...invalid("/to"), { to: [] }],
  "101 recipients": [...invalid("/to"), { to: people(101) }],
  "101 times the same recipient": [...invalid("/to"), { to: Array(101).fill("user:bad-input") }],
  "one recipient without a list": [...invalid("/to"), { to: "user:bad-input" }],
  "null for recipients": [...invalid("/to"), { to: null }],
  "only recipients that cannot be": [
    422, "invalid_recipient", ["/to/0", "/to/1", "/to/2", "/to/3", "/to/4", "/to/5"],
    { to: ["user:", "bad-input", 7, `user:${"é".repeat(65)}`, "user:a\u0000b", "User:x"] },
  ],

  "no title": [...invalid("/title"), '{"to":["user:bad-input"]}'],
  "an empty title": [...invalid("/title"), { title: "" }],
  "a title of spaces": [...invalid("/title"), { title: " \t\n" }],
  "a title of 201 characters": [...invalid("/title"), { title: "🐭".repeat(201) }],
  "a number for a title": [...invalid("/title"), { title: 5 }],
  "half a character in the title": [...invalid("/title"), '{"to":["user:bad-input"],"title":"\\ud83d"}'],
  "content over 16 KiB": [...invalid("/content"), { content: `x${"é".repeat(8 * 1024)}` }],
  "a list for content": [...invalid("/content"), { content: ["x"] }],

  "data over 16 KiB": [...invalid("/data"), { data: { x: "y".repeat(16 * 1024 - '{"x":""}'.length + 1) } }],
  "a list for data": [...invalid("/data"), { data: [1] }],
  "text for data": [...invalid("/data"), { data: "{}" }],
  "data of 7,000 levels": [...invalid("/data"), `{"to":["user:bad-input"],"title":"a","data":{"x":${deep(7000)}}}`],
  "half a character in data": [...invalid("/data"), '{"to":["user:bad-input"],"title":"a","data":{"x":"\\ud83d"}}'],

  "a priority there is not": [...invalid("/priority"), { priority: "urgent" }],
  "a number for the priority": [...invalid("/priority"), { priority: 1 }],
  "a category of 129 characters": [...invalid("/category"), { category: "x".repeat(129) }],
  "an empty id for a type": [...invalid("/type"), { type: "" }],
  "a type without an id": [...invalid("/type/id"), { type: { name: "Order" } }],
  "a list for a type": [...invalid("/type"), { type: [] }],
  "a sender without an id": [...invalid("/sender/id"), { sender: {} }],
  "an empty sender id": [...invalid("/sender/id"), { sender: { id: "" } }],
  "text for a sender": [...invalid("/sender"), { sender: "me" }],
  "an action without a link": [...invalid("/action/url"), { action: { text: "Open" } }],
  "an empty link": [...invalid("/action/url"), { action: { url: "" } }],
  "a link of 2,049 characters": [...invalid("/action/url"), { action: { url: `/${"x".repeat(2048)}` } }],
  "mistakes in every field": [
    ...invalid("/to", "/title", "/content", "/type/id", "/sender", "/action/url", "/data", "/category", "/priority"),
    { to: {}, title: [], content: 1, type: {}, sender: 2, action: {}, data: 3, category: 4, priority: 5 },
  ],
});

const links = [
  "javascript:alert(1)",
  "JAVASCRIPT:alert(1)",
  " javascript:alert(1)",
  "java\nscript:alert(1)",
  "data:text/html,x",
  "vbscript:x",
  "file:///etc/passwd",
];
for (const url of links) {
  bodyRefusals({ [`the link ${JSON.stringify(url)}`]: [...invalid("/action/url"), { action: { url } }] });
}

test("every mistake is named at once", async () => {
  const options = { key: full.key, body: { title: "", data: [] } };
  const { body } = await server.api("POST", PUSH, options);
  assert.deepEqual(body.errors.map(({ pointer }) => pointer).sort(), ["/data", "/title", "/to"]);
});

// ---- tokens ----

const padding = { padding: "x".repeat(9 * 1024) };
const tokens = {
  "of 9 KB": () => server.token("u1", { claims: padding }),
  "of 9 KB in its header": () => server.token("u1", { header: padding }),
  "that is 9 KB of nothing": () => "x".repeat(9 * 1024),
  "for a user id with a control character": () => server.token("a\u0007b"),
  "for a user id with a null character": () => server.token("a\u0000"),
  "for a user id that is a list": () => server.token(["u1"]),
  "for a user id that is half a character": () => server.token("\ud83d"),
  "for an empty user id": () => server.token(""),
  "for a user id of 129 bytes": () => server.token("x".repeat(129)),
  "for a user id that is no integer": () => server.token(1.5),
  "without a signature": () => server.token("u1", { alg: "none" }),
  "without a signature, said in capitals": () => server.token("u1", { alg: "none", header: { alg: "NONE" } }),
  "that brings its key": () => server.token("u1", { header: { jwk: { kty: "oct", k: "AA" } }, secret: "\0" }),
  "that names a file for its key": () => server.token("u1", { header: { kid: "../../dev/null" }, secret: "" }),
  "of another key": () => server.token("u1", { secret: "y".repeat(64) }),
  "of an empty key": () => server.token("u1", { secret: "" }),
  "whose claims were changed": () => {
    const [header, , signature] = server.token("u1").split(".");
    return [header, server.token("u2").split(".")[1], signature].join(".");
  },
  "cut off": () => server.token("u1").slice(0, -1),
  "with a part too many": () => `${server.token("u1")}.x`,
  "whose claims are no JSON": () => `${server.token("u1").split(".")[0]}.AAAA.AAAA`,
  "that ends at the end of time": () => server.token("u1", { claims: { exp: 1e300 } }),
  "that ended before time": () => server.token("u1", { claims: { exp: "-1" } }),
};
for (const [what, token] of Object.entries(tokens)) {
  test(`a token ${what} is INVALID_TOKEN, on the socket and over HTTP`, async () => {
    const answer = await refusal("GET", LIST, { token: token() }, { status: 401, code: "invalid_credential" });
    assert.match(answer.body.detail, /^INVALID_TOKEN: /);
    const before = await stored();
    const error = await refused(server.connect(undefined, { token: token() }));
    assert.deepEqual([error.message, error.data.code], ["Authentication failed", "INVALID_TOKEN"]);
    assert.equal((await server.ledger()).object_requests ?? 0, 0);
    assert.deepEqual(await stored(), before);
  });
}

// ---- Idempotency-Key ----

const keys = {
  "an empty": "",
  "an empty quoted": '""',
  "a spaced": "a b",
  "a tabbed": "a\tb",
  "an accented": "é",
  "a half-quoted": '"a',
  "a 256 characters long": "k".repeat(256),
};
for (const [what, idempotencyKey] of Object.entries(keys)) {
  pushRefusals({
    [`${what} Idempotency-Key`]: [
      400, "invalid_idempotency_key", undefined, () => ({ body: good, headers: { "idempotency-key": idempotencyKey } }),
    ],
  });
}

// ---- routes, methods, parameters ----

const notFound = { status: 404, code: "not_found" };
const paths = [
  "/",
  "/v1",
  "/v2/notifications",
  "/V1/notifications",
  "/v1/notifications/",
  "/v1//notifications",
  "/v1/notifications%00",
  "/v1/me",
  "/v1/presence/users",
  "/v1/presence/users/u1/more",
  "/socket.io",
  "/%E2%98%83",
];
for (const path of paths) test(`${path} is not found`, () => refusal("GET", path, {}, notFound));

for (const [method, path, allowed] of [
  ["GET", PUSH, "POST"], ["PUT", PUSH, "POST"], ["DELETE", PUSH, "POST"], ["POST", LIST, "GET"], ["DELETE", LIST, "GET"],
  ["POST", "/healthz", "GET"], ["PATCH", "/v1/presence/users/u1", "GET"],
]) {
  test(`${method} ${path} is refused and the method that is taken is named`, async () => {
    const answer = await refusal(method, path, { key: full.key }, { status: 405, code: "method_not_allowed" });
    // RFC 9110, 15.5.6: an Allow header must come with 405.
    assert.ok(answer.headers.allow?.split(/, */).includes(allowed), `Allow: ${answer.headers.allow}`);
  });
}

const cursor = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
const invalidParameter = { status: 400, code: "invalid_parameter" };
const parameters = [
  ...["0", "101", "-1", "1.5", "1e1", "ten", "", "9".repeat(20)].map((text) => `limit=${text}`),
  ...["", "x", "!", "1%27%20OR%201=1"].map((text) => `cursor=${text}`),
  // No page ends with these.
  ...[{}, { before: -1 }, { before: "1" }, { before: 1, user: "u2" }, [1]].map((value) => `cursor=${cursor(value)}`),
];
for (const query of parameters) {
  test(`a list with ${query} is refused`, () =>
    refusal("GET", `${LIST}?${query}`, { token: server.token("u1") }, invalidParameter));
}

const ids = {
  "no id": "",
  "an id with a control character": "a%00b",
  "an overlong id": "x".repeat(129),
  "an id that is not UTF-8": "%ff",
  "an id with half a character": "a%C3",
};
for (const [what, id] of Object.entries(ids)) {
  test(`presence of ${what} is refused`, () =>
    refusal("GET", `/v1/presence/users/${id}`, { key: full.key }, invalidParameter));
}

// ---- afterwards ----

test("a client that was connected all the time notices nothing of other callers' mistakes", async () => {
  const client = await connected(server.connect("bystander"));
  await Promise.all([
    server.api("POST", PUSH, { key: full.key, body: "[".repeat(MAX_BODY_BYTES), headers: json }),
    server.api("POST", PUSH, { key: full.key, body: padded(1_000_000), headers: json }),
    server.api("POST", PUSH, { key: full.key, body: Buffer.alloc(MAX_BODY_BYTES, 0xff), headers: json }),
    server.api("GET", `${LIST}?cursor=%00%ff`, { token: server.token("bystander") }),
    server.api("GET", "/v1/presence/users/%00", { key: full.key }),
    refused(server.connect(undefined, { token: "x".repeat(12_000) })),
  ]);
  const { status, body } = await server.push("bystander", { key: full.key });
  assert.equal(status, 201);
  assert.equal((await nextEvent(client, "notification:new")).id, body.id);
  assert.deepEqual(client.lifecycle.map(({ name }) => name), ["connect"]);
  assert.doesNotMatch(server.log.join("\n"), /panic|unreachable|RuntimeError/);
});
