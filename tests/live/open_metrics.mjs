// A strict reader of OpenMetrics 1.0 text, for as much of it as gauges need.
import assert from "node:assert/strict";

const NAME = "[a-zA-Z_:][a-zA-Z0-9_:]*";
const LABEL = `[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\\\\n]|\\\\[\\\\"n])*"`;
const SAMPLE = new RegExp(`^(${NAME})(?:\\{(${LABEL}(?:,${LABEL})*)\\})? (\\d+(?:\\.\\d+)?)$`);

/**
 * The samples `{ name, labels, value }`. Throws unless the text ends with `# EOF`, each family begins with its TYPE and HELP, is
 * there once and in one piece, and no sample is there twice.
 */
export function parseOpenMetrics(text) {
  assert.ok(text.endsWith("# EOF\n"), "the text ends with # EOF");
  const samples = [];
  const families = new Set();
  const seen = new Set();
  let family;
  for (const line of text.slice(0, -"# EOF\n".length).split("\n").slice(0, -1)) {
    const [, kind, name, rest] = new RegExp(`^# (TYPE|HELP) (${NAME}) (.+)$`).exec(line) ?? [];
    if (kind === "TYPE") {
      assert.equal(rest, "gauge", line);
      assert.ok(!families.has(name), `${name} is there twice`);
      families.add(name);
      family = { name, help: undefined, samples: 0 };
    } else if (kind === "HELP") {
      assert.ok(name === family?.name && family.help === undefined && family.samples === 0, line);
      family.help = rest;
    } else {
      const match = SAMPLE.exec(line);
      assert.ok(match !== null, `no sample: ${line}`);
      assert.equal(match[1], family?.name, line);
      assert.ok(!seen.has(`${match[1]}{${match[2]}}`), `twice: ${line}`);
      seen.add(`${match[1]}{${match[2]}}`);
      family.samples += 1;
      const labels = [...(match[2] ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, name, value]) => [name, value]);
      samples.push({ name: match[1], labels: Object.fromEntries(labels), value: Number(match[3]) });
    }
  }
  return samples;
}
