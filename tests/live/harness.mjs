// What a live test imports: test servers, stock Socket.IO clients, and waiting for things.
//
//   const server = await startServer();
//   const socket = server.connect("u1");
//   await server.push("u1");
//   await nextEvent(socket, "notification:new");
//
// Servers end with the test file. When a test fails, what they logged is printed.
import { after, afterEach, beforeEach } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { servers } from "./server.mjs";

export { connected, nextEvent, refused, until } from "./client.mjs";
export { startServer } from "./server.mjs";

/** How many lines each server had logged when the test began. */
const before = new WeakMap();

beforeEach(() => {
  for (const server of servers) before.set(server, server.logged);
});

afterEach(async (test) => {
  if (test.passed) return;
  await delay(100); // The last lines are still on their way through the pipes.
  for (const server of servers) {
    const lines = server.lastLines(server.logged - (before.get(server) ?? 0));
    if (lines.length > 0) console.log(`---- during "${test.name}" the server on port ${server.port} logged ----`);
    for (const line of lines) console.log(line);
  }
});

after(() => Promise.all([...servers].map((server) => server.stop())));
