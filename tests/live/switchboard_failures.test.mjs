// Between a hub and the record stands a switchboard (DESIGN 6): wherever its reading or writing fails, or the process dies, nothing is
// lost and nothing is doubled.
import assert from "node:assert/strict";
import { afterEach, before, test } from "node:test";
import { received } from "./checks.mjs";
import { startServer, until } from "./harness.mjs";
import { PATIENT, RECONNECTING, addMember, got, holds, pushedTo, tab, visit } from "./rooms.mjs";

let server;
before(async () => {
  server = await startServer();
});
afterEach(() => server.clearFailPoints());

/** Where a hub's question, or what it owes, can be lost. */
const POINTS = ["attend-before-read", "attend-read", "settle-before-write", "settle-written"];

for (const point of POINTS) {
  test(`a failure at ${point} is made up for`, async () => {
    const user = `fails-${point}`;
    await addMember(server, `room:${user}`, user);
    await visit(server, user);
    const missed = await pushedTo(server, `room:${user}`);
    await server.failPoint(point);
    const socket = await tab(server, user, { query: { ack: "on" } });
    socket.on("notification:new", ({ recipient_id }) => socket.emit("notification:acknowledge", { recipient_id }));
    for (const { data } of socket.events.filter(({ name }) => name === "notification:new")) {
      socket.emit("notification:acknowledge", { recipient_id: data.recipient_id });
    }
    const id = await pushedTo(server, `room:${user}`);
    await got(socket, [missed, id], { timeout: 45_000 });
    await until(async () => (await server.failPoints())[point].hits > 0, { ...PATIENT, what: `${point} is reached` });
    // The next event of the hub tries again what failed; without one its alarm does.
    assert.equal((await socket.emitWithAck("mark:read", { notification_id: id })).ok, true);
    const sql = "SELECT count(*) AS count FROM deliveries WHERE user_id = ?1 AND status = 'delivered'";
    await until(async () => (await server.db.all(sql, user))[0].count === 2, { timeout: 45_000, what: "the record has both" });
    await holds(server, user, [missed, id]);
  });

  test(`a runtime killed at ${point} loses nothing`, async () => {
    const own = await startServer();
    const user = "killed";
    await addMember(own, "room:killed", user);
    await visit(own, user);
    const missed = await pushedTo(own, "room:killed");
    await own.failPoint(point, { action: "stall" });
    const socket = own.connect(user, RECONNECTING);
    await until(async () => (await own.failPoints())[point].hits === 1, { ...PATIENT, what: `${point} is reached` });
    await own.kill();
    await own.restart();
    const id = await pushedTo(own, "room:killed");
    await until(() => socket.connected && [missed, id].every((id) => received(socket).includes(id)), { ...PATIENT, what: "both" });
    await holds(own, user, [missed, id]);
    const sql = "SELECT notification_id AS id, status FROM deliveries WHERE user_id = ?1 ORDER BY id";
    await until(async () => (await own.db.all(sql, user)).length === 2, { ...PATIENT, what: "the record has both" });
    assert.deepEqual(await own.db.all(sql, user), [missed, id].toSorted().map((id) => ({ id, status: "delivered" })));
    await own.stop();
  });
}
