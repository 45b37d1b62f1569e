// An identity provider: keys of its own, tokens it signs with them, and a server that publishes them.
import { generateKeyPairSync } from "node:crypto";
import { createServer } from "node:http";
import { after } from "node:test";
import { signJwt, userClaims } from "../../scripts/jwt.mjs";

const KINDS = {
  RS256: ["rsa", { modulusLength: 2048 }],
  ES256: ["ec", { namedCurve: "P-256" }],
  EdDSA: ["ed25519", {}],
};

const servers = new Set();

// Registered while the modules load: in a hook it would be that hook's own.
after(() => {
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
});

export const ALGORITHMS = Object.keys(KINDS);

/** A key for an algorithm; `jwk` is what is published of it. */
export function newKey(alg, kid) {
  const { privateKey, publicKey } = generateKeyPairSync(...KINDS[alg]);
  return { alg, kid, privateKey, publicKey, jwk: { ...publicKey.export({ format: "jwk" }), kid, alg, use: "sig" } };
}

/** A token of `key`. `claims` are those of `userClaims`; `header` is added. */
export function tokenOf(key, user, { header = {}, ...options } = {}) {
  return signJwt(userClaims(user, options), key.privateKey, { alg: key.alg, header: { kid: key.kid, ...header } });
}

/**
 * Publishes keys on a port of its own until the tests are over. `keys` may be replaced at any time, and so may `answer`, which
 * writes the answer itself; `requests` counts what came.
 */
export async function publish(keys) {
  const provider = { keys, requests: 0, answer: undefined };
  const server = createServer((request, response) => {
    provider.requests += 1;
    if (provider.answer) return provider.answer(response, request);
    response.setHeader("content-type", "application/jwk-set+json");
    response.end(JSON.stringify({ keys: provider.keys.map(({ jwk }) => jwk) }));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  servers.add(server);
  provider.origin = `http://127.0.0.1:${server.address().port}`;
  provider.url = `${provider.origin}/jwks.json`;
  return provider;
}
