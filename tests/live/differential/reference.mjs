// The reference: socket.io's own server, doing what Dormouse's conformance mode does.
import { once } from "node:events";
import { createServer } from "node:http";
import { Server as EngineServer } from "engine.io";
import { Server } from "socket.io";

const MAX_PAYLOAD_BYTES = 1_000_000;
const NAMESPACES = ["/", "/custom"];

/** Starts it on a port of its own; `url` is where. Settings are in milliseconds. */
export async function startReference({ pingInterval, pingTimeout, connectTimeout, allowedOrigin }) {
  const http = createServer((_request, response) => response.writeHead(404).end());
  // No connection is closed while a client is about to use it again.
  http.keepAliveTimeout = 0;
  const options = { pingInterval, pingTimeout, maxHttpBufferSize: MAX_PAYLOAD_BYTES };
  const cors = { origin: [allowedOrigin], credentials: true };

  const engine = new EngineServer({ ...options, cors });
  engine.on("connection", (socket) => socket.on("message", (data) => socket.send(data)));
  engine.attach(http, { path: "/engine.io/", destroyUpgrade: false });

  const io = new Server(http, { ...options, connectTimeout, cors, serveClient: false, destroyUpgrade: false });
  for (const namespace of NAMESPACES) io.of(namespace).on("connection", serve);

  http.listen(0, "127.0.0.1");
  await once(http, "listening");
  return {
    url: `http://127.0.0.1:${http.address().port}`,
    stop() {
      io.close();
      engine.close();
      http.closeAllConnections();
      http.close();
    },
  };
}

function serve(socket) {
  // Without a listener it would print what it refuses.
  socket.on("error", () => {});
  socket.emit("auth", socket.handshake.auth);
  socket.on("message", (...args) => {
    if (typeof args.at(-1) === "function") args.pop();
    socket.emit("message-back", ...args);
  });
  socket.on("message-with-ack", (...args) => {
    if (typeof args.at(-1) === "function") args.pop()(...args);
  });
}
