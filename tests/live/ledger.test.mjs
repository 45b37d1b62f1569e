// The budgets: what the most frequent actions may cost, in the units that the platform bills. `make ledger` prints what they,
// and all others, do cost.
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { connect, idle, idleKeepalive, push, pushOnline } from "../../bench/ledger/actions.mjs";
import { counted } from "../../bench/ledger/counting.mjs";
import { startServer } from "./harness.mjs";

/** Users of one switchboard. */
const CROWD = 10;
const INTERVALS = 3;
const PINGS = 5;
const ONLINE = { worker_requests: 1, object_requests: 2, object_rows_written: 8, alarms_set: 1 };

let server;
before(async () => {
  // Nothing but what is counted sets an alarm for the near future.
  server = await startServer({ vars: { PING_INTERVAL_MS: "1800000", CONNECT_TIMEOUT_MS: "300000" } });
});

/** Units that were counted are at most as many as `most` says; those it doesn't name may be any number. */
function assertWithin(units, most) {
  assert.equal(units.worker_requests, 1, `something was counted: ${JSON.stringify(units)}`);
  const over = Object.keys(most).filter((unit) => units[unit] > most[unit]);
  assert.deepEqual(over, [], `over the budget: ${JSON.stringify(units)}`);
}

const keyed = (user) => ({ idempotencyKey: user });

for (const [name, { most, prepare, act }] of Object.entries({
  "a push to an online user, delivered and acknowledged": {
    most: { ...ONLINE, record_rows_written: 5 },
    prepare: (user) => connect(server, user),
    act: (user, socket) => pushOnline(server, user, socket),
  },
  "a push with a key to an online user, delivered and acknowledged": {
    most: { ...ONLINE, record_rows_written: 6 },
    prepare: (user) => connect(server, user),
    act: (user, socket) => pushOnline(server, user, socket, keyed(user)),
  },
  "a push to an offline user": {
    most: { worker_requests: 1, record_rows_written: 3, alarms_set: 0 },
    prepare: (user) => push(server, user),
    act: (user) => push(server, user),
  },
  "a push with a key to an offline user": {
    most: { worker_requests: 1, record_rows_written: 4, alarms_set: 0 },
    prepare: (user) => push(server, user),
    act: (user) => push(server, user, keyed(user)),
  },
  "a connect of a known user": {
    most: { worker_requests: 1, object_requests: 2, record_rows_written: 0 },
    prepare: async (user) => {
      const socket = await connect(server, user);
      // Until the switchboard has noted that nobody is there.
      await counted(server, "disconnect", () => void socket.disconnect(), ({ alarms = 0 }) => alarms > 0);
    },
    act: (user) => connect(server, user),
  },
})) {
  test(`${name} stays within its budget`, async () => {
    const user = name.replaceAll(/\W+/g, "-");
    const state = await prepare(user);
    assertWithin(await counted(server, name, () => act(user, state)), most);
  });
}

test("a budget that is exceeded is noticed", () => {
  const units = { worker_requests: 1, record_rows_written: 4 };
  assertWithin(units, { record_rows_written: 4, alarms_set: 0 });
  assert.throws(() => assertWithin(units, { record_rows_written: 3 }), /over the budget/);
  assert.throws(() => assertWithin({}, { record_rows_written: 3 }), /something was counted/);
});

// Each on a server of its own.
describe("an idle connection", { concurrency: true }, () => {
  test("of a stock client costs at most one object request an interval and no row of its own", async () => {
    const { units, heartbeats } = await idle(CROWD, INTERVALS);
    const { object_requests, alarms_set = 0, object_rows_written = 0, record_rows_written = 0, record_batches = 0 } = units;
    const counts = `${JSON.stringify(units)} in ${heartbeats} intervals of ${CROWD} users`;
    assert.ok(object_requests > 0, `something was counted: ${counts}`);
    // A tick under way when the counting begins or ends is counted on one side only.
    assert.ok(object_requests <= (heartbeats + 1) * CROWD, `at most one request: ${counts}`);
    // Their switchboard has an alarm and a row an interval for all of them.
    assert.ok(alarms_set <= heartbeats + 2 && object_rows_written <= heartbeats + 2, `only the switchboard writes: ${counts}`);
    assert.deepEqual({ record_rows_written, record_batches }, { record_rows_written: 0, record_batches: 0 }, counts);
  });

  test("with keepalive=client costs nothing", async () => {
    assert.deepEqual(await idleKeepalive(CROWD, PINGS, INTERVALS), {});
  });
});
