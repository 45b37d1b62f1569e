// Whom `presence:update` reaches by each setting, and what it costs the others: nothing (DESIGN 8).
import assert from "node:assert/strict";
import { test } from "node:test";
import { hears, told, toldOf, watcher } from "./chat.mjs";
import { startServer, until } from "./harness.mjs";
import { PATIENT, attending, names, settled, tab, tabs } from "./rooms.mjs";

const QUIET = { PING_INTERVAL_MS: "1800000" };

test("a department with more users online than the limit hears of nobody; a smaller one beside it does", async () => {
  const own = await startServer({ vars: { ...QUIET, PRESENCE_ROOM_LIMIT: "4" } });
  const socket = await watcher(own, "limit-w", ["large", "small"]);
  await tabs(own, names("limit-l", 4), { departments: ["large"] });
  await attending(own, names("limit-l", 4));
  const before = told(socket).length;
  await tab(own, "limit-u", { departments: ["large"] });
  await attending(own, ["limit-u"]);
  await tab(own, "limit-s", { departments: ["small"] });
  await hears(socket, "limit-s", true);
  assert.deepEqual(toldOf(socket, "limit-u"), []);
  assert.ok(before <= 4);
  await own.stop();
});

test("a limit of 0 switches it off; presence:query still answers", async () => {
  const own = await startServer({ vars: { ...QUIET, PRESENCE_ROOM_LIMIT: "0" } });
  const departments = ["none"];
  const socket = await watcher(own, "none-w", departments);
  await tab(own, "none-u", { departments });
  await attending(own, ["none-u"]);
  const { users } = await socket.emitWithAck("presence:query", { users: ["none-u"] });
  assert.equal(users[0].online, true);
  // A batch waits a second; another user's coming and going takes longer.
  const other = await tab(own, "none-o", { departments });
  other.disconnect();
  await attending(own, [], ["none-o"]);
  await settled(socket);
  assert.deepEqual(told(socket), []);
  await own.stop();
});

test("with the scope `all` everybody is told of everybody, and may ask about everybody", async () => {
  const own = await startServer({ vars: { ...QUIET, PRESENCE_SCOPE: "all" } });
  const socket = await watcher(own, "all-w");
  const user = await tab(own, "all-u", { departments: ["x"] });
  await hears(socket, "all-u", true);
  const { ok, users } = await socket.emitWithAck("presence:query", { users: ["all-u", "all-w", "all-n"] });
  assert.deepEqual([ok, users.map(({ user_id, online }) => [user_id, online])], [true, [["all-u", true], ["all-w", true], ["all-n", false]]]);
  user.disconnect();
  await hears(socket, "all-u", false);
  await own.stop();
});

// ---- what it costs ----

test("a hub without a client on /chat is not woken by presence", async () => {
  const own = await startServer({ vars: QUIET });
  const departments = ["cheap"];
  const socket = await watcher(own, "cheap-w", departments);
  const cost = async (user) => {
    const before = toldOf(socket, user).length;
    await own.resetLedger();
    const other = await tab(own, user, { departments });
    await until(() => toldOf(socket, user).length === before + 1, { ...PATIENT, what: `${user} came` });
    other.disconnect();
    await until(() => toldOf(socket, user).length === before + 2, { ...PATIENT, what: `${user} went` });
    return (await own.ledger()).object_requests;
  };
  const alone = await cost("cheap-u");
  const silent = names("cheap-s", 30);
  await tabs(own, silent, { departments });
  await attending(own, silent);
  for (const user of silent) await hears(socket, user, true);
  const among = await cost("cheap-u");
  assert.ok(among < alone + silent.length / 2, `${among} calls of objects among ${silent.length} others, ${alone} without them`);
  await own.stop();
});

test("with nobody on /chat, presence costs no call of an object", async () => {
  const own = await startServer({ vars: { ...QUIET, SWITCHBOARDS: "4" } });
  const departments = ["nobody"];
  const users = names("nobody", 20);
  await own.resetLedger();
  const sockets = await tabs(own, users, { departments });
  await until(async () => (await own.ledger()).record_batches > 0, PATIENT);
  for (const socket of sockets) socket.disconnect();
  await until(async () => (await Promise.all(users.map((user) => own.hubInfo(user)))).every((hub) => hub.sockets === 0), PATIENT);
  const before = await own.ledger();
  await attending(own, [], users);
  const asked = (await own.ledger()).object_requests - before.object_requests;
  // Whoever asks is counted: each look asks each switchboard once, and there are no others than those.
  const looks = (await own.ledger()).worker_requests - before.worker_requests;
  assert.ok(asked <= looks * 4, `${asked} calls of objects in ${looks} looks`);
  await own.stop();
});
