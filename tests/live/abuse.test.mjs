// The small run of tests/long/abuse.mjs.
import assert from "node:assert/strict";
import { test } from "node:test";
import { abuse, tooMany } from "./abuse.mjs";

test("a hundred strangers and a thousand frames of garbage create no user's object, and nobody who behaves notices", { timeout: 120_000 }, async () => {
  const { pushes, connections, frames } = await abuse({ connections: 100, frames: 1_000, memoryMb: 200, againMb: 100, seed: 7, bundle: "instruments" });
  assert.deepEqual([connections, frames], [100, 1_000]);
  assert.ok(pushes > 0);
});

test("strangers beyond the limit of one address are answered 429, and no object is touched for any of them", { timeout: 120_000 }, async () => {
  // Two of the platform's minutes have less than this.
  const { refused_handshakes } = await tooMany({ bundle: "instruments", handshakes: 1_300 });
  assert.ok(refused_handshakes > 0);
});
