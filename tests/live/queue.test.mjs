// Pushes from a queue: whatever comes, however often, and whatever fails meanwhile, each is in its users' inboxes once or kept as
// a dead letter that can be listed, replayed and deleted. A Worker of its own sends them: producer.mjs.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, before, test } from "node:test";
import { consistent, device, known, received } from "./checks.mjs";
import { startServer, until } from "./harness.mjs";

const PUSHES = "dormouse-pushes";
const DEAD = "dormouse-pushes-dead";
/** As in wrangler.toml. */
const ATTEMPTS = 1 + 10;
const UNKNOWN_ID = "0192f3a0-7c1e-7d4b-9a55-3f0c2b6d8e11";

const PRODUCER = {
  name: "producer",
  modules: true,
  script: readFileSync(join(import.meta.dirname, "producer.mjs"), "utf8"),
  compatibilityDate: "2026-11-01",
  queueProducers: { DORMOUSE_PUSHES: { queueName: PUSHES } },
  serviceBindings: { DORMOUSE: "dormouse" },
};

let server;
before(async () => {
  server = await startServer({ vars: { QUEUE_RETRY_DELAY_SECONDS: "0" }, workers: [PRODUCER] });
});
afterEach(() => server.clearFailPoints());

/** A push to a user, whose name is also its key unless another is given. */
const pushTo = (user, rest = {}) => ({ idempotency_key: user, to: [`user:${user}`], title: "Hello", ...rest });

async function send(...messages) {
  const { status } = await server.ask("producer", "/send", { body: messages });
  assert.equal(status, 204);
}

const service = (method, path) => server.api(method, path, { key: server.serviceKey });

/** Every dead letter, in the order of the list. */
async function letters(limit = 100) {
  const items = [];
  for (let cursor = ""; ; ) {
    const { status, body } = await service("GET", `/v1/dead-letters?limit=${limit}${cursor && `&cursor=${cursor}`}`);
    assert.equal(status, 200, JSON.stringify(body));
    items.push(...body.items);
    if (body.next_cursor === null) return items;
    assert.equal(body.items.length, limit);
    cursor = encodeURIComponent(body.next_cursor);
  }
}

/** The dead letter with this in its body, once there is one. */
function letterOf(text, options) {
  return until(async () => (await letters()).find(({ body }) => body.includes(text)), { what: `a dead letter of ${text}`, ...options });
}

const replay = ({ id }) => service("POST", `/v1/dead-letters/${id}/replay`);
const replayed = ({ headers }) => headers["idempotent-replayed"];

/** The notifications of a user, as the record has them. */
async function recorded(user) {
  const rows = await server.db.all("SELECT ref FROM audience WHERE room = ?1 AND kind = 'push' ORDER BY n", `user:${user}`);
  return rows.map(({ ref }) => ref);
}

/** The user has just these many notifications, everywhere, and the device was sent each once. */
async function checkArrived(user, socket, count) {
  await until(() => received(socket).length >= count, { timeout: 20_000, what: `${count} notifications at ${user}` });
  const ids = await recorded(user);
  assert.equal(ids.length, count);
  assert.deepEqual(received(socket), ids);
  await consistent(server, user, ids);
}

// ---- what arrives ----

for (const [kind, message] of [
  ["an object", (push) => ({ json: push })],
  ["a text", (push) => ({ text: JSON.stringify(push) })],
  ["a text sent as JSON", (push) => ({ json: JSON.stringify(push) })],
  ["bytes", (push) => ({ bytes: JSON.stringify(push) })],
]) {
  test(`a message that is ${kind} arrives at a stock client once`, async () => {
    const user = `kind ${kind}`;
    const socket = await device(server, user);
    await send(message(pushTo(user, { idempotency_key: kind.replaceAll(" ", "-"), title: "Größe ✓", data: { n: 1 } })));
    await checkArrived(user, socket, 1);
    const { data } = socket.events.find(({ name }) => name === "notification:new");
    assert.deepEqual([data.title, data.data], ["Größe ✓", { n: 1 }]);
  });
}

test("a message sent again is the push it was, at once and later", async () => {
  const user = "twice";
  const socket = await device(server, user);
  await send({ json: pushTo(user) }, { json: pushTo(user) });
  await checkArrived(user, socket, 1);
  // The second comes after the first of the next two; both are in the record when that one is.
  await send({ text: JSON.stringify(pushTo(user)) }, { json: pushTo(user, { idempotency_key: "twice-more" }) });
  await checkArrived(user, socket, 2);
});

test("a key of the queue is no key of a service", async () => {
  const user = "scopes";
  const socket = await device(server, user);
  const { idempotency_key: idempotencyKey, ...push } = pushTo(user);
  const { status } = await server.push(push, { idempotencyKey });
  assert.equal(status, 201);
  await send({ json: pushTo(user) });
  await checkArrived(user, socket, 2);
});

test("a push to several users leaves out those who can't be addressed", async () => {
  const socket = await device(server, "several");
  await send({ json: pushTo("several", { to: ["user:several", "usr:nobody"] }) });
  await checkArrived("several", socket, 1);
  assert.deepEqual((await letters()).filter(({ body }) => body.includes("usr:nobody")), []);
});

test("a push to rooms by the queue reaches members who are online and members who are not, once", async () => {
  const departments = ["queued"];
  const online = await device(server, "queued-on", { departments });
  await until(async () => (await server.push({ to: ["dept:queued"], title: "First" })).body.results[0].online_users === 1);
  const push = { idempotency_key: "queued-rooms", to: ["dept:queued", "user:queued-off"], title: "Hello" };
  await send({ json: push }, { json: push });
  await until(() => online.events.some(({ name, data }) => name === "notification:new" && data.title === "Hello"), { timeout: 20_000 });
  for (const [user, options] of [["queued-on", { departments }], ["queued-off", {}]]) {
    const { body } = await server.api("GET", "/v1/me/notifications", { token: server.token(user, options) });
    assert.equal(body.items.filter(({ title }) => title === "Hello").length, 1, user);
  }
});

test("a message of a push for later waits for its time", async () => {
  const user = "later";
  const deliver_at = new Date(Date.now() + 3_600_000).toISOString();
  await send({ json: pushTo(user, { deliver_at }) }, { json: pushTo(user, { deliver_at }) });
  const waiting = () => server.db.all("SELECT id FROM scheduled WHERE rooms = ?1", `["user:${user}"]`);
  await until(async () => (await waiting()).length > 0);
  await send({ json: pushTo("after-later") });
  await until(async () => (await recorded("after-later")).length === 1);
  assert.equal((await waiting()).length, 1);
});

test("a push through a service binding is answered and arrives", async () => {
  const socket = await device(server, "bound");
  const push = { to: ["user:bound"], title: "Hello" };
  const authorization = `Bearer ${server.serviceKey}`;
  const { status, body } = await server.ask("producer", "/push", { body: { authorization, push } });
  assert.equal(status, 201);
  assert.deepEqual([body.results[0].to, body.results[0].status], ["user:bound", "created"]);
  await checkArrived("bound", socket, 1);
  const refused = await server.ask("producer", "/push", { body: { authorization: "", push } });
  assert.deepEqual([refused.status, refused.body.code], [401, "unauthenticated"]);
});

// ---- what can never arrive ----

const KEY = ["/idempotency_key"];
for (const [what, message, code, pointers] of [
  ["no JSON", () => ({ text: '{"no-JSON"' }), "malformed_json"],
  ["no object", () => ({ json: ["no-object"] }), "malformed_json"],
  ["no text", () => ({ bytes: "\u0000no-text\u0000" }), "malformed_json"],
  ["no key", (push) => ({ json: { ...push, idempotency_key: undefined } }), "invalid_idempotency_key", KEY],
  ["a bad key", (push) => ({ json: { ...push, idempotency_key: "a b" } }), "invalid_idempotency_key", KEY],
  ["no title", (push) => ({ json: { ...push, title: undefined } }), "invalid_request", ["/title"]],
  ["an unknown field", (push) => ({ json: { ...push, colour: 1 } }), "unknown_field", ["/colour"]],
  ["bad recipients", (push) => ({ json: { ...push, to: ["usr:1", 2] } }), "invalid_recipient", ["/to/0", "/to/1"]],
  ["a time that has passed", (push) => ({ json: { ...push, expires_at: "2020-01-01T00:00:00Z" } }), "invalid_request", ["/expires_at"]],
  ["a template nobody has stored", (push) => ({ json: { ...push, title: undefined, template: { key: "t" } } }), "unknown_template", ["/template/key"]],
]) {
  test(`a message with ${what} is a dead letter at once`, async () => {
    const name = what.replaceAll(" ", "-");
    const sent = message(pushTo(name, { data: { name } }));
    const before = Date.now();
    await send(sent);
    const letter = await letterOf(name);
    const { received_at, problem, body } = letter;
    assert.equal(body, sent.text ?? sent.bytes ?? JSON.stringify(sent.json));
    assert.equal(problem.code, code);
    assert.deepEqual(problem.errors?.map(({ pointer }) => pointer), pointers);
    assert.ok(Date.parse(received_at) >= before);
    // The very same handler says the very same of it.
    const again = await replay(letter);
    assert.deepEqual([again.status, again.body.code], [problem.status, code]);
    assert.deepEqual(again.body.errors, problem.errors);
    assert.deepEqual((await letters()).filter(({ body }) => body.includes(name)), [letter]);
  });
}

test("a key with another body is a dead letter, and the push stays what it was", async () => {
  const user = "other-body";
  const socket = await device(server, user);
  await send({ json: pushTo(user) }, { json: pushTo(user, { title: "Other" }) });
  assert.equal((await letterOf('"Other"')).problem.code, "idempotency_mismatch");
  await checkArrived(user, socket, 1);
});

test("poison does not hold up its neighbours", async () => {
  const user = "neighbours";
  const socket = await device(server, user);
  const good = Array.from({ length: 4 }, (_, i) => ({ json: pushTo(user, { idempotency_key: `${user}-${i}` }) }));
  await send(good[0], { text: "poison-1" }, good[1], good[2], { text: "poison-2" }, good[3]);
  await checkArrived(user, socket, 4);
  for (const poison of ["poison-1", "poison-2"]) assert.equal((await letterOf(poison)).body, poison);
});

test("a message that can't be stored with the others does not hold them up", async () => {
  const user = "one-by-one";
  const socket = await device(server, user);
  // All together, then the first by itself.
  await server.failPoint("push-before-commit", { times: 2 });
  const messages = batch([0, 1, 2].map((i) => pushTo(user, { idempotency_key: `${user}-${i}` })));
  const settled = await server.deliver(PUSHES, messages);
  assert.deepEqual(settled.explicitAcks, [messages[1].id, messages[2].id]);
  assert.deepEqual(settled.retryMessages.map(({ msgId }) => msgId), [messages[0].id]);
  await server.deliver(PUSHES, messages);
  await checkArrived(user, socket, 3);
});

// ---- what fails meanwhile ----

test("while the record fails nothing is lost, and afterwards nothing is doubled", async () => {
  const user = "outage";
  const socket = await device(server, user);
  await server.failPoint("push-before-commit", { times: 8 });
  for (let i = 0; i < 3; i++) await send({ json: pushTo(user, { idempotency_key: `${user}-${i}` }) });
  await until(async () => (await server.failPoints())["push-before-commit"].times === 0, { timeout: 20_000 });
  await checkArrived(user, socket, 3);
  assert.deepEqual((await letters()).filter(({ body }) => body.includes(user)), []);
});

for (const point of ["push-committed", "push-nudged"]) {
  test(`a batch that is stored and fails at ${point} is not stored again`, async () => {
    const user = `stored-${point}`;
    const socket = await device(server, user);
    const messages = batch([0, 1].map((i) => pushTo(user, { idempotency_key: `${user}-${i}` })));
    // All together, then each by itself.
    await server.failPoint(point, { times: 3 });
    const { explicitAcks, retryMessages } = await server.deliver(PUSHES, messages);
    assert.deepEqual([explicitAcks, retryMessages.length], [[], 2]);
    assert.equal((await recorded(user)).length, 2);
    assert.equal((await server.deliver(PUSHES, messages)).explicitAcks.length, 2);
    await checkArrived(user, socket, 2);
  });
}

for (const [point, stored] of [["push-before-commit", 0], ["push-committed", 2], ["push-nudged", 2]]) {
  test(`a batch whose process is killed at ${point} comes again and is there once`, async () => {
    const user = `killed-${point}`;
    const messages = batch([0, 1].map((i) => pushTo(user, { idempotency_key: `${user}-${i}` })));
    await killed(point, PUSHES, messages);
    assert.equal((await recorded(user)).length, stored);
    const socket = await device(server, user);
    assert.equal((await server.deliver(PUSHES, messages)).explicitAcks.length, 2);
    const ids = await recorded(user);
    assert.equal(ids.length, 2);
    await until(() => known(socket).seq === 2);
    assert.equal(known(socket).unread, 2);
    await consistent(server, user, ids);
  });
}

test("a dead letter whose process is killed when it is kept comes again and is there once", async () => {
  const messages = batch(["killed-letter"]);
  await killed("letter-kept", PUSHES, messages);
  assert.deepEqual((await server.deliver(PUSHES, messages)).explicitAcks, [messages[0].id]);
  assert.equal((await letters()).filter(({ body }) => body === "killed-letter").length, 1);
});

test("a push without attempts left is a dead letter, and is replayed", async () => {
  const user = "exhausted";
  const socket = await device(server, user);
  await server.failPoint("push-before-commit", { times: 10_000 });
  await server.failPoint("letter-before-keep", { times: 2 });
  await send({ json: pushTo(user) });
  const letter = await letterOf(user, { timeout: 40_000 });
  assert.deepEqual(letter.problem, {
    type: "/problems/retries-exhausted",
    title: "No attempt to carry it out was successful",
    status: 503,
    code: "retries_exhausted",
  });
  assert.equal((await server.failPoints())["push-before-commit"].hits, ATTEMPTS);
  assert.equal((await server.failPoints())["letter-before-keep"].times, 0);
  assert.deepEqual(received(socket), []);

  const failing = await replay(letter);
  assert.deepEqual([failing.status, failing.body.code], [503, "unavailable"]);
  assert.equal((await letterOf(user)).id, letter.id);

  await server.clearFailPoints();
  const { status, headers, body } = await replay(letter);
  assert.equal(status, 201);
  assert.equal(replayed({ headers }), undefined);
  assert.equal(body.results[0].status, "created");
  await checkArrived(user, socket, 1);
  assert.deepEqual((await letters()).filter(({ id }) => id === letter.id), []);
  assert.equal((await replay(letter)).status, 404);
});

test("a replay that ends before the dead letter is deleted can be repeated", async () => {
  const user = "replayed";
  const socket = await device(server, user);
  const letter = await buried(pushTo(user));
  await server.failPoint("letter-replayed");
  assert.equal((await replay(letter)).status, 503);
  assert.equal((await letterOf(user)).id, letter.id);
  const again = await replay(letter);
  assert.deepEqual([again.status, replayed(again)], [201, "true"]);
  await checkArrived(user, socket, 1);
  assert.equal((await replay(letter)).status, 404);
});

test("a dead letter is replayed once what it lacked is there", async () => {
  const user = "unprepared";
  const socket = await device(server, user);
  await send({ json: { ...pushTo(user), title: undefined, template: { key: "late" } } });
  const letter = await letterOf(user);
  await server.api("PUT", "/v1/templates/late", { key: server.serviceKey, body: { title: "Late", content: "" } });
  assert.equal((await replay(letter)).status, 201);
  await checkArrived(user, socket, 1);
});

for (const point of ["letter-before-keep", "letter-kept"]) {
  test(`a dead letter that fails at ${point} is kept once`, async () => {
    await server.failPoint(point, { times: 2 });
    await send({ text: point });
    await until(async () => (await server.failPoints())[point].times === 0);
    await letterOf(point);
    // What is sent after it comes after it: by then it has been settled.
    await send({ text: `after ${point}` });
    await letterOf(`after ${point}`);
    assert.equal((await letters()).filter(({ body }) => body === point).length, 1);
  });
}

// ---- how messages are settled ----

/** Messages as the queue hands them over. */
function batch(bodies, { attempts = 1, timestamp = new Date() } = {}) {
  return bodies.map((body) => ({ id: crypto.randomUUID().replaceAll("-", ""), timestamp, body, attempts }));
}

/** A crash while messages are at the fail point, before any of them is settled. */
async function killed(point, queue, messages) {
  await server.failPoint(point, { action: "stall" });
  const delivered = server.deliver(queue, messages);
  delivered.catch(() => {}); // It ends with the process.
  await until(async () => (await server.failPoints())[point].hits === 1, { what: `${point} is reached` });
  await server.restart();
}

/** The dead letter of a push whose attempts are used up. */
async function buried(push) {
  const { outcome } = await server.deliver(DEAD, batch([push]));
  assert.equal(outcome, "ok");
  return letterOf(push.idempotency_key);
}

test("each message is settled by itself", async () => {
  const messages = batch([pushTo("settled"), "{", pushTo("settled", { title: "Other" }), null]);
  const settled = await server.deliver(PUSHES, messages);
  assert.equal(settled.outcome, "ok");
  assert.deepEqual(settled.explicitAcks.toSorted(), messages.map(({ id }) => id).toSorted());
  assert.deepEqual([settled.ackAll, settled.retryBatch.retry, settled.retryMessages], [false, false, []]);
});

test("a message that came twice with nothing settled is one dead letter", async () => {
  const messages = batch(["settled-twice"]);
  await server.deliver(PUSHES, messages);
  await server.deliver(DEAD, messages);
  assert.equal((await letters()).filter(({ body }) => body === "settled-twice").length, 1);
});

test("what nobody expects comes again", async () => {
  const { outcome, retryBatch, explicitAcks } = await server.deliver("somebody-elses", batch([pushTo("unexpected")]));
  assert.deepEqual([outcome, retryBatch.retry, explicitAcks], ["ok", true, []]);
  assert.deepEqual(await recorded("unexpected"), []);
});

test("a push waits longer with each attempt, and what can't be kept still longer", async () => {
  const slow = await startServer();
  async function delayAfter(queue, point, attempts) {
    await slow.failPoint(point);
    const { retryMessages, explicitAcks } = await slow.deliver(queue, batch([pushTo("slow")], { attempts }));
    assert.deepEqual(explicitAcks, []);
    return retryMessages.map(({ delaySeconds }) => delaySeconds);
  }
  for (const [queue, point, attempts, delay] of [
    [PUSHES, "push-before-commit", 1, 5],
    [PUSHES, "push-before-commit", 2, 10],
    [PUSHES, "push-before-commit", 7, 320],
    [PUSHES, "push-before-commit", 8, 600],
    [PUSHES, "push-before-commit", 11, 600],
    [DEAD, "letter-before-keep", 1, 5],
    [DEAD, "letter-before-keep", 11, 3_600],
    [DEAD, "letter-before-keep", 101, 3_600],
  ]) {
    assert.deepEqual(await delayAfter(queue, point, attempts), [delay], `${queue} after ${attempts}`);
  }
  await slow.stop();
});

// ---- the list ----

test("dead letters are listed in the order they were sent, in pages", async () => {
  await server.db.run("DELETE FROM dead_letters");
  const names = ["page-0", "page-1", "page-2", "page-3", "page-4"];
  const at = Date.now();
  for (const i of [3, 0, 4, 2, 1]) await server.deliver(PUSHES, batch([names[i]], { timestamp: new Date(at + i) }));
  for (const limit of [1, 2, 5, 100]) {
    assert.deepEqual((await letters(limit)).map(({ body }) => body), names, `${limit} at a time`);
  }
  for (const query of ["limit=0", "limit=101", "cursor=x", "cursor="]) {
    const { status, body } = await service("GET", `/v1/dead-letters?${query}`);
    assert.deepEqual([status, body.code], [400, "invalid_parameter"], query);
  }
});

test("a dead letter is deleted once", async () => {
  const { id } = await buried(pushTo("deleted"));
  const path = `/v1/dead-letters/${id}`;
  assert.equal((await service("DELETE", path)).status, 204);
  assert.equal((await service("DELETE", path)).status, 404);
  assert.equal((await service("POST", `${path}/replay`)).status, 404);
  assert.equal((await service("DELETE", `/v1/dead-letters/${UNKNOWN_ID}`)).status, 404);
  assert.deepEqual(await recorded("deleted"), []);
});

test("no dead letter names a user who was erased", async () => {
  const alone = await buried(pushTo("erased", { idempotency_key: "erased-alone" }));
  const others = await buried(pushTo("erased", { idempotency_key: "erased-others", to: ["user:erased", "user:spared", "user:kept"] }));
  const neither = await buried(pushTo("spared", { idempotency_key: "erased-not" }));
  await server.deliver(PUSHES, batch(["user:erased", '"user:erased"']));
  const { status } = await service("DELETE", "/v1/users/erased");
  assert.equal(status, 202);
  const left = await letters();
  assert.equal(left.find(({ id }) => id === alone.id), undefined);
  assert.deepEqual(left.find(({ id }) => id === neither.id), neither);
  const { body } = left.find(({ id }) => id === others.id);
  assert.deepEqual(JSON.parse(body), { ...JSON.parse(others.body), to: ["user:spared", "user:kept"] });
  assert.equal((await replay(others)).status, 201);
  assert.deepEqual(await Promise.all(["erased", "spared", "kept"].map(async (user) => (await recorded(user)).length)), [0, 1, 1]);
});

test("while the settings are wrong, what fails waits longest", async () => {
  await server.restart({ vars: { RETENTION_DAYS: "0" } });
  await server.failPoint("push-before-commit");
  const { retryMessages } = await server.deliver(PUSHES, batch([pushTo("misconfigured")]));
  assert.deepEqual(retryMessages.map(({ delaySeconds }) => delaySeconds), [600]);
});
