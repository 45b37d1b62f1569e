// `make push`: sends one notification to one user and prints the answer.
import { argument, fail, required, url } from "./arguments.mjs";
import { serviceKey } from "./dev-vars.mjs";

const usage = 'make push USER=u1 TITLE="Hello" [CONTENT="..."]';
const push = { to: [`user:${required("USER", usage)}`], title: required("TITLE", usage), content: argument("CONTENT") };

const response = await fetch(`${url}/v1/notifications`, {
  method: "POST",
  headers: { authorization: `Bearer ${serviceKey()}`, "content-type": "application/json" },
  body: JSON.stringify(push),
}).catch((error) => fail(`no answer from ${url} (${error.cause?.code ?? error.message}): is \`make dev\` running?`));

const text = await response.text();
console.log(pretty(text));
if (!response.ok) fail(`status ${response.status}`);

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
