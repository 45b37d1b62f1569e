// Many pushes at once (DESIGN 6, 7): each arrives once, in one order that is everybody's, and the record is not asked for what
// the pushes themselves bring.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { consistent, inbox, received } from "./checks.mjs";
import { connected, nextEvent, startServer, until } from "./harness.mjs";

const PUSHES = 100;
// Concurrent pushes overtake each other between the record and the hub. A hub waits a few milliseconds for those an entry
// follows, and reads the record only if they do not come; one read then brings all that are missing. So hardly any read is
// needed, while a hub that did not wait would read for almost every push. A slow machine may need a few.
const READS = PUSHES / 10;

let server;
before(async () => {
  server = await startServer();
});

const times = (count, push) => Promise.all(Array.from({ length: count }, (_, i) => push(i)));
const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

/** The ids of these answered pushes in the order of one user's inbox. */
function inOrder(answers, user) {
  const entries = answers.map(({ status, body }) => {
    assert.equal(status, 201, JSON.stringify(body));
    const { seq } = body.results.find(({ to }) => to === `user:${user}`);
    return { id: body.id, seq };
  });
  entries.sort((a, b) => a.seq - b.seq);
  assert.deepEqual(entries.map(({ seq }) => seq), numbers(1, entries.length), "seq has no gap and no double");
  return entries.map(({ id }) => id);
}

async function gotAll(tab, count) {
  await until(() => tab.events.some(({ name, data }) => name === "unread:count" && data.seq === count));
  // Nothing comes twice later.
  await tab.emitWithAck("ping");
}

test("concurrent pushes reach an online user once each, in the order of seq, on every tab", async () => {
  const tabs = [await connected(server.connect("online")), await connected(server.connect("online"))];
  await server.resetLedger();
  const answers = await times(PUSHES, () => server.push("online"));
  const ledger = await server.ledger();
  const ids = inOrder(answers, "online");
  for (const tab of tabs) {
    await gotAll(tab, PUSHES);
    assert.deepEqual(received(tab), ids);
    const seqs = (name) => tab.events.filter((event) => event.name === name).map(({ data }) => data.seq);
    assert.deepEqual(seqs("notification:new"), numbers(1, PUSHES));
    const counts = tab.events.filter(({ name }) => name === "unread:count").map(({ data }) => data);
    assert.deepEqual(counts, numbers(1, PUSHES).map((n) => ({ count: n, unseen: n, seq: n })));
  }
  // Each push is one batch, and each delivery is written in at most one.
  assert.ok(ledger.record_batches <= 2 * PUSHES + READS, `${ledger.record_batches} batches`);
  await consistent(server, "online", ids);
});

test("concurrent pushes to an offline user are listed once each, and their hub does not read the record for them", async () => {
  await server.resetLedger();
  const answers = await times(PUSHES, () => server.push("offline"));
  const ledger = await server.ledger();
  assert.ok(ledger.record_batches <= PUSHES + READS, `${ledger.record_batches} batches for ${PUSHES} pushes`);
  assert.equal(ledger.object_requests, PUSHES);
  await consistent(server, "offline", inOrder(answers, "offline"));
});

test("concurrent pushes to overlapping audiences leave every inbox whole", async () => {
  const users = ["group-a", "group-b", "group-c"];
  const tabs = await Promise.all(users.map((user) => connected(server.connect(user))));
  const audiences = [[0, 1, 2], [0, 1], [2, 1], [2]];
  const answers = await times(60, (i) =>
    server.push({ to: audiences[i % audiences.length].map((u) => `user:${users[u]}`), title: `Push ${i}` }),
  );
  for (const [u, user] of users.entries()) {
    const own = answers.filter((_, i) => audiences[i % audiences.length].includes(u));
    const ids = inOrder(own, user);
    await gotAll(tabs[u], ids.length);
    assert.deepEqual(received(tabs[u]), ids);
    await consistent(server, user, ids);
  }
});

test("a tab that connects in between is told a seq and then everything after it", async () => {
  await server.push("joining");
  const sent = times(PUSHES, () => server.push("joining"));
  const tab = await connected(server.connect("joining"));
  const answers = await sent;
  const { seq, unread } = await nextEvent(tab, "authenticated");
  assert.equal(unread, seq);
  // The last push may have been before the connect, however unlikely.
  if (seq < PUSHES + 1) await gotAll(tab, PUSHES + 1);
  const seqs = tab.events.filter(({ name }) => name === "notification:new").map(({ data }) => data.seq);
  assert.deepEqual(seqs, numbers(seq + 1, PUSHES + 1));
  const { items } = await inbox(server, "joining");
  assert.deepEqual(items.map(({ seq }) => seq), numbers(1, PUSHES + 1).reverse());
  assert.equal(new Set(answers.map(({ body }) => body.id)).size, PUSHES);
});

test("acknowledgements, fetches and pushes at once leave the inbox whole and everything delivered", async () => {
  const tab = await connected(server.connect("busy", { query: { ack: "on" } }));
  tab.on("notification:new", ({ recipient_id }) => tab.emit("notification:acknowledge", { recipient_id }));
  const token = server.token("busy");
  const answers = await times(60, async (i) => {
    if (i % 3 === 0) assert.equal((await server.api("GET", "/v1/me/notifications?limit=5", { token })).status, 200);
    return server.push("busy");
  });
  await gotAll(tab, 60);
  await until(async () => {
    const [{ pending }] = await server.db.all(
      "SELECT count(*) AS pending FROM deliveries WHERE user_id = 'busy' AND status <> 'delivered'",
    );
    return pending === 0;
  });
  await consistent(server, "busy", inOrder(answers, "busy"));
});
