// Prints what criterion measured: medians, and ours through theirs.
//   node bench/codec/ratios.mjs [folder of criterion]
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const folder = process.argv[2] ?? "bench/codec/target/criterion";
const median = (group, side) =>
  JSON.parse(readFileSync(join(folder, group, side, "new/estimates.json"), "utf8")).median.point_estimate;

console.log("case                     ours      theirs    ours/theirs");
for (const group of readdirSync(folder).sort()) {
  if (!existsSync(join(folder, group, "ours")) || !existsSync(join(folder, group, "theirs"))) continue;
  const [ours, theirs] = ["ours", "theirs"].map((side) => median(group, side));
  const ns = (value) => `${value.toFixed(0)} ns`.padStart(10);
  console.log(`${group.padEnd(20)} ${ns(ours)} ${ns(theirs)} ${(ours / theirs).toFixed(2).padStart(12)}`);
}
