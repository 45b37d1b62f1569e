// The child process of a test server: one Miniflare, and through it one workerd, in a process group of their own.
// It does what the parent asks for over IPC and nothing else. See harness.mjs.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { convertV4MiniflareOptions, Log, LogLevel, Miniflare } from "miniflare";

let miniflare;
let worker;

const commands = {
  async start({ options, bundle, persist, port, workers }) {
    worker = options.name;
    miniflare = new Miniflare(
      convertV4MiniflareOptions({
        host: "127.0.0.1",
        port,
        log: new Log(LogLevel.WARN),
        logRequests: false,
        cf: false,
        unsafeTriggerHandlers: true,
        resourcePersistencePath: persist,
        handleStructuredLogs: ({ level, message }) => process.send({ log: `[${level}] ${message}` }),
        workers: [{ ...options, ...modules(bundle) }, ...workers],
      }),
    );
    return { url: String(await miniflare.ready) };
  },

  async sql({ binding, statements }) {
    const db = await miniflare.getD1Database(binding);
    const results = await db.batch(statements.map(({ sql, params }) => db.prepare(sql).bind(...params)));
    return results.map(({ results, meta }) => ({ results, meta }));
  },

  async ask({ name, path, init }) {
    const response = await (await miniflare.getWorker(name)).fetch(`http://${name}${path}`, init);
    return { status: response.status, text: await response.text() };
  },

  async deliver({ queue, messages }) {
    return (await miniflare.getWorker(worker)).queue(queue, messages);
  },

  evict: ({ className, name }) => evict(className, { name }),

  async evictAll({ className }) {
    for (const id of await miniflare.listDurableObjectIds(className)) await evict(className, { id });
  },

  async objects({ className }) {
    return miniflare.listDurableObjectIds(className);
  },

  async stop() {
    await miniflare?.dispose();
  },
};

/** An object that is out of memory already is left there. */
async function evict(className, object) {
  try {
    await miniflare.unsafeEvictDurableObject(worker, className, { ...object, webSockets: "hibernate" });
  } catch (error) {
    if (!error.message.includes("not currently running")) throw error;
  }
}

/** The files of a bundle: a script, and its WASM if it has any. They are given as bytes: they may be rebuilt while the server runs. */
function modules(folder) {
  const file = (name, type) => ({ type, path: join(folder, name), contents: readFileSync(join(folder, name)) });
  const script = file("index.js", "ESModule");
  const wasm = existsSync(join(folder, "index_bg.wasm")) ? [file("index_bg.wasm", "CompiledWasm")] : [];
  return { modulesRoot: folder, modules: [{ ...script, contents: script.contents.toString() }, ...wasm] };
}

process.on("message", async ({ id, command, ...args }) => {
  try {
    process.send({ id, result: await commands[command](args) });
  } catch (error) {
    process.send({ id, error: { message: error.message, stack: error.stack } });
  }
});

// The parent is gone, however it went: so is everything here.
process.on("disconnect", () => process.kill(-process.pid, "SIGKILL"));
