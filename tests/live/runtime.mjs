// The child process of a test server: one Miniflare, and through it one workerd, in a process group of their own.
// It does what the parent asks for over IPC and nothing else. See harness.mjs.
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { convertV4MiniflareOptions, Log, LogLevel, Miniflare } from "miniflare";

let miniflare;
let options;
let worker;

const commands = {
  async start({ options: own, bundle, persist, port, workers, inspected }) {
    worker = own.name;
    options = convertV4MiniflareOptions({
      host: "127.0.0.1",
      port,
      ...(inspected && { inspectorPort: 0 }),
      log: new Log(LogLevel.WARN),
      logRequests: false,
      cf: false,
      unsafeTriggerHandlers: true,
      resourcePersistencePath: persist,
      handleStructuredLogs: ({ level, message }) => process.send({ log: `[${level}] ${message}` }),
      workers: [{ ...own, ...modules(bundle) }, ...workers],
    });
    miniflare = new Miniflare(options);
    return { url: String(await miniflare.ready) };
  },

  /** Options anew are a workerd anew: Miniflare ends the one there is with SIGKILL. */
  crash: () => miniflare.setOptions(options),

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

  async heaps() {
    const { host } = await miniflare.getInspectorURL();
    const isolates = await (await fetch(`http://${host}/json`)).json();
    const sizes = isolates.map(async ({ id }) => [id, await heap(`ws://${host}/${id}`)]);
    return Object.fromEntries(await Promise.all(sizes));
  },

  async objects({ className }) {
    return miniflare.listDurableObjectIds(className);
  },

  async stop() {
    await miniflare?.dispose();
  },
};

/** Collects garbage, and gives the bytes in the heap. V8 must have been started with `--expose-gc`. */
async function heap(url) {
  const socket = new WebSocket(url);
  const messages = [];
  socket.addEventListener("message", ({ data }) => messages.push(JSON.parse(data)));
  const message = async (wanted) => {
    for (;;) {
      const found = messages.find(wanted);
      if (found) return found;
      await once(socket, "message");
    }
  };
  const ask = async (id, method, params) => {
    socket.send(JSON.stringify({ id, method, params }));
    return (await message((message) => message.id === id)).result;
  };
  await once(socket, "open");
  await ask(1, "Runtime.enable");
  const { params } = await message(({ method }) => method === "Runtime.executionContextCreated");
  await ask(2, "Runtime.evaluate", { expression: "gc()", contextId: params.context.id });
  const { usedSize } = await ask(3, "Runtime.getHeapUsage");
  socket.close();
  return usedSize;
}

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
