// The platform's floor: the least that a Worker with an object for each user and D1 can do for a push. It inserts one row,
// forwards the event to the user's object, and sends it over hibernating WebSockets. It asks nobody who they are, checks
// nothing, and speaks as much Engine.IO as a stock client needs to connect by WebSocket. Not for any other use.
import { DurableObject } from "cloudflare:workers";

const NAMESPACE = "/notifications,";
const INTERVAL_MS = 1_800_000;
const PAGE = 100;
const INSERT = "INSERT INTO notifications (id, room, payload) VALUES (?1, ?2, ?3)";
const MISSED = "SELECT payload FROM notifications WHERE room = ?1 ORDER BY id DESC";

const event = (name, json) => `42${NAMESPACE}["${name}",${json}]`;
const objectOf = (namespace, name) => namespace.get(namespace.idFromName(name));

export default {
  async fetch(request, env) {
    const url = new URL(request.url);
    if (url.pathname === "/socket.io/") return objectOf(env.HUB, url.searchParams.get("user")).fetch(request);
    const { to: [room], title, content, data } = await request.json();
    const id = crypto.randomUUID();
    const payload = JSON.stringify({ id, recipient_id: id, title, content, data, created_at: new Date().toISOString() });
    await env.DB.prepare(INSERT).bind(id, room, payload).run();
    const frame = event("notification:new", payload);
    if (room.startsWith("user:")) await objectOf(env.HUB, room.slice("user:".length)).send(frame);
    else await objectOf(env.ROOM, room).send(frame);
    return Response.json({ id }, { status: 201 });
  },
};

/** A user's sockets. */
export class Hub extends DurableObject {
  async fetch(request) {
    const query = new URL(request.url).searchParams;
    for (const room of query.get("rooms")?.split(" ") ?? []) await objectOf(this.env.ROOM, room).join(query.get("user"));
    const [client, server] = Object.values(new WebSocketPair());
    this.ctx.acceptWebSocket(server);
    if (query.has("missed")) server.serializeAttachment(`user:${query.get("user")}`);
    const sid = crypto.randomUUID();
    const handshake = { sid, upgrades: [], pingInterval: INTERVAL_MS, pingTimeout: INTERVAL_MS, maxPayload: 100_000 };
    server.send(`0${JSON.stringify(handshake)}`);
    return new Response(null, { status: 101, webSocket: client });
  }

  send(frame) {
    for (const socket of this.ctx.getWebSockets()) socket.send(frame);
  }

  /** Acknowledgements come here too, and end here. */
  async webSocketMessage(socket, message) {
    if (!message.startsWith("40")) return;
    socket.send(`40${NAMESPACE}{"sid":"${crypto.randomUUID()}"}`);
    socket.send(event("authenticated", "{}"));
    const room = socket.deserializeAttachment();
    if (room === null) return;
    const { results } = await this.env.DB.prepare(MISSED).bind(room).all();
    for (let i = 0; i < results.length; i += PAGE) {
      const items = results.slice(i, i + PAGE).map(({ payload }) => payload);
      socket.send(event("notification:batch", `{"notifications":[${items}],"has_more":${i + PAGE < results.length}}`));
    }
  }

  webSocketClose(socket) {
    socket.close(1000);
  }
}

/** The users of a room. */
export class Room extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS members (user TEXT PRIMARY KEY) WITHOUT ROWID");
  }

  join(user) {
    this.ctx.storage.sql.exec("INSERT OR IGNORE INTO members VALUES (?1)", user);
  }

  /** Answers at once, as pushes to rooms do. */
  send(frame) {
    const members = this.ctx.storage.sql.exec("SELECT user FROM members").toArray();
    this.ctx.waitUntil(Promise.all(members.map(({ user }) => objectOf(this.env.HUB, user).send(frame))));
  }
}
