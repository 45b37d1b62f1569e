// `make crowd`: what USERS (1,000) users cost the record who come back within ten seconds, and who acknowledge one announcement.
// Fails when it is more than 50 queries or statements. Each user's object has some three open files while it is awake.
import { Crowd, acknowledging, reconnecting } from "../live/crowd.mjs";
import { names } from "../live/rooms.mjs";
import { startServer } from "../live/server.mjs";

const MOST = 50;
const OVER_MS = 10_000;

const count = Number(process.env.USERS ?? 1_000);
if (!Number.isInteger(count) || count < 1) {
  console.error("USERS is a number from 1");
  process.exit(1);
}

const server = await startServer({ vars: { PING_INTERVAL_MS: "1800000", CONNECT_TIMEOUT_MS: "300000" } });
const crowd = new Crowd(server, names("crowd", count), { ack: "on" });
try {
  console.log(`==> ${count} users connected in ${Math.round(await crowd.connect())} ms`);
  const back = await reconnecting(server, crowd, { overMs: OVER_MS, missed: false });
  print("came back within 10 s", back.record_batches, "queries", MOST);
  const missed = await reconnecting(server, crowd, { overMs: OVER_MS, missed: true });
  print("the same, each with an announcement to fetch", missed.record_batches, "queries", 2 * MOST);
  const acknowledged = await acknowledging(server, crowd);
  print("acknowledged one announcement", acknowledged.record_statements, "statements", MOST);
} finally {
  crowd.close();
  await server.stop();
}

function print(what, used, unit, most) {
  console.log(`${what.padEnd(48)}${String(used).padStart(6)} ${unit}, at most ${most}`);
  if (used > most) process.exitCode = 1;
}
