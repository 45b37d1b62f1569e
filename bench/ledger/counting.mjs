// Counts what an action costs in the units the platform bills, with the counters of the instruments' bundle.
import { isDeepStrictEqual } from "node:util";
import { until } from "../../tests/live/client.mjs";

/** What is counted, in the order in which it is printed. Rows read are next to free: they would show a missing index. */
export const UNITS = {
  worker_requests: "Worker req",
  object_requests: "object req",
  alarms: "alarms",
  alarms_set: "set alarm",
  messages_received: "messages in",
  object_rows_written: "object rows w",
  object_rows_read: "object rows r",
  record_batches: "D1 calls",
  record_rows_written: "D1 rows w",
  record_rows_read: "D1 rows r",
  log_lines: "log lines",
};
// What a hub owes the record may wait for a second, and looks are some 10 ms apart.
const QUIET_LOOKS = 150;
const QUIET_MS = 2_000;
const PATIENT = { timeout: 60_000 };
const LINE = '[log] {"at":';

/**
 * What `action` costs the server, by unit, until nothing more is counted for a while. Units of which there are none are left out.
 *
 * `done` says of the units whether what is waited for has been counted.
 */
export async function counted(server, what, action, done = () => true) {
  await settled(server, what);
  const logged = server.logged;
  await server.resetLedger();
  await action();
  return settled(server, what, { logged, done });
}

/** Waits until nothing more is counted; what was counted since the ledger was reset. */
async function settled(server, what, { logged = server.logged, done = () => true } = {}) {
  let [units, looks, quiet, since] = [{}, 0, 0, performance.now()];
  const look = async () => {
    const counters = await server.ledger();
    // A request that reads the ledger is counted by the Worker before it answers.
    looks += 1;
    const lines = server.lastLines(server.logged - logged).filter((line) => line.startsWith(LINE));
    const seen = { ...counters, worker_requests: counters.worker_requests - looks, log_lines: lines.length };
    if (isDeepStrictEqual(seen, units)) quiet += 1;
    else [quiet, since] = [0, performance.now()];
    units = seen;
    return quiet >= QUIET_LOOKS && performance.now() - since >= QUIET_MS && done(units);
  };
  await until(look, { ...PATIENT, what: () => `${what} has settled: ${JSON.stringify(units)}` });
  return Object.fromEntries(Object.keys(UNITS).filter((unit) => units[unit] > 0).map((unit) => [unit, units[unit]]));
}
