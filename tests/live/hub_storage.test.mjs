// What a hub stores: one that the first version stored is brought up to date, and what is asked of a large inbox costs what is
// asked of a small one.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { before, describe, test } from "node:test";
import { device, inbox, known, pushed, received, recorded, recordUnheard } from "./checks.mjs";
import { connected, nextEvent, startServer, until } from "./harness.mjs";
import { openRaw } from "./raw.mjs";

// Rows a page of 20 may read: those that are returned, one to know whether there are more, and the inbox as a whole; and the
// counts, which are of the inbox as a whole.
const PAGE_ROWS = 25;
const COUNT_ROWS = 1;
// Far below what a look through the smaller inbox would be.
const EVENT_ROWS = 100;

const DAY_MS = 86_400_000;
const QUIET = { PING_INTERVAL_MS: "1800000", CONNECT_TIMEOUT_MS: "300000" };

// Places of a folder: the archive's begin here, those of tombstones at twice this.
const FOLDER_SIZE = 2 ** 50;

/** The tables of the first version. */
const FIRST_VERSION = `
CREATE TABLE head (
  version INTEGER PRIMARY KEY CHECK (version = 1), user_id TEXT NOT NULL, seq INTEGER NOT NULL, unread INTEGER NOT NULL,
  unseen INTEGER NOT NULL, cursor INTEGER NOT NULL, online_since INTEGER, last_seen_at INTEGER, catch_up_at INTEGER
);
CREATE TABLE items (
  seq INTEGER PRIMARY KEY, recipient_id TEXT NOT NULL UNIQUE, notification_id TEXT NOT NULL, created_at INTEGER NOT NULL,
  content TEXT NOT NULL, read_at INTEGER, attempts INTEGER NOT NULL, delivered_at INTEGER, receipt_delivered INTEGER NOT NULL,
  receipt_online INTEGER NOT NULL
);
CREATE TABLE outbox (recipient_id TEXT NOT NULL PRIMARY KEY, revision INTEGER NOT NULL) WITHOUT ROWID;
`;

/** Opens the database of the one hub of a stopped server; gives what `use` gives. */
function inHub(server, use) {
  const folder = join(server.persist, "do/dormouse-UserHub");
  const files = readdirSync(folder).filter((name) => /^[0-9a-f]{64}\.sqlite$/.test(name));
  assert.equal(files.length, 1, "one hub");
  const db = new DatabaseSync(join(folder, files[0]));
  try {
    return use(db);
  } finally {
    db.close();
  }
}

const tables = (db) => {
  const rows = db.prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_%' ESCAPE '\\'").all();
  return rows.map(({ name }) => name).filter((name) => !name.startsWith("sqlite_")).toSorted();
};

// ---- the first version ----

describe("a hub that the first version stored", () => {
  const user = "old";
  const idempotencyKey = "old";
  const DELIVERED_AT = 1_700_000_000_000;
  let server;
  let ids;
  let pid;
  let sid;
  let original;

  before(async () => {
    server = await startServer({ vars: QUIET });
    const connection = await openRaw(server, user, { query: { ack: "on" } });
    ({ pid, sid } = await connection.join());
    await connection.close();
    await until(async () => (await server.hubInfo(user)).sockets === 0);
    original = await server.push({ to: [`user:${user}`], title: "First", data: { a: 1 } }, { idempotencyKey });
    ids = [original.body.id];
    for (let i = 0; i < 4; i++) ids.push(await pushed(server, user));
    await server.kill();

    inHub(server, (db) => {
      const items = db.prepare("SELECT place AS seq, recipient_id, notification_id, created_at, content FROM items ORDER BY place").all();
      assert.deepEqual(items.map(({ notification_id }) => notification_id), ids);
      for (const name of tables(db)) db.exec(`DROP TABLE ${name}`);
      db.exec(FIRST_VERSION);
      db.prepare("INSERT INTO head VALUES (1, ?, 5, 5, 5, 5, NULL, ?, NULL)").run(user, DELIVERED_AT);
      const insert = db.prepare("INSERT INTO items VALUES (?, ?, ?, ?, ?, NULL, ?, ?, ?, ?)");
      for (const { seq, recipient_id, notification_id, created_at, content } of items) {
        // The first two are delivered; the third was sent and not acknowledged; nobody was sent the others.
        insert.run(
          seq, recipient_id, notification_id, created_at, content, seq <= 3 ? 1 : 0, seq <= 2 ? DELIVERED_AT : null,
          seq === 1 ? 1 : 0, seq <= 3 ? 1 : 0,
        );
        if (seq <= 3) db.prepare("INSERT INTO outbox VALUES (?, 7)").run(recipient_id);
      }
    });
    await server.restart();
  });

  test("is listed and counted before anything else happens to it", async () => {
    const { cursor, owed } = await server.hubInfo(user);
    assert.deepEqual({ cursor, owed }, { cursor: 5, owed: 3 });
    const counts = await server.api("GET", "/v1/me/notifications/unread-count", { token: server.token(user) });
    assert.deepEqual(counts.body, { unread: 5, unseen: 5, seq: 5 });
  });

  test("answers a repeated push as before", async () => {
    const repeated = await server.push({ to: [`user:${user}`], title: "First", data: { a: 1 } }, { idempotencyKey });
    const [{ recipient_id }] = original.body.results;
    assert.deepEqual(repeated.body.results, [
      { to: `user:${user}`, status: "created", recipient_id, seq: 1, delivery_status: "delivered", online: true },
    ]);
  });

  test("recovers a session of then, and sends what waits", async () => {
    const back = await openRaw(server, user, { query: { ack: "on" } });
    assert.deepEqual(await back.join("/notifications", { pid, offset: "\u001f2" }), { pid, sid });
    const events = [];
    for (let i = 0; i < 3; i++) events.push(await back.nextEvent("notification:new"));
    assert.deepEqual(events.map(({ id, seq, attempt, redelivered }) => [id, seq, attempt, redelivered]), [
      [ids[2], 3, 2, true],
      [ids[3], 4, 1, false],
      [ids[4], 5, 1, false],
    ]);
    await back.settled();
    await back.close();
  });

  test("pays what it owed to the record", async () => {
    await recorded(server, user, ids[0], "delivered");
    await recorded(server, user, ids[1], "delivered");
    const rows = await server.db.all("SELECT attempts, delivered_at, via FROM deliveries WHERE notification_id = ?1", ids[1]);
    assert.deepEqual(rows, [{ attempts: 1, delivered_at: DELIVERED_AT, via: "sent" }]);
    await until(async () => (await server.hubInfo(user)).owed === 0);
  });

  test("goes on as any other, and stays as it is now", async () => {
    const socket = await connected(server.connect(user));
    await nextEvent(socket, "authenticated");
    ids.push(await pushed(server, user));
    await nextEvent(socket, "notification:new", ({ id, seq }) => id === ids[5] && seq === 6);
    for (const [method, path] of [["POST", `/${ids[0]}/read`], ["POST", `/${ids[1]}/archive`], ["DELETE", `/${ids[2]}`]]) {
      const { status } = await server.api(method, `/v1/me/notifications${path}`, { token: server.token(user) });
      assert.ok(status < 300, path);
    }
    await until(() => known(socket).seq === 9);
    assert.deepEqual(known(socket), { unread: 3, seq: 9 });
    const expected = [ids[5], ids[4], ids[3], ids[0]];
    assert.deepEqual((await inbox(server, user)).items.map(({ id }) => id), expected);
    await until(async () => (await server.hubInfo(user)).owed === 0);

    await server.kill();
    inHub(server, (db) => {
      assert.deepEqual(tables(db), ["hub", "items", "log", "unsettled"]);
      assert.deepEqual({ ...db.prepare("SELECT version, user_id, seq, last_seen_at IS NOT NULL AS seen FROM hub").get() }, {
        version: 3, user_id: user, seq: 9, seen: 1,
      });
      assert.equal(db.prepare("SELECT count(*) AS n FROM items").get().n, 6);
    });
    await server.restart();
    assert.deepEqual((await inbox(server, user)).items.map(({ id }) => id), expected);
    assert.equal(received(socket).filter((id) => id === ids[5]).length, 1);
  });
});

// ---- large inboxes ----

const recipientId = (id, user) => {
  const namespace = Buffer.from(id.replaceAll("-", ""), "hex");
  const hash = createHash("sha1").update(namespace).update(user).digest();
  hash[6] = (hash[6] & 0x0f) | 0x50;
  hash[8] = (hash[8] & 0x3f) | 0x80;
  return hash.toString("hex", 0, 16).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
};

const MIXED = ["inbox", "archived", "deleted", "read", "read", "read", "read", "inbox", "inbox", "inbox"];

/**
 * A server whose one hub holds `size` items, of which the first is unread and the others are as `state` says by their `seq`:
 * of each ten one is archived, one is deleted, four are read. The first `old` were made two days ago.
 */
async function filled(user, size, { vars = {}, state = (seq) => MIXED[seq % MIXED.length], old = 0 } = {}) {
  const server = await startServer({ vars: { ...QUIET, ...vars } });
  const first = await pushed(server, user);
  await until(async () => (await server.hubInfo(user)).owed === 0);
  await server.kill();
  let unread = 1;
  inHub(server, (db) => {
    assert.equal(db.prepare("SELECT recipient_id FROM items").get().recipient_id, recipientId(first, user));
    const insert = db.prepare(`
      INSERT INTO items SELECT ?, ?, ?, created_at, content, ?, ?, ?, ?, 'delivered', 1, 0, NULL, created_at, 'sent', NULL, NULL,
        'delivered', 1 FROM items WHERE place = 1`);
    const now = Date.now();
    db.exec("BEGIN");
    for (let seq = 2; seq <= size; seq++) {
      const id = `01a1f916-0000-7000-8000-${seq.toString(16).padStart(12, "0")}`;
      const is = state(seq);
      const folder = { archived: 1, deleted: 2 }[is] ?? 0;
      if (is === "inbox") unread += 1;
      const at = (yes) => (yes ? now : null);
      insert.run(
        folder * FOLDER_SIZE + seq, recipientId(id, user), id, at(is === "read"), at(is !== "inbox"), at(folder > 0),
        is === "deleted" ? "deleted" : null,
      );
    }
    db.prepare("UPDATE items SET status = 'delivered', delivered_at = created_at, via = 'sent' WHERE place = 1").run();
    db.prepare("UPDATE items SET created_at = created_at - ? WHERE place % ? <= ?").run(2 * DAY_MS, FOLDER_SIZE, old);
    db.prepare("UPDATE hub SET seq = ?, unread = ?, unseen = ?").run(size, unread, unread);
    db.exec("COMMIT");
  });
  await server.restart();
  return { server, unread };
}

const get = async (server, user, path) => {
  const { status, body } = await server.api("GET", `/v1/me/notifications${path}`, { token: server.token(user) });
  assert.equal(status, 200);
  return body;
};

/** Waits until all that follows an event is done. */
async function rested(server) {
  let rows;
  await until(async () => {
    const before = rows;
    ({ object_rows_read: rows = 0 } = await server.ledger());
    return rows === before;
  });
  return rows;
}

/** The rows that an event reads, all that follows it included, in a hub that is awake. */
async function cost(server, user, action) {
  await get(server, user, "?limit=1");
  await rested(server);
  await server.resetLedger();
  await action();
  return rested(server);
}

describe("what is asked of an inbox reads as many rows whether it holds 1,000 items or 100,000", () => {
  const user = "collector";
  const inboxes = {};
  before(async () => {
    await Promise.all([1_000, 100_000].map(async (size) => (inboxes[size] = await filled(user, size))));
  });

  async function compared(most, action) {
    const rows = {};
    for (const [size, { server }] of Object.entries(inboxes)) rows[size] = await cost(server, user, () => action(server));
    // The switchboard, which is asked what there is for somebody who is not online, may read a row besides.
    assert.ok(Math.abs(rows[100_000] - rows[1_000]) <= 2, `it grows with the inbox: ${rows[1_000]}, ${rows[100_000]} rows`);
    assert.ok(rows[1_000] <= most, `${rows[1_000]} rows`);
    return rows[1_000];
  }

  for (const filter of ["all", "unread", "read", "archived"]) {
    test(`a page of 20 with the filter ${filter}, from the top and from the middle`, async () => {
      const cursor = Buffer.from('{"before":500}').toString("base64url");
      for (const query of ["", `&cursor=${cursor}`]) {
        const rows = await compared(PAGE_ROWS, async (server) => {
          const { items } = await get(server, user, `?limit=20&filter=${filter}${query}`);
          assert.equal(items.length, 20);
          for (const { read_at, archived_at } of items) {
            assert.equal(archived_at !== null, filter === "archived");
            if (filter === "unread" || filter === "read") assert.equal(read_at !== null, filter === "read");
          }
        });
        assert.ok(rows >= 20, "what is read is counted");
      }
    });
  }

  test("the counts", async () => {
    await compared(COUNT_ROWS, async (server) => {
      const { unread } = await get(server, user, "/unread-count");
      const { unread: expected } = Object.values(inboxes).find((inbox) => inbox.server === server);
      assert.equal(unread, expected);
    });
  });

  test("a push to a client that acknowledges, and a read of it", async () => {
    for (const [size, { server }] of Object.entries(inboxes)) {
      const socket = await connected(server.connect(user, { query: { ack: "on" } }));
      socket.on("notification:new", ({ recipient_id }) => socket.emit("notification:acknowledge", { recipient_id }));
      await nextEvent(socket, "authenticated");
      let id;
      const steps = {
        push: async () => {
          id = await pushed(server, user);
          await recorded(server, user, id, "delivered");
        },
        read: async () => {
          const { status } = await server.api("POST", `/v1/me/notifications/${id}/read`, { token: server.token(user) });
          assert.equal(status, 200);
          const row = async () => (await server.db.all("SELECT read_at FROM deliveries WHERE notification_id = ?1", id))[0];
          await until(async () => (await row()).read_at > 0);
        },
      };
      for (const [step, action] of Object.entries(steps)) {
        const rows = await cost(server, user, action);
        assert.ok(rows <= EVENT_ROWS, `a ${step} among ${size} reads ${rows} rows`);
      }
    }
  });
});

// ---- retention ----

describe("an inbox lets go of what is older than RETENTION_DAYS whenever its hub is awake", () => {
  const SIZE = 480;
  const OLD = 380;
  const seqs = ({ items }) => items.map(({ seq }) => seq);

  /** The numbers of all items there are, tombstones included; looking does not wake what follows an event. */
  async function everything(server, user) {
    const { status, body } = await server.api("GET", `/v1/users/${user}/export`, { key: server.serviceKey });
    assert.equal(status, 200);
    assert.equal(body.next_cursor, null);
    // A tombstone says nothing but its id, which ends with the number here.
    const seq = ({ id, notification }) => notification?.seq ?? Number.parseInt(id.slice(-12), 16);
    return body.items.map(seq).toSorted((a, b) => a - b);
  }
  const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);
  const unreadOf = (list) => list.filter((seq) => seq === 1 || MIXED[seq % 10] === "inbox").length;

  test("by lists over HTTP, in bounded steps, until nothing old is left", async () => {
    const user = "reader";
    const { server } = await filled(user, SIZE, { vars: { RETENTION_DAYS: "1" }, old: OLD });
    await get(server, user, "?limit=1");
    await rested(server);
    const left = await everything(server, user);
    assert.ok(left.length < SIZE && left.length > SIZE - OLD, `${left.length} are left after one`);
    await until(async () => {
      await get(server, user, "?limit=1");
      return (await everything(server, user))[0] > OLD;
    }, { what: "nothing old is left" });
    const young = numbers(OLD + 1, SIZE);
    assert.deepEqual(await everything(server, user), young);
    const { items, unread, unseen } = await get(server, user, "?limit=100");
    assert.deepEqual(seqs({ items }), young.filter((seq) => ![1, 2].includes(seq % 10)).toReversed());
    assert.deepEqual([unread, unseen], [unreadOf(young), unreadOf(young)]);
    assert.deepEqual(seqs(await get(server, user, "?filter=archived")), young.filter((seq) => seq % 10 === 1).toReversed());
  });

  test("by pushes to a user who is there: each device is told what goes, and that it has expired", async () => {
    const user = "watcher";
    const { server } = await filled(user, SIZE, { vars: { RETENTION_DAYS: "1" }, old: OLD });
    const devices = [await device(server, user), await device(server, user, { namespace: "/" })];
    await rested(server);
    const isListed = (seq) => seq === 1 || MIXED[seq % 10] !== "deleted";
    const going = (await everything(server, user)).filter((seq) => seq <= OLD && isListed(seq));
    assert.ok(going.length > 100, "coming took no more than a step each");
    const told = (socket) => socket.events.filter(({ name }) => name === "notification:deleted").map(({ data }) => data);
    let pushes = 0;
    await until(async () => {
      await pushed(server, user);
      pushes += 1;
      return (await everything(server, user))[0] > OLD;
    }, { what: "nothing old is left" });
    for (const socket of devices) {
      const numbersTold = () => told(socket).map(({ id }) => Number.parseInt(id.slice(-12), 16));
      await until(() => going.every((seq) => numbersTold().includes(seq)));
      assert.equal(new Set(numbersTold()).size, numbersTold().length, "each once");
      assert.deepEqual(new Set(told(socket).map(({ reason }) => reason)), new Set(["expired"]));
    }
    const left = await everything(server, user);
    assert.deepEqual(left.slice(0, SIZE - OLD), numbers(OLD + 1, SIZE));
    assert.equal(left.length, SIZE - OLD + pushes);
    const { unread, seq } = await get(server, user, "/unread-count");
    assert.equal(unread, unreadOf(numbers(OLD + 1, SIZE)) + pushes);
    for (const socket of devices) {
      await until(() => known(socket).seq === seq);
      assert.equal(known(socket).unread, unread);
    }
  });
});

// ---- what is asked again and again ----

describe("what is asked again and again, or of many items at once, costs in proportion", () => {
  // What an event reads that concerns no item, or one.
  const LITTLE = 20;
  let server;
  before(async () => {
    server = await startServer({ vars: QUIET });
  });

  const me = async (user, method, path, body) => {
    const answer = await server.api(method, `/v1/me/notifications/${path}`, { token: server.token(user), body });
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    return answer.body;
  };
  const unreadInRecord = async (user) =>
    (await server.db.all("SELECT count(*) AS n FROM deliveries WHERE user_id = ?1 AND read_at IS NULL", user))[0].n;

  /** A user with `count` items. */
  async function withItems(user, count) {
    await recordUnheard(server, user, Array(count - 1).fill({}));
    await pushed(server, user);
    assert.equal((await me(user, "GET", "unread-count")).unread, count);
    await until(async () => (await server.hubInfo(user)).owed === 0);
  }

  async function readAll(user) {
    await me(user, "POST", "read-all", {});
    await until(async () => (await unreadInRecord(user)) === 0, { what: "the record knows that all is read", timeout: 60_000 });
  }

  test("reading 4,000 items and paying that to the record reads four times the rows that 1,000 take", async () => {
    const rows = {};
    for (const size of [1_000, 4_000]) {
      const user = `all-${size}`;
      await withItems(user, size);
      rows[size] = await cost(server, user, () => readAll(user));
      assert.equal((await server.hubInfo(user)).owed, 0);
      assert.ok(rows[size] < 60 * size, `${rows[size]} rows`);
    }
    const ratio = rows[4_000] / rows[1_000];
    assert.ok(ratio > 3.5 && ratio < 4.5, `${rows[4_000]} and ${rows[1_000]} rows`);
  });

  test("what is marked seen is not looked through again, neither is what is read", async () => {
    const user = "seer";
    const size = 1_000;
    await withItems(user, size);
    const see = () => cost(server, user, () => me(user, "POST", "seen", { up_to_seq: 1_000_000 }));
    const first = await see();
    assert.ok(first >= size, `${first} rows: all were unseen`);
    assert.ok((await see()) <= LITTLE, "again");
    await pushed(server, user);
    assert.ok((await see()) <= LITTLE, "one that is new");

    // Nothing among these is unseen, and something after them is.
    const reader = "seer-of-read";
    await withItems(reader, size);
    await readAll(reader);
    await pushed(server, reader);
    await until(async () => (await server.hubInfo(reader)).owed === 0);
    const seeRead = () => cost(server, reader, () => me(reader, "POST", "seen", { up_to_seq: size }));
    await seeRead();
    const again = await seeRead();
    assert.ok(again <= LITTLE, `${again} rows`);
    assert.equal((await me(reader, "GET", "unread-count")).unseen, 1);
  });

  test("a push with a collapse_key costs as much however many of that key were read before", async () => {
    const user = "collapser";
    const push = { to: [`user:${user}`], title: "Again", collapse_key: "k" };
    const rows = [];
    for (let i = 0; i < 30; i++) {
      let id;
      rows.push(await cost(server, user, async () => (id = await pushed(server, push))));
      await me(user, "POST", `${id}/read`);
      await until(async () => (await unreadInRecord(user)) === 0);
    }
    assert.equal(rows[29], rows[1], `${rows} rows`);
    assert.equal((await me(user, "GET", "unread-count")).unread, 0);
    assert.equal((await inbox(server, user)).items.length, 30, "what is read is not replaced");
  });

  test("what a client says costs as much whatever it has not acknowledged", async () => {
    const user = "silent";
    await withItems(user, 500);
    const socket = await connected(server.connect(user, { query: { ack: "on" } }));
    const ping = () => socket.timeout(10_000).emitWithAck("ping");
    await until(() => received(socket).length > 0);
    await ping();
    await until(async () => (await server.hubInfo(user)).owed === 0);
    await rested(server);
    await server.resetLedger();
    await ping();
    const rows = await rested(server);
    assert.ok(rows <= LITTLE, `${rows} rows`);
  });
});
