// Prints the gzipped size of a bundle; fails when a budget is given and exceeded.
//   node scripts/bundle-size.mjs build [budget in bytes]
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

const [folder, budget] = process.argv.slice(2);
const files = ["index_bg.wasm", "index.js"];
const sizes = files.map((name) => gzipSync(readFileSync(join(folder, name)), { level: 9 }).length);
const total = sizes.reduce((sum, size) => sum + size);

const kb = (bytes) => `${(bytes / 1000).toFixed(1)} KB`;
console.log(`${folder}: ${kb(total)} gzipped (${files.map((name, i) => `${name} ${kb(sizes[i])}`).join(", ")})`);
if (budget && total > Number(budget)) {
  console.error(`${folder} is over its budget of ${kb(Number(budget))}`);
  process.exit(1);
}
