// What admins are told (DESIGN 8): how many pushes, failed deliveries, and who came and went; a few events, not one for each.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { connected, nextEvent, startServer, until } from "./harness.mjs";
import { attending, changeMembers, got, names, pushedTo, settled, tab, tabs } from "./rooms.mjs";

const PERIOD_MS = 10_000;
/** Longer than two periods. */
const PATIENT = { timeout: 30_000 };

let server;
before(async () => {
  server = await startServer({
    // Nothing else goes off by the clock.
    vars: { PING_INTERVAL_MS: "1800000", CONNECT_TIMEOUT_MS: "300000", ACK_MODE: "required", ACK_TIMEOUT_MS: "200", RETRY_DELAYS_MS: "200" },
  });
});

async function admin(user) {
  const token = server.token(user, { claims: { roles: ["admin"] } });
  const socket = await connected(server.connect(user, { token, query: { ack: "on" } }));
  await nextEvent(socket, "authenticated");
  socket.heard = [];
  socket.onAny((name, data) => name.startsWith("admin:") && socket.heard.push({ name, data, at: Date.now() }));
  await attending(server, [user]);
  return socket;
}

/** Pushes until an admin hears of it: reports begin a moment after the first admin has come. */
async function hearsOfPushes(socket) {
  const heard = () => socket.events.some(({ name, data }) => name === "admin:push" && data.pushes > 0);
  await until(async () => heard() || ((await server.push("nobody")) && heard()), { ...PATIENT, what: "admin:push" });
}

const of = (socket, event) => socket.heard.filter(({ name }) => name === event).map(({ data }) => data);
const sum = (reports, field) => reports.reduce((total, report) => total + report[field], 0);

test("a push to admin:notifications reaches admins and nobody else", async () => {
  const boss = await admin("inbox-boss");
  const user = await tab(server, "inbox-user", { departments: ["admin", "notifications"] });
  const id = await pushedTo(server, "admin:notifications");
  const marker = await pushedTo(server, "broadcast");
  await got(boss, [id, marker]);
  await got(user, [marker]);
  await settled(user);
  assert.ok(!user.events.some(({ name, data }) => name === "notification:new" && data.id === id));
  boss.disconnect();
  user.disconnect();
});

test("admins hear of pushes, failures and presence, all of them, at a bounded rate; nobody else does", async () => {
  const begun = Date.now();
  const [first, second] = [await admin("boss-1"), await admin("boss-2")];
  const users = names("worker", 6);
  const sockets = await tabs(server, users, { departments: ["shop"] });
  await changeMembers(server, "room:shop", { add: users });
  await attending(server, users);

  // Nobody acknowledges these: one attempt, one retry, and they have failed for good.
  const failing = [await pushedTo(server, "room:shop"), await pushedTo(server, "dept:shop")];
  for (let i = 0; i < 8; i++) await server.push(`nobody-${i}`);
  sockets[0].disconnect();

  for (const boss of [first, second]) {
    const wanted = () => ({
      pushes: sum(of(boss, "admin:push"), "pushes"),
      failures: sum(of(boss, "admin:delivery_failed"), "failures"),
      joined: sum(of(boss, "admin:presence"), "joined"),
      left: sum(of(boss, "admin:presence"), "left"),
      online: of(boss, "admin:presence").at(-1)?.online,
    });
    await until(
      () => {
        const { pushes, failures, joined, left, online } = wanted();
        // Two admins and five workers are there in the end.
        return pushes >= 10 && failures >= users.length && joined >= users.length && left >= 1 && online === 7;
      },
      { timeout: 45_000, what: () => `everything at an admin, who heard ${JSON.stringify(boss.heard)}` },
    );
  }
  const [{ since, until: upTo }] = of(first, "admin:push");
  assert.ok(Date.parse(since) < Date.parse(upTo), `${since} to ${upTo}`);
  const listed = of(first, "admin:delivery_failed").flatMap(({ deliveries }) => deliveries);
  assert.ok(listed.every(({ notification_id, user_id }) => notification_id && user_id));
  assert.ok(listed.some(({ notification_id, user_id }) => failing.includes(notification_id) && users.includes(user_id)));

  const periods = Math.ceil((Date.now() - begun) / PERIOD_MS) + 1;
  for (const event of ["admin:push", "admin:delivery_failed", "admin:presence"]) {
    assert.ok(of(first, event).length <= periods, `${of(first, event).length} of ${event} in ${periods} periods`);
    const reports = of(first, event);
    for (const [i, report] of reports.entries()) {
      if (i > 0) assert.ok(Date.parse(report.since) >= Date.parse(reports[i - 1].until), "no time is reported twice");
    }
  }
  for (const socket of sockets) assert.ok(!socket.events.some(({ name }) => name.startsWith("admin:")));
  for (const socket of [...sockets, first, second]) socket.disconnect();
});

test("a user with neither role nor scope of an admin hears nothing, whatever rooms they are in", async () => {
  const boss = await admin("gate-boss");
  const token = server.token("gate-user", { departments: ["admin"], claims: { roles: ["user", "administrator"], scope: "read" } });
  const user = await tab(server, "gate-user", { token });
  const scoped = await tab(server, "gate-scope", { token: server.token("gate-scope", { claims: { scope: "read admin" } }) });
  await attending(server, ["gate-user", "gate-scope"]);
  await hearsOfPushes(boss);
  await hearsOfPushes(scoped);
  await settled(user);
  assert.ok(!user.events.some(({ name }) => name.startsWith("admin:")));
  for (const socket of [boss, user, scoped]) socket.disconnect();
});

test("when no admin is there any more, nobody asks", async () => {
  const boss = await admin("last-boss");
  await hearsOfPushes(boss);
  boss.disconnect();
  let quietSince = Date.now();
  let before;
  // The leaving of an admin takes the grace time, and the last question comes a period later at the latest.
  await until(
    async () => {
      const { object_requests = 0, alarms = 0 } = await server.ledger();
      const now = `${object_requests}/${alarms}`;
      if (now !== before) [before, quietSince] = [now, Date.now()];
      return Date.now() - quietSince > PERIOD_MS * 1.5;
    },
    { timeout: 55_000, what: "a period and a half without any call of an object" },
  );
});
