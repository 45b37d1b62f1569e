// `.dev.vars`: the secrets of a developer's machine, made once and never overwritten.
// Run as a program it makes the file if there is none; the other scripts read it through this module.
import { randomBytes } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseEnv } from "node:util";
import { newServiceKey } from "./service-key.mjs";

const FILE = join(import.meta.dirname, "../.dev.vars");
// A comment, because every variable in the file is given to the Worker, which must not know the key itself.
const KEY_COMMENT = "# dev service key: ";

if (import.meta.main && !existsSync(FILE)) {
  const { key, record } = newServiceKey("dev");
  const lines = [
    "# Secrets of this machine's development server.",
    `JWT_SECRET=${randomBytes(32).toString("hex")}`,
    `${KEY_COMMENT}${key}`,
    `SERVICE_KEYS='${JSON.stringify([record])}'`,
  ];
  writeFileSync(FILE, `${lines.join("\n")}\n`, { mode: 0o600, flag: "wx" });
}

export function jwtSecret() {
  const { JWT_SECRET } = parseEnv(read());
  if (!JWT_SECRET) throw new Error(".dev.vars has no JWT_SECRET");
  return JWT_SECRET;
}

export function serviceKey() {
  const line = read().split("\n").find((line) => line.startsWith(KEY_COMMENT));
  if (!line) throw new Error(`.dev.vars has no line "${KEY_COMMENT}..."`);
  return line.slice(KEY_COMMENT.length).trim();
}

function read() {
  return readFileSync(FILE, "utf8");
}
