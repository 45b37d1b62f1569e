// Service keys: a random key for whoever pushes, and the record of it that the Worker is given.
import { createHash, randomInt } from "node:crypto";

const BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

export const ALL_SCOPES = [
  "push:user",
  "push:room",
  "push:broadcast",
  "events:emit",
  "presence:read",
  "status:read",
  "rooms:write",
  "templates:write",
  "users:admin",
];

/** The Worker never holds a key itself, only its hash. */
export function newServiceKey(id, scopes = ALL_SCOPES) {
  const random = Array.from({ length: 32 }, () => BASE62[randomInt(62)]).join("");
  const key = `nk_${id}_${random}`;
  return { key, record: { id, sha256: createHash("sha256").update(key).digest("hex"), scopes } };
}
