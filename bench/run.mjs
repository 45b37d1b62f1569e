// `make bench`: Dormouse beside the platform's floor and a Node server. Each scenario runs RUNS times against each subject, in
// turn, each time started afresh; a run that lost a push, or brought one twice or to somebody else, fails and is not counted.
//
// A complete run is kept in bench/results/bench.json, from which report.mjs makes the tables and plots.
import { fork } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { conditions, keep } from "./results.mjs";
import { SCENARIOS } from "./scenarios.mjs";
import { SUBJECTS, verify } from "./subjects.mjs";
import { lines } from "./tables.mjs";

const DISK = tmpdir();
// Those who do nothing write nothing: on the disk, only the making of thousands of new users would take longer.
const MEMORY = existsSync("/dev/shm") ? "/dev/shm" : DISK;
const LOAD = join(import.meta.dirname, "load.mjs");

const runs = number("RUNS", 5);
const scale = number("SCALE", 1);
const scenarios = chosen("SCENARIOS", SCENARIOS);
const subjects = chosen("SUBJECTS", SUBJECTS);

/** `{ scenario: [{ subject: measured }] }`, a list of runs for each. */
const results = {};
let invalid = 0;

for (let run = 1; run <= runs; run += 1) {
  for (const name of scenarios) {
    const measured = await (SCENARIOS[name].together ? together(name) : inTurn(name, run));
    (results[name] ??= []).push(measured);
    console.error(`==> run ${run} of ${runs}, ${name}: ${brief(measured)}`);
  }
}
for (const line of lines(results, subjects)) console.log(line);
if (invalid > 0) {
  console.error(`INVALID: ${invalid} of the measurements do not count`);
  process.exitCode = 1;
} else if (scale === 1 && subjects.length === Object.keys(SUBJECTS).length) {
  keep(results, { ...conditions(), runs });
}

/** One subject after another; who is first changes from run to run. */
async function inTurn(name, run) {
  const measured = {};
  const first = (run - 1) % subjects.length;
  for (const subject of [...subjects.slice(first), ...subjects.slice(0, first)]) {
    const one = await begin(name, subject);
    measured[subject] = await one.end();
  }
  return measured;
}

/** All connect in turn and then do nothing at the same time, which takes the time of one. */
async function together(name) {
  const begun = [];
  for (const subject of subjects) begun.push([subject, await begin(name, subject)]);
  for (const [, { goOn }] of begun) goOn();
  return Object.fromEntries(await Promise.all(begun.map(async ([subject, { end }]) => [subject, await end()])));
}

/** Starts a subject and its load; returns when the load is connected, where the scenario waits for that, and else at once. */
async function begin(name, subjectName) {
  const subject = await SUBJECTS[subjectName](SCENARIOS[name].together ? MEMORY : DISK);
  const { url, pid, jwtSecret, serviceKey, lists } = subject;
  const load = fork(LOAD);
  const ended = once(load, "exit");
  const connected = Promise.withResolvers();
  let outcome = { invalid: "the load generator ended early" };
  load.on("message", (message) => {
    if (message.connected) connected.resolve();
    else outcome = message;
  });
  load.send({ scenario: name, scale, subject: { url, pid, jwtSecret, serviceKey, lists } });
  if (SCENARIOS[name].together) await Promise.race([connected.promise, ended]);
  return {
    goOn: () => load.connected && load.send("all are connected"),
    async end() {
      await ended;
      try {
        if (outcome.invalid !== undefined) throw new Error(outcome.invalid);
        const { pushed, deliveries, ...measured } = outcome.measured;
        await verify(subject, pushed, deliveries);
        return measured;
      } catch (error) {
        invalid += 1;
        console.error([`INVALID: ${name}, ${subjectName}: ${error.message}`, ...(subject.log?.() ?? [])].join("\n"));
        return undefined;
      } finally {
        await subject.stop();
      }
    },
  };
}

function brief(measured) {
  const texts = Object.entries(measured).map(([subject, one]) => {
    const figures = Object.entries(one?.figures ?? { invalid: NaN }).slice(0, 4);
    return `${subject} ${figures.map(([key, value]) => `${key} ${value.toPrecision(3)}`).join(", ")}`;
  });
  return texts.join(" | ");
}

function number(name, preset) {
  const value = Number(process.env[name] || preset);
  if (value > 0) return value;
  console.error(`${name} is a number above 0`);
  process.exit(1);
}

function chosen(name, all) {
  const names = process.env[name]?.split(/[ ,]+/).filter(Boolean) ?? [];
  const unknown = names.filter((one) => !Object.hasOwn(all, one));
  if (unknown.length === 0) return names.length === 0 ? Object.keys(all) : names;
  console.error(`${name} are of ${Object.keys(all).join(", ")}`);
  process.exit(1);
}
