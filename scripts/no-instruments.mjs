// Proves that fail points, planted faults, the ledger and their routes are not in the production bundle, and that conformance mode is not
// either. The same search must find each in the bundle that has it, or it would prove nothing.
//   node scripts/no-instruments.mjs build build-instruments build-conformance
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const [production, instruments, conformance] = process.argv.slice(2);

// For each: the names of its functions and source file, and texts that only it has (see src/edge/src/instruments and the
// two conformance.rs).
const MARKERS = [
  { what: "fail points", marker: /instruments(::|\/)fail_points|fail point |push-before-commit/, home: instruments },
  { what: "planted faults", marker: /instruments(::|\/)faults|cursor-over-gap/, home: instruments },
  { what: "ledger", marker: /instruments(::|\/)counters|worker_requests/, home: instruments },
  { what: "test routes", marker: /instruments(::|\/)routes|__test/, home: instruments },
  { what: "conformance mode", marker: /conformance(::|\/|\.rs)|message-back|message-with-ack/, home: conformance },
  { what: "its namespace", marker: /\/custom/, home: conformance },
];

let failed = false;
for (const { what, marker, home } of MARKERS) {
  const wanted = holds(home, marker);
  const unwanted = holds(production, marker);
  if (!wanted) console.error(`${what}: ${marker} is not even in ${home}, so this check says nothing`);
  if (unwanted) console.error(`${what}: ${marker} is in ${production}`);
  failed ||= !wanted || unwanted;
}
if (failed) process.exit(1);
console.log(`${production} has none of: ${MARKERS.map(({ what }) => what).join(", ")}`);

function holds(folder, marker) {
  const files = readdirSync(folder).filter((name) => /\.(wasm|js)$/.test(name));
  return files.some((name) => marker.test(readFileSync(join(folder, name), "latin1")));
}
