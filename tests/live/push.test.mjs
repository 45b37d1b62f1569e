// A push on its way to the clients (DESIGN 5, 7): what they get, in which order, and who gets nothing. Acknowledgements,
// idempotency and lists have files of their own, all named push_*.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { consistent, inbox, presence, pushed, received } from "./checks.mjs";
import { connected, nextEvent, startServer, until } from "./harness.mjs";

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const UTC = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

let server;
before(async () => {
  server = await startServer();
});

const counted = (socket) => socket.events.filter(({ name }) => name === "unread:count").map(({ data }) => data);

test("every tab of the user gets the same notification and the same count", async () => {
  const tabs = await Promise.all([1, 2, 3].map(() => connected(server.connect("tabs"))));
  await server.push("tabs");
  const told = [];
  for (const tab of tabs) told.push([await nextEvent(tab, "notification:new"), await nextEvent(tab, "unread:count")]);
  assert.deepEqual(told[1], told[0]);
  assert.deepEqual(told[2], told[0]);
  assert.deepEqual(told[0][1], { count: 1, unseen: 1, seq: 1 });
  for (const tab of tabs) {
    const names = tab.events.map(({ name }) => name);
    assert.deepEqual(names, ["authenticated", "notification:new", "unread:count"]);
  }
});

test("a stock client's namespaces share one connection, and each gets the notification", async () => {
  const notifications = await connected(server.connect("namespaces"));
  const root = notifications.io.socket("/");
  const told = [];
  root.on("notification:new", (item) => told.push(item));
  await until(() => root.connected);
  assert.notEqual(root.id, notifications.id);
  await server.push("namespaces");
  const item = await nextEvent(notifications, "notification:new");
  await until(() => told.length > 0);
  assert.deepEqual(told, [item]);
  assert.equal((await server.hubInfo("namespaces")).sockets, 1);
});

test("notification:new has exactly the documented fields", async () => {
  const tab = await connected(server.connect("fields"));
  const { status, body } = await server.push({
    to: ["user:fields"],
    type: { id: "order.created", name: "Order", icon: "cart", color: "#1890ff" },
    title: "Order 1042 ☃",
    content: "Paid by **card**",
    sender: { id: "svc-orders", username: "orders", display_name: "Orders" },
    action: { url: "/orders/1042", text: "Open" },
    data: { order_id: 1042, nested: { list: [1, "two", null] } },
    category: "orders",
    priority: "high",
  });
  assert.equal(status, 201);
  const [result] = body.results;
  assert.deepEqual(await nextEvent(tab, "notification:new"), {
    id: body.id,
    recipient_id: result.recipient_id,
    seq: 1,
    title: "Order 1042 ☃",
    content: "Paid by **card**",
    content_html: "<p>Paid by <strong>card</strong></p>\n",
    message: "Paid by **card**",
    type: { id: "order.created", name: "Order", icon: "cart", color: "#1890ff" },
    sender: { id: "svc-orders", username: "orders", display_name: "Orders" },
    action_url: "/orders/1042",
    action_text: "Open",
    data: { order_id: 1042, nested: { list: [1, "two", null] } },
    category: "orders",
    priority: "high",
    created_at: body.created_at,
    expires_at: null,
    unread: 1,
    attempt: 1,
    redelivered: false,
  });
});

test("what a push leaves out is null, and the name of a type is its id", async () => {
  const tab = await connected(server.connect("smallest"));
  await server.push({ to: ["user:smallest"], title: "Hello", type: { id: "greeting" }, sender: { id: "s" } });
  const { id, recipient_id, created_at, ...said } = await nextEvent(tab, "notification:new");
  assert.deepEqual(said, {
    seq: 1,
    title: "Hello",
    content: "",
    content_html: "",
    message: "",
    type: { id: "greeting", name: "greeting", icon: null, color: null },
    sender: { id: "s", username: null, display_name: null },
    action_url: null,
    action_text: null,
    data: null,
    category: null,
    priority: "normal",
    expires_at: null,
    unread: 1,
    attempt: 1,
    redelivered: false,
  });
  assert.match(id, UUID);
  assert.match(recipient_id, UUID);
  assert.match(created_at, UTC);
});

test("the pusher is told what became of each recipient", async () => {
  await connected(server.connect("told-online"));
  const { status, body } = await server.push({ to: ["user:told-online", "user:told-offline"], title: "Hello" });
  assert.equal(status, 201);
  const [online, offline] = body.results.map(({ recipient_id }) => ({ status: "created", recipient_id, seq: 1 }));
  assert.deepEqual(body, {
    id: body.id,
    created_at: body.created_at,
    counts: { created: 2, suppressed: 0, rejected: 0 },
    results: [
      { to: "user:told-online", ...online, delivery_status: "delivered", online: true },
      { to: "user:told-offline", ...offline, delivery_status: "pending", online: false },
    ],
  });
  assert.match(body.id, UUID);
  assert.match(body.created_at, UTC);
  assert.ok(Math.abs(Date.parse(body.created_at) - Date.now()) < 60_000);
  for (const { recipient_id } of [online, offline]) assert.match(recipient_id, UUID);
  assert.notEqual(online.recipient_id, offline.recipient_id);
});

const unsafe = {
  "a script": ["<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"],
  "an element with a handler": ["a <img src=x onerror=alert(1)>", "<p>a &lt;img src=x onerror=alert(1)&gt;</p>\n"],
  "a javascript: link": ["[x](javascript:alert(1))", "<p>x</p>\n"],
  "a javascript: link in disguise": ["[x](JaVaScRiPt&colon;alert(1))", "<p>x</p>\n"],
  "a data: image": ["![x](data:text/html;base64,PHN2Zz4=)", "<p>x</p>\n"],
  "an autolink with a scheme of its own": ["<vbscript:x>", "<p>vbscript:x</p>\n"],
  "a link that leaves its attribute": ['[x](/a"onclick="b)', "<p><a href=\"/a%22onclick=%22b\">x</a></p>\n"],
  "a link to an ordinary page": ["[x](https://app.example/?a=1)", '<p><a href="https://app.example/?a=1">x</a></p>\n'],
};
for (const [what, [content, html]] of Object.entries(unsafe)) {
  test(`${what} in content is safe in content_html and unchanged elsewhere`, async () => {
    const tab = await connected(server.connect("html"));
    await server.push({ to: ["user:html"], title: "<b>&", content });
    const item = await nextEvent(tab, "notification:new");
    assert.equal(item.content_html, html);
    assert.deepEqual([item.title, item.content, item.message], ["<b>&", content, content]);
  });
}

test("what was pushed while the user was offline is sent, listed and counted at the next connect", async () => {
  const ids = [await pushed(server, "sleeper"), await pushed(server, "sleeper"), await pushed(server, "sleeper")];
  const tab = await connected(server.connect("sleeper"));
  const greeting = await nextEvent(tab, "authenticated");
  assert.deepEqual([greeting.unread, greeting.seq], [3, 3]);
  assert.deepEqual(await nextEvent(tab, "unread:count"), { count: 3, unseen: 3, seq: 3 });
  assert.deepEqual(received(tab), ids);
  await consistent(server, "sleeper", ids);
  ids.push(await pushed(server, "sleeper"));
  assert.equal((await nextEvent(tab, "notification:new", ({ id }) => id === ids[3])).seq, 4);
  assert.deepEqual(await nextEvent(tab, "unread:count"), { count: 4, unseen: 4, seq: 4 });
  await consistent(server, "sleeper", ids);
});

test("no user sees anything of another", async () => {
  // Names that a careless comparison takes for one another.
  const users = ["ann", "Ann", "ann ", "ann:b", "an", "user:ann", "ânn"];
  const tabs = new Map();
  for (const user of users) tabs.set(user, await connected(server.connect(user)));
  const ids = new Map();
  for (const user of users) ids.set(user, await pushed(server, user));
  for (const user of users) {
    // Everything was sent before this fence comes back.
    await tabs.get(user).emitWithAck("ping");
    assert.deepEqual(received(tabs.get(user)), [ids.get(user)], user);
    assert.deepEqual(counted(tabs.get(user)), [{ count: 1, unseen: 1, seq: 1 }], user);
    const { items, unread } = await inbox(server, user);
    assert.deepEqual(items.map(({ id }) => id), [ids.get(user)], user);
    assert.equal(unread, 1, user);
  }
});

test("one user cannot acknowledge another's notification", async () => {
  const { body } = await server.push("owner");
  const thief = await connected(server.connect("thief"));
  const answer = await thief.emitWithAck("notification:acknowledge", { recipient_id: body.results[0].recipient_id });
  assert.equal(answer.error.code, "NOT_FOUND");
  const rows = await server.db.all("SELECT status, attempts FROM deliveries WHERE notification_id = ?1", body.id);
  assert.deepEqual(rows, [{ status: "pending", attempts: 0 }]);
});

test("one push to several users is one notification and an entry in each one's log", async () => {
  const users = ["many-a", "many-b", "many-c"];
  const tabs = await Promise.all(users.map((user) => connected(server.connect(user))));
  const { status, body } = await server.push({ to: users.map((user) => `user:${user}`), title: "All" });
  assert.equal(status, 201);
  assert.deepEqual(body.counts, { created: 3, suppressed: 0, rejected: 0 });
  for (const [i, tab] of tabs.entries()) {
    const item = await nextEvent(tab, "notification:new");
    assert.deepEqual([item.id, item.recipient_id], [body.id, body.results[i].recipient_id]);
  }
  const [{ count }] = await server.db.all("SELECT count(*) AS count FROM notifications WHERE id = ?1", body.id);
  assert.equal(count, 1);
  const rooms = await server.db.all("SELECT room, n, kind FROM audience WHERE ref = ?1 ORDER BY room", body.id);
  assert.deepEqual(rooms, users.map((user) => ({ room: `user:${user}`, n: 1, kind: "push" })));
});

test("a user named twice gets the notification once", async () => {
  const tab = await connected(server.connect("twice"));
  const { status, body } = await server.push({ to: ["user:twice", "user:twice", "user:twice"], title: "Once" });
  assert.equal(status, 201);
  assert.equal(body.results.length, 1);
  assert.deepEqual(body.counts, { created: 1, suppressed: 0, rejected: 0 });
  await tab.emitWithAck("ping");
  assert.deepEqual(received(tab), [body.id]);
  await consistent(server, "twice", [body.id]);
});

test("some rejected recipients make it 207, with a result for each, and the others get it", async () => {
  const tab = await connected(server.connect("accepted"));
  const to = ["user:accepted", "user:", "usr:x", `user:${"x".repeat(129)}`, 7, "user:a\u0007b", "dept:"];
  const { status, body } = await server.push({ to, title: "Some" });
  assert.equal(status, 207);
  assert.deepEqual(body.counts, { created: 1, suppressed: 0, rejected: 6 });
  assert.equal(body.results.length, 7);
  assert.equal(body.results[0].status, "created");
  for (const [i, result] of body.results.entries()) {
    if (i === 0) continue;
    const { type, title, status, code } = result.problem;
    assert.deepEqual(
      { status: result.status, problem: { type, title, status, code } },
      {
        status: "rejected",
        problem: { type: "/problems/invalid-recipient", title: "Invalid recipient", status: 422, code: "invalid_recipient" },
      },
    );
  }
  assert.deepEqual(body.results.slice(0, 3).map(({ to }) => to), ["user:accepted", "user:", "usr:x"]);
  assert.equal((await nextEvent(tab, "notification:new")).id, body.id);
  const rooms = await server.db.all("SELECT room FROM audience WHERE ref = ?1", body.id);
  assert.deepEqual(rooms, [{ room: "user:accepted" }]);
});

test("a hundred recipients and the longest texts are taken", async () => {
  const to = Array.from({ length: 100 }, (_, i) => `user:crowd-${i}`);
  const title = "🐭".repeat(200);
  const content = "é".repeat(8 * 1024);
  const data = { x: "y".repeat(16 * 1024 - '{"x":""}'.length) };
  const tab = await connected(server.connect("crowd-99"));
  const { status, body } = await server.push({ to, title, content, data });
  assert.equal(status, 201);
  assert.equal(body.counts.created, 100);
  const item = await nextEvent(tab, "notification:new");
  assert.deepEqual([item.title, item.content, item.data], [title, content, data]);
});

test("presence follows the sockets of the user", async () => {
  assert.deepEqual(await presence(server, "present"), {
    user_id: "present",
    online: false,
    connections: 0,
    online_since: null,
    last_seen_at: null,
    sockets: [],
    consistency: "strong",
  });
  const tabs = [await connected(server.connect("present")), await connected(server.connect("present", { namespace: "/" }))];
  const online = await presence(server, "present");
  assert.equal(online.online, true);
  assert.equal(online.connections, 2);
  assert.deepEqual(online.sockets.map(({ sid }) => sid).sort(), tabs.map(({ id }) => id).sort());
  for (const tab of tabs) tab.disconnect();
  const offline = await until(async () => {
    const now = await presence(server, "present");
    return !now.online && now;
  });
  assert.match(offline.last_seen_at, UTC);
});
