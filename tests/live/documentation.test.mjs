// The curl lines of docs/http-api.md do what they say, and there is one for each operation of docs/openapi.json.
//
// Every `sh` block with a curl line is run by a shell of its own, in order, with URL, KEY, TOKEN (of user u1), ID (a
// notification that was just pushed to u1) and LETTER (a dead letter of a push to u1) in its environment. Each request must be answered 2xx; a line that ends with
// `# 404` says otherwise.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pushed } from "./checks.mjs";
import { startServer } from "./harness.mjs";

const DOCS = join(import.meta.dirname, "../../docs");
const USER = "u1";
// Replaces the command in the blocks: the same, and a line about each request in LOG.
const CURL = `curl() { command curl "$@" --show-error --write-out '%{stderr}%{method} %{http_code} %{url_effective}\\n' 2>> "$LOG"; }`;

const folder = mkdtempSync(join(tmpdir(), "dormouse-documentation-"));
after(() => rmSync(folder, { recursive: true, force: true }));

let server;
before(async () => {
  server = await startServer();
});

/** What was asked for, over all blocks: `{ method, path }`. */
const asked = [];

for (const [i, { heading, script }] of blocks(readFileSync(join(DOCS, "http-api.md"), "utf8")).entries()) {
  test(`block ${i + 1}, ${heading}, does what it says`, async () => {
    const log = join(folder, `${i}.log`);
    const { code, said } = await run(script, {
      URL: server.url,
      KEY: server.serviceKey,
      TOKEN: server.token(USER),
      ID: await pushed(server, USER),
      LETTER: await deadLetter(i),
      LOG: log,
    });
    const lines = readFileSync(log, "utf8").trimEnd().split("\n");
    const about = `${script}\n${said}\n${lines.join("\n")}`;
    assert.equal(code, 0, about);
    const requests = lines.map((line) => /^(?<method>[A-Z]+) (?<status>\d{3}) (?<url>\S+)$/.exec(line)?.groups);
    const expected = commands(script).map((command) => / # (\d{3})$/.exec(command)?.[1] ?? "2xx");
    const found = requests.map((request, k) => (expected[k] === "2xx" ? request?.status.replace(/^2\d\d$/, "2xx") : request?.status));
    assert.deepEqual(found, expected, about);
    for (const { method, url } of requests) asked.push({ method, path: new URL(url).pathname });
  });
}

test("each operation has a curl line, and each curl line is about an operation", () => {
  const { paths } = JSON.parse(readFileSync(join(DOCS, "openapi.json"), "utf8"));
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => ({
      name: `${method.toUpperCase()} ${path}`,
      method: method.toUpperCase(),
      parameters: path.split("{").length - 1,
      path: new RegExp(`^${path.replaceAll(".", "\\.").replaceAll(/\{\w+\}/g, "[^/]+")}$`),
    })),
  );
  // A path with fewer parameters comes first: `unread-count` is no id.
  operations.sort((a, b) => a.parameters - b.parameters);
  const shown = asked.map(({ method, path }) => {
    const operation = operations.find((operation) => operation.method === method && operation.path.test(path));
    return operation?.name ?? `${method} ${path}, which is not documented`;
  });
  assert.deepEqual([...new Set(shown)].sort(), operations.map(({ name }) => name).sort());
});

/** A dead letter that can be replayed, as the queue would leave it; gives its id. */
async function deadLetter(i) {
  const id = `01929c3e-0000-7000-8000-${i.toString().padStart(12, "0")}`;
  const body = JSON.stringify({ idempotency_key: `letter-${i}`, to: [`user:${USER}`], title: "Hello" });
  const problem = JSON.stringify({ code: "retries_exhausted" });
  await server.db.run(
    "INSERT INTO dead_letters (id, received_at, body, problem) VALUES (?1, ?2, ?3, ?4)",
    id, Date.now(), body, problem,
  );
  return id;
}

/** The `sh` blocks that have a curl line, each with the heading it is under. */
function blocks(markdown) {
  const found = [];
  let heading;
  let script;
  for (const line of markdown.split("\n")) {
    if (script === undefined) {
      heading = /^#+ (.*)/.exec(line)?.[1] ?? heading;
      if (line === "```sh") script = [];
    } else if (line === "```") {
      found.push({ heading, script: script.join("\n") });
      script = undefined;
    } else {
      script.push(line);
    }
  }
  return found.filter(({ script }) => commands(script).length > 0);
}

/** The commands of a script that call curl, each on one line. */
function commands(script) {
  const lines = script.replaceAll("\\\n", " ").split("\n");
  return lines.filter((line) => /\bcurl /.test(line) && !line.startsWith("#"));
}

function run(script, variables) {
  const child = spawn("sh", ["-eu", "-c", `${CURL}\n${script}`], {
    cwd: folder,
    env: { ...process.env, ...variables },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text) => (said += text));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, said }));
  });
}
