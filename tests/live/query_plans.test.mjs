// How the record finds rows: every statement of src/edge/src/d1 goes by a primary key or an index, so that its cost does not grow
// with the tables. The exceptions say why they are some.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { before, test } from "node:test";
import { startServer } from "./harness.mjs";

const FOLDER = join(import.meta.dirname, "../../src/edge/src/d1");
/** What goes through a whole table says why: see d1/push.rs, d1/retention.rs, d1/rooms.rs and d1/dead_letters.rs. */
const MAY_SCAN = {
  DELETE_KEYS: ["idempotency"],
  LEAVE_SCHEDULED: ["scheduled"],
  DELETE_UNADDRESSED: ["scheduled"],
  LEAVE_LETTERS: ["dead_letters"],
  DELETE_ADDRESSED: ["dead_letters"],
  READ_SWITCHBOARDS: ["switchboards"],
};

const constants = readdirSync(FOLDER).flatMap((file) => {
  const found = readFileSync(join(FOLDER, file), "utf8").matchAll(/const ([A-Z_]+): &str =\s+"([^"]*)";/g);
  return [...found].map(([, name, text]) => ({ name, text: text.trim(), file }));
});
const texts = Object.fromEntries(constants.map(({ name, text }) => [name, text]));
/** What ends in a condition gets that of its file, as in d1/push.rs. */
const CONDITIONS = { "push.rs": "NOT_STORED_YET", "memberships.rs": "NOBODY_IS_FULL" };
const statements = constants.filter(({ text }) => /^(SELECT|INSERT|UPDATE|DELETE|WITH)\b/.test(text));

let server;
before(async () => {
  server = await startServer();
});

test("the statements are found", () => {
  assert.ok(statements.length >= 15, `${statements.length} statements`);
  for (const condition of Object.values(CONDITIONS)) assert.ok(condition in texts, condition);
});

for (const { name, text, file } of statements) {
  test(`${name} reads only what it is to read`, async () => {
    const sql = /\b(WHERE|AND)$/.test(text) ? `${text} ${texts[CONDITIONS[file]]}` : text;
    const parameters = Math.max(0, ...[...sql.matchAll(/\?(\d)/g)].map(([, n]) => Number(n)));
    const plan = await server.db.all(`EXPLAIN QUERY PLAN ${sql}`, ...Array(parameters).fill(null));
    const tables = await server.db.all("SELECT name FROM sqlite_schema WHERE type = 'table'");
    const scanned = plan.map(({ detail }) => /^SCAN (\w+)(?! VIRTUAL)/.exec(detail)?.[1]).filter(Boolean);
    const aliases = [...sql.matchAll(/(?:FROM|JOIN) (\w+)(?: AS)? (\w+)/g)].map(([, table, alias]) => [alias, table]);
    const named = scanned.map((table) => Object.fromEntries(aliases)[table] ?? table);
    const whole = named.filter((table) => tables.some(({ name }) => name === table));
    assert.deepEqual(whole, MAY_SCAN[name] ?? [], plan.map(({ detail }) => detail).join("\n"));
  });
}
