// Medians, spreads and ratios of what was measured: as text for the terminal and as Markdown.
import { quantile, SCENARIOS } from "./scenarios.mjs";

export const TITLES = { dormouse: "Dormouse", floor: "floor", node: "Node peer" };
const PRODUCT = "dormouse";

/** `[figure's title, a cell for each subject, a ratio beside each other subject]` for each figure of a scenario. */
export function rows(scenario, runs, subjects) {
  return Object.entries(SCENARIOS[scenario].figures).map(([key, { title, unit, kind }]) => {
    const values = (subject) => runs.map((run) => run[subject]?.figures[key]).filter((value) => value !== undefined);
    const cells = subjects.map((subject) => spread(values(subject)));
    const ratios = others(subjects).map((subject) => {
      const [ours, theirs] = [median(values(PRODUCT)), median(values(subject))];
      if (ours === undefined || theirs === undefined) return "";
      return kind === "cost" ? `${digits(ours / theirs)}x the cost` : `${digits(speed(kind, ours, theirs))}x as fast`;
    });
    return [`${title}, ${unit}`, ...cells, ...ratios];
  });
}

export function header(subjects) {
  return [...subjects.map((subject) => TITLES[subject]), ...others(subjects).map((subject) => `beside the ${TITLES[subject]}`)];
}

/** For the terminal. */
export function lines(results, subjects) {
  return Object.entries(results).flatMap(([scenario, runs]) => {
    const table = [[SCENARIOS[scenario].title, ...header(subjects)], ...rows(scenario, runs, subjects)];
    const widths = table[0].map((_, i) => Math.max(...table.map((row) => row[i].length)));
    const line = (row) => row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join("  ");
    return [...table.map(line), ""];
  });
}

/** For a document: a heading, and a table, for each scenario. */
export function markdown(results, subjects) {
  return Object.entries(results).flatMap(([scenario, { runs }]) => {
    const titles = ["", ...header(subjects)];
    const line = (cells) => `| ${cells.join(" | ")} |`;
    const rule = line(titles.map((_, i) => (i === 0 ? "---" : "---:")));
    return [`### ${SCENARIOS[scenario].title}`, "", line(titles), rule, ...rows(scenario, runs, subjects).map(line), ""];
  });
}

export const median = (values) => (values.length === 0 ? undefined : quantile(values, 0.5));

const others = (subjects) => (subjects.includes(PRODUCT) ? subjects.filter((subject) => subject !== PRODUCT) : []);

const speed = (kind, ours, theirs) => (kind === "rate" ? ours / theirs : theirs / ours);

function spread(values) {
  if (values.length === 0) return "";
  const [least, most] = [Math.min(...values), Math.max(...values)];
  return values.length === 1 ? digits(least) : `${digits(median(values))} (${digits(least)}..${digits(most)})`;
}

/** Three digits that count, without an exponent. */
function digits(value) {
  if (!Number.isFinite(value)) return "-";
  return Math.abs(value) >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}
