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

const LINES_SHOWN = 200;

beforeEach((test) => {
  for (const { log } of servers) log.push(`---- ${test.name} ----`);
});

afterEach(async (test) => {
  if (test.passed) return;
  await delay(100); // The last lines are still on their way through the pipes.
  for (const { port, log } of servers) {
    console.log(`---- the server on port ${port} logged, up to the end of "${test.name}" ----`);
    for (const line of log.slice(-LINES_SHOWN)) console.log(line);
  }
});

after(() => Promise.all([...servers].map((server) => server.stop())));
