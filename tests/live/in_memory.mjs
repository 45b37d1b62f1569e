// A server whose data is in memory where there is such a folder: hundreds of objects that all write to one disk at the same
// moment measure the disk, and stall for longer than an upgrade may take.
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startServer } from "./server.mjs";

const MEMORY = "/dev/shm";

/** Starts a server, runs `action` with it and removes it. Gives what `action` gives. */
export async function onServerInMemory(options, action) {
  const persist = mkdtempSync(join(existsSync(MEMORY) ? MEMORY : tmpdir(), "dormouse-memory-"));
  try {
    const server = await startServer({ ...options, persist });
    try {
      return await action(server);
    } finally {
      await server.stop();
    }
  } finally {
    rmSync(persist, { recursive: true, force: true, maxRetries: 3 });
  }
}
