// What a process and all that descend from it have used, as Linux counts it.
import { readdirSync, readFileSync } from "node:fs";

/** Linux counts CPU in ticks of 10 ms. */
const TICK_MS = 10;

/** CPU in ms since they began, user and system. */
export function cpuMs(pid) {
  return total(pid, (id) => {
    // The name, in parentheses, may hold anything; utime and stime are the 14th and 15th field of the line.
    const fields = readFileSync(`/proc/${id}/stat`, "utf8").replace(/^.*\) /s, "").split(" ");
    return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
  });
}

/** Resident memory in KiB. */
export function memoryKib(pid) {
  return total(pid, (id) => Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${id}/status`, "utf8"))[1]));
}

const total = (pid, measure) => family(pid).reduce((sum, id) => sum + measure(id), 0);

function family(pid) {
  const children = readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
    readFileSync(`/proc/${pid}/task/${thread}/children`, "utf8").split(" ").filter(Boolean).map(Number),
  );
  return [pid, ...children.flatMap(family)];
}
