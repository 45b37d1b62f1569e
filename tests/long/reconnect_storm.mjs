// `make storm`: CLIENTS (500) stock clients on a runtime that is killed. Prints figures; fails when one of them missed
// anything, got anything twice, or was left on polling.
import { stormOnServer } from "./storm.mjs";

const count = Number(process.env.CLIENTS ?? 500);
if (!Number.isInteger(count) || count < 1) {
  console.error("CLIENTS is a number from 1");
  process.exit(1);
}

const { back_ms, ...figures } = await stormOnServer("production", count, { note: (text) => console.log(`==> ${text}`) });
const rows = { ...figures, ...Object.fromEntries(Object.entries(back_ms).map(([name, ms]) => [`back_ms, ${name}`, ms])) };
for (const [name, value] of Object.entries(rows)) console.log(`${name.padEnd(24)}${String(Math.round(value)).padStart(8)}`);
const failures = [figures.missed, figures.twice_or_out_of_order, figures.left_on_polling, count - figures.recovered];
if (failures.some((failed) => failed > 0)) process.exitCode = 1;
