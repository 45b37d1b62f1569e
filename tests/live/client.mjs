// Waiting for what a client or a server comes to, without fixed sleeps.
import { setTimeout as delay } from "node:timers/promises";

/** Waits until `condition` gives something true and returns it. An exception counts as "not yet". */
export async function until(condition, { timeout = 10_000, what = String(condition) } = {}) {
  const deadline = performance.now() + timeout;
  let cause;
  for (;;) {
    try {
      const value = await condition();
      if (value) return value;
      cause = undefined;
    } catch (error) {
      cause = error;
    }
    if (performance.now() > deadline) {
      throw new Error(`not within ${timeout} ms: ${typeof what === "function" ? what() : what}`, { cause });
    }
    await delay(10);
  }
}

/** The payload of the first event of that name that no earlier `nextEvent` has taken. */
export async function nextEvent(socket, name, predicate = () => true, { timeout } = {}) {
  const event = await until(
    () => socket.events.find((event) => !event.taken && event.name === name && predicate(event.data, event)),
    { timeout, what: () => `${name} at the client, which got ${socket.events.map(({ name }) => name).join(", ") || "nothing"}` },
  );
  event.taken = true;
  return event.data;
}

/** Waits for a connecting client; fails at once when it was refused. */
export async function connected(socket, { timeout } = {}) {
  await until(() => socket.connected || socket.lifecycle.at(-1)?.name === "connect_error", { timeout, what: "connect" });
  if (!socket.connected) throw socket.lifecycle.at(-1).data;
  return socket;
}

/** Waits until a connecting client is refused and returns the error. */
export async function refused(socket, { timeout } = {}) {
  await until(() => socket.lifecycle.length > 0, { timeout, what: "connect or connect_error" });
  const { name, data } = socket.lifecycle[0];
  if (name !== "connect_error") throw new Error("the client was not refused");
  return data;
}
