// `make crowd`: what USERS (1,000) users cost the record who come back within ten seconds, and who acknowledge one announcement.
// Fails when it is more than 50 queries or statements, or as many more as the machine took longer for it than ten seconds. Each
// user's object has some three open files while it is awake.
import { Crowd, acknowledging, reconnecting } from "../live/crowd.mjs";
import { onServerInMemory } from "../live/in_memory.mjs";
import { names } from "../live/rooms.mjs";

const MOST = 50;
const OVER_MS = 10_000;

const count = Number(process.env.USERS ?? 1_000);
if (!Number.isInteger(count) || count < 1) {
  console.error("USERS is a number from 1");
  process.exit(1);
}

const vars = { PING_INTERVAL_MS: "1800000", CONNECT_TIMEOUT_MS: "300000" };
await onServerInMemory({ vars }, async (server) => {
  const crowd = new Crowd(server, names("crowd", count), { ack: "on" });
  try {
    console.log(`==> ${count} users connected in ${Math.round(await crowd.connect())} ms`);
    const back = await reconnecting(server, crowd, { overMs: OVER_MS, missed: false });
    print(`came back in ${seconds(back)} s`, back.record_batches, "queries", most(back));
    const missed = await reconnecting(server, crowd, { overMs: OVER_MS, missed: true });
    print(`the same in ${seconds(missed)} s, with an announcement`, missed.record_batches, "queries", 2 * most(missed));
    const acknowledged = await acknowledging(server, crowd);
    print("acknowledged one announcement", acknowledged.record_statements, "statements", MOST);
  } finally {
    crowd.close();
  }
});

function seconds({ tookMs }) {
  return (tookMs / 1_000).toFixed(1);
}

function most({ tookMs }) {
  return Math.floor(MOST * Math.max(1, tookMs / OVER_MS));
}

function print(what, used, unit, most) {
  console.log(`${what.padEnd(48)}${String(used).padStart(6)} ${unit}, at most ${most}`);
  if (used > most) process.exitCode = 1;
}
