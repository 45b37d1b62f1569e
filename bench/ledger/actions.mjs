// What is counted, one thing at a time: by `make ledger`, and by the live test that holds it to its budgets.
import assert from "node:assert/strict";
import { connected, nextEvent, until } from "../../tests/live/client.mjs";
import { Crowd, quiet } from "../../tests/live/crowd.mjs";
import { startServer } from "../../tests/live/server.mjs";
import { counted } from "./counting.mjs";

const PATIENT = { timeout: 120_000 };
const PING = '42/notifications,["ping"]';
/** The shortest heartbeat that a busy machine keeps; nothing but heartbeats goes on in the crowd. */
const HEARTBEAT = { PING_INTERVAL_MS: "3000", PING_TIMEOUT_MS: "20000", CONNECT_TIMEOUT_MS: "300000" };
/** The tokens of a crowd are of an hour. */
const SOON_MS = 1_800_000;

/** Connects a stock client that acknowledges. */
export async function connect(server, user, options = {}) {
  const socket = await connected(server.connect(user, { query: { ack: "on" }, ...options }));
  await nextEvent(socket, "authenticated");
  return socket;
}

/** The user's client is gone, without a word in Socket.IO; the session is kept for its return. */
export function lose(socket) {
  socket.io.engine.close();
}

/** The client comes back and goes on where it was. */
export async function recover(socket) {
  await connected(socket.connect());
  assert.ok(socket.recovered, "recovered");
}

/** A push to a user of whom one client is online, which gets and acknowledges it. */
export async function pushOnline(server, user, socket, options) {
  await push(server, user, options);
  await acknowledge(socket, await nextEvent(socket, "notification:new"));
}

export async function push(server, user, options) {
  const { status, body } = await server.push(user, options);
  assert.equal(status, 201, JSON.stringify(body));
}

export async function acknowledge(socket, { recipient_id }) {
  const { ok } = await socket.timeout(5_000).emitWithAck("notification:acknowledge", { recipient_id });
  assert.ok(ok, "acknowledged");
}

/** Does `action` with a crowd of one switchboard, on a server of their own: the ledger counts for all users. */
export async function withCrowd({ size, vars = {}, query }, action) {
  const server = await startServer({ vars: { SWITCHBOARDS: "1", ...vars } });
  const crowd = new Crowd(server, Array.from({ length: size }, (_, i) => `member-${i}`), query);
  try {
    await crowd.connect();
    return await action(server, crowd);
  } finally {
    crowd.close();
    await server.stop();
  }
}

/** What `size` idle stock clients cost together, and over how many heartbeats of each of them, on average. */
export function idle(size, intervals) {
  return withCrowd({ size, vars: HEARTBEAT }, async (server, { members }) => {
    const pings = () => members.reduce((sum, member) => sum + member.pings, 0);
    const pinged = (times) => until(() => members.every((member) => member.pings >= times), { ...PATIENT, what: "heartbeats" });
    // They come at different moments; after one ping each they have the same rhythm.
    await pinged(1);
    await quiet(server);
    const [before, least] = [pings(), Math.min(...members.map((member) => member.pings))];
    await server.resetLedger();
    await pinged(least + intervals);
    // What looked at the ledger is not the users'.
    const { worker_requests, ...units } = await server.ledger();
    return { units, heartbeats: (pings() - before) / size };
  });
}

/** What `size` idle clients with `keepalive=client` cost together, while each sends `pings`, over some intervals of heartbeats. */
export function idleKeepalive(size, pings, intervals) {
  const vars = { ...HEARTBEAT, CONNECT_TIMEOUT_MS: "5000" };
  return withCrowd({ size, vars, query: { keepalive: "client" } }, async (server, { members }) => {
    // When that of the connect has gone off, the only alarm is that of the token.
    for (const { user } of members) {
      const sleeps = async () => (await server.hubInfo(user)).alarm_at > Date.now() + SOON_MS;
      await until(sleeps, { ...PATIENT, what: `${user} has no alarm before the token ends` });
    }
    return counted(server, "idle clients that keep themselves alive", async () => {
      await server.evictAll();
      const end = performance.now() + intervals * Number(HEARTBEAT.PING_INTERVAL_MS);
      for (let sent = 1; sent <= pings; sent += 1) {
        for (const { ws } of members) ws.send(PING);
        await until(() => members.every((member) => member.pongs >= sent), { ...PATIENT, what: "pongs" });
      }
      // That nothing happens shows only when time passes.
      await until(() => performance.now() >= end, { ...PATIENT, what: "some intervals" });
    });
  });
}
