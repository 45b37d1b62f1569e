// Templates and notification types (DESIGN 9): what is defined, what a push makes of it, and what is refused.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { newServiceKey } from "../../scripts/service-key.mjs";
import { consistent, inbox } from "./checks.mjs";
import { connected, nextEvent, startServer } from "./harness.mjs";

const UTC = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
const PUSH = "/v1/notifications";

const full = newServiceKey("full");
const writer = newServiceKey("writer", ["templates:write"]);
const pusher = newServiceKey("pusher", ["push:user"]);
let server;
before(async () => {
  server = await startServer({ vars: { SERVICE_KEYS: JSON.stringify([full.record, writer.record, pusher.record]) } });
});

const template = (key) => `/v1/templates/${key}`;
const call = (method, path, body, options) => server.api(method, path, { key: full.key, body, ...options });

/** A call that is answered like this; gives the body. */
async function answered(status, method, path, body) {
  const answer = await call(method, path, body);
  assert.equal(answer.status, status, JSON.stringify(answer.body));
  return answer.body;
}

const defined = (key, body) => answered(201, "PUT", template(key), body);
const shown = (key, query = "") => answered(200, "GET", `${template(key)}${query}`);
const versionsOf = (key) => server.db.all("SELECT version, body FROM templates WHERE key = ?1 ORDER BY version", key);

/** Every row that a push, a template or a type leaves behind; not what becomes of deliveries, which goes on by itself. */
async function stored() {
  const tables = ["notifications", "audience", "idempotency", "templates", "types"];
  const rows = [["deliveries", await server.db.all("SELECT notification_id, user_id FROM deliveries")]];
  for (const table of tables) rows.push([table, await server.db.all(`SELECT * FROM ${table}`)]);
  return rows;
}

/** What `action` costs. The request that asks is not counted. */
async function costs(action) {
  await server.resetLedger();
  await action();
  const { record_batches = 0, object_requests = 0, record_rows_read = 0 } = await server.ledger();
  return { record_batches, object_requests, record_rows_read };
}

/** What a problem says. Its id is random: it may spell anything. */
const said = (problem) => JSON.stringify({ ...problem, request_id: undefined });

/** Makes a call that must be refused like this, leaving nothing behind. */
async function refusal(method, path, options, [status, code, pointers]) {
  const before = await stored();
  const { object_requests } = await costs(async () => {
    const { status: found, headers, body } = await server.api(method, path, { key: full.key, ...options });
    assert.deepEqual([found, body.code], [status, code], JSON.stringify(body));
    assert.equal(headers["content-type"], "application/problem+json");
    assert.equal(body.type, `/problems/${code.replaceAll("_", "-")}`);
    assert.deepEqual(body.errors?.map(({ pointer, parameter }) => pointer ?? parameter), pointers, JSON.stringify(body.errors));
    for (const { detail } of body.errors ?? []) assert.match(detail, /\w/);
    assert.doesNotMatch(said(body), /panic|unreachable|RustError|serde|wasm|\.rs\b|D1_|SQL/, "no internal text");
  });
  assert.equal(object_requests, 0, "no object is asked");
  assert.deepEqual(await stored(), before, "nothing is stored");
  assert.doesNotMatch(server.log.join("\n"), /panic|unreachable|RuntimeError/);
}

const EXAM = {
  title: "{{ course }} moved",
  content: "To **{{room}}**, {{user.name}}.",
  type: "exam",
  category: "exams",
  action: { url: "/exams/{{id}}?room={{room}}", text: "Open {{course}}" },
  required: ["course", "user.name"],
};
const EXAM_DATA = { course: "CS1", room: "R7", user: { name: "Ann" }, id: 1042 };
const EXAM_TYPE = { name: "Exam", icon: "calendar", color: "#1890ff" };

// ---- templates ----

test("a template that is put is shown", async () => {
  const put = await defined("shown", EXAM);
  const { created_at, ...rest } = put;
  assert.deepEqual(rest, { key: "shown", version: 1, ...EXAM });
  assert.match(created_at, UTC);
  assert.deepEqual(await shown("shown"), put);
  assert.deepEqual(await shown("shown", "?version=1"), put);
});

test("what a template leaves out is empty, null or no names", async () => {
  const { created_at, ...rest } = await defined("smallest", { title: "Hello" });
  const said = { title: "Hello", content: "", type: null, category: null, action: null, required: [] };
  assert.deepEqual(rest, { key: "smallest", version: 1, ...said });
});

test("a template that says something else is a new version, and the earlier ones stay", async () => {
  const titles = ["One", "Two", "Three"];
  for (const [i, title] of titles.entries()) assert.equal((await defined("versions", { title })).version, i + 1);
  assert.equal((await shown("versions")).title, "Three");
  for (const [i, title] of titles.entries()) assert.equal((await shown("versions", `?version=${i + 1}`)).title, title);
  // What an earlier version said is something else than what the latest says.
  assert.equal((await defined("versions", { title: "One" })).version, 4);
});

test("a template that says the same as the latest is that version, however it is written", async () => {
  const put = await defined("same", { title: "Hello", content: "{{a}}", required: ["a"] });
  const again = '{ "required":["\\u0061"], "content":"{{a}}", "category":null, "title":"Hello" }';
  const { status, body } = await call("PUT", template("same"), again, { headers: { "content-type": "application/json" } });
  assert.equal(status, 200);
  assert.deepEqual(body, put);
  assert.equal((await versionsOf("same")).length, 1);
});

test("of templates that are put at the same time none is lost", async () => {
  const titles = Array.from({ length: 20 }, (_, i) => `Title ${i}`);
  const put = await Promise.all(titles.map((title) => defined("race", { title })));
  const versions = put.map(({ version }) => version).sort((a, b) => a - b);
  assert.deepEqual(versions, titles.map((_, i) => i + 1));
  for (const { version, title } of put) assert.equal((await shown("race", `?version=${version}`)).title, title);
  assert.equal((await shown("race")).version, 20);
});

test("of equal templates that are put at the same time one is new", async () => {
  const put = await Promise.all(Array.from({ length: 10 }, () => call("PUT", template("equals"), { title: "Hello" })));
  assert.deepEqual(put.map(({ status }) => status).sort(), [...Array(9).fill(200), 201]);
  for (const { body } of put) assert.deepEqual(body, put[0].body);
});

test("a deleted template is gone with all its versions, and its numbers are not given again", async () => {
  for (const title of ["One", "Two", "Three"]) await defined("deleted", { title });
  await defined("deleted-not", { title: "Other" });
  const { status, body } = await call("DELETE", template("deleted"));
  assert.deepEqual([status, body], [204, ""]);
  const gone = [404, "not_found"];
  await refusal("GET", template("deleted"), {}, gone);
  for (const version of [1, 2, 3]) await refusal("GET", `${template("deleted")}?version=${version}`, {}, gone);
  await refusal("POST", `${template("deleted")}/render`, { body: {} }, gone);
  await refusal("DELETE", template("deleted"), {}, gone);
  const push = { to: ["user:deleted"], template: { key: "deleted", version: 3 } };
  await refusal("POST", PUSH, { body: push }, [422, "unknown_template", ["/template/key"]]);
  assert.deepEqual(await versionsOf("deleted"), [{ version: 3, body: null }], "nothing of it is kept but its last number");

  // Even when it says what it said last.
  assert.equal((await defined("deleted", { title: "Three" })).version, 4);
  await refusal("GET", `${template("deleted")}?version=3`, {}, gone);
  assert.equal((await shown("deleted-not")).version, 1);
  assert.equal((await call("DELETE", template("deleted"))).status, 204);
  assert.equal((await defined("deleted", { title: "Five" })).version, 5);
});

test("keys have few characters, up to 128 of them", async () => {
  for (const key of ["0", "a.b_c-d", "k".repeat(128)]) assert.equal((await defined(key, { title: "t" })).key, key);
  assert.equal((await shown("%61.b_c-d")).key, "a.b_c-d");
});

test("the longest texts and the most names are taken", async () => {
  const body = {
    title: "🐭".repeat(200),
    content: "é".repeat(8 * 1024),
    category: "é".repeat(128),
    action: { url: `/${"x".repeat(2047)}`, text: "é".repeat(128) },
    required: Array.from({ length: 50 }, (_, i) => `n${i}.`.padEnd(64, "e")),
  };
  const { version, created_at, key, type, ...rest } = await defined("longest", body);
  assert.deepEqual(rest, body);
});

// ---- rendering ----

const render = (key, body) => answered(200, "POST", `${template(key)}/render`, body);

test("a rendered template is what a push would say, and nothing is stored", async () => {
  await answered(201, "PUT", "/v1/types/exam", EXAM_TYPE);
  await defined("rendered", EXAM);
  const before = await stored();
  assert.deepEqual(await render("rendered", { data: EXAM_DATA }), {
    key: "rendered",
    version: 1,
    title: "CS1 moved",
    content: "To **R7**, Ann.",
    content_html: "<p>To <strong>R7</strong>, Ann.</p>\n",
    type: { id: "exam", ...EXAM_TYPE },
    action_url: "/exams/1042?room=R7",
    action_text: "Open CS1",
    category: "exams",
  });
  assert.deepEqual(await stored(), before);
});

test("a version is rendered when it is named, the latest when not", async () => {
  for (const title of ["One {{a}}", "Two {{a}}"]) await defined("render-versions", { title });
  assert.equal((await render("render-versions", { data: { a: "x" } })).title, "Two x");
  const first = await render("render-versions", { data: { a: "x" }, version: 1 });
  assert.deepEqual([first.version, first.title], [1, "One x"]);
  const unknown = { body: { version: 3 } };
  await refusal("POST", `${template("render-versions")}/render`, unknown, [422, "unknown_template", ["/version"]]);
});

const PUT_IN = {
  "text": ['"x"', "x"],
  "empty text": ['""', ""],
  "null": ["null", ""],
  "true": ["true", "true"],
  "false": ["false", "false"],
  "a whole number": ["-7", "-7"],
  "a number as it is written": ["10.50", "10.50"],
  "a number no double holds": ["12345678901234567890123", "12345678901234567890123"],
  "escapes": ['"\\u00e9\\n\\ud83d\\udc2d"', "é\n🐭"],
  "a placeholder": ['"{{b}}"', "{{b}}"],
  "half a placeholder": ['"{{"', "{{"],
  "raw HTML": ['"<b>&"', "<b>&"],
};
for (const [what, [json, text]] of Object.entries(PUT_IN)) {
  test(`${what} is put in as it is`, async () => {
    await call("PUT", template("put-in"), { title: "t", content: "[{{a}}{{ a }}{{\n a\t}}]" });
    const { status, body } = await call("POST", `${template("put-in")}/render`, `{"data":{"a":${json},"b":"B"}}`, {
      headers: { "content-type": "application/json" },
    });
    assert.equal(status, 200, JSON.stringify(body));
    assert.equal(body.content, `[${text.repeat(3)}]`);
  });
}

test("placeholders are ways into the data, and one that leads nowhere is empty", async () => {
  const content = "{{user.name}}|{{items.1.id}}|{{_x}}|{{none_of_it}}|{{user.none.more}}|{{items.9}}|{{user.name.x}}";
  await defined("ways", { title: "t", content });
  const data = { user: { name: "Ann" }, items: [0, { id: "i" }], _x: "B" };
  assert.equal((await render("ways", { data })).content, "Ann|i|B||||");
  assert.equal((await render("ways", {})).content, "||||||");
});

test("braces that are no placeholder stay", async () => {
  const content = "} { {a} ${a} } }";
  await defined("braces", { title: "t", content });
  assert.equal((await render("braces", { data: { a: 1 } })).content, content);
});

test("what is put into content is Markdown, and safe in content_html", async () => {
  await defined("markdown", { title: "{{a}}", content: "{{a}} [l]({{url}})" });
  const data = { a: "**b** <img src=x onerror=alert(1)>", url: "javascript:alert(1)" };
  const { title, content, content_html } = await render("markdown", { data });
  assert.equal(title, data.a);
  assert.equal(content, `${data.a} [l](${data.url})`);
  assert.equal(content_html, "<p><strong>b</strong> &lt;img src=x onerror=alert(1)&gt; l</p>\n");
});

/** Templates and data that make nothing a push could say: [pointers, template, data]. */
const UNSAYABLE = {
  "a required name that is missing": [["/course"], { title: "t", required: ["course"] }, {}],
  "a required name that is null": [["/course"], { title: "t", required: ["course"] }, { course: null }],
  "required names in objects and lists": [
    ["/user/name", "/items/0"], { title: "t", required: ["user.name", "user.id", "items.0"] }, { user: { id: 0 }, items: [] },
  ],
  "every mistake at once": [
    ["/a", "/b", "", "", "", "/l"],
    { title: "{{a}}", action: { url: "{{x}}:1", text: "{{l}}{{long}}" }, required: ["a", "b"] },
    { x: "javascript", l: [], long: "x".repeat(129) },
  ],
  "a list in a text": [["/a"], { title: "t", content: "{{a}}{{a}}" }, { a: [1] }],
  "an object in a text": [["/a/b"], { title: "{{a.b}}x" }, { a: { b: {} } }],
  "an empty title": [[""], { title: "{{a}}" }, {}],
  "a title of spaces": [[""], { title: "{{a}} " }, { a: "\n" }],
  "a title of 201 characters": [[""], { title: "x{{a}}" }, { a: "🐭".repeat(200) }],
  "content over 16 KiB": [[""], { title: "t", content: `x{{a}}{{a}}` }, { a: "é".repeat(4 * 1024) }],
  "content of 40 MB": [[""], { title: "t", content: "{{a}}".repeat(3276) }, { a: "x".repeat(16_000) }],
  "an unsafe link": [[""], { title: "t", action: { url: "{{a}}" } }, { a: "javascript:alert(1)" }],
  "an unsafe link in parts": [[""], { title: "t", action: { url: "java{{a}}:alert(1)" } }, { a: "script" }],
  "a link with a space": [[""], { title: "t", action: { url: "/{{a}}" } }, { a: "x y" }],
  "a link that is too long": [[""], { title: "t", action: { url: "/{{a}}" } }, { a: "x".repeat(2048) }],
  "an action's text that is too long": [[""], { title: "t", action: { url: "/", text: "{{a}}" } }, { a: "x".repeat(129) }],
};
for (const [what, [pointers, body, data]] of Object.entries(UNSAYABLE)) {
  test(`${what} is refused by the rendering and by a push`, async () => {
    await call("PUT", template("unsayable"), body);
    const at = (where) => [422, "invalid_request", pointers.map((pointer) => `${where}${pointer}`)];
    await refusal("POST", `${template("unsayable")}/render`, { body: { data } }, at("/data"));
    const push = { to: ["user:unsayable"], template: { key: "unsayable", data } };
    await refusal("POST", PUSH, { body: push, headers: { "idempotency-key": "unsayable" } }, at("/template/data"));
  });
}

// ---- types ----

test("a type is new once, and replaced after that", async () => {
  const put = await call("PUT", "/v1/types/replaced", EXAM_TYPE);
  assert.deepEqual([put.status, put.body], [201, { id: "replaced", ...EXAM_TYPE }]);
  const again = await call("PUT", "/v1/types/replaced", { name: "Other" });
  assert.deepEqual([again.status, again.body], [200, { id: "replaced", name: "Other", icon: null, color: null }]);
  const rows = await server.db.all("SELECT id, name, icon, color FROM types WHERE id = 'replaced'");
  assert.deepEqual(rows, [again.body]);
});

test("an id is any text of 128 characters", async () => {
  const id = "é/ ☃".padEnd(128, "x");
  const { status, body } = await call("PUT", `/v1/types/${encodeURIComponent(id)}`, { name: "Any" });
  assert.deepEqual([status, body.id], [201, id]);
  const tab = await connected(server.connect("any-type"));
  await answered(201, "POST", PUSH, { to: ["user:any-type"], title: "t", type: id });
  assert.equal((await nextEvent(tab, "notification:new")).type.name, "Any");
});

test("a push that names a type has it as it was then", async () => {
  const tab = await connected(server.connect("typed"));
  await answered(201, "PUT", "/v1/types/typed", EXAM_TYPE);
  await answered(201, "POST", PUSH, { to: ["user:typed"], title: "One", type: "typed" });
  await answered(200, "PUT", "/v1/types/typed", { name: "Renamed" });
  await answered(201, "POST", PUSH, { to: ["user:typed"], title: "Two", type: "typed" });
  assert.deepEqual((await nextEvent(tab, "notification:new")).type, { id: "typed", ...EXAM_TYPE });
  assert.deepEqual((await nextEvent(tab, "notification:new")).type, { id: "typed", name: "Renamed", icon: null, color: null });
  const { items } = await inbox(server, "typed");
  assert.deepEqual(items.map(({ type }) => type.name), ["Renamed", "Exam"]);
});

test("an inline type is taken as it is, whatever is defined under its id", async () => {
  const tab = await connected(server.connect("inline"));
  await answered(201, "PUT", "/v1/types/inline", EXAM_TYPE);
  await answered(201, "POST", PUSH, { to: ["user:inline"], title: "t", type: { id: "inline", name: "Own" } });
  assert.deepEqual((await nextEvent(tab, "notification:new")).type, { id: "inline", name: "Own", icon: null, color: null });
});

test("a push with a type nobody defined is refused", () =>
  refusal("POST", PUSH, { body: { to: ["user:u"], title: "t", type: "nobody" } }, [422, "unknown_type", ["/type"]]));

// ---- pushes ----

test("a client gets what the template makes of the data", async () => {
  await call("PUT", "/v1/types/exam", EXAM_TYPE);
  await defined("pushed", EXAM);
  const tab = await connected(server.connect("pushed"));
  const { id, created_at, results } = await answered(201, "POST", PUSH, {
    to: ["user:pushed"],
    template: { key: "pushed", data: EXAM_DATA },
    data: { own: [1] },
    sender: { id: "s" },
    priority: "high",
  });
  assert.deepEqual(await nextEvent(tab, "notification:new"), {
    id,
    recipient_id: results[0].recipient_id,
    seq: 1,
    title: "CS1 moved",
    content: "To **R7**, Ann.",
    content_html: "<p>To <strong>R7</strong>, Ann.</p>\n",
    message: "To **R7**, Ann.",
    type: { id: "exam", ...EXAM_TYPE },
    sender: { id: "s", username: null, display_name: null },
    action_url: "/exams/1042?room=R7",
    action_text: "Open CS1",
    data: { own: [1] },
    category: "exams",
    priority: "high",
    created_at,
    expires_at: null,
    unread: 1,
    attempt: 1,
    redelivered: false,
  });
  // What was pushed stays as it was.
  await defined("pushed", { title: "Other" });
  assert.equal((await call("DELETE", template("pushed"))).status, 204);
  await server.evict("pushed");
  await consistent(server, "pushed", [id]);
  assert.equal((await inbox(server, "pushed")).items[0].title, "CS1 moved");
});

test("what the push says goes before what the template says", async () => {
  // The template's action would be refused and its type is not defined: neither is asked for.
  const action = { url: "{{course}}:x", text: "Template's" };
  await defined("before", { ...EXAM, type: "nobody", action });
  const tab = await connected(server.connect("before"));
  await answered(201, "POST", PUSH, {
    to: ["user:before"],
    template: { key: "before", data: EXAM_DATA },
    type: { id: "own" },
    category: "own",
    action: { url: "/own" },
  });
  const { title, type, category, action_url, action_text } = await nextEvent(tab, "notification:new");
  assert.deepEqual([title, type.id, category, action_url, action_text], ["CS1 moved", "own", "own", "/own", null]);

  await call("PUT", "/v1/types/named", { name: "Named" });
  await answered(201, "POST", PUSH, {
    to: ["user:before"], template: { key: "before", data: EXAM_DATA }, type: "named", action: { url: "/own" },
  });
  assert.equal((await nextEvent(tab, "notification:new")).type.name, "Named");
});

test("a push gets the version it names, or else the latest", async () => {
  const tab = await connected(server.connect("version"));
  for (const title of ["One", "Two", "Three"]) await defined("version", { title });
  for (const version of [2, undefined, 1]) {
    await answered(201, "POST", PUSH, { to: ["user:version"], template: { key: "version", version } });
  }
  const titles = [];
  for (let i = 0; i < 3; i++) titles.push((await nextEvent(tab, "notification:new")).title);
  assert.deepEqual(titles, ["Two", "Three", "One"]);
});

test("the type is that of the version that is named", async () => {
  for (const id of ["v1", "v2"]) await answered(201, "PUT", `/v1/types/${id}`, { name: id });
  for (const type of ["v1", "v2"]) await defined("typed-versions", { title: "t", type });
  const { type } = await render("typed-versions", { version: 1 });
  assert.equal(type.name, "v1");
  assert.equal((await render("typed-versions", {})).type.name, "v2");
});

test("a push of a template reaches some when others are rejected", async () => {
  await defined("some", { title: "{{a}}" });
  const to = ["user:some-a", "usr:x", "user:some-b"];
  const { status, body } = await call("POST", PUSH, { to, template: { key: "some", data: { a: "A" } } });
  assert.equal(status, 207);
  assert.deepEqual(body.results.map(({ status }) => status), ["created", "rejected", "created"]);
  for (const user of ["some-a", "some-b"]) assert.equal((await inbox(server, user)).items[0].title, "A");
});

test("a push that names nothing asks the record once, any other twice", async () => {
  await call("PUT", "/v1/types/exam", EXAM_TYPE);
  await defined("asked", { title: "t", type: "exam" });
  const to = ["user:asked"];
  const pushes = {
    "title and content": [1, { title: "t", content: "c" }],
    "an inline type": [1, { title: "t", type: { id: "exam" } }],
    "a type": [2, { title: "t", type: "exam" }],
    "a template": [2, { template: { key: "asked" } }],
    "both": [2, { template: { key: "asked", version: 1 }, type: "exam" }],
  };
  // The first push to a user costs the hub a look of its own.
  await answered(201, "POST", PUSH, { to, title: "first" });
  let least;
  for (const [what, [batches, body]] of Object.entries(pushes)) {
    await server.evict("asked");
    const { record_batches, record_rows_read } = await costs(() => answered(201, "POST", PUSH, { to, ...body }));
    assert.equal(record_batches, batches, what);
    least ??= record_rows_read;
    assert.ok(record_rows_read <= least + 6, `${what} reads ${record_rows_read} rows, without names it is ${least}`);
  }
});

test("a repeated push is answered as before although its template has changed or is gone", async () => {
  await defined("repeated", { title: "{{a}}" });
  const body = { to: ["user:repeated"], template: { key: "repeated", data: { a: "A" } } };
  const repeat = (what = body) => call("POST", PUSH, what, { headers: { "idempotency-key": "repeated" } });
  const first = await repeat();
  assert.equal(first.status, 201);
  const changes = [
    () => defined("repeated", { title: "changed" }),
    () => defined("repeated", { title: "t", required: ["b"] }),
    () => call("DELETE", template("repeated")),
  ];
  for (const change of changes) {
    await change();
    const { status, headers, body } = await repeat();
    assert.equal(headers["idempotent-replayed"], "true");
    assert.deepEqual([status, body], [201, first.body]);
  }
  const other = await repeat({ ...body, priority: "high" });
  assert.deepEqual([other.status, other.body.code], [422, "idempotency_mismatch"]);
  await consistent(server, "repeated", [first.body.id]);
  assert.equal((await inbox(server, "repeated")).items[0].title, "A");

  // After a day the key is free again, and there is nothing to make a new push of.
  await server.db.run("UPDATE notifications SET created_at = created_at - 86460000 WHERE id = ?1", first.body.id);
  await server.db.run("UPDATE idempotency SET created_at = created_at - 86460000 WHERE key = 'repeated'");
  const late = await repeat();
  assert.deepEqual([late.status, late.body.code], [422, "unknown_template"]);
});

test("a key that a refused push had is free", async () => {
  const body = { to: ["user:free"], template: { key: "free" } };
  const push = () => call("POST", PUSH, body, { headers: { "idempotency-key": "free" } });
  assert.equal((await push()).body.code, "unknown_template");
  await defined("free", { title: "Now" });
  const { status, headers } = await push();
  assert.deepEqual([status, headers["idempotent-replayed"]], [201, undefined]);
});

test("a record that cannot be read is unavailable, never without the template", async () => {
  await defined("unread", { title: "t" });
  for (const table of ["templates", "types"]) {
    await server.db.run(`ALTER TABLE ${table} RENAME TO away`);
    try {
      const push = { to: ["user:unread"], template: { key: "unread" } };
      for (const [method, path, body] of [["POST", PUSH, push], ["POST", `${template("unread")}/render`, {}]]) {
        const { status, body: problem } = await call(method, path, body);
        assert.deepEqual([status, problem.code], [503, "unavailable"]);
        assert.doesNotMatch(said(problem), /SQL|D1|table/);
      }
    } finally {
      await server.db.run(`ALTER TABLE away RENAME TO ${table}`);
    }
  }
  assert.deepEqual((await inbox(server, "unread")).items, []);
});

// ---- bad input ----

const json = { "content-type": "application/json" };
const deep = (levels) => `${"[".repeat(levels)}${"]".repeat(levels)}`;
const invalid = (...pointers) => [422, "invalid_request", pointers];

/** Named bodies that are refused: [status, code, pointers, the body]. */
function bodyRefusals(method, path, kind, table) {
  for (const [what, [status, code, pointers, body]] of Object.entries(table)) {
    const options = typeof body === "string" ? { body, headers: json } : { body };
    test(`${kind} with ${what} is refused with ${status} ${code}`, () => refusal(method, path, options, [status, code, pointers]));
  }
}

const ANY_BODY = {
  "no body": [400, "malformed_json", undefined, ""],
  "half a body": [400, "malformed_json", undefined, '{"title":'],
  "a list for a body": [400, "malformed_json", undefined, "[]"],
  "a body that is only depth": [400, "malformed_json", undefined, "[".repeat(50_000)],
  "a body of 100,001 bytes": [413, "payload_too_large", undefined, "{}".padEnd(100_001, " ")],
};

bodyRefusals("PUT", template("bad"), "a template", {
  ...ANY_BODY,
  "nothing in it": [...invalid("/title"), {}],
  "unknown fields": [
    400, "unknown_field", ["/action/target", "/version", "/key"],
    { title: "t", action: { url: "/", target: 1 }, version: 1, key: "bad" },
  ],
  "a field given twice": [...invalid("/title"), '{"title":"a","title":"b"}'],
  "an empty title": [...invalid("/title"), { title: " \n" }],
  "a title of 201 characters": [...invalid("/title"), { title: "🐭".repeat(201) }],
  "half a character": [...invalid("/title"), '{"title":"\\ud83d"}'],
  "content over 16 KiB": [...invalid("/content"), { title: "t", content: `x${"é".repeat(8 * 1024)}` }],
  "a placeholder that does not end": [...invalid("/title"), { title: "a {{b" }],
  "a placeholder in a placeholder": [...invalid("/content"), { title: "t", content: "{{a{{b}}}}" }],
  "three braces": [...invalid("/content"), { title: "t", content: "{{{a}}}" }],
  "a placeholder without a name": [...invalid("/content"), { title: "t", content: "{{ }}" }],
  "a placeholder of 65 characters": [...invalid("/content"), { title: "t", content: `{{${"a".repeat(65)}}}` }],
  "a block": [...invalid("/content"), { title: "t", content: "{{#each a}}x{{/each}}" }],
  "a partial": [...invalid("/content"), { title: "t", content: "{{> p}}" }],
  "a filter": [...invalid("/content"), { title: "t", content: "{{a | upper}}" }],
  "a call": [...invalid("/content"), { title: "t", content: "{{a()}}" }],
  "a literal": [...invalid("/content"), { title: "t", content: '{{"a"}}' }],
  "brackets without end in a placeholder": [...invalid("/content"), { title: "t", content: `{{${deep(8000)}}}` }],
  "nothing but the beginnings of placeholders": [...invalid("/content"), { title: "t", content: "{{".repeat(8000) }],
  "a placeholder in the link that is none": [...invalid("/action/url"), { title: "t", action: { url: "/{{a b}}" } }],
  "a placeholder in the label that is none": [...invalid("/action/text"), { title: "t", action: { url: "/", text: "{{" } }],
  "an unsafe link": [...invalid("/action/url"), { title: "t", action: { url: "javascript:alert(1)" } }],
  "an action without a link": [...invalid("/action/url"), { title: "t", action: { text: "Open" } }],
  "a link of 2,049 characters": [...invalid("/action/url"), { title: "t", action: { url: `/${"x".repeat(2048)}` } }],
  "a list for an action": [...invalid("/action"), { title: "t", action: [] }],
  "an inline type": [...invalid("/type"), { title: "t", type: { id: "exam" } }],
  "an empty type": [...invalid("/type"), { title: "t", type: "" }],
  "a type of 129 characters": [...invalid("/type"), { title: "t", type: "x".repeat(129) }],
  "a category of 129 characters": [...invalid("/category"), { title: "t", category: "x".repeat(129) }],
  "text for the required names": [...invalid("/required"), { title: "t", required: "course" }],
  "51 required names": [...invalid("/required"), { title: "t", required: Array.from({ length: 51 }, (_, i) => `n${i}`) }],
  "required names that are none": [
    ...invalid("/required/1", "/required/2", "/required/3", "/required/4"), { title: "t", required: ["a", "", "b c", 7, "a"] },
  ],
  "mistakes in every field": [
    ...invalid("/title", "/content", "/type", "/category", "/action", "/required"),
    { title: [], content: 1, type: 2, category: {}, action: 3, required: {} },
  ],
});

test("a mistake in a template says where it is", async () => {
  const { body } = await call("PUT", template("bad"), { title: "t", content: "é {{a}}\n {{b c}}" });
  assert.match(body.errors[0].detail, /^line 2 column 2: "b c" /);
});

bodyRefusals("PUT", "/v1/types/bad", "a type", {
  ...ANY_BODY,
  "nothing in it": [...invalid("/name"), {}],
  "an id": [400, "unknown_field", ["/id"], { id: "bad", name: "Bad" }],
  "an empty name": [...invalid("/name"), { name: " " }],
  "long texts": [
    ...invalid("/name", "/icon", "/color"), { name: "x".repeat(129), icon: "x".repeat(129), color: "x".repeat(129) },
  ],
  "numbers": [...invalid("/name", "/icon", "/color"), { name: 1, icon: 2, color: 3 }],
});

test("a template and two versions of it for the refusals that follow", async () => {
  await defined("good", { title: "One" });
  await defined("good", { title: "Two" });
});

bodyRefusals("POST", `${template("good")}/render`, "a rendering", {
  ...ANY_BODY,
  "an unknown field": [400, "unknown_field", ["/datum"], { datum: {} }],
  "a list for data": [...invalid("/data"), { data: [] }],
  "data over 16 KiB": [...invalid("/data"), { data: { x: "y".repeat(16 * 1024) } }],
  "data of 7,000 levels": [...invalid("/data"), `{"data":{"x":${deep(7000)}}}`],
  "half a character in data": [...invalid("/data"), '{"data":{"x":"\\ud83d"}}'],
  "version 0": [...invalid("/version"), { version: 0 }],
  "version 1.5": [...invalid("/version"), { version: 1.5 }],
  "text for a version": [...invalid("/version"), { version: "1" }],
  "a version there is not": [422, "unknown_template", ["/version"], { version: 3 }],
});

const to = ["user:bad-template"];
bodyRefusals("POST", PUSH, "a push of a template", {
  "a title besides": [...invalid("/template"), { to, title: "t", template: { key: "good" } }],
  "content besides": [...invalid("/template"), { to, content: "c", template: { key: "good" } }],
  "no key": [...invalid("/template/key"), { to, template: {} }],
  "a key that can't be": [...invalid("/template/key"), { to, template: { key: "Good" } }],
  "a number for a key": [...invalid("/template/key"), { to, template: { key: 7 } }],
  "an unknown field": [400, "unknown_field", ["/template/name"], { to, template: { key: "good", name: "x" } }],
  "text for a template": [...invalid("/template"), { to, template: "good" }],
  "text for data": [...invalid("/template/data"), { to, template: { key: "good", data: "{}" } }],
  "data over 16 KiB": [...invalid("/template/data"), { to, template: { key: "good", data: { x: "y".repeat(16 * 1024) } } }],
  "data of 7,000 levels": [...invalid("/template/data"), `{"to":["user:u"],"template":{"key":"good","data":{"x":${deep(7000)}}}}`],
  "version 0": [...invalid("/template/version"), { to, template: { key: "good", version: 0 } }],
  "a version too large to count": [...invalid("/template/version"), { to, template: { key: "good", version: 2 ** 32 } }],
  "a key nobody defined": [422, "unknown_template", ["/template/key"], { to, template: { key: "nobody" } }],
  "a version there is not": [422, "unknown_template", ["/template/version"], { to, template: { key: "good", version: 3 } }],
  "a type nobody defined": [422, "unknown_type", ["/type"], { to, template: { key: "good" }, type: "nobody" }],
  "an empty type": [...invalid("/type"), { to, template: { key: "good" }, type: "" }],
  "mistakes all over": [
    ...invalid("/to", "/template", "/template/key", "/template/data", "/template/version", "/type"),
    { to: [], title: "t", template: { key: "", data: 1, version: 1e300 }, type: " " },
  ],
});

test("a template whose type nobody has defined yet is refused where it is used", async () => {
  await defined("early", { title: "t", type: "late" });
  await refusal("POST", PUSH, { body: { to, template: { key: "early" } } }, [422, "unknown_type", ["/template/key"]]);
  await refusal("POST", `${template("early")}/render`, { body: {} }, [422, "unknown_type", [""]]);
  await answered(201, "PUT", "/v1/types/late", { name: "Late" });
  assert.equal((await render("early", {})).type.name, "Late");
});

const badKeys = ["", "Exam", "-a", ".a", "a%20b", "a%2Fb", "%C3%A9", "%ff", "%00", "a".repeat(129)];
for (const key of badKeys) {
  test(`the key ${JSON.stringify(key.slice(0, 20))} is refused`, async () => {
    const bad = [400, "invalid_parameter", ["key"]];
    for (const method of ["GET", "DELETE"]) await refusal(method, template(key), {}, bad);
    await refusal("PUT", template(key), { body: { title: "t" } }, bad);
    await refusal("POST", `${template(key)}/render`, { body: {} }, bad);
  });
}
for (const id of ["", "%20", "%ff", "x".repeat(129)]) {
  test(`the type's id ${JSON.stringify(id.slice(0, 20))} is refused`, () =>
    refusal("PUT", `/v1/types/${id}`, { body: { name: "x" } }, [400, "invalid_parameter", ["id"]]));
}
for (const version of ["0", "-1", "1.0", "", "latest", "4294967296", "%00"]) {
  test(`?version=${version} is refused`, () =>
    refusal("GET", `${template("good")}?version=${version}`, {}, [400, "invalid_parameter", ["version"]]));
}
test("a version there is not, and a template there is not, are not found", async () => {
  await refusal("GET", `${template("good")}?version=3`, {}, [404, "not_found"]);
  await refusal("GET", template("nobody"), {}, [404, "not_found"]);
  await refusal("DELETE", template("nobody"), {}, [404, "not_found"]);
  await refusal("POST", `${template("nobody")}/render`, { body: {} }, [404, "not_found"]);
});

const CALLS = [
  ["PUT", template("good"), { title: "Three" }],
  ["GET", template("good"), undefined],
  ["DELETE", template("good"), undefined],
  ["POST", `${template("good")}/render`, {}],
  ["PUT", "/v1/types/good", { name: "Good" }],
];
for (const [method, path, body] of CALLS) {
  test(`${method} ${path} takes a key with the scope templates:write and no other`, async () => {
    await refusal(method, path, { key: undefined, body }, [401, "unauthenticated"]);
    await refusal(method, path, { key: newServiceKey("other").key, body }, [401, "invalid_credential"]);
    await refusal(method, path, { key: pusher.key, body }, [403, "forbidden"]);
    await refusal(method, path, { key: undefined, token: server.token("u1"), body }, [401, "invalid_credential"]);
  });
}
test("templates:write is enough to define, and no leave to push", async () => {
  assert.equal((await call("PUT", template("written"), { title: "t" }, { key: writer.key })).status, 201);
  assert.equal((await call("PUT", "/v1/types/written", { name: "t" }, { key: writer.key })).status, 201);
  await refusal("POST", PUSH, { key: writer.key, body: { to, template: { key: "written" } } }, [403, "forbidden"]);
  const push = { to: ["user:written"], template: { key: "written" }, type: "written" };
  assert.equal((await call("POST", PUSH, push, { key: pusher.key })).status, 201);
});

for (const [path, methods] of [
  [template("good"), "PUT, GET, DELETE"], [`${template("good")}/render`, "POST"], ["/v1/types/good", "PUT"],
]) {
  test(`another method on ${path} is refused, and those that are taken are named`, async () => {
    const { status, headers, body } = await call("PATCH", path, {});
    assert.deepEqual([status, body.code, headers.allow], [405, "method_not_allowed", methods]);
    assert.ok(body.detail.includes(methods));
  });
}
for (const path of ["/v1/templates", `${template("good")}/`, `${template("good")}/render/x`, "/v1/types", "/v1/types/a/b"]) {
  test(`${path} is not found`, () => refusal("GET", path, {}, [404, "not_found"]));
}
