// Keeps what was found, and under which conditions, in a file that is committed.
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, release } from "node:os";
import { join } from "node:path";

const ROOT = join(import.meta.dirname, "..");
const FOLDER = join(import.meta.dirname, "results");

/** What runs; by the end of a long run the sources may be others. */
const COMMIT = execFileSync("git", ["rev-parse", "--short", "HEAD"], { cwd: ROOT, encoding: "utf8" }).trim();

/** Writes `bench/results/NAME.json`: `command` is what anybody can type to do it again. */
export function keep(name, command, found) {
  const installed = (name) => JSON.parse(readFileSync(join(ROOT, "node_modules", name, "package.json"), "utf8")).version;
  const conditions = {
    date: new Date().toISOString().slice(0, 10),
    commit: COMMIT,
    machine: `${cpus().length} x ${cpus()[0].model}, Linux ${release()}`,
    versions: {
      workerd: installed("workerd"),
      miniflare: installed("miniflare"),
      node: process.versions.node,
      "socket.io-client": installed("socket.io-client"),
    },
    command,
  };
  mkdirSync(FOLDER, { recursive: true });
  writeFileSync(join(FOLDER, `${name}.json`), `${JSON.stringify({ ...conditions, ...found }, null, 1)}\n`);
}
