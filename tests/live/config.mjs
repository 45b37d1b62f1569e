// What wrangler.toml says, for a test server; and the migrations, applied as wrangler applies them.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const ROOT = join(import.meta.dirname, "../..");
const MIGRATIONS = join(ROOT, "migrations");

// It would announce the developer's `.dev.vars`, which are not used here.
process.env.WRANGLER_LOG = "error";
process.env.WRANGLER_LOG_PATH = join(ROOT, ".wrangler/logs");
const { unstable_getMiniflareWorkerOptions, unstable_readConfig, unstable_splitSqlQuery } = await import("wrangler");

const CONFIG = join(ROOT, "wrangler.toml");
const configs = new Map();

/**
 * The Worker's bindings and flags in an environment of wrangler.toml. `vars` override those of wrangler.toml; null removes one.
 * `limits` do so for how much the rate-limiting bindings let through; null removes one of them as well.
 */
export function options(vars, environment, limits = {}) {
  const { name, vars: preset, worker: { ratelimits = {}, ...worker } } = read(environment);
  for (const [binding, limit] of Object.entries(limits)) {
    if (limit === null) delete ratelimits[binding];
    else if (binding in ratelimits) ratelimits[binding].simple.limit = limit;
  }
  const bindings = Object.entries({ ...preset, ...vars }).filter(([, value]) => value !== null);
  return { ...worker, ratelimits, name, bindings: Object.fromEntries(bindings) };
}

function read(environment) {
  if (!configs.has(environment)) {
    const { name, vars } = unstable_readConfig({ config: CONFIG, env: environment });
    const { modulesRules, ...worker } = unstable_getMiniflareWorkerOptions(CONFIG, environment).workerOptions;
    configs.set(environment, { name, vars, worker });
  }
  return structuredClone(configs.get(environment));
}

/** Brings a database up to date. Each file is one transaction, and is remembered in wrangler's own table. */
export async function applyMigrations(db) {
  await db.run(
    `CREATE TABLE IF NOT EXISTS d1_migrations(
      id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL)`,
  );
  const applied = new Set((await db.all("SELECT name FROM d1_migrations")).map(({ name }) => name));
  const files = readdirSync(MIGRATIONS).filter((name) => name.endsWith(".sql")).sort();
  for (const name of files.filter((name) => !applied.has(name))) {
    const statements = unstable_splitSqlQuery(readFileSync(join(MIGRATIONS, name), "utf8"));
    await db.batch([
      ...statements.map((sql) => ({ sql, params: [] })),
      { sql: "INSERT INTO d1_migrations(name) VALUES (?1)", params: [name] },
    ]);
  }
}
