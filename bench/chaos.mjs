// `make chaos`: the runtime is killed KILLS (1,000) times, at random moments and at every fail point. Prints what was done and
// found; fails when a promise was broken. SEED repeats the choices of another run, not its timing; FAULT plants a fault, which
// must be found; MINUTES (90) end it earlier.
import { randomInt } from "node:crypto";
import { chaosOnServer } from "./chaos/chaos.mjs";
import { keep } from "./keep.mjs";

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
console.log(`==> seed ${seed}`);
const { wrong, figures, points } = await chaosOnServer({
  kills,
  seed,
  ms: number("MINUTES", 90) * 60_000,
  fault: process.env.FAULT || undefined,
  note: (text) => console.log(`==> ${text}`),
});
for (const [name, value] of Object.entries(figures)) console.log(`${name.padEnd(24)}${String(value).padStart(8)}`);
console.log(`\n${"fail point".padEnd(24)}${"killed".padStart(8)}${"failed".padStart(8)}`);
for (const [name, { killed, failed }] of Object.entries(points)) {
  console.log(`${name.padEnd(24)}${String(killed).padStart(8)}${String(failed).padStart(8)}`);
}
for (const { kind, text } of wrong) console.log(`${kind}: ${text}`);
if (wrong.length > 0) process.exitCode = 1;
else if (figures.kills >= WORTH_KEEPING) keep("chaos", `make chaos KILLS=${kills} SEED=${seed}`, { figures, points });
