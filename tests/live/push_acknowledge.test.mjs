// When a notification counts as delivered (DESIGN 7): by acknowledgement, when it was sent, or by fetching the list.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { connected, nextEvent, startServer, until } from "./harness.mjs";
import { openRaw } from "./raw.mjs";

const MODES = ["auto", "required", "off"];
const servers = {};
before(async () => {
  await Promise.all(MODES.map(async (mode) => (servers[mode] = await startServer({ vars: { ACK_MODE: mode } }))));
});

/** The record of what became of a push for a user. */
async function delivery(server, user, id) {
  const sql = "SELECT status, attempts, delivered_at FROM deliveries WHERE notification_id = ?1 AND user_id = ?2";
  return (await server.db.all(sql, id, user))[0];
}

const UNTOUCHED = { status: "pending", attempts: 0, delivered_at: null };

/** Waits until the record knows that it is delivered, and gives what it says. */
function delivered(server, user, id) {
  return until(async () => {
    const row = await delivery(server, user, id);
    return row.status === "delivered" && row;
  });
}

/** An attempt under way is no news to the record. */
async function unwritten(server, user, id) {
  assert.equal((await server.hubInfo(user)).owed, 0);
  assert.deepEqual(await delivery(server, user, id), UNTOUCHED);
}

const acknowledge = (socket, ...items) =>
  socket.emitWithAck("notification:acknowledge", items.map(({ recipient_id }) => ({ recipient_id })));

// ---- by acknowledgement ----

test("what a session with ack=on gets is pending until it acknowledges, and a second time changes nothing", async () => {
  const server = servers.auto;
  const user = "acknowledger";
  const tabs = [
    await connected(server.connect(user, { query: { ack: "on" } })),
    await connected(server.connect(user, { query: { ack: "on" } })),
  ];
  const { body } = await server.push(user);
  assert.equal(body.results[0].delivery_status, "pending");
  const item = await nextEvent(tabs[0], "notification:new");
  assert.equal(item.attempt, 1);
  await unwritten(server, user, body.id);

  const since = Date.now();
  assert.deepEqual(await acknowledge(tabs[0], item), { ok: true, acknowledged: 1 });
  const first = await delivered(server, user, body.id);
  assert.equal(first.attempts, 1);
  assert.ok(first.delivered_at >= since - 1000 && first.delivered_at <= Date.now() + 1000);

  for (const tab of tabs) assert.deepEqual(await acknowledge(tab, item), { ok: true, acknowledged: 1 });
  // A later delivery is written after whatever those might have written.
  const later = (await server.push(user)).body;
  await acknowledge(tabs[1], later.results[0]);
  await delivered(server, user, later.id);
  assert.deepEqual(await delivery(server, user, body.id), first);
});

test("acknowledging says how many of the named records there are", async () => {
  const server = servers.auto;
  const tab = await connected(server.connect("counter", { query: { ack: "on" } }));
  const items = [];
  for (let i = 0; i < 3; i++) items.push((await server.push("counter")).body.results[0]);
  const unknown = { recipient_id: "00000000-0000-5000-8000-000000000000" };
  assert.deepEqual(await acknowledge(tab, ...items, unknown), { ok: true, acknowledged: 3 });
  const named = await tab.emitWithAck("notification:acknowledge", { recipient_id: items[0].recipient_id });
  assert.deepEqual(named, { ok: true, acknowledged: 1 });
  const rows = await until(async () => {
    const rows = await server.db.all("SELECT status FROM deliveries WHERE user_id = 'counter' AND status = 'delivered'");
    return rows.length === 3 && rows;
  });
  assert.equal(rows.length, 3);
});

test("what came while offline is first attempted at the next connect, and pending until it is acknowledged", async () => {
  const server = servers.required;
  const { body } = await server.push("late");
  assert.deepEqual(await delivery(server, "late", body.id), UNTOUCHED);
  const tab = await connected(server.connect("late"));
  const { attempt, redelivered } = await nextEvent(tab, "notification:new");
  assert.deepEqual({ attempt, redelivered }, { attempt: 1, redelivered: false });
  await unwritten(server, "late", body.id);
  await acknowledge(tab, body.results[0]);
  assert.equal((await delivered(server, "late", body.id)).attempts, 1);
});

// ---- by mode and by what the sessions said ----

const silent = {};
const inQuery = { query: { ack: "on" } };
const inConnect = { auth: { ack: "on" } };

const table = [
  ["auto", [silent], "delivered"],
  ["auto", [inQuery], "pending"],
  ["auto", [inConnect], "pending"],
  ["auto", [{ query: { ack: "yes" } }], "delivered"],
  ["auto", [inQuery, silent], "delivered"],
  ["required", [silent], "pending"],
  ["required", [inQuery], "pending"],
  ["off", [silent], "delivered"],
  ["off", [inQuery], "delivered"],
  ...MODES.map((mode) => [mode, [], "pending"]),
];
for (const [mode, sessions, expected] of table) {
  const who = sessions.length === 0 ? "nobody" : sessions.map((session) => JSON.stringify(session)).join(" and ");
  test(`with ACK_MODE ${mode}, what is sent to ${who} is ${expected}`, async () => {
    const server = servers[mode];
    const user = `mode ${who}`;
    for (const session of sessions) await connected(server.connect(user, session));
    const { body } = await server.push(user);
    assert.equal(body.results[0].delivery_status, expected);
    assert.equal(body.results[0].online, sessions.length > 0);
    if (sessions.length === 0) {
      assert.deepEqual(await delivery(server, user, body.id), UNTOUCHED);
    } else if (expected === "pending") {
      await unwritten(server, user, body.id);
    } else {
      const { attempts, delivered_at } = await delivered(server, user, body.id);
      assert.equal(attempts, 1);
      assert.ok(delivered_at > 0);
    }
  });
}

test("a session that has acknowledged before is waited for from then on", async () => {
  const server = servers.auto;
  const tab = await connected(server.connect("convert"));
  const before = (await server.push("convert")).body.results[0];
  assert.equal(before.delivery_status, "delivered");
  await acknowledge(tab, before);
  assert.equal((await server.push("convert")).body.results[0].delivery_status, "pending");
});

test("a connection that has left its namespaces is nobody", async () => {
  const server = servers.off;
  const connection = await openRaw(server, "leaver");
  await connection.join();
  // The answer to the second frame shows that the first was taken.
  connection.send("41/notifications,", "40/nowhere,");
  await connection.next((frame) => frame.startsWith("44/nowhere,"));
  const { body } = await server.push("leaver");
  assert.deepEqual([body.results[0].online, body.results[0].delivery_status], [false, "pending"]);
  assert.ok(connection.isOpen);
});

test("acknowledging what another device has deleted is no mistake, and changes nothing", async () => {
  const server = servers.auto;
  const user = "overtaken";
  const query = { ack: "on" };
  const tabs = [await connected(server.connect(user, { query })), await connected(server.connect(user, { query }))];
  const { body } = await server.push(user);
  const kept = await server.push(user);
  const item = await nextEvent(tabs[0], "notification:new", ({ id }) => id === body.id);
  assert.equal((await tabs[1].emitWithAck("notification:delete", { notification_id: body.id })).ok, true);
  const { seq } = await nextEvent(tabs[0], "notification:deleted");
  await until(async () => (await server.hubInfo(user)).owed === 0);
  const row = () => server.db.all("SELECT * FROM deliveries WHERE notification_id = ?1", body.id);
  const before = await row();
  const seen = tabs.map(({ events }) => events.length);

  assert.deepEqual(await acknowledge(tabs[0], item), { ok: true, acknowledged: 1 });
  assert.deepEqual(await acknowledge(tabs[0], item, kept.body.results[0]), { ok: true, acknowledged: 2 });
  for (const tab of tabs) await tab.emitWithAck("ping");
  const since = tabs.map(({ events }, i) => events.slice(seen[i]).map(({ name }) => name));
  for (const names of since) assert.deepEqual(names.filter((name) => name === "error" || name.startsWith("notification:d")), []);
  await delivered(server, user, kept.body.id);
  assert.deepEqual(await row(), before);
  const { body: list } = await server.api("GET", "/v1/me/notifications", { token: server.token(user) });
  assert.deepEqual([list.items.map(({ id }) => id), list.seq], [[kept.body.id], seq]);
});

// ---- by fetching ----

test("fetching the list makes what it returns delivered, and only that", async () => {
  const server = servers.required;
  const ids = [];
  for (let i = 0; i < 3; i++) ids.push((await server.push("fetcher")).body.id);
  const { body } = await server.api("GET", "/v1/me/notifications?limit=2", { token: server.token("fetcher") });
  assert.deepEqual(body.items.map(({ id }) => id), [ids[2], ids[1]]);
  assert.deepEqual(body.items.map(({ delivery_status }) => delivery_status), ["delivered", "delivered"]);
  // Fetching is no reading.
  assert.deepEqual(body.items.map(({ read_at }) => read_at), [null, null]);
  assert.equal(body.unread, 3);
  const rows = await until(async () => {
    const rows = await Promise.all(ids.map((id) => delivery(server, "fetcher", id)));
    return rows[1].status === "delivered" && rows[2].status === "delivered" && rows;
  });
  assert.deepEqual(rows.map(({ status }) => status), ["pending", "delivered", "delivered"]);
  assert.deepEqual(rows.map(({ attempts }) => attempts), [0, 0, 0]);
});
