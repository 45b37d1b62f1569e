// The handshake as stock clients see it: where a token may be, which one counts, and what a refusal looks like
// (DESIGN 3.1, 3.4, 3.6). Settings that change it are in handshake_settings.test.mjs.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { connected, nextEvent, refused, startServer, until } from "./harness.mjs";
import { openRaw, refusedUpgrade } from "./raw.mjs";

const ORIGIN = "https://app.example";
// How long a session outlives its token (DESIGN 3.5).
const GRACE_S = 25;

let server;
before(async () => {
  server = await startServer({ vars: { ALLOWED_ORIGINS: `https://other.example, ${ORIGIN}` } });
});

/** A stock client whose tokens are in these places, and nowhere else. */
function connectWith({ authorization, cookie, origin, query, auth, ...options }) {
  const headers = { Authorization: authorization, Cookie: cookie, Origin: origin };
  const given = Object.entries(headers).filter(([, value]) => value !== undefined);
  return server.connect(undefined, { token: query ?? null, extraHeaders: Object.fromEntries(given), auth, ...options });
}

async function userOf(socket) {
  await connected(socket);
  return (await nextEvent(socket, "authenticated")).user_id;
}

/** What a place may hold: tokens of this user, and a valid one of somebody else. */
function tokens(user) {
  const good = server.token(user);
  const expired = server.token(user, { ttl: -60 });
  return { good, expired, cookie: `theme=dark; auth_token=${good}; other=1`, foreign: server.token(`not-${user}`) };
}

// ---- where a token may be ----

const accepted = {
  "a token in the query": ({ good }) => ({ query: good }),
  "a bearer token in Authorization": ({ good }) => ({ authorization: `Bearer ${good}` }),
  "a cookie from an allowed origin": ({ cookie }) => ({ cookie, origin: ORIGIN }),
  "the same user's token in every place": ({ good, cookie }) => ({
    authorization: `Bearer ${good}`, cookie, origin: ORIGIN, query: good, auth: { token: good },
  }),
  "a valid query beside an expired Authorization": ({ good, expired }) => ({ authorization: `Bearer ${expired}`, query: good }),
  "a valid cookie beside an expired query": ({ cookie, expired }) => ({ cookie, origin: ORIGIN, query: expired }),
  "a valid Authorization beside an expired cookie": ({ good, expired }) => ({
    authorization: `Bearer ${good}`, cookie: `auth_token=${expired}`, origin: ORIGIN,
  }),
  "a valid query beside junk in Authorization": ({ good }) => ({ authorization: "Basic dTpw", query: good }),
  // Otherwise a page of another origin could break its visitors' connections with a cookie of its choice.
  "a valid query beside another user's cookie from a foreign origin": ({ good, foreign }) => ({
    query: good, cookie: `auth_token=${foreign}`, origin: "https://evil.example",
  }),
  "spaces and Bearer around a query token": ({ good }) => ({ query: ` Bearer ${good} ` }),
  "a lower-case bearer scheme and more spaces": ({ good }) => ({ authorization: `bearer   ${good}` }),
  "Authorization without a scheme": ({ good }) => ({ authorization: good }),
  "an expired token in CONNECT while the query is valid": ({ good, expired }) => ({ query: good, auth: { token: expired } }),
  "junk in CONNECT while the query is valid": ({ good }) => ({ query: good, auth: { token: "junk" } }),
  "a token in CONNECT that is no text while the query is valid": ({ good }) => ({ query: good, auth: { token: { a: 1 } } }),
  "spaces and Bearer around a token in CONNECT": ({ good }) => ({ query: good, auth: { token: ` Bearer ${good} ` } }),
};
for (const [what, places] of Object.entries(accepted)) {
  test(`${what} is accepted`, async () => {
    const user = `ok ${what}`;
    assert.equal(await userOf(connectWith(places(tokens(user)))), user);
  });
}

// ---- refusals ----

const MISSING = "MISSING_TOKEN";
const INVALID = "INVALID_TOKEN";
const EXPIRED = "EXPIRED_TOKEN";
const MISMATCH = "USER_MISMATCH";
const in1Hour = () => Math.floor(Date.now() / 1000) + 3600;

const refusals = {
  "no token": [MISSING, () => ({})],
  "an empty token": [MISSING, () => ({ query: "" })],
  "a cookie from a foreign origin": [MISSING, ({ cookie }) => ({ cookie, origin: "https://evil.example" })],
  "a cookie from an origin that begins like an allowed one": [
    MISSING, ({ cookie }) => ({ cookie, origin: `${ORIGIN}.evil.example` }),
  ],
  "a cookie from the allowed host over http": [MISSING, ({ cookie }) => ({ cookie, origin: "http://app.example" })],
  "a cookie from the origin null": [MISSING, ({ cookie }) => ({ cookie, origin: "null" })],
  "a cookie without an origin": [MISSING, ({ cookie }) => ({ cookie })],
  "a cookie of another name": [MISSING, ({ good }) => ({ cookie: `token=${good}`, origin: ORIGIN })],
  "text that is no token": [INVALID, () => ({ query: "junk" })],
  "a token of another secret": [INVALID, () => ({ query: server.token("u", { secret: "x".repeat(32) }) })],
  "a token without a signature": [INVALID, () => ({ query: server.token("u", { alg: "none" }) })],
  "a token of another algorithm with the same secret": [INVALID, () => ({ query: server.token("u", { alg: "HS512" }) })],
  "a token without an end": [INVALID, () => ({ query: server.token("u", { claims: { exp: undefined } }) })],
  "a token for later": [INVALID, () => ({ query: server.token("u", { claims: { nbf: in1Hour() } }) })],
  "a token without a user": [INVALID, () => ({ query: server.token(undefined) })],
  "a token of an overlong user id": [INVALID, () => ({ query: server.token("é".repeat(65)) })],
  "an expired token": [EXPIRED, ({ expired }) => ({ query: expired })],
  "an expired token from an allowed origin's cookie": [
    EXPIRED, ({ expired }) => ({ cookie: `auth_token=${expired}`, origin: ORIGIN }),
  ],
  "two valid tokens of different users": [
    MISMATCH, ({ good, foreign }) => ({ authorization: `Bearer ${good}`, query: foreign }),
  ],
  "a cookie and a query of different users": [MISMATCH, ({ cookie, foreign }) => ({ cookie, origin: ORIGIN, query: foreign })],
};
for (const [what, [code, places]] of Object.entries(refusals)) {
  test(`${what} is refused with ${code} and reaches no object`, async () => {
    const given = places(tokens("refused"));
    await server.resetLedger();
    // Reconnection is on: a refused client must not come back by itself.
    const socket = connectWith({ ...given, reconnection: true, reconnectionDelay: 1, reconnectionDelayMax: 1 });
    const error = await refused(socket);

    assert.equal(error.message, "Authentication failed");
    assert.equal(error.data.code, code);
    assert.deepEqual(Object.keys(error.data), ["code", "message"]);
    assert.ok(!JSON.stringify(error.data).includes(server.token("refused").slice(0, 30)), "the token is not repeated");
    assert.equal(socket.active, false, "the client has given up");
    const ledger = await server.ledger();
    assert.equal(ledger.object_requests ?? 0, 0);
    assert.equal(ledger.worker_requests, 2, "one handshake, and the request for the ledger");
  });
}

test("another user's token in CONNECT is refused with USER_MISMATCH", async () => {
  const socket = connectWith({ query: server.token("u1"), auth: { token: server.token("u2") } });
  const error = await refused(socket);
  assert.equal(error.message, "Authentication failed");
  assert.equal(error.data.code, MISMATCH);
  assert.equal(socket.active, false);
});

test("an unknown namespace is refused as Invalid namespace, with a token and without", async () => {
  for (const token of [undefined, null]) {
    const socket = server.connect("u1", { token, namespace: "/nowhere" });
    const error = await refused(socket);
    assert.equal(error.message, "Invalid namespace");
    assert.equal(error.data, undefined);
    assert.equal(socket.active, false);
  }
});

// ---- which token counts ----

// All valid tokens of a connection name one user, so which of them counts shows in when the session ends. The hub's alarm is
// set for that, unless something is due earlier: here the connect timeout (45 s) and the first ping (90 s) are later.
const SHORT = { ttl: 10 };
const endOf = (token) => (JSON.parse(Buffer.from(token.split(".")[1], "base64url")).exp + GRACE_S) * 1000;

const inCookie = (token) => ({ cookie: `auth_token=${token}`, origin: ORIGIN });
const precedence = [
  ["Authorization", "the cookie", (first, second) => ({ authorization: first, ...inCookie(second) })],
  ["Authorization", "the query", (first, second) => ({ authorization: first, query: second })],
  ["the cookie", "the query", (first, second) => ({ ...inCookie(first), query: second })],
];
for (const [i, [first, second, places]] of precedence.entries()) {
  test(`a valid token in ${first} counts before one in ${second}`, async () => {
    const user = `precedence-${i}`;
    const [short, long] = [server.token(user, SHORT), server.token(user)];
    await connected(connectWith(places(short, long)));
    // The warning, which is due at once, comes before it.
    await until(async () => (await server.hubInfo(user)).alarm_at === endOf(short));

    const other = `${user}-reversed`;
    const [longer, shorter] = [server.token(other), server.token(other, SHORT)];
    await connected(connectWith(places(longer, shorter)));
    assert.ok((await server.hubInfo(other)).alarm_at > endOf(shorter));
  });
}

test("a valid token in CONNECT counts before the one of the request", async () => {
  const short = server.token("precedence-connect", SHORT);
  await connected(connectWith({ query: server.token("precedence-connect"), auth: { token: short } }));
  await until(async () => (await server.hubInfo("precedence-connect")).alarm_at === endOf(short));
});

// ---- nobody speaks for the Worker ----

const forgedCall = (user) => {
  const identity = { user, expires_at: Date.now() + 3_600_000, role: "admin" };
  const call = { user, call: { Open: { identity, acknowledging: "unknown" } } };
  return Buffer.from(JSON.stringify(call)).toString("base64url");
};

test("a forged call header gives nobody another identity", async () => {
  const headers = { "X-Dormouse-Call": forgedCall("victim") };
  const own = server.connect("forger", { extraHeaders: headers });
  assert.equal(await userOf(own), "forger");
  assert.equal((await refused(server.connect("forger", { token: null, extraHeaders: headers }))).data.code, MISSING);
  assert.equal((await server.hubInfo("victim")).sockets, 0);

  await server.push("victim");
  const list = await server.api("GET", "/v1/me/notifications", { token: server.token("forger"), headers });
  assert.equal(list.status, 200);
  assert.deepEqual(list.body.items, []);
  assert.equal((await server.api("GET", "/v1/me/notifications", { headers })).status, 401);
});

// ---- user ids ----

const ids = {
  "an integer": [41, "41"],
  "text in several scripts": ["用户 é 🐭", "用户 é 🐭"],
  "128 bytes": ["é".repeat(64), "é".repeat(64)],
  "a path and a query": ["a/../b?c=d&e#f%2F", "a/../b?c=d&e#f%2F"],
};
for (const [what, [claim, user]] of Object.entries(ids)) {
  test(`a user id may be ${what}`, async () => {
    const socket = server.connect(claim);
    assert.equal(await userOf(socket), user);
    const { body } = await server.push(user);
    assert.equal((await nextEvent(socket, "notification:new")).id, body.id);
  });
}

// ---- the HTTP request itself ----

const engineRefusals = [
  ["an unknown transport", 0, "Transport unknown", { transport: "carrier-pigeon" }],
  ["a sid nobody gave", 1, "Session ID unknown", { sid: "AAAAAAAAAAAAAAAAAAAA" }],
  ["Engine.IO 3", 5, "Unsupported protocol version", { EIO: "3" }],
];
for (const [what, code, message, query] of engineRefusals) {
  test(`an upgrade with ${what} is refused before the 101 with code ${code}`, async () => {
    await server.resetLedger();
    const answer = await refusedUpgrade(server, { token: server.token("u1"), ...query });
    assert.equal(answer.status, 400);
    assert.match(answer.headers["content-type"], /^application\/json/);
    assert.deepEqual(answer.body, { code, message });
    assert.equal((await server.ledger()).object_requests ?? 0, 0);
  });
}

const plainRefusals = [
  ["a plain GET", "GET", "EIO=4&transport=websocket", 3, "Bad request"],
  ["a POST", "POST", "EIO=4&transport=websocket", 2, "Bad handshake method"],
  ["a GET without parameters", "GET", "", 0, "Transport unknown"],
  ["a GET with a sid nobody gave", "GET", "EIO=4&transport=websocket&sid=x", 1, "Session ID unknown"],
];
for (const [what, method, query, code, message] of plainRefusals) {
  test(`${what} is refused with code ${code}`, async () => {
    const answer = await server.api(method, `/socket.io/?${query}`);
    assert.equal(answer.status, 400);
    assert.match(answer.headers["content-type"], /^application\/json/);
    assert.deepEqual(answer.body, { code, message });
  });
}

test("a refused connection may still try another namespace, and is refused there too", async () => {
  const stranger = await openRaw(server, undefined, { token: null });
  stranger.send("40/notifications,", "40");
  const refusal = (frame, prefix) => JSON.parse(frame.slice(prefix.length));
  assert.equal(refusal(await stranger.next(), "44/notifications,").data.code, MISSING);
  assert.equal(refusal(await stranger.next(), "44").data.code, MISSING);
});
