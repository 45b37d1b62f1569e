// `make bench-report`: writes the tables of what was kept into docs/performance.md, between its marks, and the plots beside it.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { bySize, latency } from "./plots.mjs";
import { FOLDER, kept } from "./results.mjs";
import { SCENARIOS } from "./scenarios.mjs";
import { markdown } from "./tables.mjs";

const DOCUMENT = join(import.meta.dirname, "../docs/performance.md");
const [BEGIN, END] = ["<!-- bench: tables -->", "<!-- bench: end -->"];
const SUBJECTS = ["dormouse", "floor", "node"];

const results = kept();
const names = Object.keys(SCENARIOS).filter((name) => name in results);
if (names.length === 0) {
  console.error("there are no results: run `make bench`");
  process.exit(1);
}

const under = Map.groupBy(names, (name) => JSON.stringify(results[name].conditions));
const tables = [...under].flatMap(([conditions, names]) => [
  measuredWith(JSON.parse(conditions)),
  "",
  ...markdown(Object.fromEntries(names.map((name) => [name, results[name]])), SUBJECTS),
]);
const document = readFileSync(DOCUMENT, "utf8");
const [begin, end] = [document.indexOf(BEGIN) + BEGIN.length, document.indexOf(END)];
if (end < begin) throw new Error(`${DOCUMENT} lacks its marks`);
writeFileSync(DOCUMENT, `${document.slice(0, begin)}\n\n${tables.join("\n")}${document.slice(end)}`);

for (const name of ["one", "flight"].filter((name) => name in results)) {
  draw(`latency_${name}`, latency(SCENARIOS[name].title, results[name].runs, SUBJECTS));
}
if ("room" in results) {
  draw("fan_out_last", bySize("one push to a room: ms until the last has it", "last", results.room.runs, SUBJECTS));
  draw("fan_out_cpu", bySize("one push to a room: server CPU for each user, ms", "cpu", results.room.runs, SUBJECTS));
}

function measuredWith({ date, commit, runs, machine, versions }) {
  const software = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  return `${date}, commit ${commit}, ${runs} runs, ${machine}; ${software.join(", ")}.`;
}

function draw(name, svg) {
  writeFileSync(join(FOLDER, `${name}.svg`), svg);
}
