// The platform's prices, and what users who are always online cost in a month.
import { UNITS } from "./counting.mjs";

/** Workers Paid, November 2026. What is included is per month and account. */
export const PRICES = {
  /** $ a month, whatever is used. */
  base: 5,
  /** `used` gives how many of them the counted units are; `per_million` is in $. */
  meters: {
    workers: { title: "Workers requests", included: 10e6, per_million: 0.3, used: (units) => units.worker_requests },
    objects: {
      title: "Durable Objects requests",
      included: 1e6,
      per_million: 0.15,
      // Twenty incoming messages are one request, and so is each alarm that goes off.
      used: (units) => units.object_requests + units.alarms + units.messages_received / 20,
    },
    object_rows_written: {
      title: "Durable Objects rows written",
      included: 50e6,
      per_million: 1,
      // To set an alarm is to write a row.
      used: (units) => units.object_rows_written + units.alarms_set,
    },
    object_rows_read: {
      title: "Durable Objects rows read",
      included: 25e9,
      per_million: 0.001,
      used: (units) => units.object_rows_read,
    },
    record_rows_written: { title: "D1 rows written", included: 50e6, per_million: 1, used: (units) => units.record_rows_written },
    record_rows_read: { title: "D1 rows read", included: 25e9, per_million: 0.001, used: (units) => units.record_rows_read },
    log_lines: { title: "Workers Logs lines", included: 20e6, per_million: 0.6, used: (units) => units.log_lines },
  },
};

const DAYS = 30;
/** Of a day. */
export const HOURS = 24;

/**
 * What a user who is always online does, by the ids of the ledger's rows: how often a day. It is taken as if each came alone;
 * what comes together has fewer alarms.
 */
export const DAY = {
  push_online_keyed: 10,
  push_online_alarm: 10,
  mark_read: 10,
  mark_read_alarm: 10,
  room_push: 1,
  room_push_alarm: 1,
  list_again: 2,
  lost: 4,
  recover: 4,
  disconnect: 1,
  connect_known: 1,
  connect_alarm: 5,
  token: 24,
};

export const USERS = [1_000, 200_000];

/** The kinds of clients, by the id of their idle hour. */
export const CLIENTS = { idle_stock: "stock", idle_keepalive: "keepalive=client" };

/** $ for a million of an action by the price list: nothing is included. */
export function millionOf(units) {
  return Object.values(PRICES.meters).reduce((sum, { per_million, used }) => sum + used(full(units)) * per_million, 0);
}

/** $ for what `users` do `times` a day, in a month, by the price list. */
export function monthOf(units, times, users) {
  return (millionOf(units) * times * users * DAYS) / 1e6;
}

/** What `users` with that idle hour use and pay in a month: `{ meters: { id: { used, cost } }, total }`. */
export function month(rows, users, client) {
  const units = full({});
  for (const [id, times] of Object.entries({ ...DAY, [client]: HOURS })) {
    for (const [unit, count] of Object.entries(rows[id].units)) units[unit] += count * times * users * DAYS;
  }
  const meters = Object.entries(PRICES.meters).map(([id, { included, per_million, used }]) => {
    const count = used(units);
    return [id, { used: count, cost: (Math.max(0, count - included) / 1e6) * per_million }];
  });
  const total = meters.reduce((sum, [, { cost }]) => sum + cost, PRICES.base);
  return { meters: Object.fromEntries(meters), total };
}

/** Units of which there were none are left out of what was counted. */
const full = (units) => ({ ...Object.fromEntries(Object.keys(UNITS).map((unit) => [unit, 0])), ...units });
