// Plots as SVG, readable on light and on dark: lines take the colours of the page, subjects differ by dash and name as well.
import { median, TITLES } from "./tables.mjs";

const [WIDTH, HEIGHT] = [680, 320];
const MARGIN = { left: 64, right: 96, top: 28, bottom: 44 };
const COLOURS = { dormouse: ["#b45309", "#fbbf24"], floor: ["#4b5563", "#9ca3af"], node: ["#1d4ed8", "#93c5fd"] };
const DASHES = { dormouse: "", floor: "2 3", node: "7 4" };

const style = `
  text { font: 12px system-ui, sans-serif; fill: #1f2937 } .grid { stroke: #9ca3af; stroke-opacity: .35 }
  .line { fill: none; stroke-width: 2 }
  ${Object.entries(COLOURS).map(([subject, [light]]) => `.${subject} { stroke: ${light} } text.${subject} { fill: ${light}; stroke: none }`).join(" ")}
  @media (prefers-color-scheme: dark) { text { fill: #e5e7eb }
  ${Object.entries(COLOURS).map(([subject, [, dark]]) => `.${subject} { stroke: ${dark} } text.${subject} { fill: ${dark}; stroke: none }`).join(" ")} }`;

/** The latency of a push at each quantile, medians over the runs. */
export function latency(title, runs, subjects) {
  const series = subjects.map((subject) => {
    const measured = runs.map((run) => run[subject]?.distribution).filter((one) => one !== undefined);
    const points = (measured[0] ?? []).map(([q], i) => [q, median(measured.map((one) => one[i][1]))]);
    return { subject, points };
  });
  // The further right, the rarer: the same room for each nine.
  const rarity = (q) => Math.log10(1 / (1 - q));
  return plot({
    title: `${title}: ms to the screen`,
    x: { of: rarity, ticks: [0.01, 0.5, 0.9, 0.99, 0.999], name: (q) => `p${Number((q * 100).toFixed(1))}` },
    caption: "share of the pushes that took at most so long",
    series,
  });
}

/** What a push to a room takes, by the size of the room. `key` is the beginning of the figures' names. */
export function bySize(title, key, runs, subjects) {
  const keys = Object.keys(runs[0][subjects[0]]?.figures ?? {}).filter((name) => name.startsWith(`${key}_`));
  const series = subjects.map((subject) => ({
    subject,
    points: keys.map((name) => {
      const values = runs.map((run) => run[subject]?.figures[name]).filter((value) => value !== undefined);
      return [Number(name.slice(key.length + 1)), median(values)];
    }),
  }));
  const sizes = series[0].points.map(([size]) => size);
  return plot({ title, x: { of: Math.log10, ticks: sizes, name: String }, caption: "users in the room", series });
}

/** Both scales are logarithmic: subjects differ by factors. */
function plot({ title, x, caption, series }) {
  const known = series.map(({ subject, points }) => ({ subject, points: points.filter(([, value]) => value > 0) }));
  const values = known.flatMap(({ points }) => points.map(([, value]) => Math.log10(value)));
  const [bottom, top] = [Math.floor(Math.min(...values)), Math.ceil(Math.max(...values))];
  const [left, right] = [x.of(x.ticks[0]), x.of(x.ticks.at(-1))];
  const across = (value) => round(MARGIN.left + ((x.of(value) - left) / (right - left)) * (WIDTH - MARGIN.left - MARGIN.right));
  const up = (power) => round(HEIGHT - MARGIN.bottom - ((power - bottom) / (top - bottom || 1)) * (HEIGHT - MARGIN.top - MARGIN.bottom));
  const line = (x1, y1, x2, y2) => `<line class="grid" x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}"/>`;
  const text = (x, y, anchor, content, kind = "") => `<text x="${x}" y="${y}" text-anchor="${anchor}" class="${kind}">${content}</text>`;
  const powers = Array.from({ length: top - bottom + 1 }, (_, i) => bottom + i);
  const ends = apart(known.map(({ subject, points }) => [subject, up(Math.log10(points.at(-1)?.[1] ?? 1))]));
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${title}">`,
    `<style>${style}</style>`,
    text(MARGIN.left, 16, "start", title),
    ...powers.flatMap((power) => [
      line(MARGIN.left, up(power), WIDTH - MARGIN.right, up(power)),
      text(MARGIN.left - 8, up(power) + 4, "end", Number((10 ** power).toPrecision(3))),
    ]),
    ...x.ticks.flatMap((tick) => [
      line(across(tick), MARGIN.top, across(tick), HEIGHT - MARGIN.bottom),
      text(across(tick), HEIGHT - MARGIN.bottom + 18, "middle", x.name(tick)),
    ]),
    text((MARGIN.left + WIDTH - MARGIN.right) / 2, HEIGHT - 6, "middle", caption),
    ...known.map(({ subject, points }) => {
      const path = points.map(([at, value]) => `${across(at)},${up(Math.log10(value))}`).join(" ");
      return `<polyline class="line ${subject}" stroke-dasharray="${DASHES[subject]}" points="${path}"/>`;
    }),
    ...ends.map(([subject, y]) => text(WIDTH - MARGIN.right + 8, y + 4, "start", TITLES[subject], subject)),
    "</svg>",
    "",
  ].join("\n");
}

/** Names at the ends of lines that meet stand below each other. */
function apart(ends) {
  let last = -Infinity;
  return ends
    .toSorted(([, a], [, b]) => a - b)
    .map(([subject, y]) => [subject, (last = Math.max(y, last + 14))]);
}

const round = (value) => Math.round(value * 10) / 10;
