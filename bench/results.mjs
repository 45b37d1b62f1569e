// What was measured, and under which conditions, in a file that is committed.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, release } from "node:os";
import { dirname, join } from "node:path";

const ROOT = join(import.meta.dirname, "..");
export const FOLDER = join(import.meta.dirname, "results");
const KEPT = join(FOLDER, "bench.json");

/** What runs; by the end of a long run the sources may be others. */
const COMMIT = execFileSync("git", ["rev-parse", "--short", "HEAD"], { cwd: ROOT, encoding: "utf8" }).trim();

/** When, where and with what. */
export function conditions() {
  const { devDependencies } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
  const installed = (name) => JSON.parse(readFileSync(join(ROOT, "node_modules", name, "package.json"), "utf8")).version;
  return {
    date: new Date().toISOString().slice(0, 10),
    commit: COMMIT,
    machine: `${cpus().length} x ${cpus()[0].model}, Linux ${release()}`,
    versions: {
      workerd: installed("workerd"),
      wrangler: devDependencies.wrangler,
      node: process.versions.node,
      sqlite: process.versions.sqlite,
      "socket.io": devDependencies["socket.io"],
      "socket.io-client": devDependencies["socket.io-client"],
    },
  };
}

/** Writes `bench/results/NAME.json`: `command` is what anybody can type to do it again. */
export function keepAs(name, command, found) {
  mkdirSync(FOLDER, { recursive: true });
  writeFileSync(join(FOLDER, `${name}.json`), `${JSON.stringify({ ...conditions(), command, ...found }, null, 1)}\n`);
}

/** `{ scenario: { conditions, runs } }` as last kept. */
export function kept() {
  return existsSync(KEPT) ? JSON.parse(readFileSync(KEPT, "utf8")) : {};
}

/** Keeps the scenarios that were run, in place of what was kept of them. */
export function keep(results, conditions) {
  const scenarios = Object.entries(results).map(([name, runs]) => [name, { conditions, runs }]);
  mkdirSync(dirname(KEPT), { recursive: true });
  writeFileSync(KEPT, `${JSON.stringify({ ...kept(), ...Object.fromEntries(scenarios) }, rounded, 1)}\n`);
}

/** Four digits are more than a measurement has. */
const rounded = (_, value) => (typeof value === "number" ? Number(value.toPrecision(4)) : value);
