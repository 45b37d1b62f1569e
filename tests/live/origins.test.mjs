// Cookies come along by themselves, whichever page asks, so they count only with an origin on the list, to the letter
// (DESIGN 3.6): on upgrades, on polls and on the API. A page elsewhere gets no session, reads nothing and reaches no hub.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { connected, nextEvent, refused, startServer } from "./harness.mjs";
import { openRaw } from "./raw.mjs";

const APP = "https://app.example.org";
const PORT = "https://app.example.org:8443";

let server;
before(async () => {
  server = await startServer({ vars: { ALLOWED_ORIGINS: `${APP},${PORT},http://localhost:5173` } });
});

const ALLOWED = [APP, PORT, "http://localhost:5173"];
const FOREIGN = {
  "another site": "https://evil.example",
  "null": "null",
  "no origin": undefined,
  "an empty one": "",
  "one that begins like an allowed one": `${APP}.evil.com`,
  "one that ends like an allowed one": "https://evil-app.example.org",
  "a user named like an allowed one": `${APP}@evil.com`,
  "a subdomain": "https://x.app.example.org",
  "the parent domain": "https://example.org",
  "another port": `${APP}:444`,
  "the default port spelled out": `${APP}:443`,
  "another scheme": "http://app.example.org",
  "no scheme": "app.example.org",
  "a slash at its end": `${APP}/`,
  "a path": `${APP}/login`,
  "upper case": "HTTPS://APP.EXAMPLE.ORG",
  "a capital": "https://App.example.org",
  "a dot at its end": "https://app.example.org.",
  "two of them": `${APP} https://evil.example`,
  "the whole list": `${APP},${PORT}`,
  "a look-alike": "https://xn--pp-6kc.example.org",
  "a wildcard": "*",
};

let users = 0;
const newUser = () => `u${++users}`;

const headersOf = (user, origin) => ({ cookie: `auth_token=${server.token(user)}`, ...(origin === undefined ? {} : { origin }) });
const engine = (method, query, options) =>
  server.api(method, `/socket.io/?${new URLSearchParams({ EIO: "4", transport: "polling", ...query })}`, options);
const sidOf = ({ body }) => JSON.parse(body.slice(1)).sid;

for (const origin of ALLOWED) {
  test(`a cookie from ${origin} counts on an upgrade, on polls and on the API`, async () => {
    const user = newUser();
    const headers = headersOf(user, origin);
    const raw = await openRaw(server, undefined, { token: null, headers });
    await raw.join();
    assert.equal((await raw.nextEvent("authenticated")).user_id, user);

    const opened = await engine("GET", {}, { headers });
    await engine("POST", { sid: sidOf(opened) }, { headers, body: "40/notifications," });
    const polled = await engine("GET", { sid: sidOf(opened) }, { headers });
    assert.match(polled.body, /^40\/notifications,\{"sid"/);
    const listed = await server.api("GET", "/v1/me/notifications", { headers });
    assert.equal(listed.status, 200);
    for (const answer of [opened, polled, listed]) {
      assert.equal(answer.headers["access-control-allow-origin"], origin);
      assert.equal(answer.headers["access-control-allow-credentials"], "true");
      assert.match(answer.headers.vary, /\borigin\b/i);
    }
  });
}

for (const [what, origin] of Object.entries(FOREIGN)) {
  test(`a cookie from ${what} (${origin}) counts nowhere, and no hub hears of it`, async () => {
    const user = newUser();
    const [headers, hubs] = [headersOf(user, origin), await server.objects()];
    await server.resetLedger();
    const raw = await openRaw(server, undefined, { token: null, headers });
    raw.send("40/notifications,");
    assert.match(await raw.next(), /^44\/notifications,\{.*"MISSING_TOKEN"/);
    assert.equal((await server.ledger()).object_requests ?? 0, 0, "no object at all for an upgrade");

    const opened = await engine("GET", {}, { headers });
    const posted = await engine("POST", { sid: sidOf(opened) }, { headers, body: "40/notifications," });
    const polled = await engine("GET", { sid: sidOf(opened) }, { headers });
    assert.match(polled.body, /^44\/notifications,\{.*"MISSING_TOKEN"/);
    const listed = await server.api("GET", "/v1/me/notifications", { headers });
    assert.equal(listed.status, 401);
    const changed = await server.api("POST", "/v1/me/notifications/read-all", { headers });
    assert.equal(changed.status, 401);
    for (const answer of [opened, posted, polled, listed, changed]) {
      assert.equal(answer.headers["access-control-allow-origin"], undefined);
      assert.equal(answer.headers["access-control-allow-credentials"], undefined);
      assert.match(answer.headers.vary, /\borigin\b/i);
    }
    assert.deepEqual(await server.objects(), hubs);
  });
}

test("a token that a page gives itself counts from any origin: it does not come along by itself", async () => {
  const user = newUser();
  const extraHeaders = { Origin: "https://elsewhere.example" };
  for (const place of [{ token: server.token(user) }, { token: null, auth: { token: server.token(user) } }]) {
    const socket = await connected(server.connect(user, { ...place, extraHeaders }));
    assert.equal((await nextEvent(socket, "authenticated")).user_id, user);
  }
  // The cookie beside it still counts for nothing.
  const other = { ...extraHeaders, Cookie: `auth_token=${server.token("victim")}` };
  const socket = await connected(server.connect(user, { extraHeaders: other }));
  assert.equal((await nextEvent(socket, "authenticated")).user_id, user);
});

test("without a list no cookie counts", async () => {
  const closed = await startServer({ vars: { ALLOWED_ORIGINS: "" } });
  const headers = { Cookie: `auth_token=${closed.token("u1")}` };
  for (const origin of [APP, "null", undefined]) {
    const extraHeaders = origin === undefined ? headers : { ...headers, Origin: origin };
    for (const transports of [["websocket"], ["polling"]]) {
      const error = await refused(closed.connect(undefined, { token: null, extraHeaders, transports }));
      assert.equal(error.data.code, "MISSING_TOKEN");
    }
  }
  assert.deepEqual(await closed.objects(), []);
});

// ---- preflights ----

const ENDPOINTS = [
  ["POST", "/socket.io/?EIO=4&transport=polling&sid=x", "content-type"],
  ["GET", "/socket.io/?EIO=4&transport=polling", "authorization"],
  ["GET", "/v1/me/notifications", "authorization"],
  ["PUT", "/v1/me/preferences", "authorization,content-type"],
  ["POST", "/v1/me/notifications/read-all", "content-type"],
  ["DELETE", "/v1/me/notifications/01929c3e-0000-7000-8000-000000000001", "authorization"],
];
for (const [method, path, asked] of ENDPOINTS) {
  test(`a preflight for ${method} ${path} allows pages of the list, with credentials, and nobody else`, async () => {
    const headers = { "access-control-request-method": method, "access-control-request-headers": asked };
    for (const origin of [...ALLOWED, ...Object.values(FOREIGN)]) {
      const answer = await server.api("OPTIONS", path, { headers: { ...headers, ...(origin === undefined ? {} : { origin }) } });
      const allowed = ALLOWED.includes(origin);
      assert.equal(answer.status, 204);
      assert.equal(answer.headers["access-control-allow-origin"], allowed ? origin : undefined, origin);
      assert.equal(answer.headers["access-control-allow-credentials"], allowed ? "true" : undefined, origin);
      assert.ok(answer.headers["access-control-allow-methods"].split(/, ?/).includes(method));
      assert.match(answer.headers.vary, /\borigin\b/i);
    }
  });
}
