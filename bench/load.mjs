// The load generator: a process of its own that runs one scenario against one subject, as told over IPC, and reports what
// it measured. See run.mjs.
import { Load } from "./clients.mjs";
import { SCENARIOS } from "./scenarios.mjs";

process.once("message", async ({ scenario, subject, scale }) => {
  const load = new Load(subject);
  const scaled = (count) => Math.max(1, Math.round(count * scale));
  // Says that the clients are there, and waits for those of the other subjects.
  const together = () =>
    new Promise((resolve) => {
      process.once("message", resolve);
      process.send({ connected: true });
    });
  try {
    const measured = await SCENARIOS[scenario].run({ load, subject, scaled, together });
    load.check();
    process.send({ measured: { ...measured, pushed: load.pushed, deliveries: load.deliveries } });
  } catch (error) {
    process.send({ invalid: error.message });
  } finally {
    load.close();
    process.disconnect();
  }
});
