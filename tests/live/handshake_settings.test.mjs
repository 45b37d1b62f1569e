// What the settings change in the handshake: the key, the claims, the cookie, the query (docs/configuration.md), and a server
// whose settings are wrong.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { connected, nextEvent, refused, startServer, until } from "./harness.mjs";

const ORIGIN = "https://app.example";
const ISSUER = "https://id.example";
const AUDIENCE = "dormouse";
const LEEWAY_S = 60;
// How long a session outlives its token (DESIGN 3.5).
const GRACE_S = 25;

let server;
before(async () => {
  server = await startServer({
    vars: {
      ALLOWED_ORIGINS: ORIGIN,
      AUTH_COOKIE: "session",
      JWT_ALGORITHM: "HS512",
      JWT_ISSUER: ISSUER,
      JWT_AUDIENCE: AUDIENCE,
      JWT_LEEWAY_SECONDS: String(LEEWAY_S),
      JWT_USER_CLAIM: "email",
      QUERY_TOKEN: "off",
    },
  });
});

/** A token this server accepts, but for what `claims` and `options` change. */
function tokenOf(email, { claims = {}, ...options } = {}) {
  return server.token("not-the-user", { alg: "HS512", claims: { email, iss: ISSUER, aud: AUDIENCE, ...claims }, ...options });
}

const withBearer = (token, options = {}) =>
  server.connect(undefined, { token: null, extraHeaders: { Authorization: `Bearer ${token}` }, ...options });
const withCookie = (cookie) =>
  server.connect(undefined, { token: null, extraHeaders: { Cookie: cookie, Origin: ORIGIN } });

async function userOf(socket) {
  await connected(socket);
  return (await nextEvent(socket, "authenticated")).user_id;
}

test("the configured claim names the user, whatever sub says", async () => {
  assert.equal(await userOf(withBearer(tokenOf("a@app.example"))), "a@app.example");
});

test("one of several audiences is enough", async () => {
  const token = tokenOf("several", { claims: { aud: ["other", AUDIENCE] } });
  assert.equal(await userOf(withBearer(token)), "several");
});

const refusedTokens = {
  "the default algorithm": () => tokenOf("u", { alg: "HS256" }),
  "another issuer": () => tokenOf("u", { claims: { iss: "https://evil.example" } }),
  "no issuer": () => tokenOf("u", { claims: { iss: undefined } }),
  "another audience": () => tokenOf("u", { claims: { aud: "other" } }),
  "no audience": () => tokenOf("u", { claims: { aud: undefined } }),
  "the user in sub only": () => tokenOf(undefined),
};
for (const [what, token] of Object.entries(refusedTokens)) {
  test(`a token with ${what} is refused`, async () => {
    assert.equal((await refused(withBearer(token()))).data.code, "INVALID_TOKEN");
  });
}

test("the cookie has the configured name, and only that", async () => {
  assert.equal(await userOf(withCookie(`session=${tokenOf("cookie")}`)), "cookie");
  assert.equal((await refused(withCookie(`auth_token=${tokenOf("cookie")}`))).data.code, "MISSING_TOKEN");
});

test("a query token is ignored when it is switched off", async () => {
  assert.equal((await refused(server.connect(undefined, { token: tokenOf("query") }))).data.code, "MISSING_TOKEN");
  // Ignored, not refused: another user's token there is no mismatch.
  const beside = server.connect(undefined, {
    token: tokenOf("somebody"),
    extraHeaders: { Authorization: `Bearer ${tokenOf("query")}` },
  });
  assert.equal(await userOf(beside), "query");
});

test("clocks may disagree as far as configured", async () => {
  assert.equal(await userOf(withBearer(tokenOf("leeway", { ttl: -10 }))), "leeway");
  const late = withBearer(tokenOf("leeway", { ttl: -(LEEWAY_S + 10) }));
  assert.equal((await refused(late)).data.code, "EXPIRED_TOKEN");
});

test("a session ends with the token of the request, unless CONNECT brought a later one", async () => {
  // Tokens that have ended but are within the leeway, so that what they give ends four seconds from now.
  const ended = (user) => tokenOf(user, { ttl: 4 - GRACE_S });
  const endsAt = Date.now() + 4000;
  const renewed = withBearer(ended("renewed"), { auth: { token: tokenOf("renewed") } });
  const abandoned = withBearer(ended("abandoned"));
  await Promise.all([connected(renewed), connected(abandoned)]);

  assert.equal((await nextEvent(abandoned, "auth_error")).code, "EXPIRED_TOKEN");
  const last = await until(() => !abandoned.connected && abandoned.lifecycle.at(-1));
  // After a packet 41 ("io server disconnect") a stock client would not come back with a fresh token.
  assert.deepEqual([last.name, last.data], ["disconnect", "transport close"]);

  // The alarm that was set for the request's token goes off and sets the next one.
  await until(async () => (await server.hubInfo("renewed")).alarm_at > endsAt);
  assert.deepEqual(await renewed.timeout(5000).emitWithAck("ping"), { ok: true });
  assert.deepEqual(renewed.lifecycle.map(({ name }) => name), ["connect"]);
  assert.ok(!renewed.events.some(({ name }) => name === "auth_error"));
});

test("a server with a wrong setting says so without telling what the setting is", async () => {
  const secret = "only-thirty-one-bytes-of-secret";
  const misconfigured = await startServer({ vars: { JWT_SECRET: secret, ACK_MODE: "sometimes" } });
  const answer = await misconfigured.api("GET", "/healthz");
  assert.equal(answer.status, 500);
  assert.equal(answer.headers["content-type"], "application/problem+json");
  assert.equal(answer.body.code, "misconfigured");
  assert.ok(!/JWT_SECRET|ACK_MODE/.test(JSON.stringify(answer.body)), "callers are not told which");
  assert.equal((await misconfigured.push("u1")).status, 500);

  const logged = (name) => misconfigured.log.some((line) => line.includes(`configuration: ${name}`));
  await until(() => logged("JWT_SECRET") && logged("ACK_MODE"));
  assert.ok(!misconfigured.log.join("\n").includes(secret));
});
