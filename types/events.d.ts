// The Socket.IO events of docs/events.md, for a stock client:
//
//   import { io, type Socket } from "socket.io-client";
//   const socket: Socket<ServerToClientEvents, ClientToServerEvents> = io(`${url}/notifications`, { auth: { token } });
//
// A connection with `case=camel` gets the `Camel...` variants. socket.d.ts has a socket whose `emitWithAck` is typed as well.
import type { components } from "./http.js";

type Schemas = components["schemas"];

// ---- from the server ----

/** The first event after CONNECT. */
export interface Authenticated {
  user_id: string;
  connected_at: string;
  unread: number;
  seq: number;
}

/** A notification in the inbox, as lists have it. */
export type ListedNotification = Schemas["ListedNotification"];

/** A notification that has just arrived, or is sent again. */
export type NewNotification = Schemas["NotificationView"] & {
  /** Items not read, this one included. */
  unread: number;
  /** Counts how often it was sent. */
  attempt: number;
  /** Whether it was sent before. */
  redelivered: boolean;
};

/** What was missed, newest first. */
export interface NotificationBatch {
  notifications: ListedNotification[];
  unread_count: number;
  seq: number;
  /** Whether more was missed than these. */
  has_more: boolean;
}

/** An item of the inbox has changed. */
export type ItemChanged = Schemas["ItemState"];

/** An item has left the inbox. */
export interface ItemDeleted {
  id: string;
  recipient_id: string;
  notification_id: string;
  reason: "deleted" | "retracted" | "expired" | "collapsed";
  unread: number;
  seq: number;
}

/** Absolute. Ignore one whose `seq` is lower than the one you have. */
export interface UnreadCount {
  count: number;
  unseen: number;
  seq: number;
}

/** The presence of a user. */
export interface UserPresence {
  user_id: string;
  online: boolean;
  /** `null` when the user was never seen, or may not be asked about. */
  last_seen_at: string | null;
}

/** Users who came or went. Only on `/chat`. */
export interface PresenceUpdate {
  users: UserPresence[];
}

/** The presence of the users asked for, in the same order. */
export interface PresenceList {
  users: UserPresence[];
  consistency: "eventual";
}

/** The session's token ends soon: send another with `auth:refresh`. */
export interface AuthExpiring {
  expires_at: string;
}

/** What is wrong with a token. */
export type TokenErrorCode = "MISSING_TOKEN" | "INVALID_TOKEN" | "EXPIRED_TOKEN" | "USER_MISMATCH";

/** The session ends. */
export interface AuthError {
  message: string;
  code: TokenErrorCode;
}

/** Why an event of the client was refused. */
export type EventErrorCode =
  | "UNKNOWN_EVENT"
  | "INVALID_PAYLOAD"
  | "FORBIDDEN"
  | "NOT_FOUND"
  | "RATE_LIMITED"
  | "SERVER_ERROR"
  | TokenErrorCode;

/** More about a refusal. */
export interface ErrorDetails {
  /** Seconds after which events are taken again. */
  retry_after: number;
}

/** An event of the client was refused; the socket stays. */
export interface EventError {
  message: string;
  code: EventErrorCode;
  /** With `RATE_LIMITED`. */
  details?: ErrorDetails;
}

/**
 * A handler. With connection state recovery every event ends with an offset, which the client keeps by itself: a handler may
 * leave it out.
 */
type Handler<Payload> = (payload: Payload, offset?: string) => void;

/**
 * What the server tells a client. For the events that your services send by `POST /v1/events`, add their names:
 * `Socket<ServerToClientEvents & { "order:paid": (order: Order) => void }, ClientToServerEvents>`.
 */
export interface ServerToClientEvents {
  authenticated: Handler<Authenticated>;
  "notification:new": Handler<NewNotification>;
  "notification:batch": Handler<NotificationBatch>;
  "notification:read": Handler<ItemChanged>;
  "notification:unread": Handler<ItemChanged>;
  "notification:archived": Handler<ItemChanged>;
  "notification:unarchived": Handler<ItemChanged>;
  "notification:deleted": Handler<ItemDeleted>;
  "notifications:read_all": Handler<Schemas["ReadAllResult"]>;
  "notifications:seen": Handler<Schemas["SeenResult"]>;
  "unread:count": Handler<UnreadCount>;
  "presence:update": Handler<PresenceUpdate>;
  "auth:expiring": Handler<AuthExpiring>;
  auth_error: Handler<AuthError>;
  error: Handler<EventError>;
  pong: Handler<Record<string, never>>;
}

// ---- from the client ----

/** Names an item of the inbox. */
export type ItemReference = { notificationId: string } | { notification_id: string } | { recipient_id: string };

/** Names a delivery. */
export interface DeliveryReference {
  recipient_id: string;
}

/** The answer to an event that asked for one. */
export type Acknowledgement<Answer = unknown> =
  | ({ ok: true } & Answer)
  | { ok: false; error: EventError };

/** What each event takes, and what its answer has when it is `ok`. */
export interface ClientRequests {
  "notification:acknowledge": {
    payload: [delivery: DeliveryReference | DeliveryReference[]];
    /** How many known records were named. */
    answer: { acknowledged: number };
  };
  "mark:read": { payload: [item: ItemReference]; answer: ItemChanged };
  "mark:unread": { payload: [item: ItemReference]; answer: ItemChanged };
  "notification:archive": { payload: [item: ItemReference]; answer: ItemChanged };
  "notification:unarchive": { payload: [item: ItemReference]; answer: ItemChanged };
  "notification:delete": { payload: [item: ItemReference]; answer: ItemDeleted };
  "mark:all:read": { payload: [] | [which: { before_seq?: number }]; answer: Schemas["ReadAllResult"] };
  "mark:seen": { payload: [which: { up_to_seq: number }]; answer: Schemas["SeenResult"] };
  join: { payload: [userId: string]; answer: unknown };
  /** On every namespace; 1 to 100 ids. */
  "presence:query": { payload: [which: { users: string[] }]; answer: PresenceList };
  /** On every namespace: goes on with another token of the same user. */
  "auth:refresh": { payload: [other: { token: string }]; answer: { expires_at: string } };
  ping: { payload: []; answer: unknown };
}

/** Events by name: what each takes, and what its answer has when it is `ok`. */
export type Requests<Of> = { [Name in keyof Of]: { payload: unknown[]; answer: unknown } };

/** What each event is emitted with: its payload and, when an answer is wanted, a function that takes it. */
export type EventsOf<Of extends Requests<Of>> = {
  [Name in keyof Of]: (
    ...args: [...Of[Name]["payload"], answer?: (answer: Acknowledgement<Of[Name]["answer"]>) => void]
  ) => void;
};

/** What a client asks of the server. */
export type ClientToServerEvents = EventsOf<ClientRequests>;

// ---- the same in camelCase ----

type CamelKey<Key> = Key extends `${infer Head}_${infer Tail}` ? `${Head}${Capitalize<CamelKey<Tail>>}` : Key;

/** The same with its keys in camelCase. What is inside `data` is the pusher's and stays as it is. */
export type Camel<Value> = Value extends readonly (infer Item)[]
  ? Camel<Item>[]
  : Value extends object
    ? { [Key in keyof Value as CamelKey<Key>]: Key extends "data" ? Value[Key] : Camel<Value[Key]> }
    : Value;

/** What the server tells a client with `case=camel`. */
export type CamelServerToClientEvents = {
  [Name in keyof ServerToClientEvents]: Handler<Camel<Parameters<ServerToClientEvents[Name]>[0]>>;
};

/** Either way of writing what a client sends: the server takes both. */
type EitherCase<Payload extends unknown[]> = { [Place in keyof Payload]: Payload[Place] | Camel<Payload[Place]> };

/** What each event takes, and what its answer has, with `case=camel`. */
export type CamelClientRequests = {
  [Name in keyof ClientRequests]: {
    payload: EitherCase<ClientRequests[Name]["payload"]>;
    answer: Camel<ClientRequests[Name]["answer"]>;
  };
};

/** What a client with `case=camel` asks of the server. */
export type CamelClientToServerEvents = EventsOf<CamelClientRequests>;
