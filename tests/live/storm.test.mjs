// `make storm` does the same with 500 clients.
import assert from "node:assert/strict";
import { test } from "node:test";
import "./harness.mjs";
import { stormOnServer } from "../long/storm.mjs";

const CLIENTS = 50;

test("50 stock clients that lose their runtime are all recovered: nothing missed, nothing twice, none left on polling", async () => {
  const figures = await stormOnServer("instruments", CLIENTS, { timeout: 30_000 });
  const { clients, recovered, missed, twice_or_out_of_order, left_on_polling } = figures;
  assert.deepEqual(
    { clients, recovered, missed, twice_or_out_of_order, left_on_polling },
    { clients: CLIENTS, recovered: CLIENTS, missed: 0, twice_or_out_of_order: 0, left_on_polling: 0 },
  );
});
