// The ledger as tables: rows of cells, the first of them the titles.
import { UNITS } from "./counting.mjs";
import { CLIENTS, DAY, HOURS, millionOf, month, monthOf, PRICES, USERS } from "./prices.mjs";

/** What each action costs in units, and a million of it in $ by the price list. */
export function actions(rows) {
  const header = ["", ...Object.values(UNITS), "$ a million"];
  const cells = ({ title, units }) => [
    title,
    ...Object.keys(UNITS).map((unit) => String(Number((units[unit] ?? 0).toFixed(2)))),
    millionOf(units).toFixed(2),
  ];
  return [header, ...Object.values(rows).map(cells)];
}

/** What it is assumed that users do who are always online, and what that costs in a month by the price list. */
export function assumed(rows) {
  const hours = Object.keys(CLIENTS).map((client) => [client, HOURS]);
  const line = ([id, times]) => [
    rows[id].title,
    String(times),
    ...USERS.map((users) => `$${dollars(monthOf(rows[id].units, times, users))}`),
  ];
  const header = ["each user", "times a day", ...USERS.map((users) => `${number(users)} users, a month by the price list`)];
  return [header, ...[...Object.entries(DAY), ...hours].map(line)];
}

/** What they use and pay in a month, with what is included taken off. */
export function months(rows) {
  const columns = USERS.flatMap((users) => Object.keys(CLIENTS).map((client) => ({ users, client, ...month(rows, users, client) })));
  const { base, meters } = PRICES;
  const line = ([id, { title, included, per_million }]) => [
    `${title}: ${number(included / 1e6)} M included, then $${per_million} a million`,
    ...columns.map(({ meters }) => `${number(meters[id].used / 1e6)} M: $${dollars(meters[id].cost)}`),
  ];
  return [
    ["30 days", ...columns.map(({ users, client }) => `${number(users)} ${CLIENTS[client]}`)],
    ["Workers Paid", ...columns.map(() => `$${dollars(base)}`)],
    ...Object.entries(meters).map(line),
    ["together", ...columns.map(({ total }) => `$${dollars(total)}`)],
    ["for each user", ...columns.map(({ total, users }) => `$${(total / users).toFixed(4)}`)],
  ];
}

/** For the terminal. */
export function text(table) {
  const widths = table[0].map((_, i) => Math.max(...table.map((row) => row[i].length)));
  return table.map((row) => row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join("  "));
}

/** For a document. */
export function markdown([header, ...rows]) {
  const line = (cells) => `| ${cells.join(" | ")} |`;
  return [line(header), line(header.map((_, i) => (i === 0 ? "---" : "---:"))), ...rows.map(line)];
}

const dollars = (value) => value.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });

const number = (value) => value.toLocaleString("en", { maximumSignificantDigits: 3 });
