// `make chaos`: the runtime is killed KILLS (1,000) times, at random moments and at every fail point. Prints what was done and
// found; fails when a promise was broken. SEED repeats the choices of another run, not its timing; FAULT plants a fault, which
// must be found; MINUTES (90) end it earlier. SERVERS (2) runtimes are killed at the same time, each with a share of the kills.
import { randomInt } from "node:crypto";
import { chaosOnServer } from "./chaos/chaos.mjs";
import { keepAs } from "./results.mjs";

/** A run with fewer kills is no evidence to keep. */
const WORTH_KEEPING = 1_000;

const number = (name, otherwise) => {
  const value = Number(process.env[name] || otherwise);
  if (Number.isInteger(value) && value >= 1) return value;
  console.error(`${name} is a number from 1`);
  process.exit(1);
};

const seed = number("SEED", randomInt(1, 2 ** 31));
const kills = number("KILLS", 1_000);
const servers = number("SERVERS", 2);
console.log(`==> seed ${seed}`);
const begun = performance.now();
const run = (i) =>
  chaosOnServer({
    kills: Math.ceil(kills / servers),
    seed: seed + i,
    ms: number("MINUTES", 90) * 60_000,
    fault: process.env.FAULT || undefined,
    note: (text) => console.log(`==> ${i}: ${text}`),
  });
const runs = await Promise.all(Array.from({ length: servers }, (_, i) => run(i)));
const wrong = runs.flatMap((run) => run.wrong);
const [figures, points] = [runs.map((run) => run.figures), runs.map((run) => run.points)].map(summed);
figures.minutes = Math.round((performance.now() - begun) / 60_000);
for (const [name, value] of Object.entries(figures)) console.log(`${name.padEnd(24)}${String(value).padStart(8)}`);
console.log(`\n${"fail point".padEnd(24)}${"killed".padStart(8)}${"failed".padStart(8)}`);
for (const [name, { killed, failed }] of Object.entries(points)) {
  console.log(`${name.padEnd(24)}${String(killed).padStart(8)}${String(failed).padStart(8)}`);
}
if (wrong.length > 0) process.exitCode = 1;
else if (figures.kills >= WORTH_KEEPING) keepAs("chaos", `make chaos KILLS=${kills} SERVERS=${servers} SEED=${seed}`, { figures, points });

/** Numbers of the same name added up, however deep. */
function summed(all) {
  const names = Object.keys(all[0]);
  const add = (values) => (typeof values[0] === "number" ? values.reduce((sum, value) => sum + value) : summed(values));
  return Object.fromEntries(names.map((name) => [name, add(all.map((one) => one[name]))]));
}
