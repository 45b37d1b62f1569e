// The peer: what one writes who has a Node server and not a platform. Socket.IO 4.8 with a room for each user, notifications
// in SQLite before they are emitted, and what was missed at the next connect.
//
// SQLite is Node's own: `better-sqlite3` is the same library, as synchronous as this, but takes a binary that no package
// registry has. WAL with synchronous=FULL: a commit is on the disk before a push is answered, in one fsync.
import { createHash, randomUUID, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import jwt from "jsonwebtoken";
import { Server } from "socket.io";

const { PORT, DATA, JWT_SECRET, SERVICE_KEY } = process.env;
/** Most items of one `notification:batch`. */
const BATCH = 100;
/** More missed items than this come as `notification:batch`. */
const BATCH_THRESHOLD = 20;
/** Acknowledgements wait so long for others, to share a commit. */
const GATHER_MS = 100;
const MAX_BODY_BYTES = 100_000;

// ---- the record ----

const db = new DatabaseSync(join(DATA, "peer.sqlite"));
db.exec(`
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = FULL;
  CREATE TABLE IF NOT EXISTS notifications (
    n INTEGER PRIMARY KEY, id TEXT NOT NULL, room TEXT NOT NULL, payload TEXT NOT NULL
  );
  CREATE INDEX IF NOT EXISTS notifications_room ON notifications (room, n);
  CREATE TABLE IF NOT EXISTS deliveries (
    notification_id TEXT NOT NULL, user_id TEXT NOT NULL, delivered_at INTEGER NOT NULL,
    PRIMARY KEY (notification_id, user_id)
  ) WITHOUT ROWID;`);
const insert = db.prepare("INSERT INTO notifications (id, room, payload) VALUES (?, ?, ?)");
const deliver = db.prepare("INSERT OR IGNORE INTO deliveries (notification_id, user_id, delivered_at) VALUES (?, ?, ?)");
const missed = db.prepare(`
  SELECT payload FROM notifications
  WHERE room IN (SELECT value FROM json_each(?))
    AND NOT EXISTS (SELECT 1 FROM deliveries WHERE notification_id = id AND user_id = ?)
  ORDER BY n DESC`);

function transaction(action) {
  db.exec("BEGIN IMMEDIATE");
  try {
    action();
    db.exec("COMMIT");
  } catch (error) {
    db.exec("ROLLBACK");
    throw error;
  }
}

// ---- those who are pushed to ----

const http = createServer(onRequest);
const io = new Server(http, { serveClient: false, maxHttpBufferSize: MAX_BODY_BYTES });
const notifications = io.of("/notifications");

notifications.use((socket, next) => {
  const { auth, query, headers } = socket.handshake;
  const token = auth.token ?? headers.authorization ?? query.token ?? "";
  try {
    const { sub, departments = [] } = jwt.verify(token.replace(/^\s*Bearer\s+/i, ""), JWT_SECRET, { algorithms: ["HS256"] });
    Object.assign(socket.data, { user: sub, rooms: [`user:${sub}`, ...departments.map((id) => `dept:${id}`)] });
    next();
  } catch {
    next(Object.assign(new Error("Authentication failed"), { data: { code: "INVALID_TOKEN" } }));
  }
});

notifications.on("connection", (socket) => {
  const { user, rooms } = socket.data;
  socket.join(rooms);
  socket.emit("authenticated", { user_id: user, connected_at: new Date().toISOString() });
  catchUp(socket);
  socket.on("notification:acknowledge", (items) => acknowledge(user, items));
});

/** Sends what nobody has acknowledged for the user yet. */
function catchUp(socket) {
  const { user, rooms } = socket.data;
  const payloads = missed.all(JSON.stringify(rooms), user).map(({ payload }) => JSON.parse(payload));
  if (payloads.length <= BATCH_THRESHOLD) {
    for (const payload of payloads.toReversed()) socket.emit("notification:new", payload);
    return;
  }
  for (let i = 0; i < payloads.length; i += BATCH) {
    socket.emit("notification:batch", { notifications: payloads.slice(i, i + BATCH), has_more: i + BATCH < payloads.length });
  }
}

const acknowledged = [];

function acknowledge(user, items) {
  const ids = [items].flat().map((item) => item?.recipient_id);
  if (!ids.every((id) => typeof id === "string")) return;
  if (acknowledged.length === 0) setTimeout(storeAcknowledged, GATHER_MS);
  for (const id of ids) acknowledged.push([id, user]);
}

function storeAcknowledged() {
  const now = Date.now();
  transaction(() => acknowledged.splice(0).forEach(([id, user]) => deliver.run(id, user, now)));
}

// ---- those who push ----

const digest = (text) => createHash("sha256").update(text).digest();
const credential = digest(`Bearer ${SERVICE_KEY}`);

function onRequest(request, response) {
  const answer = (status, body) => {
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
  };
  if (request.method !== "POST" || request.url !== "/v1/notifications") return answer(404, { code: "not_found" });
  if (!timingSafeEqual(digest(request.headers.authorization ?? ""), credential)) return answer(401, { code: "unauthorized" });
  const chunks = [];
  let bytes = 0;
  request.on("data", (chunk) => {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) request.destroy();
    else chunks.push(chunk);
  });
  request.on("end", () => {
    try {
      answer(...push(Buffer.concat(chunks).toString()));
    } catch (error) {
      console.error(error);
      answer(500, { code: "internal" });
    }
  });
}

/** Stores, then emits. Gives the answer to the pusher. */
function push(text) {
  const body = parsed(text);
  if (body === undefined) return [400, { code: "invalid_request" }];
  const id = randomUUID();
  const { to, title, content = "", data = null } = body;
  const payload = { id, recipient_id: id, title, content, data, created_at: new Date().toISOString() };
  const stored = JSON.stringify(payload);
  transaction(() => to.forEach((room) => insert.run(id, room, stored)));
  notifications.to(to).emit("notification:new", payload);
  return [201, { id }];
}

/** A push that says to whom and what; undefined for anything else. */
function parsed(text) {
  try {
    const body = JSON.parse(text);
    const rooms = Array.isArray(body.to) && body.to.length > 0 && body.to.every((room) => /^(user|dept):./.test(room));
    return rooms && typeof body.title === "string" && body.title !== "" ? body : undefined;
  } catch {
    return undefined;
  }
}

http.listen(Number(PORT), "127.0.0.1", () => process.send("ready"));
process.on("disconnect", () => process.exit());
