// Compiled, never run: what the types of the HTTP API's bodies allow, and what they do not.
import type { Schemas, paths } from "../../types/index.js";

export const push: Schemas["Push"] = {
  to: ["user:u1"],
  title: "Order 1042",
  content: "Paid by **card**",
  type: { id: "order.created", icon: "cart" },
  action: { url: "/orders/1042", text: "Open" },
  data: { order_id: 1042 },
  priority: "high",
  ttl: 604_800,
};
export const fromTemplate: Schemas["Push"] = { to: ["user:u1"], template: { key: "exam-moved", data: { course: "CS1" } }, type: "exam" };
export const batch: Schemas["PushBatch"] = { items: [{ ...push, idempotency_key: "a1" }, fromTemplate] };

// @ts-expect-error for nobody
export const nobody: Schemas["Push"] = { title: "Hello" };
// @ts-expect-error with nothing to say
export const nothing: Schemas["Push"] = { to: ["user:u1"] };
// @ts-expect-error there is no such priority
export const urgent: Schemas["Push"] = { to: ["user:u1"], title: "Hello", priority: "urgent" };
// @ts-expect-error there is no such field
export const colour: Schemas["Push"] = { to: ["user:u1"], title: "Hello", colour: "red" };
// @ts-expect-error a type has an id
export const type: Schemas["NewType"] = { name: "Order" };

type Answer = paths["/v1/notifications"]["post"]["responses"][201]["content"]["application/json"];

export function seqs({ results }: Answer): (number | null)[] {
  return results.map((result) => {
    switch (result.status) {
      case "created":
        return result.seq;
      case "accepted":
        return "seq" in result ? (result.seq satisfies null) : result.online_users;
      case "suppressed":
        return result.reason.length;
      case "rejected":
        return result.problem.status;
    }
  });
}

export function explained(problem: Schemas["Problem"]): string[] {
  if (problem.code === "unknown_template") return [];
  // @ts-expect-error there is no such code
  if (problem.code === "teapot") return [];
  return (problem.errors ?? []).map((mistake) => ("pointer" in mistake ? mistake.pointer : mistake.parameter));
}
