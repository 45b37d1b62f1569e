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
write("session", [...engineFrames, ...connections].flatMap((frames) => [input(frames), input([...joined, ...frames])]));
write("http", [
  '0{"to":["user:u1","user:u2"],"title":"Order 1042","content":"Paid by **card**","data":{"a":[1]}}',
  '0{"to":["user:u1"],"title":"t","type":{"id":"a","name":"b"},"sender":{"id":"a"},"action":{"url":"/a"},"priority":"low"}',
  '0{"to":["user:u1"],"type":"exam","template":{"key":"exam-moved","version":2,"data":{"course":"CS1"}}}',
  "1eyJiZWZvcmUiOjN9",
  "120\neyJiZWZvcmUiOjN9",
  "1\u001f7",
  "1470314a0-6846-569f-81e6-a8e84f826fc0",
  '2"order-1042"\nauth_token=a.b.c\neyJhbGciOiJIUzI1NiJ9.e30.AA',
  `2Bearer x\n\n\n[{"id":"a","sha256":"${"0".repeat(64)}","scopes":["push:user"]}]`,
  "3EIO=4&transport=polling&sid=a&b64=1&keepalive=client",
  "4Paid by **card** ~~x~~ [a](https://example.org) ![b](c.png) <b>d</b>\n\n| a |\n|---|\n",
  '6{"title":"{{a}}","content":"{{b.c}}","action":{"url":"/{{d.0}}"},"required":["a"]}\n{"a":1.50,"b":{"c":"x"},"d":[true]}',
].map((text) => Buffer.from(text)));
