// Writes the seeds of the fuzz targets into fuzz/seeds: the wire vectors, as raw input of each target.
//   node scripts/fuzz-seeds.mjs
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

// The first byte chooses how a target reads the rest; `0` is frames as they are. See fuzz/src/lib.rs for these two.
const FRAMES = Buffer.from("0");
const SEPARATOR = Buffer.from([0xff]);
const BINARY = Buffer.from([0xfe]);

const vectors = (name) => JSON.parse(readFileSync(join("tests/vectors", `${name}.json`), "utf8"));

const wireBytes = (wire) =>
  typeof wire === "string" ? Buffer.from(wire) : Buffer.concat([BINARY, Buffer.from(wire.base64, "base64")]);

const input = (frames) => Buffer.concat([FRAMES, ...frames.flatMap((frame, i) => (i ? [SEPARATOR, frame] : [frame]))]);

function write(target, seeds) {
  const folder = join("fuzz/seeds", target);
  mkdirSync(folder, { recursive: true });
  seeds.forEach((seed, i) => writeFileSync(join(folder, String(i).padStart(4, "0")), seed));
  console.log(`${folder}: ${seeds.length} seeds`);
}

const engine = vectors("engine");
const payload = vectors("payload");
const socket = vectors("socket");

const engineFrames = [...engine.packets, ...engine.base64, ...engine.refused].map((row) => [wireBytes(row.wire)]);
const handshakes = engine.open.map((row) => [Buffer.from(`0${row.wire}`)]);
// The vectors of Socket.IO have no engine type.
const message = (wire) => (typeof wire === "string" ? Buffer.from(`4${wire}`) : wireBytes(wire));
const connections = [...socket.accepted, ...socket.refused].map((row) => row.messages.map(message));
const joined = ["40", "40/notifications,"].map((frame) => Buffer.from(frame));

write("frame", [...engineFrames, ...handshakes, ...connections].map(input));
write(
  "payload",
  payload.parse.map((row) => Buffer.concat([FRAMES, Buffer.from([row.max_packets ?? 100]), Buffer.from(row.wire)])),
);

const ID = "470314a0-6846-569f-81e6-a8e84f826fc0";
const events = [
  ["notification:acknowledge", [{ recipient_id: ID }, { recipientId: ID }]],
  ["mark:read", { notification_id: ID }],
  ["mark:unread", { notificationId: ID, recipientId: ID }],
  ["notification:archive", { recipient_id: ID }],
  ["notification:unarchive", { notification_id: null, recipientId: ID }],
  ["notification:delete", [ID]],
  ["mark:all:read"],
  ["mark:all:read", { before_seq: 7 }],
  ["mark:all:read", { beforeSeq: null }],
  ["mark:seen", { up_to_seq: 7 }],
  ["mark:seen", { upToSeq: -1 }],
  ["join", "u1"],
  ["ping"],
].map((event, i) => Buffer.from(`42/notifications,${i}${JSON.stringify(event)}`));
const wishes = [{ case: "camel" }, { ack: "on", recovery: "off", since: 3 }, { case: "snake", pid: "s.1.x", offset: "\u001f4" }];
const wishing = wishes.map((wish) => Buffer.from(`40/notifications,${JSON.stringify(wish)}`));

write(
  "session",
  [
    ...[...engineFrames, ...connections].flatMap((frames) => [frames, [...joined, ...frames]]),
    [...joined, ...events],
    ...wishing.map((connect) => [connect, ...events]),
  ].map(input),
);

const push = { to: ["user:u1", "user:u2"], title: "Order 1042", content: "Paid by **card**" };
const pushes = [
  { ...push, data: { order_id: [1, { a_b: null }] } },
  {
    ...push,
    type: { id: "a", name: "b", icon: null, color: "#fff" },
    sender: { id: "a", username: "b", display_name: "c" },
    action: { url: "/a", text: "b" },
    category: "c",
    priority: "low",
    collapse_key: "k",
  },
  { to: ["user:u1"], type: "exam", template: { key: "exam-moved", version: 2, data: { a: "CS1", b: { c: 1.5 }, d: ["x"] } } },
  { ...push, ttl: 60, deliver_at: "2027-01-15T09:00:00Z" },
  { ...push, expires_at: "2027-02-15T08:00:00+01:00", deliver_at: "2027-01-15T09:00:00.5Z" },
  { ...push, expires_at: "2027-01-15T08:00:00Z", deliver_at: "2020-01-01T00:00:00Z" },
  { ...push, expires_at: "2027-01-15T08:30:00Z", deliver_at: "2027-01-15T09:00:00Z" },
  { ...push, ttl: 0, type: 7, template: {}, data: [], unknown: 1 },
  { ...push, idempotency_key: "order-1042" },
];
const template = {
  title: "{{a}}",
  content: "**{{ b.c }}** and {{b.missing}}",
  type: "exam",
  category: "exams",
  action: { url: "/{{d.0}}", text: "{{a}}" },
  required: ["a"],
};

// The modes of the target and what each reads, in the order of its table.
const http = {
  0: [...pushes, { items: pushes }].map((body) => JSON.stringify(body)),
  1: ["eyJiZWZvcmUiOjN9", "eyJhZnRlciI6InUxIn0", "20\neyJiZWZvcmUiOjN9", "\u001f7", ID, "2027-01-15T09:00:00+01:00"],
  2: [
    '"order-1042"\nauth_token=a.b.c\neyJhbGciOiJIUzI1NiJ9.e30.AA',
    `Bearer x\n\n\n[{"id":"a","sha256":"${"0".repeat(64)}","scopes":["push:user"]}]`,
  ],
  3: ["EIO=4&transport=polling&sid=a&b64=1&keepalive=client", "EIO=4&transport=websocket&case=camel&ack=on&recovery=off"],
  4: ["Paid by **card** ~~x~~ [a](https://example.org) ![b](c.png) <b>d</b>\n\n| a |\n|---|\n"],
  6: [
    `${JSON.stringify(template)}\n{"a":1.50,"b":{"c":" x\\n"},"d":[true]}`,
    `${JSON.stringify(template)}\n{"a":{},"b":[],"d":["javascript:"]}`,
    'items.0.name\n{"items":[{"name":null}]}',
    "exam-moved\n",
  ],
  7: [
    "",
    '{"before_seq":7}',
    '{"up_to_seq":7}',
    '{"muted":["marketing","é"]}',
    '{"data":{"a":[1]},"version":2}',
    'exam\n{"name":"Exam","icon":"i","color":null}',
    '{"reason":"x"}',
  ],
  8: [
    'GET /v1/me/notifications?filter=unread&type=a&category=b&limit=20&cursor=eyJiZWZvcmUiOjN9\nW/"7", "8"',
    `GET /v1/notifications/${ID}/recipients?status=permanent_failure&limit=100&cursor=eyJhZnRlciI6InUxIn0\n*`,
    `POST /v1/me/notifications/${ID}/archive`,
    "PUT /v1/templates/exam-moved/render",
    "DELETE /v1/users/u%31",
    "GET /healthz",
  ],
  9: [
    '{"created_at":"a_b","data":{"order_id":1},"items":[{"read_at":null,"_x__y_":1.50}]}',
    '{ "a_b" : [ {"c_d":"\\ud800"} , -0 ], "a_b":1e999, "\\u005fa":{} }',
  ],
};
const ed25519 = { kty: "OKP", crv: "Ed25519", x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", kid: "a", use: "sig" };
const p256 = {
  kty: "EC",
  crv: "P-256",
  x: "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
  y: "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
  alg: "ES256",
};
const rsa = { kty: "RSA", n: Buffer.alloc(256, 0xff).toString("base64url"), e: "AQAB", kid: "r", key_ops: ["verify"] };
const jwks = JSON.stringify({ keys: [ed25519, p256, rsa, { kty: "AKP" }] });
const claims = { sub: "u1", exp: 1800000060, iss: "https://id.example", aud: ["dormouse"], departments: ["cs", 7], scope: "admin" };

// The modes of the target and what each reads, in the order of its table.
const keys = {
  0: [jwks, JSON.stringify({ keys: [{ ...ed25519, d: "AA" }] }), '{"keys":[{"kty":"oct","k":"AA"}]}'],
  1: [
    `${jwks}\neyJhbGciOiJFZERTQSIsImtpZCI6ImEifQ.eyJzdWIiOiJ1MSJ9.${"A".repeat(86)}`,
    `${jwks}\n Bearer eyJhbGciOiJFUzI1NiJ9.e30.${"A".repeat(86)}`,
  ],
  2: [
    `{"alg":"HS256"}\n${JSON.stringify(claims)}`,
    `{"alg":"HS256","kid":"k","crit":[]}\n${JSON.stringify({ ...claims, nbf: 1, iat: 1 })}`,
    `{"alg":"HS256"}\n${JSON.stringify({ ...claims, aud: "services", scope: ["push:user"] })}`,
  ],
  3: [`[{"issuer":"https://id.example","audience":"a","user_claim":"b","jwks_url":"https://id.example/jwks"}]`],
};
write("keys", Object.entries(keys).flatMap(([mode, texts]) => texts.map((text) => Buffer.from(`${mode}${text}`))));

write("http", Object.entries(http).flatMap(([mode, texts]) => texts.map((text) => Buffer.from(`${mode}${text}`))));
