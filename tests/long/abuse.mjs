// make abuse: CONNECTIONS=2000 clients that say nothing true about who they are, and FRAMES=20000 frames of garbage, while one
// client who behaves is pushed to all the time. No user's object may come of it, and memory grows by MEMORY_MB=600 at most, by
// AGAIN_MB=100 in the second half: a local runtime keeps a lobby, a quarter of a megabyte, for some 70 s after its last request, and
// the second half comes when it has let go of those of the first.
import { abuse, tooMany } from "../live/abuse.mjs";

const number = (name, fallback) => Number(process.env[name] ?? fallback);

const figures = await abuse({
  connections: number("CONNECTIONS", 2_000),
  frames: number("FRAMES", 20_000),
  memoryMb: number("MEMORY_MB", 600),
  againMb: number("AGAIN_MB", 100),
  restMs: number("REST_MS", 80_000),
  seed: number("SEED", 1),
  bundle: "production",
  report: (line) => console.log(line),
});
console.log(JSON.stringify({ ...figures, ...(await tooMany({ bundle: "production", report: (line) => console.log(line) })) }));
process.exit(0);
