// Tokens by published keys (DESIGN 3.2): every algorithm in every place, several issuers, rotation, outages, the tokens of
// services; and forged ones, of which nobody hears but who sent them. The table of forgeries is src/domain/tests/tokens.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { signJwt, userClaims } from "../../scripts/jwt.mjs";
import { connected, nextEvent, refused, startServer, until } from "./harness.mjs";
import { ALGORITHMS, newKey, publish, tokenOf } from "./jwks.mjs";
import { openRaw } from "./raw.mjs";

const ORIGIN = "https://app.example";
const [FIRST, SECOND] = ["https://id.example", "https://other.example"];
const [USERS, SERVICES] = ["dormouse", "dormouse-services"];
const SIGNING_SECRET = "what only the service itself knows";

/** A server without a secret for tokens. */
const start = (vars, options) =>
  startServer({ vars: { JWT_SECRET: null, SIGNING_SECRET, ALLOWED_ORIGINS: ORIGIN, ...vars }, ...options });

const keys = Object.fromEntries(ALGORITHMS.map((alg) => [alg, newKey(alg, `${alg}-1`)]));
const second = newKey("ES256", "es-of-second");
const stranger = newKey("RS256", "RS256-1");

let first;
let server;
before(async () => {
  first = await publish(Object.values(keys));
  server = await start({
    JWT_ISSUER: FIRST,
    JWT_AUDIENCE: USERS,
    JWT_JWKS_URL: first.url,
    JWT_ISSUERS: JSON.stringify([{ issuer: SECOND, audience: "second", user_claim: "email", jwks: { keys: [second.jwk] } }]),
    SERVICE_JWT_AUDIENCE: SERVICES,
  });
});

/** A token the server accepts, but for what is changed. */
const accepted = (alg, user, { claims, ...options } = {}) =>
  tokenOf(keys[alg], user, { claims: { iss: FIRST, aud: USERS, ...claims }, ...options });
const bySecond = (claims) => tokenOf(second, undefined, { claims: { iss: SECOND, aud: "second", ...claims } });
const serviceToken = (claims = {}, alg = "ES256") =>
  accepted(alg, "billing", { claims: { aud: SERVICES, scope: "push:user status:read", ...claims } });

async function userOf(socket) {
  await connected(socket);
  return (await nextEvent(socket, "authenticated")).user_id;
}

const me = (of, token) => of.api("GET", "/v1/me/notifications", { token });

// ---- where a token may be ----

const places = {
  "the Authorization header": (token) => ({ token: null, extraHeaders: { Authorization: `Bearer ${token}` } }),
  "the cookie": (token) => ({ token: null, extraHeaders: { Cookie: `auth_token=${token}`, Origin: ORIGIN } }),
  "the query": (token) => ({ token }),
  "CONNECT, WebSocket first": (token) => ({ token: null, auth: { token } }),
  "CONNECT, polling first": (token) => ({ token: null, auth: { token }, transports: ["polling", "websocket"] }),
  "CONNECT, polling alone": (token) => ({ token: null, auth: { token }, transports: ["polling"] }),
};
for (const alg of ALGORITHMS) {
  for (const [place, options] of Object.entries(places)) {
    test(`a token by ${alg} in ${place} says who it is`, async () => {
      const user = `${alg} in ${place}`;
      const socket = server.connect(undefined, options(accepted(alg, user)));
      assert.equal(await userOf(socket), user);
      const token = serviceToken();
      assert.equal((await server.push(user, { token })).status, 201);
      assert.equal((await nextEvent(socket, "notification:new")).title, "Hello");
      assert.equal((await me(server, accepted(alg, user))).status, 200);
    });
  }
}

test("a token in CONNECT is held against the one of the request", async () => {
  const [u1, u2] = ["u1", "u2"].map((user) => accepted("RS256", user));
  assert.equal(await userOf(server.connect(undefined, { token: u1, auth: { token: u1 } })), "u1");
  const error = await refused(server.connect(undefined, { token: u1, auth: { token: u2 } }));
  assert.equal(error.data.code, "USER_MISMATCH");
});

// ---- several issuers ----

test("each issuer has its keys, its audience and its claim for the user", async () => {
  const email = "a@other.example";
  assert.equal(await userOf(server.connect(undefined, { token: bySecond({ email }) })), email);
  const foreign = {
    "an issuer nobody knows": tokenOf(second, "u", { claims: { iss: "https://nobody.example", aud: "second", email } }),
    "no issuer": tokenOf(second, "u", { claims: { aud: "second", email } }),
    "the other's audience": bySecond({ email, aud: USERS }),
    "the other's key": tokenOf(second, "u", { claims: { iss: FIRST, aud: USERS } }),
    "the other's name": accepted("ES256", "u", { claims: { iss: SECOND, aud: "second", email } }),
    "the other's claim for the user": bySecond({ sub: "u" }),
  };
  for (const [what, token] of Object.entries(foreign)) {
    assert.equal((await refused(server.connect(undefined, { token }))).data.code, "INVALID_TOKEN", what);
  }
});

// ---- forged tokens ----

const pem = () => keys.RS256.publicKey.export({ format: "pem", type: "spki" });
const hmac = (header, secret) => signJwt(userClaims("forged", { claims: { iss: FIRST, aud: USERS } }), secret, { header });
const forged = {
  "an unsigned token": () =>
    signJwt(userClaims("forged", { claims: { iss: FIRST, aud: USERS } }), "", { alg: "none", header: { kid: "RS256-1" } }),
  "the public key as a secret": () => hmac({ kid: "RS256-1" }, pem()),
  "the public key as a secret without a name": () => hmac({}, pem()),
  "a key of the forger's": () => tokenOf(stranger, "forged", { claims: { iss: FIRST, aud: USERS } }),
  "a key of the forger's in the header": () =>
    tokenOf(stranger, "forged", { claims: { iss: FIRST, aud: USERS }, header: { jwk: stranger.jwk } }),
  "a key set of the forger's": () =>
    tokenOf(stranger, "forged", { claims: { iss: FIRST, aud: USERS }, header: { jku: `${first.origin}/forged` } }),
  "a key nobody has": () => accepted("EdDSA", "forged", { header: { kid: "../../dev/null" } }),
  "another algorithm's name": () => accepted("ES256", "forged", { header: { alg: "RS256" } }),
  "a truncated signature": () => accepted("RS256", "forged").slice(0, -8),
  "another payload": () => {
    const [head, , signature] = accepted("RS256", "forged").split(".");
    return [head, accepted("RS256", "admin").split(".")[1], signature].join(".");
  },
  "a huge token": () => accepted("EdDSA", "forged", { claims: { x: "x".repeat(9_000) } }),
  "a token for services": () => serviceToken({ sub: "forged" }),
  "a token for later": () => accepted("EdDSA", "forged", { claims: { nbf: 4_000_000_000 } }),
  "an end in the year 10000": () => accepted("EdDSA", "forged", { claims: { exp: 253_402_300_800 } }),
  "an expired token": () => accepted("EdDSA", "forged", { ttl: -60 }),
};
for (const [what, make] of Object.entries(forged)) {
  const code = what === "an expired token" ? "EXPIRED_TOKEN" : "INVALID_TOKEN";
  test(`${what} is refused with ${code} and no user's object hears of it`, async () => {
    const [token, before] = [make(), await server.objects()];
    for (const place of Object.values(places)) {
      const { data, message } = await refused(server.connect(undefined, place(token)));
      assert.equal(message, "Authentication failed");
      assert.equal(data.code, code);
    }
    const plane = await me(server, token);
    assert.equal(plane.status, 401);
    assert.match(plane.body.detail, new RegExp(`^${code}`));
    assert.deepEqual(await server.objects(), before);
  });
}

test("what is refused at a WebSocket reaches no object at all", async () => {
  const quiet = await start({ JWT_ISSUER: FIRST, JWT_AUDIENCE: USERS, JWT_JWKS_URL: first.url, SERVICE_JWT_AUDIENCE: SERVICES });
  for (const make of Object.values(forged)) {
    await refused(quiet.connect(undefined, places["CONNECT, WebSocket first"](make())));
  }
  assert.equal((await quiet.ledger()).object_requests ?? 0, 0);
});

// ---- keys at a URL ----

test("keys are rotated without a restart, and what was withdrawn is refused", async () => {
  const [old, next] = [newKey("ES256", "old"), newKey("RS256", "next")];
  const provider = await publish([old]);
  const rotating = await start({ JWT_JWKS_URL: provider.url });
  assert.equal(await userOf(rotating.connect(undefined, { token: tokenOf(old, "before") })), "before");
  assert.equal(provider.requests, 1);

  provider.keys = [next];
  // At the same time: nobody is refused while somebody else is fetching the key.
  const places = [{ query: { token: tokenOf(next, "u") } }, { auth: { token: tokenOf(next, "u") } }];
  const users = [...places, ...places, ...places].map((place) => userOf(rotating.connect(undefined, { token: null, ...place })));
  assert.deepEqual(await Promise.all(users), Array(6).fill("u"));
  assert.equal(provider.requests, 2);
  const error = await refused(rotating.connect(undefined, { token: tokenOf(old, "before") }));
  assert.equal(error.data.code, "INVALID_TOKEN");
});

test("a hub fetches keys for a CONNECT, and what follows it waits", async () => {
  const [old, next] = [newKey("ES256", "old"), newKey("ES256", "next")];
  const provider = await publish([old]);
  const rotating = await start({ JWT_JWKS_URL: provider.url });
  const raw = await openRaw(rotating, undefined, { token: tokenOf(old, "u") });
  await raw.join();
  await raw.settled();
  raw.frames.length = 0;

  provider.keys = [next];
  // Only who knows the key can tell that it is somebody else's.
  raw.send(`40${JSON.stringify({ token: tokenOf(next, "other") })}`, '42/notifications,7["ping"]');
  await until(() => raw.frames.some((frame) => frame.startsWith("43/notifications,7")));
  assert.match(raw.frames[0], /^44\{.*"USER_MISMATCH"/);
  assert.equal(provider.requests, 2);
});

test("keys that nobody knows lead to one fetch a minute", async () => {
  const known = newKey("EdDSA", "known");
  const provider = await publish([known]);
  const limited = await start({ JWT_JWKS_URL: provider.url });
  assert.equal((await me(limited, tokenOf(known, "u"))).status, 200);
  for (let i = 0; i < 20; i += 1) {
    const unknown = tokenOf(known, "u", { header: { kid: `unknown-${i}` } });
    assert.equal((await me(limited, unknown)).status, 401);
    assert.equal((await refused(limited.connect(undefined, { token: unknown }))).data.code, "INVALID_TOKEN");
  }
  assert.equal(provider.requests, 2);
  assert.equal((await me(limited, tokenOf(known, "u"))).status, 200);
});

const failures = {
  "an error": (response) => response.writeHead(500).end(),
  "no set": (response) => response.end("<html>"),
  "a set without keys": (response) => response.end('{"keys":[]}'),
};
for (const [what, answer] of Object.entries(failures)) {
  test(`the last keys count while the issuer answers with ${what}`, async () => {
    const key = newKey("EdDSA", "a");
    const provider = await publish([key]);
    const outage = await start({ JWT_JWKS_URL: provider.url, JWT_JWKS_TTL_SECONDS: "1" });
    assert.equal((await me(outage, tokenOf(key, "u"))).status, 200);
    provider.answer = answer;
    // Every request is answered; the one a second later finds the keys old and the issuer out.
    await until(async () => {
      assert.equal((await me(outage, tokenOf(key, "u"))).status, 200);
      return provider.requests > 1;
    });
    assert.equal(await userOf(outage.connect(undefined, { token: null, auth: { token: tokenOf(key, "u") } })), "u");
    assert.equal(outage.log.filter((line) => line.includes("could not be fetched")).length, 1);

    // Whether there is such a key nobody can say: a refusal would be for ever.
    const unknown = tokenOf(key, "u", { header: { kid: "b" } });
    assert.equal((await me(outage, unknown)).status, 503);
    const raw = await openRaw(outage, undefined, { token: null });
    raw.send(`40/notifications,${JSON.stringify({ token: unknown })}`);
    await raw.closed();
    assert.deepEqual(raw.frames, []);

    // The next fetch is a few seconds after the one that failed.
    provider.answer = undefined;
    const requests = provider.requests;
    await until(async () => (await me(outage, tokenOf(key, "u"))).status === 200 && provider.requests > requests, { timeout: 20_000 });
  });
}

for (const transport of ["websocket", "polling"]) {
  test(`while no keys can be had a client by ${transport} is closed, not refused, and comes back by itself`, async () => {
    const key = newKey("RS256", "a");
    const provider = await publish([key]);
    provider.answer = (response) => response.writeHead(503).end();
    const cold = await start({ JWT_JWKS_URL: provider.url });
    const auth = { token: tokenOf(key, "u") };
    const options = { transports: [transport], reconnection: true, reconnectionDelayMax: 500 };
    const socket = cold.connect(undefined, { token: null, auth, ...options });
    await until(() => socket.lifecycle.length > 0);
    assert.deepEqual([socket.lifecycle[0].name, socket.lifecycle[0].data], ["disconnect", "transport close"]);

    provider.answer = undefined;
    await until(() => socket.connected, { timeout: 20_000 });
    assert.ok(!socket.lifecycle.some(({ name }) => name === "connect_error"));
  });
}

const unusable = {
  "more than 64 KB": (response) => response.end(JSON.stringify({ keys: [], x: "x".repeat(70_000) })),
  "a redirect": (response, request) =>
    request.url === "/elsewhere" ? response.end("{}") : response.writeHead(302, { location: "/elsewhere" }).end(),
  "nothing": () => {},
};
for (const [what, answer] of Object.entries(unusable)) {
  test(`${what} is no key set`, async () => {
    const provider = await publish([]);
    provider.answer = answer;
    const waiting = await start({ JWT_JWKS_URL: provider.url });
    const answered = await me(waiting, tokenOf(keys.EdDSA, "u"));
    assert.equal(answered.status, 503);
    assert.equal(answered.body.code, "unavailable");
    assert.equal(provider.requests, 1);
  });
}

// ---- services ----

test("a service's token opens its scopes and nothing else", async () => {
  const status = async (token, method, path) => (await server.api(method, path, { token })).status;
  for (const alg of ALGORITHMS) {
    assert.equal((await server.push("scoped", { token: serviceToken({}, alg) })).status, 201);
  }
  assert.equal((await server.push("scoped", { token: serviceToken({ scope: ["push:user"] }) })).status, 201);
  const room = { to: ["room:r"], title: "Hello" };
  assert.equal((await server.push(room, { token: serviceToken() })).status, 403);
  assert.equal((await server.push("scoped", { token: serviceToken({ scope: undefined }) })).status, 403);
  assert.equal(await status(serviceToken(), "GET", "/v1/presence/users/scoped"), 403);
  assert.equal(await status(serviceToken({ scope: "presence:read" }), "GET", "/v1/presence/users/scoped"), 200);

  assert.equal((await server.push("scoped", { token: serviceToken({ exp: 1 }) })).status, 401);
  assert.equal((await server.push("scoped", { token: serviceToken({ exp: undefined }) })).status, 401);
  assert.equal((await server.push("scoped", { token: serviceToken({ sub: undefined }) })).status, 401);
  const user = accepted("RS256", "scoped", { claims: { scope: "push:user" } });
  assert.equal((await server.push("scoped", { token: user })).status, 401, "a user's token is no service's");
  assert.equal(await status(serviceToken(), "GET", "/v1/me/notifications"), 401, "a service's token is no user's");
  assert.equal((await server.push("scoped")).status, 201, "keys go on opening");
});

test("an idempotency key is its service's", async () => {
  const push = async (claims) => {
    const { status, headers, body } = await server.push("once", { token: serviceToken(claims), idempotencyKey: "k" });
    assert.equal(status, 201);
    return { id: body.id, replayed: headers["idempotent-replayed"] };
  };
  const { id } = await push({});
  assert.deepEqual(await push({ scope: "push:user" }), { id, replayed: "true" });
  for (const claims of [{ sub: "shipping" }, { sub: ":billing" }]) {
    const other = await push(claims);
    assert.notEqual(other.id, id);
    assert.equal(other.replayed, undefined);
  }
  assert.deepEqual((await server.db.all("SELECT DISTINCT scope FROM idempotency WHERE key = 'k' ORDER BY scope")).map(({ scope }) => scope), [
    `push jwt:${FIRST}:%3Abilling`, `push jwt:${FIRST}:billing`, `push jwt:${FIRST}:shipping`,
  ]);
});

test("without an audience for services no token opens their plane", async () => {
  const closed = await start({ JWT_JWKS: JSON.stringify({ keys: [keys.ES256.jwk] }) });
  assert.equal((await closed.push("u", { token: serviceToken() })).status, 401);
  assert.equal((await me(closed, tokenOf(keys.ES256, "u"))).status, 200);
});

test("a service key ends when it is revoked, or by itself", async () => {
  const scopes = ["push:user"];
  const { record, key } = (await import("../../scripts/service-key.mjs")).newServiceKey("ends", scopes);
  const open = await start({ JWT_JWKS: JSON.stringify({ keys: [keys.ES256.jwk] }), SERVICE_KEYS: JSON.stringify([record]) });
  assert.equal((await open.push("u", { key })).status, 201);
  for (const end of [{ revoked: true }, { expires_at: "2026-01-01T00:00:00Z" }]) {
    await open.restart({ vars: { SERVICE_KEYS: JSON.stringify([{ ...record, ...end }]) } });
    const { status, body } = await open.push("u", { key });
    assert.equal(status, 401);
    assert.equal(body.code, "invalid_credential");
  }
});
