// `make room-storm`: USERS (300) users for DURATION (60) seconds. Prints what happened; fails when anybody lacks something, has
// something that is not theirs, or presence is not true in the end. SEED repeats the choices of another run, not its timing.
import { randomInt } from "node:crypto";
import { roomStormOnServer } from "../live/room_storm.mjs";

const number = (name, otherwise) => {
  const value = Number(process.env[name] ?? otherwise);
  if (Number.isInteger(value) && value >= 1) return value;
  console.error(`${name} is a number from 1`);
  process.exit(1);
};

const seed = number("SEED", randomInt(1, 2 ** 31));
console.log(`==> seed ${seed}`);
const { wrong, figures } = await roomStormOnServer("instruments", {
  users: number("USERS", 300),
  ms: number("DURATION", 60) * 1_000,
  seed,
  note: (text) => console.log(`==> ${text}`),
});
for (const [name, value] of Object.entries(figures)) console.log(`${name.padEnd(24)}${String(value).padStart(8)}`);
for (const line of wrong) console.log(line);
if (wrong.length > 0) process.exitCode = 1;
