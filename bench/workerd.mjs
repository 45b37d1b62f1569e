// What workerd holds, as Linux counts it. `pid` is that of the process it was started by.
import { readFileSync, readdirSync } from "node:fs";

/** Resident memory in KiB. */
export function memoryKib(pid) {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${workerd(pid)}/status`, "utf8"))[1]);
}

/** How many files and sockets are open. */
export function openFiles(pid) {
  return readdirSync(`/proc/${workerd(pid)}/fd`).length;
}

function workerd(pid) {
  const children = readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
    readFileSync(`/proc/${pid}/task/${thread}/children`, "utf8").split(" ").filter(Boolean),
  );
  return children.find((child) => readFileSync(`/proc/${child}/comm`, "utf8").startsWith("workerd"));
}
