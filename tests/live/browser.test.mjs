// A real browser's view of the allow-list (DESIGN 3.6): pages of two origins, one of them on the list, with the stock client and
// with fetch. Both pages have the user's cookie, as a page of another site has it where cookies are not kept apart.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { chromium } from "playwright-core";
import { startServer, until } from "./harness.mjs";

const EXECUTABLE = process.env.CHROMIUM ?? "/usr/bin/chromium";
const CLIENT = join(dirname(createRequire(import.meta.url).resolve("socket.io-client/package.json")), "dist/socket.io.min.js");
const TRANSPORTS = { WebSocket: ["websocket"], polling: ["polling"], "polling and then WebSocket": ["polling", "websocket"] };
const skip = existsSync(EXECUTABLE) ? false : `no browser at ${EXECUTABLE}; CHROMIUM may name another`;

/** A page with the stock client, on a port and so an origin of its own. */
async function startPage() {
  const files = {
    "/": ["text/html", '<!doctype html><title>page</title><script src="/client.js"></script>'],
    "/frame": ["text/html", '<!doctype html><title>frame</title><iframe sandbox="allow-scripts" src="/"></iframe>'],
    "/client.js": ["text/javascript", readFileSync(CLIENT)],
  };
  const page = createServer((request, response) => {
    const [type, body] = files[request.url] ?? [];
    if (type === undefined) return response.writeHead(404).end();
    response.writeHead(200, { "content-type": type, "access-control-allow-origin": "*" }).end(body);
  });
  await new Promise((resolve) => page.listen(0, "127.0.0.1", resolve));
  return { origin: `http://127.0.0.1:${page.address().port}`, close: () => page.close() };
}

/** Runs in the page: connects, and says who the server says it is and what was pushed, or why not. */
const connect = ({ url, options }) =>
  new Promise((resolve) => {
    const socket = globalThis.io(`${url}/notifications`, { forceNew: true, reconnection: false, ...options });
    globalThis.pushed = new Promise((got) => socket.on("notification:new", ({ id }) => got(id)));
    const settle = (outcome) => resolve({ ...outcome, transport: socket.io.engine?.transport?.name });
    socket.on("authenticated", ({ user_id }) => settle({ user: user_id }));
    socket.on("connect_error", (error) => settle({ error: error.message, code: error.data?.code }));
  });

/** Runs in the page: a request to the user's API; `blocked` when the browser lets the page see nothing. */
const ask = async ({ url, path, init }) => {
  try {
    const response = await fetch(url + path, init);
    return { status: response.status, body: await response.json(), id: response.headers.get("x-request-id") };
  } catch (error) {
    return { blocked: error.name };
  }
};

describe("in a browser", { skip }, () => {
  let [server, browser, allowed, foreign] = [];
  before(async () => {
    [allowed, foreign] = await Promise.all([startPage(), startPage()]);
    server = await startServer({ vars: { ALLOWED_ORIGINS: allowed.origin } });
    // Where tests run as root there is no sandbox to be had; the pages are our own.
    browser = await chromium.launch({ executablePath: EXECUTABLE, args: ["--no-sandbox"] });
  });
  after(async () => {
    await browser?.close();
    for (const page of [allowed, foreign]) page?.close();
  });

  let users = 0;
  const newUser = () => `u${++users}`;

  /** A page of that origin in a browser of its own, which has the user's cookie; null: none. */
  async function visit(site, user, path = "/") {
    const context = await browser.newContext();
    const cookie = { name: "auth_token", domain: "127.0.0.1", path: "/", httpOnly: true };
    if (user !== null) await context.addCookies([{ ...cookie, value: server.token(user) }]);
    const page = await context.newPage();
    await page.goto(site.origin + path);
    return page;
  }

  for (const [name, transports] of Object.entries(TRANSPORTS)) {
    for (const by of ["cookie", "token"]) {
      test(`a page on the list connects by ${name} with a ${by} and is pushed to`, async () => {
        const user = newUser();
        const page = await visit(allowed, by === "cookie" ? user : null);
        const credential = by === "cookie" ? { withCredentials: true } : { auth: { token: server.token(user) } };
        const outcome = await page.evaluate(connect, { url: server.url, options: { transports, ...credential } });
        assert.equal(outcome.user, user, JSON.stringify(outcome));
        const { body } = await server.push(user);
        assert.equal(await page.evaluate(() => globalThis.pushed), body.id);
        await page.context().close();
      });
    }
  }

  const READ = ["/v1/me/notifications", {}];
  const WRITE = ["/v1/me/preferences", { method: "PUT", headers: { "content-type": "application/json" }, body: '{"muted":["ads"]}' }];
  for (const [path, init] of [READ, WRITE]) {
    test(`a page on the list may ${init.method ?? "GET"} ${path}, with its cookie and with a token, and read the answer`, async () => {
      const user = newUser();
      const page = await visit(allowed, user);
      const withCookie = await page.evaluate(ask, { url: server.url, path, init: { credentials: "include", ...init } });
      assert.equal(withCookie.status, 200, JSON.stringify(withCookie));
      assert.equal(typeof withCookie.id, "string", "a header that is exposed");
      const headers = { ...init.headers, authorization: `Bearer ${server.token(newUser())}` };
      const withToken = await page.evaluate(ask, { url: server.url, path, init: { ...init, headers } });
      assert.equal(withToken.status, 200, JSON.stringify(withToken));
      await page.context().close();
    });
  }

  test("a page on the list can read why it is refused", async () => {
    const page = await visit(allowed, newUser());
    const answer = await page.evaluate(ask, { url: server.url, path: "/v1/me/notifications", init: { credentials: "omit" } });
    assert.deepEqual([answer.status, answer.body.code], [401, "unauthenticated"]);
    await page.context().close();
  });

  const PLACES = { "of another origin": "/", "without an origin of its own": "/frame" };
  for (const [what, path] of Object.entries(PLACES)) {
    test(`a page ${what} gets no session by a cookie, reads nothing, changes nothing, and reaches no hub`, async () => {
      const user = newUser();
      const hubs = await server.objects();
      const page = await visit(foreign, user, path);
      const frame = path === "/" ? page.mainFrame() : await until(() => page.frames().find((frame) => frame !== page.mainFrame()));
      await frame.waitForFunction(() => globalThis.io !== undefined);

      const options = { withCredentials: true };
      // CORS does not apply to an upgrade: only the service itself keeps this page out.
      const upgraded = await frame.evaluate(connect, { url: server.url, options: { ...options, transports: ["websocket"] } });
      assert.deepEqual([upgraded.error, upgraded.code], ["Authentication failed", "MISSING_TOKEN"]);
      const polled = await frame.evaluate(connect, { url: server.url, options: { ...options, transports: ["polling"] } });
      assert.deepEqual([polled.error, polled.code], ["xhr poll error", undefined]);
      for (const [path, init] of [READ, WRITE]) {
        const answer = await frame.evaluate(ask, { url: server.url, path, init: { credentials: "include", ...init } });
        assert.deepEqual(answer, { blocked: "TypeError" });
      }
      // A form's request needs no preflight.
      const simple = { method: "POST", credentials: "include", mode: "no-cors" };
      await frame.evaluate(ask, { url: server.url, path: "/v1/me/notifications/read-all", init: simple });
      assert.deepEqual(await server.objects(), hubs);
      await page.context().close();
    });
  }
});
