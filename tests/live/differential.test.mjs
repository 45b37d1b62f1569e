// Conformance mode beside the reference: the same frames and requests go to both, and a client must not be able to tell which
// is which, but for the differences that are meant.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { DIALECT, DIFFERENCES, translated } from "./differential/differences.mjs";
import { play } from "./differential/play.mjs";
import { startReference } from "./differential/reference.mjs";
import { ALLOWED_ORIGIN, ROWS, TIMED_ROWS } from "./differential/rows.mjs";
import { startServer } from "./harness.mjs";

// What is not about time is not to be disturbed by it.
const CALM = { pingInterval: 20_000, pingTimeout: 20_000, connectTimeout: 60_000 };
const SHORT = { pingInterval: 300, pingTimeout: 200, connectTimeout: 1_000 };

const used = new Set();

for (const [name, settings, rows] of [
  ["frames and requests", CALM, ROWS],
  ["time", SHORT, TIMED_ROWS],
]) {
  describe(name, { concurrency: 8 }, () => {
    let reference;
    let server;
    before(async () => {
      const vars = {
        PING_INTERVAL_MS: String(settings.pingInterval),
        PING_TIMEOUT_MS: String(settings.pingTimeout),
        CONNECT_TIMEOUT_MS: String(settings.connectTimeout),
        ALLOWED_ORIGINS: ALLOWED_ORIGIN,
      };
      reference = await startReference({ ...settings, allowedOrigin: ALLOWED_ORIGIN });
      server = await startServer({ bundle: "conformance", vars });
    });
    after(() => reference.stop());

    for (const row of rows) {
      test(row.name, async () => {
        const [theirs, ours] = await Promise.all([play(reference.url, row), play(server.url, row)]);
        const expected = translated(theirs, used);
        const difference = DIFFERENCES.get(row.name);
        if (difference === undefined) {
          assert.deepEqual(ours, expected);
        } else {
          const differs = ours.findIndex((line, i) => line !== expected[i]);
          assert.notEqual(differs, -1, "the difference is gone: take it out of the table");
          assert.deepEqual(ours.slice(differs), difference);
        }
      });
    }
  });
}

test("the whole dialect was met", () => {
  assert.deepEqual(DIALECT.filter((part) => !used.has(part)), []);
});

test("every row has a name of its own, and every difference a row", () => {
  const names = [...ROWS, ...TIMED_ROWS].map(({ name }) => name);
  assert.equal(new Set(names).size, names.length);
  assert.deepEqual([...DIFFERENCES.keys()].filter((name) => !names.includes(name)), []);
});
