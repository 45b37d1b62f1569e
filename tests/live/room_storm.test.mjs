// `make room-storm` does the same with 300 users for a minute.
import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { test } from "node:test";
import "./harness.mjs";
import { roomStormOnServer } from "./room_storm.mjs";

const USERS = 40;
const MS = 8_000;

test(`${USERS} users of rooms in a storm have exactly what is theirs, and presence is true after it`, async () => {
  const seed = randomInt(2 ** 31);
  const { wrong, figures } = await roomStormOnServer("instruments", { users: USERS, ms: MS, seed });
  assert.deepEqual(wrong, [], `seed ${seed}: ${JSON.stringify(figures)}`);
  assert.ok(figures.pushes > 20, `only ${figures.pushes} pushes`);
});
