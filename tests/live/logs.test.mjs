// What the log says: one line for each request and each event, with the documented members, and nothing that a client or a
// service made up.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { caughtUp, pushed } from "./checks.mjs";
import { connected, nextEvent, refused, startServer, until } from "./harness.mjs";

/** In everything that must not be logged. */
const MARK = "zzmarkzz";
const MEMBERS = ["at", "request_id", "user", "operation", "outcome", "duration_ms"];
const PREFIX = "[log] ";

let server;
before(async () => {
  server = await startServer();
});

/** The lines there are so far. */
const lines = (of = server) =>
  of.log.filter((line) => line.startsWith(`${PREFIX}{`)).map((line) => JSON.parse(line.slice(PREFIX.length)));

/** Waits for the one line that fits: it may be on its way through the pipes. */
async function line(fits, of = server) {
  await until(() => lines(of).some(fits), { what: () => `a line in\n${of.log.slice(-20).join("\n")}` });
  const found = lines(of).filter(fits);
  assert.equal(found.length, 1, JSON.stringify(found));
  return found[0];
}

const ofRequest = ({ headers }, of) => line(({ request_id }) => request_id === headers["x-request-id"], of);

test("each request has a line with what was asked for and its status", async () => {
  const user = "asks";
  const key = server.serviceKey;
  const id = await pushed(server, user);
  for (const [method, path, options, operation, status, isUser] of [
    ["GET", "/healthz", {}, "getHealth", "200", false],
    ["POST", "/v1/notifications", { key, body: { to: [`user:${user}`], title: "Hello" } }, "pushNotification", "201", false],
    ["POST", "/v1/notifications", { key, body: {} }, "pushNotification", "422", false],
    ["POST", "/v1/notifications", {}, "pushNotification", "401", false],
    ["GET", "/v1/me/notifications?limit=5", { token: server.token(user) }, "listNotifications", "200", true],
    ["POST", `/v1/me/notifications/${id}/read`, { token: server.token(user) }, "readNotification", "200", true],
    ["GET", `/v1/${MARK}`, {}, "unknown", "404", false],
    ["DELETE", "/healthz", {}, "unknown", "405", false],
    ["OPTIONS", "/v1/events", {}, "preflight", "204", false],
  ]) {
    const answer = await server.api(method, path, options);
    assert.equal(String(answer.status), status, `${method} ${path}: ${JSON.stringify(answer.body)}`);
    const { user: who, duration_ms, ...rest } = await ofRequest(answer);
    assert.deepEqual(rest, { at: "request", request_id: answer.headers["x-request-id"], operation, outcome: status });
    assert.match(who ?? "", isUser ? /^[\w-]{16}$/ : /^$/);
    assert.ok(Number.isInteger(duration_ms) && duration_ms >= 0);
  }
});

test("a user is the same hash in every line, and another one's is another", async () => {
  const asked = async (user) => {
    const answer = await server.api("GET", "/v1/me/preferences", { token: server.token(user) });
    return (await ofRequest(answer)).user;
  };
  assert.equal(await asked("same"), await asked("same"));
  assert.notEqual(await asked("same"), await asked("another"));
});

test("each event has a line with its name and what became of it", async () => {
  const user = "emits";
  const answer = await server.api("GET", "/v1/me/preferences", { token: server.token(user) });
  const { user: who } = await ofRequest(answer);
  const socket = await connected(server.connect(user, { query: { ack: "on" } }));
  const { recipient_id } = await server.push(user).then(({ body }) => body.results[0]);
  await nextEvent(socket, "notification:new");
  const emit = (...args) => socket.timeout(5_000).emitWithAck(...args);
  await emit("notification:acknowledge", { recipient_id });
  await emit("mark:read", { recipient_id });
  await emit("mark:read", { recipient_id: 7 });
  await emit("mark:all:read", {});
  await emit("join", MARK);
  await emit("presence:query", { users: [MARK] });
  await emit("ping");
  await emit(MARK, { token: MARK });
  const expected = [
    ["connect", "ok"],
    ["notification:acknowledge", "ok"],
    ["mark:read", "ok"],
    ["mark:read", "INVALID_PAYLOAD"],
    ["mark:all:read", "ok"],
    ["join", "FORBIDDEN"],
    ["presence:query", "ok"],
    ["ping", "ok"],
    ["unknown", "UNKNOWN_EVENT"],
  ];
  const events = () => lines().filter(({ at, user }) => at === "event" && user === who);
  await until(() => events().length >= expected.length, { what: () => JSON.stringify(events()) });
  assert.deepEqual(events().map(({ operation, outcome }) => [operation, outcome]), expected);
  const sessions = new Set(events().map(({ request_id }) => request_id));
  assert.equal(sessions.size, 1, "one session");
  assert.match([...sessions][0], /^[\w-]{16}$/);
  await line(({ user, operation }) => user === who && operation === "handshake.websocket");
});

test("handshakes, polls and refused clients have lines as well", async () => {
  const polling = await startServer();
  const socket = await connected(polling.connect("polls", { transports: ["polling"] }));
  await nextEvent(socket, "authenticated");
  await refused(polling.connect("nobody", { token: null, auth: { token: MARK } }));
  await refused(polling.connect("nobody", { token: null, auth: { token: MARK }, transports: ["polling"] }));
  const operations = () => lines(polling).map(({ at, operation, outcome }) => `${at} ${operation} ${outcome}`);
  for (const operation of [
    "request handshake.polling 200",
    "request post 200",
    "request poll 200",
    "event connect ok",
    "request handshake.websocket 101",
    "event connect REFUSED",
  ]) {
    await until(() => operations().includes(operation), { what: () => `${operation} in ${operations().join(", ")}` });
  }
  await until(() => operations().filter((text) => text === "event connect REFUSED").length === 2);
});

test("queues and crons have lines", async () => {
  const at = new Date();
  const body = { idempotency_key: MARK, to: ["user:queued"], title: MARK };
  await server.deliver("dormouse-pushes", [{ id: "1", timestamp: at, body, attempts: 1 }]);
  await server.cron();
  await line(({ at, operation, outcome }) => at === "queue" && operation === "pushes" && outcome === "ok");
  await line(({ at, operation, outcome }) => at === "cron" && operation === "deliver" && outcome === "ok");
});

test("nothing of what is said, and nobody who says it, is in the log", async () => {
  const marked = await startServer();
  const user = `user-${MARK}`;
  const token = marked.token(user, { claims: { name: MARK } });
  const secrets = [MARK, token, token.split(".")[2], marked.serviceKey, marked.jwtSecret];
  const socket = await connected(marked.connect(user, { departments: [MARK], query: { ack: "on", mark: MARK } }));
  const sid = socket.io.engine.id;
  await caughtUp(marked, user);
  // What goes wrong says more than what does not.
  for (const point of ["nudge-received", "outbox-before-flush", "settle-before-write", "catch-up-before-pull", "nudge-queued"]) {
    await marked.failPoint(point);
  }
  const push = { to: [`user:${user}`, `dept:${MARK}`, `room:${MARK}`], title: MARK, content: MARK, data: { mark: MARK } };
  await marked.push(push, { idempotencyKey: MARK });
  await marked.push({ ...push, category: MARK, collapse_key: MARK });
  await marked.push({ ...push, [MARK]: MARK });
  await marked.api("POST", "/v1/notifications", { key: marked.serviceKey, body: `{"${MARK}` });
  const { recipient_id } = await nextEvent(socket, "notification:new");
  const emit = (...args) => socket.timeout(5_000).emitWithAck(...args);
  await emit("notification:acknowledge", { recipient_id });
  await emit("auth:refresh", { token });
  await emit("auth:refresh", { token: MARK });
  await emit(MARK, MARK);
  await emit("presence:query", { users: [MARK] });
  await marked.api("POST", "/v1/events", { key: marked.serviceKey, body: { to: [`user:${user}`], event: MARK, data: { mark: MARK } } });
  await marked.api("GET", `/v1/presence/users/${user}?token=${MARK}`, { key: marked.serviceKey });
  await marked.api("PUT", `/v1/rooms/room:${MARK}/members/${user}`, { key: marked.serviceKey });
  await marked.api("GET", `/v1/me/notifications?cursor=${MARK}`, { token });
  await marked.api("POST", `/socket.io/?EIO=4&transport=polling&sid=${MARK}&token=${MARK}`, { body: `40${MARK}` });
  await marked.api("DELETE", `/v1/users/${user}`, { key: marked.serviceKey });
  const body = { idempotency_key: MARK, to: [MARK], title: MARK };
  await marked.deliver("dormouse-pushes", [{ id: MARK, timestamp: new Date(), body, attempts: 1 }]);
  const nudge = { v: 1, user: { [MARK]: MARK } };
  await marked.deliver("dormouse-nudges", [{ id: "1", timestamp: new Date(), body: nudge, attempts: 1 }]);
  await marked.cron();
  const last = await marked.api("GET", "/healthz");
  await ofRequest(last, marked);
  const said = marked.log.join("\n");
  assert.ok(marked.log.some((text) => text.startsWith("[error]")), "something has gone wrong");
  for (const secret of [...secrets, sid]) assert.ok(!said.includes(secret), `${secret} in\n${said}`);
  for (const written of lines(marked)) {
    assert.deepEqual(Object.keys(written).filter((name) => !MEMBERS.includes(name)), [], JSON.stringify(written));
  }
});

test("only errors have lines when only they are wanted, and nothing has when nothing is", async () => {
  for (const [wanted, expected] of [["errors", ["404"]], ["off", []]]) {
    const quiet = await startServer({ vars: { LOG_LINES: wanted } });
    await quiet.api("GET", "/v1/nothing");
    await quiet.api("GET", "/healthz");
    // What says that the lines before it have arrived.
    await quiet.failPoint("push-before-commit");
    await quiet.push("u1");
    await until(() => quiet.log.some((text) => text.includes("fail point")), { what: "the error of a fail point" });
    const outcomes = lines(quiet).map(({ outcome }) => outcome);
    assert.deepEqual(outcomes.filter((outcome) => outcome !== "503"), expected);
  }
});
