// What a page of another origin may read of polling and of the API: every answer, errors included, when its origin is on the list, and
// nothing otherwise.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { startServer } from "./harness.mjs";

const APP = "https://app.example";
const OTHER = "https://other.example";

let server;
before(async () => {
  server = await startServer({ vars: { ALLOWED_ORIGINS: `${OTHER},${APP}` } });
});

const engine = (method, query, { origin, body, headers = {} } = {}) =>
  server.api(method, `/socket.io/?${new URLSearchParams({ EIO: "4", transport: "polling", ...query })}`, {
    body,
    headers: { ...(origin === undefined ? {} : { origin }), ...headers },
  });

const api = (method, path, { origin, token, headers = {} } = {}) =>
  server.api(method, path, { token, headers: { ...(origin === undefined ? {} : { origin }), ...headers } });

const sidOf = ({ body }) => JSON.parse(body.slice(1)).sid;

/** One request of each kind that a polling client makes, by the way its session goes, and one of each refusal. */
const REQUESTS = {
  "a handshake of a known user": (options) => engine("GET", { token: server.token("u1") }, options),
  "a handshake of a stranger": (options) => engine("GET", {}, options),
  "a POST to a hub": async (options) =>
    engine("POST", { sid: sidOf(await engine("GET", { token: server.token("u1") })) }, { ...options, body: "40" }),
  "a POST to a lobby": async (options) => engine("POST", { sid: sidOf(await engine("GET", {})) }, { ...options, body: "40" }),
  "a poll of a hub": async (options) => {
    const sid = sidOf(await engine("GET", { token: server.token("u1") }));
    await engine("POST", { sid }, { body: "40" });
    return engine("GET", { sid }, options);
  },
  "a poll of a lobby": async (options) => {
    const sid = sidOf(await engine("GET", {}));
    await engine("POST", { sid }, { body: "40" });
    return engine("GET", { sid }, options);
  },
  "an unknown sid": (options) => engine("GET", { sid: "x" }, options),
  "an unknown transport": (options) => engine("GET", { transport: "pigeon" }, options),
  "another protocol version": (options) => engine("GET", { EIO: "3" }, options),
  "a list of the API": ({ origin }) => api("GET", "/v1/me/notifications", { origin, token: server.token("u1") }),
  "an error of the API": ({ origin }) => api("GET", "/v1/me/notifications", { origin }),
  "something the API does not have": ({ origin }) => api("GET", "/v1/nothing", { origin }),
  "a POST that is too large": async (options) =>
    engine("POST", { sid: sidOf(await engine("GET", {})) }, { ...options, body: "4".repeat(100_001) }),
};

for (const [name, request] of Object.entries(REQUESTS)) {
  test(`${name} is readable by an allowed origin with credentials, and by no other`, async () => {
    for (const origin of [APP, OTHER]) {
      const { headers } = await request({ origin });
      assert.equal(headers["access-control-allow-origin"], origin);
      assert.equal(headers["access-control-allow-credentials"], "true");
      assert.match(headers.vary, /\borigin\b/i);
    }
    for (const origin of ["https://evil.example", `${APP}.evil.example`, `${APP}:8443`, "http://app.example", "null"]) {
      const { headers } = await request({ origin });
      assert.equal(headers["access-control-allow-origin"], undefined, origin);
      assert.equal(headers["access-control-allow-credentials"], undefined, origin);
      assert.match(headers.vary, /\borigin\b/i);
    }
    const plain = await request({});
    assert.equal(plain.headers["access-control-allow-origin"], undefined);
    assert.match(plain.headers.vary, /\borigin\b/i, "no cache gives it to a page");
  });
}

test("the answer itself is the same for every origin", async () => {
  const [allowed, foreign] = await Promise.all([APP, "https://evil.example"].map((origin) => engine("GET", { sid: "x" }, { origin })));
  assert.deepEqual([allowed.status, allowed.body], [400, { code: 1, message: "Session ID unknown" }]);
  assert.deepEqual([foreign.status, foreign.body], [allowed.status, allowed.body]);
});

test("a preflight is answered 204 with what the page asked for", async () => {
  const asked = { "access-control-request-method": "POST", "access-control-request-headers": "authorization,x-trace" };
  const { status, headers, body } = await engine("OPTIONS", {}, { origin: APP, headers: asked });
  assert.deepEqual([status, body], [204, ""]);
  assert.equal(headers["access-control-allow-origin"], APP);
  assert.equal(headers["access-control-allow-credentials"], "true");
  assert.equal(headers["access-control-allow-headers"], "authorization,x-trace");
  assert.match(headers["access-control-allow-methods"], /GET.*POST/);
  const foreign = await engine("OPTIONS", {}, { origin: "https://evil.example", headers: asked });
  assert.equal(foreign.status, 204);
  assert.equal(foreign.headers["access-control-allow-origin"], undefined);
});

test("a preflight of the API is answered with the methods of the resource", async () => {
  const asked = { "access-control-request-method": "DELETE", "access-control-request-headers": "authorization" };
  const path = "/v1/me/notifications/01929c3e-0000-7000-8000-000000000001";
  const { status, headers, body } = await api("OPTIONS", path, { origin: APP, headers: asked });
  assert.deepEqual([status, body], [204, ""]);
  assert.equal(headers["access-control-allow-origin"], APP);
  assert.equal(headers["access-control-allow-methods"], "DELETE");
  assert.equal(headers["access-control-allow-headers"], "authorization");
  assert.equal(headers.vary, "Origin");
  const foreign = await api("OPTIONS", path, { origin: "https://evil.example", headers: asked });
  assert.equal(foreign.headers["access-control-allow-origin"], undefined);
  assert.equal((await api("OPTIONS", "/v1/nothing", { origin: APP })).status, 404);
});

test("what a page needs to read of an answer's headers is exposed", async () => {
  const { headers } = await api("GET", "/v1/me/notifications", { origin: APP, token: server.token("u1") });
  const exposed = headers["access-control-expose-headers"].split(", ");
  for (const name of ["etag", "x-request-id", "retry-after", "location"]) assert.ok(exposed.includes(name), name);
});

test("every answer says that it is what it says it is, and is shown in no frame", async () => {
  for (const request of Object.values(REQUESTS)) {
    const { headers } = await request({});
    assert.equal(headers["x-content-type-options"], "nosniff");
    assert.match(headers["content-security-policy"], /default-src 'none'/);
    assert.equal(headers["referrer-policy"], "no-referrer");
  }
});
