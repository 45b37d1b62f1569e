// `make bench-report`: writes the tables of what was kept into docs/performance.md, between its marks, and the plots beside it.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as ledger from "./ledger/tables.mjs";
import { bySize, latency } from "./plots.mjs";
import { FOLDER, kept } from "./results.mjs";
import { SCENARIOS } from "./scenarios.mjs";
import { markdown } from "./tables.mjs";

const DOCUMENT = join(import.meta.dirname, "../docs/performance.md");
const LEDGER = join(FOLDER, "ledger.json");
const SUBJECTS = ["dormouse", "floor", "node"];

const results = kept();
const names = Object.keys(SCENARIOS).filter((name) => name in results);
if (names.length === 0 && !existsSync(LEDGER)) {
  console.error("there are no results: run `make bench` or `make ledger`");
  process.exit(1);
}

if (names.length > 0) {
  const under = Map.groupBy(names, (name) => JSON.stringify(results[name].conditions));
  const tables = [...under].flatMap(([conditions, names]) => [
    measuredWith(JSON.parse(conditions)),
    "",
    ...markdown(Object.fromEntries(names.map((name) => [name, results[name]])), SUBJECTS),
  ]);
  write("bench", tables);
}
if (existsSync(LEDGER)) {
  const { rows, date, commit, command, machine, versions } = JSON.parse(readFileSync(LEDGER, "utf8"));
  const tables = [ledger.actions(rows), ledger.assumed(rows), ledger.months(rows)];
  const measured = `${date}, \`${command}\`, commit ${commit}, ${machine}; ${software(versions)} ([ledger.json](../bench/results/ledger.json)).`;
  write("ledger", [measured, "", ...tables.flatMap((table) => [...ledger.markdown(table), ""])]);
}

for (const name of ["one", "flight"].filter((name) => name in results)) {
  draw(`latency_${name}`, latency(SCENARIOS[name].title, results[name].runs, SUBJECTS));
}
if ("room" in results) {
  draw("fan_out_last", bySize("one push to a room: ms until the last has it", "last", results.room.runs, SUBJECTS));
  draw("fan_out_cpu", bySize("one push to a room: server CPU for each user, ms", "cpu", results.room.runs, SUBJECTS));
}

/** Puts the lines in place of what is between the marks of that name. */
function write(name, lines) {
  const document = readFileSync(DOCUMENT, "utf8");
  const [mark, endMark] = [`<!-- ${name}: tables -->`, `<!-- ${name}: end -->`];
  const [begin, end] = [document.indexOf(mark) + mark.length, document.indexOf(endMark)];
  if (end < begin) throw new Error(`${DOCUMENT} lacks its marks for ${name}`);
  writeFileSync(DOCUMENT, `${document.slice(0, begin)}\n\n${lines.join("\n")}\n${document.slice(end)}`);
}

function measuredWith({ date, commit, runs, machine, versions }) {
  return `${date}, commit ${commit}, ${runs} runs, ${machine}; ${software(versions)}.`;
}

function software(versions) {
  return Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(", ");
}

function draw(name, svg) {
  writeFileSync(join(FOLDER, `${name}.svg`), svg);
}
