// Compiled, never run: what the types of the Socket.IO events allow a stock client, and what they do not.
import { io, type Socket } from "socket.io-client";
import type {
  CamelClientToServerEvents,
  CamelDormouseSocket,
  CamelServerToClientEvents,
  ClientToServerEvents,
  DormouseSocket,
  ServerToClientEvents,
} from "../../types/index.js";

/** Holds when both are the same type, and `any` is neither. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
declare function holds<Claim extends true>(): Claim;

// ---- from the server ----

const socket: Socket<ServerToClientEvents, ClientToServerEvents> = io("/notifications");

socket.on("notification:new", (notification) => {
  holds<Same<typeof notification.title, string>>();
  holds<Same<typeof notification.expires_at, string | null>>();
  holds<Same<typeof notification.priority, "low" | "normal" | "high">>();
  holds<Same<typeof notification.data, { [key: string]: unknown } | null>>();
  const icon: string | null | undefined = notification.type?.icon;
  void icon;
  // @ts-expect-error a list has it, the event has not
  void notification.read_at;
});
socket.on("notification:new", ({ seq }, offset) => {
  holds<Same<typeof seq, number>>();
  holds<Same<typeof offset, string | undefined>>();
});
socket.on("notification:batch", ({ notifications, has_more }) => {
  holds<Same<typeof has_more, boolean>>();
  for (const { read_at, delivery_status } of notifications) {
    holds<Same<typeof read_at, string | null>>();
    if (delivery_status === "permanent_failure") return;
    // @ts-expect-error there is no such status
    if (delivery_status === "lost") return;
  }
});
socket.once("authenticated", ({ user_id, connected_at }) => [user_id.length, Date.parse(connected_at)]);
socket.on("notification:read", ({ id, read_at }) => [id, read_at]);
socket.on("notification:deleted", ({ reason }) => reason === "collapsed");
socket.on("notifications:read_all", ({ marked_count }) => marked_count + 1);
socket.on("notifications:seen", ({ up_to_seq }) => up_to_seq + 1);
socket.on("unread:count", ({ count, unseen, seq }) => count + unseen + seq);
socket.on("presence:update", ({ users }) => {
  for (const { user_id, online, last_seen_at } of users) {
    holds<Same<typeof online, boolean>>();
    holds<Same<typeof last_seen_at, string | null>>();
    void user_id.length;
  }
});
socket.on("auth_error", ({ code }) => code === "EXPIRED_TOKEN");
socket.on("error", ({ code, message }) => [code === "NOT_FOUND", message]);
socket.on("pong", () => undefined);
socket.on("connect_error", (error) => error.message);
// @ts-expect-error there is no such event
socket.on("notification:newer", () => undefined);
// @ts-expect-error the payload has no such field
socket.on("unread:count", ({ total }) => total);
// @ts-expect-error without case=camel
socket.on("authenticated", ({ userId }) => userId);


const extended: Socket<ServerToClientEvents & { "order:paid": (order: { id: number }) => void }, ClientToServerEvents> = io("/");
extended.on("order:paid", ({ id }) => holds<Same<typeof id, number>>());
extended.on("unread:count", ({ count }) => holds<Same<typeof count, number>>());
// @ts-expect-error there is no such event
extended.on("order:lost", () => undefined);

// ---- from the client ----

const recipient_id = "9b1e5a80-33f2-5c0e-8d5b-1c2d3e4f5a6b";
socket.emit("notification:acknowledge", { recipient_id });
socket.emit("notification:acknowledge", [{ recipient_id }, { recipient_id }], (answer) => {
  if (answer.ok) holds<Same<typeof answer.acknowledged, number>>();
  else holds<Same<typeof answer.error.message, string>>();
  // @ts-expect-error it may have been refused
  void answer.acknowledged;
});
socket.emit("mark:read", { notificationId: "n" });
socket.emit("mark:unread", { notification_id: "n" });
socket.emit("notification:archive", { recipient_id }, (answer) => answer.ok && answer.archived_at);
socket.emit("mark:all:read");
socket.emit("mark:all:read", (answer) => answer.ok && answer.marked_count);
socket.emit("mark:all:read", { before_seq: 7 }, (answer) => answer.ok || answer.error.code === "SERVER_ERROR");
socket.emit("mark:seen", { up_to_seq: 7 });
socket.emit("join", "u1");
socket.emit("presence:query", { users: ["u1"] }, (answer) => {
  if (answer.ok) holds<Same<(typeof answer.users)[0]["online"], boolean>>();
});
// @ts-expect-error a list of ids
socket.emit("presence:query", { users: "u1" });
socket.emit("ping");
// @ts-expect-error there is no such event
socket.emit("mark:reed", { notificationId: "n" });
// @ts-expect-error an item has to be named
socket.emit("mark:read");
// @ts-expect-error by nothing else
socket.emit("mark:read", { id: "n" });
// @ts-expect-error a number
socket.emit("mark:seen", { up_to_seq: "7" });
// @ts-expect-error without a payload
socket.emit("ping", {});

// ---- answers that are waited for ----

export async function answers(asking: DormouseSocket) {
  const state = await asking.emitWithAck("mark:read", { notificationId: "n" });
  if (state.ok) holds<Same<typeof state.read_at, string | null>>();
  else holds<Same<typeof state.error.message, string>>();
  // @ts-expect-error it may have been refused
  void state.read_at;
  // @ts-expect-error by nothing else
  await asking.emitWithAck("mark:read", { id: "n" });

  const soon = await asking.timeout(1_000).emitWithAck("mark:seen", { up_to_seq: 7 });
  if (soon.ok) holds<Same<typeof soon.unseen, number>>();

  const all = await asking.emitWithAck("mark:all:read");
  const done = await asking.emitWithAck("notification:delete", { recipient_id });
  if (done.ok) holds<Same<typeof done.reason, "deleted" | "retracted" | "expired" | "collapsed">>();
  // @ts-expect-error an item has to be named
  await asking.emitWithAck("mark:read");
  // @ts-expect-error the answer has no such field
  if (all.ok) void all.read;

  asking.on("unread:count", ({ count }) => holds<Same<typeof count, number>>());
  asking.emit("notification:acknowledge", { recipient_id });
  asking.emit("mark:read", { recipient_id }, (answer) => {
    if (answer.ok) holds<Same<typeof answer.unread, number>>();
  });
  // @ts-expect-error an item has to be named
  asking.emit("mark:read");
}
void answers(io("/notifications"));

// ---- case=camel ----

const camel: Socket<CamelServerToClientEvents, CamelClientToServerEvents> = io("/notifications", { query: { case: "camel" } });
camel.on("notification:new", (notification, offset) => {
  holds<Same<typeof notification.contentHtml, string>>();
  holds<Same<typeof notification.createdAt, string>>();
  holds<Same<typeof notification.data, { [key: string]: unknown } | null>>();
  holds<Same<typeof offset, string | undefined>>();
  const name: string | null | undefined = notification.sender?.displayName;
  void name;
  // @ts-expect-error with case=camel
  void notification.content_html;
  // @ts-expect-error with case=camel
  void notification.sender?.display_name;
});
camel.on("notification:batch", ({ notifications, unreadCount }) => {
  holds<Same<typeof unreadCount, number>>();
  for (const { readAt } of notifications) holds<Same<typeof readAt, string | null>>();
});
camel.emit("mark:read", { notificationId: "n" }, (answer) => {
  if (answer.ok) holds<Same<typeof answer.recipientId, string>>();
  else holds<Same<typeof answer.error.message, string>>();
});

camel.on("presence:update", ({ users }) => {
  for (const { userId, lastSeenAt } of users) void [userId.length, lastSeenAt];
});
camel.emit("presence:query", { users: ["u1"] }, (answer) => answer.ok && answer.users[0]?.lastSeenAt);
camel.emit("mark:seen", { upToSeq: 7 });
camel.emit("notification:acknowledge", [{ recipientId: recipient_id }]);
camel.emit("notification:acknowledge", { recipient_id });
// @ts-expect-error an item has to be named
camel.emit("mark:read");
// @ts-expect-error by nothing else
camel.emit("mark:read", { id: "n" });

export async function camelAnswers(asking: CamelDormouseSocket) {
  const all = await asking.emitWithAck("mark:all:read", { before_seq: 7 });
  if (all.ok) holds<Same<typeof all.markedCount, number>>();
  // @ts-expect-error with case=camel
  if (all.ok) void all.marked_count;
}
