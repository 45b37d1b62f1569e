// `make token`: prints a token that the development server accepts.
import { argument, fail, required } from "./arguments.mjs";
import { jwtSecret } from "./dev-vars.mjs";
import { signJwt, userClaims } from "./jwt.mjs";

/** A token for `user` in the ordinary form; see `userClaims` for the options. */
export function devToken(user, options) {
  return signJwt(userClaims(user, options), jwtSecret());
}

if (import.meta.main) {
  const user = required("USER", "make token USER=u1 [DEPARTMENTS=cs,math] [TTL=3600]");
  const ttl = Number(argument("TTL") ?? 3600);
  if (!Number.isSafeInteger(ttl)) fail("TTL is a whole number of seconds; a negative one gives an expired token");
  console.log(devToken(user, { ttl, departments: argument("DEPARTMENTS")?.split(",") }));
}
