// The arguments of the `make` commands. They come as environment variables, so that no shell ever reads them.

/** What was given as `NAME=...` on make's command line, or undefined. */
export function argument(name) {
  return process.env[`ARG_${name}`] || undefined;
}

/** The same, for one that must be there; `usage` is what to type. */
export function required(name, usage) {
  const value = argument(name);
  if (value === undefined) fail(`${name} is missing: ${usage}`);
  return value;
}

export function fail(message) {
  console.error(message);
  process.exit(2);
}

export const port = Number(process.env.PORT);
export const url = `http://127.0.0.1:${port}`;
