// `make fan-out`: one push to a room of 100, 1,000 and so on up to USERS (3,000) users who are all online. Prints when the first
// of them has it and what a delivery costs; fails when one of them misses it or gets it twice.
//
// Each user's object has some three open files while it is awake, and each connection two more: raise `ulimit -n` for many.
import { Crowd } from "../live/crowd.mjs";
import { changeMembers, names } from "../live/rooms.mjs";
import { startServer } from "../live/server.mjs";

const SIZES = [100, 300, 1_000, 3_000];
const PUSHES = 5;
/** Most members of one request. */
const MOST_CHANGES = 1_000;

const most = Number(process.env.USERS ?? 3_000);
if (!Number.isInteger(most) || most < 1) {
  console.error("USERS is a number from 1");
  process.exit(1);
}

const columns = ["users", "answered", "first", "after answer", "last", "a delivery", "twice"];
console.log(`${columns.map((name) => name.padStart(13)).join("")}   in ms, medians of ${PUSHES} pushes`);
for (const size of [...SIZES.filter((size) => size < most), most]) await measure(size);

async function measure(size) {
  const server = await startServer({ bundle: "production", vars: { PING_INTERVAL_MS: "1800000", CONNECT_TIMEOUT_MS: "300000" } });
  const users = names("crowd", size);
  const crowd = new Crowd(server, users);
  try {
    await crowd.connect();
    for (let i = 0; i < size; i += MOST_CHANGES) {
      await changeMembers(server, "room:crowd", { add: users.slice(i, i + MOST_CHANGES) });
    }
    // The first one finds the objects asleep, and the members on their way into the room.
    await push(server, crowd);
    const runs = [];
    for (let i = 0; i < PUSHES; i++) runs.push(await push(server, crowd));
    const median = (value) => runs.map(value).toSorted((a, b) => a - b)[Math.floor(PUSHES / 2)];
    const twice = Math.max(...runs.map((run) => run.twice));
    const cells = [
      median((run) => run.answered),
      median((run) => run.first),
      median((run) => run.first - run.answered),
      median((run) => run.last),
      median((run) => (run.last - run.first) / size),
    ].map((ms) => ms.toFixed(2));
    console.log([String(size), ...cells, String(twice)].map((cell) => cell.padStart(13)).join(""));
    if (twice > 0) process.exitCode = 1;
  } finally {
    crowd.close();
    await server.stop();
  }
}

/** One push to all, in ms since it was sent. */
async function push(server, crowd) {
  const begun = performance.now();
  const { status, body } = await server.push({ to: ["room:crowd"], title: "Hello" });
  const answered = performance.now() - begun;
  if (status !== 202) throw new Error(`a push was answered ${status} ${JSON.stringify(body)}`);
  const twice = (await crowd.got(body.id)).length;
  const times = crowd.times(body.id);
  return { answered, first: times[0] - begun, last: times.at(-1) - begun, twice };
}
