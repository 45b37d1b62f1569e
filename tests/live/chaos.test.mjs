// `make chaos` does the same with 1,000 kills.
import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import "./harness.mjs";
import { chaosOnServer } from "../../bench/chaos/chaos.mjs";
import { POINTS } from "../../bench/chaos/points.mjs";

const KILLS = 30;
const FEWEST_KILLS = 6;
const MS = 30_000;
/** Above what a run may take on a busy machine. */
const PATIENT = { timeout: 120_000 };

/** What each planted fault breaks. */
const FAULTS = {
  "emit-before-commit": ["foreign"],
  "drop-outbox": ["record"],
  "cursor-over-gap": ["lost"],
};

test("chaos knows every fail point", () => {
  const source = readFileSync(join(import.meta.dirname, "../../src/edge/src/instruments/mod.rs"), "utf8");
  const [, variants] = /enum FailPoint \{(.*?)\n\}/s.exec(source);
  const names = [...variants.matchAll(/^ +([A-Z]\w*),$/gm)].map(([, name]) => name.replace(/\B[A-Z]/g, "-$&").toLowerCase());
  assert.deepEqual(Object.keys(POINTS).toSorted(), names.toSorted());
});

test("a runtime that is killed again and again breaks no promise", PATIENT, async () => {
  const seed = randomInt(2 ** 31);
  const { wrong, figures } = await chaosOnServer({ kills: KILLS, seed, ms: MS });
  assert.deepEqual(wrong, [], `seed ${seed}: ${JSON.stringify(figures)}`);
  const { kills, answered, checked_items, full_checks } = figures;
  const shows = kills >= FEWEST_KILLS && answered > 2 * kills && checked_items > answered && full_checks > 0;
  assert.ok(shows, `a run that shows something: ${JSON.stringify(figures)}`);
});

for (const [fault, kinds] of Object.entries(FAULTS)) {
  test(`chaos finds the planted fault ${fault}`, PATIENT, async () => {
    const seed = randomInt(2 ** 31);
    const { wrong, figures } = await chaosOnServer({ kills: KILLS, seed, fault });
    const found = wrong.map(({ kind }) => kind);
    assert.ok(kinds.some((kind) => found.includes(kind)), `seed ${seed}: ${JSON.stringify({ wrong, figures })}`);
  });
}
