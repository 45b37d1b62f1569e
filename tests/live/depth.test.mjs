// JSON that nests deeper than anybody means (DESIGN 10): in every place where somebody else's JSON is read it is a mistake like
// any other, and nobody else notices.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { before, test } from "node:test";
import { newServiceKey } from "../../scripts/service-key.mjs";
import { connected, nextEvent, refused, startServer, until } from "./harness.mjs";
import { openRaw } from "./raw.mjs";

// As deep as the largest packet or body allows; half as deep where what was opened is closed again; and what is just too deep.
const UNCLOSED = "[".repeat(99_000);
const CLOSED = nested(49_000);
const OBJECTS = `${'{"a":'.repeat(16_000)}1${"}".repeat(16_000)}`;
const LEVELS = 127;
const PUSHES = "dormouse-pushes";

let server;
before(async () => {
  server = await startServer();
});

let users = 0;
const newUser = () => `u${++users}`;

function nested(levels) {
  return "[".repeat(levels) + "]".repeat(levels);
}

const crashed = () => server.log.filter((line) => /panic|unreachable|RuntimeError|stack|overflow/i.test(line));

/** Nobody else notices: a client that was there is there, and is pushed to. */
async function unnoticed(action) {
  const user = newUser();
  const witness = await connected(server.connect(user));
  await action();
  const { body } = await server.push(user);
  await nextEvent(witness, "notification:new", ({ id }) => id === body.id);
  assert.deepEqual(witness.lifecycle.map(({ name }) => name), ["connect"]);
  assert.deepEqual(crashed(), []);
  witness.disconnect();
}

// ---- over HTTP ----

const BODIES = {
  "POST /v1/notifications": ["to", "title", "content", "type", "template", "sender", "action", "data"],
  "POST /v1/notifications/batch": ["items"],
  "POST /v1/events": ["to", "event", "data"],
  "POST /v1/presence/query": ["users"],
  "POST /v1/rooms/room%3Aa/members": ["add", "remove"],
  "PUT /v1/templates/depth": ["title", "content", "required"],
  "POST /v1/templates/depth/render": ["data"],
  "PUT /v1/types/depth": ["name", "icon"],
  "POST /v1/users/u0/disconnect": ["reason"],
  "PUT /v1/me/preferences": ["muted"],
  "POST /v1/me/notifications/read-all": ["before_seq"],
  "POST /v1/me/notifications/seen": ["up_to_seq"],
};
for (const [operation, fields] of Object.entries(BODIES)) {
  test(`${operation} refuses what nests too deep, as a whole and in each of its fields`, () =>
    unnoticed(async () => {
      const [method, path] = operation.split(" ");
      const credential = path.startsWith("/v1/me/") ? { token: server.token("depth") } : { key: server.serviceKey };
      const inFields = fields.flatMap((field) => [CLOSED, OBJECTS].map((value) => `{"${field}":${value}}`));
      for (const body of [UNCLOSED, CLOSED, OBJECTS, '{"a":'.repeat(19_000), ...inFields]) {
        const answer = await server.api(method, path, { ...credential, body, headers: { "content-type": "application/json" } });
        const { status, headers, body: problem } = answer;
        const refused = status === 207 ? problem.items.every((item) => item.status === 422) : [400, 404, 422].includes(status);
        assert.ok(refused, `${status} ${JSON.stringify(problem)} for ${body.slice(0, 40)}`);
        if (status !== 207) assert.equal(headers["content-type"], "application/problem+json");
      }
    }));
}

test("data of 127 levels is taken as it is, and one level more is refused, for pushes and for events", async () => {
  const user = newUser();
  const socket = await connected(server.connect(user));
  // The object itself is a level.
  const data = (levels) => `{"x":${nested(levels - 1)}}`;
  const send = (path, fields, levels) =>
    server.api("POST", path, {
      key: server.serviceKey, body: `{"to":["user:${user}"],${fields},"data":${data(levels)}}`, headers: { "content-type": "application/json" },
    });
  for (const [path, fields, event] of [
    ["/v1/notifications", '"title":"t"', "notification:new"],
    ["/v1/events", '"event":"custom"', "custom"],
  ]) {
    assert.equal((await send(path, fields, LEVELS)).status < 300, true, path);
    const got = await nextEvent(socket, event);
    assert.equal(JSON.stringify(event === "custom" ? got : got.data), data(LEVELS));
    const { status, body } = await send(path, fields, LEVELS + 1);
    assert.equal(status, 422);
    assert.deepEqual(body.errors.map(({ pointer }) => pointer), ["/data"]);
  }
  const { body } = await server.api("GET", "/v1/me/notifications", { token: server.token(user) });
  assert.equal(JSON.stringify(body.items[0].data), data(LEVELS));
});

test("a cursor that is only depth is refused", () =>
  unnoticed(async () => {
    for (const json of [nested(2_000), "[".repeat(4_000), '{"before":'.repeat(400)]) {
      const path = `/v1/me/notifications?cursor=${Buffer.from(json).toString("base64url")}`;
      assert.equal((await server.api("GET", path, { token: server.token("depth") })).status, 400);
    }
  }));

// ---- tokens ----

const encode = (text) => Buffer.from(text).toString("base64url");
function signed(header, claims) {
  const input = `${encode(header)}.${encode(claims)}`;
  return `${input}.${createHmac("sha256", server.jwtSecret).update(input).digest("base64url")}`;
}
const HEADER = '{"alg":"HS256"}';
const TOKENS = {
  "in a claim nobody asked for": () => signed(HEADER, `{"sub":"u","exp":4000000000,"x":${nested(2_500)}}`),
  "in the departments": () => signed(HEADER, `{"sub":"u","exp":4000000000,"departments":${nested(2_500)}}`),
  "instead of claims": () => signed(HEADER, nested(2_500)),
  "in the header": () => signed(`{"alg":"HS256","x":${nested(2_500)}}`, '{"sub":"u","exp":4000000000}'),
  "instead of a header": () => signed(nested(2_500), '{"sub":"u","exp":4000000000}'),
};
for (const [what, make] of Object.entries(TOKENS)) {
  test(`a token with depth ${what} is refused, and no hub hears of it`, () =>
    unnoticed(async () => {
      const [token, hubs] = [make(), await server.objects()];
      for (const place of [{ token }, { token: null, auth: { token } }, { token: null, auth: { token }, transports: ["polling"] }]) {
        assert.equal((await refused(server.connect(undefined, place))).data.code, "INVALID_TOKEN");
      }
      assert.equal((await server.api("GET", "/v1/me/notifications", { token })).status, 401);
      assert.equal((await server.push("u", { token })).status, 401);
      assert.deepEqual(await server.objects(), hubs);
    }));
}

// ---- packets ----

test("CONNECT with depth in it is refused or not looked into", () =>
  unnoticed(async () => {
    const user = newUser();
    const stranger = await openRaw(server, undefined, { token: null });
    stranger.send(`40/notifications,{"token":${CLOSED}}`);
    assert.match(await stranger.next(), /^44\/notifications,\{.*"MISSING_TOKEN"/);
    const known = await openRaw(server, user);
    known.send(`40/notifications,{"pid":${CLOSED},"offset":"1"}`);
    assert.match(await known.next(), /^40\/notifications,\{"sid"/);
    for (const frame of [`40/notifications,${UNCLOSED}`, `40/notifications,${CLOSED}`]) {
      const raw = await openRaw(server, user);
      raw.send(frame);
      await raw.closed();
    }
  }));

const EVENTS = [
  "notification:acknowledge", "mark:read", "mark:unread", "notification:archive", "notification:unarchive", "notification:delete",
  "mark:all:read", "mark:seen", "join", "auth:refresh", "presence:query", "unknown",
];
test("every event answers depth with an error, and the connection stays", () =>
  unnoticed(async () => {
    const raw = await openRaw(server, newUser());
    await raw.join();
    for (const [i, event] of EVENTS.entries()) {
      for (const [j, argument] of [CLOSED, OBJECTS, `{"recipient_id":${CLOSED}}`, `{"users":${OBJECTS}}`].entries()) {
        const id = i * 10 + j;
        raw.send(`42/notifications,${id}["${event}",${argument}]`);
        const answer = await raw.next((frame) => frame.startsWith(`43/notifications,${id}[`));
        // What an event does not look at is no mistake.
        const unseen = event === "mark:all:read" && j >= 1;
        assert.match(answer, unseen ? /"ok":true/ : /\[\{"ok":false,"error":\{"code":"(INVALID_PAYLOAD|UNKNOWN_EVENT)"/, event);
      }
    }
    await raw.settled();
    raw.send(`42/notifications,["mark:seen",${UNCLOSED}`);
    await raw.closed();
  }));

test("so does a polling session", () =>
  unnoticed(async () => {
    const path = (query) => `/socket.io/?${new URLSearchParams({ EIO: "4", transport: "polling", ...query })}`;
    const { sid } = JSON.parse((await server.api("GET", path({ token: server.token(newUser()) }))).body.slice(1));
    const post = (body) => server.api("POST", path({ sid }), { body, headers: { "content-type": "text/plain" } });
    assert.equal((await post("40/notifications,")).body, "ok");
    assert.equal((await post(`42/notifications,1["mark:seen",${CLOSED}]`)).body, "ok");
    await until(async () => (await server.api("GET", path({ sid }))).body.includes("INVALID_PAYLOAD"));
  }));

// ---- the queue ----

test("a message of the queue that is only depth is kept as a dead letter, and the next one is carried out", () =>
  unnoticed(async () => {
    const user = newUser();
    const message = (body, i) => ({ id: `depth-${i}`, timestamp: new Date(), body, attempts: 1 });
    const deep = JSON.parse(nested(1_000));
    const good = { to: [`user:${user}`], title: "Hello", idempotency_key: user };
    const bodies = [deep, { ...good, idempotency_key: "d", data: { x: deep } }, CLOSED, good];
    const outcome = await server.deliver(PUSHES, bodies.map(message));
    assert.deepEqual(outcome.explicitAcks.toSorted(), bodies.map((_, i) => `depth-${i}`), JSON.stringify(outcome));
    const { body } = await server.api("GET", "/v1/me/notifications", { token: server.token(user) });
    assert.equal(body.items.length, 1);
  }));
