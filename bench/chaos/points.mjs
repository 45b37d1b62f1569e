// Every fail point, and how an event gets there while everything else goes on.

const LOST = ["nudge-received", "nudge-queued"];

/**
 * `by` is the action that leads there, done again and again until the point is reached; without it, what happens anyway does.
 * `after` are points that must fail before. `stallsOnly`: in the production bundle nothing can fail there,
 * and nothing else can happen there either: a client that hears of what came next, before the process is killed, misses this.
 */
export const POINTS = {
  "push-before-commit": {},
  "commit-answered": {},
  "push-committed": {},
  "push-nudged": {},
  "cron-before-commit": { by: "cron" },
  "cron-committed": { by: "cron" },
  "cron-nudged": { by: "cron" },
  "letter-before-keep": { by: "letter" },
  "letter-kept": { by: "letter" },
  "letter-replayed": { by: "letter" },
  "nudge-queued": { after: ["nudge-received"] },
  "nudge-received": {},
  "entry-stored": { stallsOnly: true },
  "nudge-applied": {},
  "catch-up-before-pull": { by: "bounce" },
  "catch-up-pulled": { by: "bounce" },
  "attend-before-read": { by: "bounce", after: LOST },
  "attend-read": { by: "bounce", after: LOST },
  "outbox-before-flush": {},
  "settle-before-write": {},
  "settle-written": {},
  "outbox-flushed": {},
  "fan-out-accepted": { by: "announce" },
  "fan-out-batch-told": { by: "announce" },
};
