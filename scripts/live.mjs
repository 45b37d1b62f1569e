// Runs the live tests, two files at a time; those that fail are run once more, one at a time.
//   node scripts/live.mjs tests/live/*.test.mjs
//
// They talk to real runtimes and real clients, on a machine that may be busy with something else. What is broken fails both
// times; what needed the second time is named at the end, so that it can be looked at.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";

const AT_ONCE = 2;
const TEST_TIMEOUT_MS = 60_000;
/** More than these are no accident. */
const MOST_AGAIN = 4;

const folder = mkdtempSync(join(tmpdir(), "dormouse-live-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));

const first = run(process.argv.slice(2), AT_ONCE);
if (first.passed) process.exit(0);
if (first.failed.length === 0 || first.failed.length > MOST_AGAIN) process.exit(1);
console.log(`\n==> once more, one at a time: ${first.failed.join(", ")}`);
const second = run(first.failed, 1);
if (!second.passed) process.exit(1);
console.log(`\n==> passed only when run alone: ${first.failed.join(", ")}`);

/** Runs test files; whether all passed, and which did not. */
function run(files, atOnce) {
  const failures = join(folder, "failures");
  const { status } = spawnSync(
    process.execPath,
    [
      "--test",
      `--test-concurrency=${atOnce}`,
      `--test-timeout=${TEST_TIMEOUT_MS}`,
      "--test-force-exit",
      "--test-reporter=spec",
      "--test-reporter-destination=stdout",
      `--test-reporter=${join(import.meta.dirname, "failed-files.mjs")}`,
      `--test-reporter-destination=${failures}`,
      ...files,
    ],
    { stdio: "inherit" },
  );
  const failed = readFileSync(failures, "utf8").split("\n").filter(Boolean);
  return { passed: status === 0, failed: [...new Set(failed)].map((file) => relative(process.cwd(), file)) };
}
