// Proves that fail points, the ledger and their routes are not in the production bundle. The same search must find them in
// the bundle that has them, or it would prove nothing.
//   node scripts/no-instruments.mjs build build-instruments
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

// For each: the names of its functions and source file, and texts that only it has (see src/edge/src/instruments).
const MARKERS = {
  "fail points": /instruments(::|\/)fail_points|fail point |push-before-commit/,
  ledger: /instruments(::|\/)counters|worker_requests/,
  "test routes": /instruments(::|\/)routes|__test/,
};

const [production, instruments] = process.argv.slice(2);
let failed = false;
for (const [what, marker] of Object.entries(MARKERS)) {
  const wanted = holds(instruments, marker);
  const unwanted = holds(production, marker);
  if (!wanted) console.error(`${what}: ${marker} is not even in ${instruments}, so this check says nothing`);
  if (unwanted) console.error(`${what}: ${marker} is in ${production}`);
  failed ||= !wanted || unwanted;
}
if (failed) process.exit(1);
console.log(`${production} has none of: ${Object.keys(MARKERS).join(", ")}; ${instruments} has all`);

function holds(folder, marker) {
  const files = readdirSync(folder).filter((name) => /\.(wasm|js)$/.test(name));
  return files.some((name) => marker.test(readFileSync(join(folder, name), "latin1")));
}
