// Between any two steps of a push the event may fail or the process may die. Afterwards the push, repeated under its key,
// is in the record, in the list and at the client as if nothing had happened (DESIGN 7, 12).
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, before, test } from "node:test";
import { consistent, device, known, pushed, received, recorded } from "./checks.mjs";
import { startServer, until } from "./harness.mjs";

const LOST = ["nudge-received", "nudge-queued"];

/**
 * Every fail point: what is true when it is reached, and what the pusher is told when the step fails.
 *
 * `stored`: the record has the push. `applied`: the hub has it. `answer`: `created`, `accepted` (it is stored, the hub did
 * not answer) or `refused` (the pusher may repeat it). `after`: the points that must fail before. `by`: what brings the
 * event there.
 */
const POINTS = {
  "push-before-commit": { stored: 0, applied: 0, answer: "refused" },
  // The Worker repeats the commit by itself.
  "commit-answered": { stored: 1, applied: 0, answer: "created" },
  "push-committed": { stored: 1, applied: 0, answer: "refused" },
  "push-nudged": { stored: 1, applied: 1, answer: "refused" },
  "nudge-queued": { stored: 1, applied: 0, answer: "accepted", after: ["nudge-received"] },
  "nudge-received": { stored: 1, applied: 0, answer: "accepted" },
  // Stored and not sent: the client learns from the next `seq` that it missed something and reads its list. In the production
  // bundle nothing can fail between the two; it takes a dying process, and that ends the connection as well.
  "entry-stored": { stored: 1, applied: 1, answer: "accepted", unsent: true },
  "nudge-applied": { stored: 1, applied: 1, answer: "accepted" },
  "catch-up-before-pull": { stored: 1, applied: 0, answer: "accepted", after: LOST, by: "connect" },
  "catch-up-pulled": { stored: 1, applied: 0, answer: "accepted", after: LOST, by: "connect" },
  "attend-before-read": { stored: 1, applied: 0, answer: "accepted", after: LOST, by: "connect" },
  "attend-read": { stored: 1, applied: 0, answer: "accepted", after: LOST, by: "connect" },
  "outbox-before-flush": { stored: 1, applied: 1, answer: "created" },
  "settle-before-write": { stored: 1, applied: 1, answer: "created" },
  "settle-written": { stored: 1, applied: 1, answer: "created" },
  "outbox-flushed": { stored: 1, applied: 1, answer: "created" },
};

/** No push gets there: see scheduled.test.mjs. */
const CRON_POINTS = ["cron-before-commit", "cron-committed", "cron-nudged"];

/** No push over HTTP gets there: see queue.test.mjs. */
const QUEUE_POINTS = ["letter-before-keep", "letter-kept", "letter-replayed"];

let server;
before(async () => {
  server = await startServer();
});
afterEach(() => server.clearFailPoints());

/** Only pushes to rooms get there: see switchboard.test.mjs. */
const ROOM_POINTS = ["fan-out-accepted", "fan-out-batch-told"];

test("the table has every fail point", () => {
  const source = readFileSync(join(import.meta.dirname, "../../src/edge/src/instruments/mod.rs"), "utf8");
  const [, variants] = /enum FailPoint \{(.*?)\n\}/s.exec(source);
  const names = [...variants.matchAll(/^ +([A-Z]\w*),$/gm)].map(([, name]) => name.replace(/\B[A-Z]/g, "-$&").toLowerCase());
  assert.deepEqual([...Object.keys(POINTS), ...CRON_POINTS, ...QUEUE_POINTS, ...ROOM_POINTS].toSorted(), names.toSorted());
});

for (const point of Object.keys(POINTS)) {
  test(`a process killed at ${point} loses nothing and doubles nothing`, () => checkKilled(point));
  test(`a failure at ${point} loses nothing and doubles nothing`, () => checkFailed(point));
}

async function checkKilled(point) {
  const { stored, applied, unsent } = POINTS[point];
  const user = `killed-${point}`;
  const { socket, earlier } = await begin(user);
  const { answer } = await reach(point, "stall", user);
  await server.kill();
  await server.restart();
  // The point is where the table says.
  assert.equal(await entries(user), 1 + stored);
  assert.equal((await server.hubInfo(user)).cursor, 1 + applied);

  const back = await device(server, user);
  const { id, recipient_id } = await repeat(user, { replayed: stored === 1 });
  const before = await answer.catch(() => undefined);
  if (before?.status === 201) assert.equal(before.body.id, id, "what was answered is what is repeated");

  await checkClient([socket, back], [earlier, id], { unsent });
  // What the client got it acknowledges again: it can't know what became of the first time.
  const { ok } = await back.timeout(10_000).emitWithAck("notification:acknowledge", { recipient_id });
  assert.equal(ok, true);
  await recorded(server, user, id, "delivered");
  await consistent(server, user, [earlier, id]);
}

async function checkFailed(point) {
  const { stored, answer: expected, unsent, by } = POINTS[point];
  const user = `failed-${point}`;
  const { socket, earlier } = await begin(user);
  // The queue would bring the nudge as well, but at any time, and then to the fail point of another test.
  await server.failPoint("nudge-queued");
  const { answer } = await reach(point, "error", user);
  const { status, body } = await answer;
  if (expected === "refused") assert.ok(status >= 500, `refused with ${status}`);
  else {
    assert.equal(status, 201);
    const [{ status: result, seq }] = body.results;
    assert.deepEqual({ result, seq }, { result: expected, seq: expected === "created" ? 2 : null });
  }

  const { id } = await repeat(user, { replayed: stored === 1 });
  if (status === 201) assert.equal(body.id, id, "what was answered is what is repeated");
  await checkClient([socket], [earlier, id], { unsent });
  if (!unsent) await recorded(server, user, id, "delivered");
  // Where nobody was told, somebody has to look: then all agree on the counts.
  const back = by === "connect" || unsent ? await device(server, user) : socket;
  assert.deepEqual(known(back), { unread: 2, seq: 2 });
  await consistent(server, user, [earlier, id]);
}

test("a commit whose answer is lost twice is refused, and is stored once when it is repeated", async () => {
  const user = "lost-twice";
  const { socket, earlier } = await begin(user);
  await server.failPoint("commit-answered", { times: 2 });
  assert.ok((await pushOnce(user)).status >= 500);
  const { id } = await repeat(user, { replayed: true });
  await checkClient([socket], [earlier, id]);
  await consistent(server, user, [earlier, id]);
});

test("a commit whose answer is lost is stored once without a key too", async () => {
  const user = "no-key";
  const { socket, earlier } = await begin(user);
  await server.failPoint("commit-answered");
  const id = await pushed(server, user);
  await checkClient([socket], [earlier, id]);
  await consistent(server, user, [earlier, id]);
});

// ---- the steps ----

/** A client that acknowledges, and a push before the one that matters, with which everybody is done. */
async function begin(user) {
  const socket = await device(server, user);
  const earlier = await pushed(server, user);
  await recorded(server, user, earlier, "delivered");
  await until(async () => (await server.hubInfo(user)).owed === 0);
  return { socket, earlier };
}

/** Pushes and waits until the event is at the fail point. The answer may never come. */
async function reach(point, action, user) {
  const { after = [], by = "push" } = POINTS[point];
  for (const other of after) await server.failPoint(other);
  if (by === "push") await server.failPoint(point, { action });
  const answer = pushOnce(user);
  // Whoever wants the answer looks at it later.
  answer.catch(() => {});
  if (by === "connect") {
    await answer;
    await server.failPoint(point, { action });
    server.connect(user);
  }
  await until(async () => (await server.failPoints())[point].hits === 1, { what: `${point} is reached` });
  return { answer };
}

/** Always the same push, under the same key. */
function pushOnce(user) {
  return server.push(user, { idempotencyKey: user });
}

/** The push again; now nothing fails. */
async function repeat(user, { replayed }) {
  const { status, headers, body } = await pushOnce(user);
  assert.equal(status, 201, JSON.stringify(body));
  assert.equal(headers["idempotent-replayed"], replayed ? "true" : undefined);
  const [{ status: result, seq, recipient_id }] = body.results;
  assert.deepEqual({ result, seq }, { result: "created", seq: 2 });
  return { id: body.id, recipient_id };
}

async function entries(user) {
  const [{ count }] = await server.db.all("SELECT count(*) AS count FROM audience WHERE room = ?1", `user:${user}`);
  return count;
}

/** The client got everything on one of its connections, on each in order and at most once; `unsent`: but not the last. */
async function checkClient(sockets, ids, { unsent = false } = {}) {
  const got = () => new Set(sockets.flatMap(received));
  const expected = unsent ? ids.slice(0, -1) : ids;
  const all = () => expected.every((id) => got().has(id));
  await until(all, { what: () => `${expected} at the client, which got ${[...got()]}` });
  assert.equal(got().size, expected.length);
  for (const socket of sockets) {
    const here = received(socket);
    assert.deepEqual(here, ids.filter((id) => here.includes(id)));
  }
  if (unsent) return;
  await until(() => known(sockets.at(-1)).seq === ids.length);
  assert.equal(known(sockets.at(-1)).unread, ids.length);
}
