// The server and docs/openapi.json say the same: schemathesis sends what the document allows and what it does not, and holds
// each answer against it; every operation refuses the credentials it should, every path the methods it has not.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { ALL_SCOPES, newServiceKey } from "../../scripts/service-key.mjs";
import { pushed } from "./checks.mjs";
import { startServer } from "./harness.mjs";

const ROOT = join(import.meta.dirname, "../..");
const SCHEMATHESIS = join(ROOT, ".venv/bin/schemathesis");
const CONFIG = join(import.meta.dirname, "schemathesis.toml");
// Not OPTIONS, which asks what a page may do: see cors.test.mjs.
const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
const RUN_TIMEOUT_MS = 180_000;

const document = JSON.parse(readFileSync(join(ROOT, "docs/openapi.json"), "utf8"));
const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ method: method.toUpperCase(), path, ...operation })),
);
const of = (plane) => operations.filter((operation) => operation["x-plane"] === plane);

const folder = mkdtempSync(join(tmpdir(), "dormouse-openapi-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const full = newServiceKey("full");
/** By what an operation says of its scope, keys with all others. */
const lacking = Object.fromEntries(
  [...new Set(of("service").map((operation) => operation["x-scope"]))].map((scope, i) => {
    const opening = scope.split(/, | or /);
    return [scope, newServiceKey(`lacking-${i}`, ALL_SCOPES.filter((other) => !opening.includes(other)))];
  }),
);
let server;
before(async () => {
  assert.ok(existsSync(SCHEMATHESIS), "there is no schemathesis in .venv: run `make python`");
  const keys = [full, ...Object.values(lacking)].map(({ record }) => record);
  server = await startServer({ vars: { SERVICE_KEYS: JSON.stringify(keys) } });
});

// ---- whatever is sent ----

for (const [plane, credential] of [
  ["service", () => full.key],
  ["user", () => server.token("user-plane")],
  ["public", () => undefined],
]) {
  test(`whatever is sent to the ${plane} plane is answered as documented`, { timeout: RUN_TIMEOUT_MS }, async () => {
    const user = `${plane}-plane`;
    const ids = [];
    for (let i = 0; i < 3; i += 1) ids.push(await pushed(server, user, { key: full.key }));
    const file = join(folder, `${plane}.json`);
    writeFileSync(file, JSON.stringify(forTesting(document, ids, await deadLetters(user), user)));
    await schemathesis(plane, file, credential());
  });
}

/**
 * The document made strict, and about things there are: answers have no properties besides the documented ones, and paths name
 * these notifications, these dead letters and, in the examples, this user.
 */
function forTesting(document, ids, letters, user) {
  const made = structuredClone(document);
  const { parameters, schemas } = made.components;
  for (const schema of Object.values(schemas)) close(schema);
  parameters.NotificationId.schema.enum = ids;
  parameters.NotificationId.example = ids[0];
  parameters.DeadLetterId.schema.enum = letters;
  parameters.DeadLetterId.example = letters[0];
  parameters.UserId.example = user;
  return made;
}

/** Dead letters that are there: of a push that can be carried out now, and of one that never can. Gives their ids. */
async function deadLetters(user) {
  const bodies = [{ idempotency_key: user, to: [`user:${user}`], title: "Hello" }, { idempotency_key: user, to: [] }];
  const sent = bodies.map((body) => ({ id: randomUUID(), timestamp: new Date(), body, attempts: 1 }));
  await server.deliver("dormouse-pushes-dead", sent);
  return (await server.db.all("SELECT id FROM dead_letters")).map(({ id }) => id);
}

function close(schema) {
  if (typeof schema !== "object" || schema === null) return;
  if (schema.properties !== undefined) schema.additionalProperties ??= false;
  for (const inner of Object.values(schema)) close(inner);
}

function schemathesis(plane, file, credential) {
  const authorization = credential === undefined ? [] : ["--header", `Authorization: Bearer ${credential}`];
  const child = spawn(
    SCHEMATHESIS,
    ["--config-file", CONFIG, "run", file, "--url", server.url, "--include-by", `/x-plane == ${plane}`, ...authorization],
    // What it remembers from run to run stays here.
    { cwd: folder, stdio: ["ignore", "pipe", "pipe"] },
  );
  after(() => child.kill());
  let said = "";
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text) => (said += text));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => (code === 0 ? resolve() : reject(new Error(`schemathesis ended with ${code}:\n${said}`))));
  });
}

// ---- credentials, methods ----

const sample = (path) => path.replaceAll(/\{\w+\}/g, "0192f3a0-7c1e-7d4b-9a55-3f0c2b6d8e11");
const ask = ({ method, path }, options) => server.api(method, sample(path), options);

for (const operation of of("service")) {
  const { method, path, "x-scope": scope } = operation;
  test(`${method} ${path} takes a service key with ${scope} and nothing else`, async () => {
    for (const [credential, status, code] of [
      [{}, 401, "unauthenticated"],
      [{ token: server.token("u1") }, 401, "invalid_credential"],
      [{ key: lacking[scope].key }, 403, "forbidden"],
    ]) {
      const answer = await ask(operation, credential);
      assert.deepEqual([answer.status, answer.body.code], [status, code]);
    }
    const { status } = await ask(operation, { key: newServiceKey("unknown").key });
    assert.equal(status, 401);
  });
}

for (const operation of of("user")) {
  test(`${operation.method} ${operation.path} takes a user's token and no service key`, async () => {
    for (const [credential, code] of [[{}, "unauthenticated"], [{ key: full.key }, "invalid_credential"]]) {
      const answer = await ask(operation, credential);
      assert.deepEqual([answer.status, answer.body.code], [401, code]);
    }
  });
}

for (const [path, methods] of Object.entries(document.paths)) {
  test(`${path} refuses other methods and names its own`, async () => {
    const own = Object.keys(methods).map((method) => method.toUpperCase()).sort();
    for (const method of METHODS.filter((method) => !own.includes(method))) {
      const { status, headers } = await ask({ method, path }, { key: full.key });
      assert.equal(status, 405, method);
      assert.deepEqual(headers.allow?.split(/, */).sort(), own, method);
    }
  });
}

// ---- the document itself ----

test("the server hands out the document", async () => {
  const { status, headers, body } = await server.api("GET", "/openapi.json");
  assert.deepEqual([status, headers["content-type"]], [200, "application/json"]);
  assert.deepEqual(body, document);
});
