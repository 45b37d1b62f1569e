// Signs JSON Web Tokens with node:crypto alone. For development and tests: it signs whatever it is told to,
// wrong tokens included.
import { createHmac, sign } from "node:crypto";

const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

/** `key` is a secret text for HS*, a private KeyObject for RS*, ES* and EdDSA, and unused for `none`. */
export function signJwt(claims, key, { alg = "HS256", header = {} } = {}) {
  const input = `${encode({ alg, typ: "JWT", ...header })}.${encode(claims)}`;
  return `${input}.${signature(alg, input, key).toString("base64url")}`;
}

/** The claims of an ordinary user token. A negative `ttl` (seconds) makes one that has expired. */
export function userClaims(user, { ttl = 3600, departments, claims = {} } = {}) {
  const iat = Math.floor(Date.now() / 1000);
  return { sub: user, iat, exp: iat + ttl, departments, ...claims };
}

function signature(alg, input, key) {
  const bytes = Buffer.from(input);
  const hash = `sha${alg.slice(2)}`;
  if (alg.startsWith("HS")) return createHmac(hash, key).update(bytes).digest();
  if (alg.startsWith("RS")) return sign(hash, bytes, key);
  if (alg.startsWith("ES")) return sign(hash, bytes, { key, dsaEncoding: "ieee-p1363" });
  if (alg === "EdDSA") return sign(null, bytes, key);
  if (alg === "none") return Buffer.alloc(0);
  throw new Error(`unknown algorithm ${alg}`);
}
