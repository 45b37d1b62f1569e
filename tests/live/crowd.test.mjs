// Many users cost the record little (DESIGN 6): their questions and what they owe go through switchboards, many at a time. `make
// crowd` does the same with 1,000.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Crowd, acknowledging, reconnecting } from "./crowd.mjs";
import { startServer } from "./harness.mjs";
import { names } from "./rooms.mjs";

const USERS = 100;
const SWITCHBOARDS = 4;
/** The most that 1,000 users may cost in 10 seconds; a hundred are there in one. */
const MOST = 50;
const OVER_MS = 1_000;

let server;
let crowd;
before(async () => {
  server = await startServer({ vars: { SWITCHBOARDS: String(SWITCHBOARDS), PING_INTERVAL_MS: "1800000" } });
  crowd = new Crowd(server, names("crowd", USERS), { ack: "on" });
  await crowd.connect();
});
after(() => crowd?.close());

test(`${USERS} users who come back within a second cost the record a few reads`, async () => {
  const { record_batches } = await reconnecting(server, crowd, { overMs: OVER_MS, missed: false });
  assert.ok(record_batches > 0, "somebody asked");
  assert.ok(record_batches <= MOST / 2, `${record_batches} calls of the record`);
});

test(`${USERS} users who missed an announcement cost a few reads and a few writes`, async () => {
  const { record_batches } = await reconnecting(server, crowd, { overMs: OVER_MS, missed: true });
  assert.ok(record_batches <= MOST, `${record_batches} calls of the record`);
});

test(`${USERS} acknowledgements of one announcement cost a few statements`, async () => {
  const { record_statements } = await acknowledging(server, crowd);
  assert.ok(record_statements > 0, "the record was written");
  assert.ok(record_statements <= MOST / 2, `${record_statements} statements`);
});
