// An inbox as a client builds it from what it is sent, to be held against the list and the record.
import assert from "node:assert/strict";

/** Follows a client that has just been told `authenticated`, and keeps an inbox from its events alone. */
export function follow(socket) {
  const mirror = new Mirror();
  for (const event of socket.events) mirror.on(event.name, event.data);
  socket.onAny((name, data) => mirror.on(name, data));
  return mirror;
}

class Mirror {
  #items = new Map();
  /** The latest change it knows of. */
  seq;
  /** The counts it was told. */
  counts;
  /** What each change was, by its number, as `[event, id]`. */
  changes = new Map();
  /** Changes that came again, or after a later one. */
  misplaced = [];

  on(name, payload) {
    const data = name === "notification:batch" ? { ...snake(payload), items: payload.notifications.map(snake) } : snake(payload);
    switch (name) {
      case "authenticated":
        // One that comes back is yet to be sent what it missed.
        this.seq ??= data.seq;
        break;
      case "notification:new":
        this.#follow(name, data);
        this.#add(data);
        break;
      case "notification:batch":
        for (const item of data.items) this.#add(item);
        this.seq = data.seq;
        break;
      case "notification:read":
      case "notification:unread":
      case "notification:archived":
      case "notification:unarchived":
        this.#follow(name, data);
        this.#update(({ id }) => id === data.id, { read_at: data.read_at, archived_at: data.archived_at, seen: true });
        break;
      case "notification:deleted":
        this.#follow(name, data);
        this.#items.delete(data.id);
        break;
      case "notifications:read_all":
        this.#follow(name, data);
        this.#update(
          (item) => item.seq <= data.before_seq && item.archived_at === null && item.read_at === null,
          { read_at: data.read_at, seen: true },
        );
        break;
      case "notifications:seen":
        this.#follow(name, data);
        this.#update((item) => item.seq <= data.up_to_seq && item.archived_at === null, { seen: true });
        break;
      case "unread:count":
        if (data.seq >= (this.counts?.seq ?? 0)) this.counts = { unread: data.count, unseen: data.unseen, seq: data.seq };
        break;
    }
  }

  #follow(name, { seq, id }) {
    if (seq <= this.seq) this.misplaced.push(seq);
    this.changes.set(seq, [name, id]);
    this.seq = seq;
  }

  #add({ id, seq, read_at = null, archived_at = null, seen_at = null }) {
    this.#items.set(id, { id, seq, read_at, archived_at, seen: seen_at !== null });
  }

  #update(which, state) {
    for (const item of this.#items.values()) if (which(item)) Object.assign(item, state);
  }

  /** What it holds, oldest first. */
  items() {
    return [...this.#items.values()].toSorted((a, b) => a.seq - b.seq);
  }

  /** The counts of what it holds. */
  counted() {
    const inbox = this.items().filter(({ archived_at }) => archived_at === null);
    return { unread: inbox.filter(({ read_at }) => read_at === null).length, unseen: inbox.filter(({ seen }) => !seen).length };
  }
}

function snake(payload) {
  if (payload === null || typeof payload !== "object") return payload;
  const key = (name) => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  return Object.fromEntries(Object.entries(payload).map(([name, value]) => [key(name), value]));
}

/** The whole inbox and the whole archive over HTTP, newest first, and the counts. */
export async function everything(server, user, { token = server.token(user) } = {}) {
  const walk = async (filter) => {
    const items = [];
    for (let cursor = ""; cursor !== null; ) {
      const path = `/v1/me/notifications?filter=${filter}&limit=100${cursor && `&cursor=${encodeURIComponent(cursor)}`}`;
      const { status, body } = await server.api("GET", path, { token });
      assert.equal(status, 200, JSON.stringify(body));
      items.push(...body.items);
      cursor = body.next_cursor;
    }
    return items;
  };
  return { items: await walk("all"), archive: await walk("archived") };
}

/** What the record says the user has deleted. */
export async function deletedIds(server, user) {
  const sql = "SELECT notification_id AS id FROM deliveries WHERE user_id = ?1 AND deleted_at IS NOT NULL ORDER BY deleted_at";
  return (await server.db.all(sql, user)).map(({ id }) => id);
}
