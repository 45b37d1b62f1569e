// Many stock clients lose their runtime at the same moment and come back at the same moment.
import { until } from "../live/client.mjs";
import { onServerInMemory } from "../live/in_memory.mjs";

const PATIENCE_MS = 120_000;
/** Clients that connect for the first time together, and requests of the pushing service that are under way together. */
const WIDTH = 20;

/** Runs `storm` on a server of its own. */
export function stormOnServer(bundle, count, options) {
  return onServerInMemory({ bundle }, (server) => storm(server, count, options));
}

/**
 * `count` clients, each of a user of its own, with the client's own defaults and the token in CONNECT: they connect and
 * upgrade, get a notification each, lose the runtime, are pushed to while they come back, and have come back. Gives
 * what became of them, in numbers; times of the return count from the kill.
 */
async function storm(server, count, { timeout = PATIENCE_MS, note = () => {} } = {}) {
  const clients = [];
  const all = (what, condition) =>
    until(() => clients.every(condition), {
      timeout,
      what: () => `${what}: ${clients.filter((client) => !condition(client)).length} of ${count} clients are not`,
    });
  const begun = performance.now();
  // The first time they come one after the other, as users do; it is the second time that they all come at once.
  while (clients.length < count) {
    clients.push(...Array.from({ length: Math.min(WIDTH, count - clients.length) }, (_, i) => clients.length + i).map(
      (i) => connect(server, `storm-${i}`),
    ));
    await all("connected and upgraded", (client) => client.socket.connected && onWebSocket(client));
  }
  const connectedAfter = performance.now() - begun;
  note(`${count} clients are connected`);

  await pushToAll(server, clients);
  await all("pushed to", ({ socket }) => seqs(socket).length >= 1);
  note("each has a notification; the runtime is killed");

  for (const client of clients) client.connectedAt = undefined;
  const killed = performance.now();
  await server.kill();
  await server.restart();
  const restartedAfter = performance.now() - killed;
  const pushed = pushToAll(server, clients);
  await all("connected again", ({ socket, connectedAt }) => socket.connected && connectedAt !== undefined);
  await all("upgraded again", onWebSocket);
  const settledAfter = performance.now() - killed;
  await pushed;
  await all("pushed to again", ({ socket }) => seqs(socket).length >= 2);
  note("all are back");
  // What a client is answered after this, nothing that was sent before can follow any more.
  await Promise.all(clients.map(({ socket }) => socket.timeout(timeout).emitWithAck("ping")));

  const back = clients.map(({ connectedAt }) => connectedAt - killed).sort((a, b) => a - b);
  const figures = {
    clients: count,
    connected_ms: connectedAfter,
    restarted_ms: restartedAfter,
    back_ms: { median: at(back, 0.5), "95 %": at(back, 0.95), last: at(back, 1) },
    settled_ms: settledAfter,
    failed_attempts: clients.reduce((sum, { socket }) => sum + named(socket, "connect_error"), 0),
    connections: clients.reduce((sum, { socket }) => sum + named(socket, "connect"), 0),
    recovered: clients.filter(({ socket }) => socket.recovered).length,
    missed: clients.filter(({ socket }) => !(seqs(socket).includes(1) && seqs(socket).includes(2))).length,
    twice_or_out_of_order: clients.filter(({ socket }) => seqs(socket).some((seq, i) => seq !== i + 1)).length,
    left_on_polling: clients.filter((client) => !onWebSocket(client)).length,
  };
  for (const { socket } of clients) socket.disconnect();
  return figures;
}

function connect(server, user) {
  const socket = server.connect(user, {
    token: null,
    auth: { token: server.token(user) },
    transports: ["polling", "websocket"],
    reconnection: true,
  });
  const client = { user, socket, connectedAt: undefined };
  socket.on("connect", () => (client.connectedAt = performance.now()));
  return client;
}

async function pushToAll(server, clients) {
  const left = [...clients];
  const push = async () => {
    for (let client = left.pop(); client !== undefined; client = left.pop()) {
      const { status, body } = await server.push(client.user);
      if (status !== 201) throw new Error(`a push was answered with ${status} ${JSON.stringify(body)}`);
    }
  };
  await Promise.all(Array.from({ length: WIDTH }, push));
}

const onWebSocket = ({ socket }) => socket.io.engine?.transport?.name === "websocket";
const seqs = (socket) => socket.events.filter(({ name }) => name === "notification:new").map(({ data }) => data.seq);
const named = (socket, name) => socket.lifecycle.filter((event) => event.name === name).length;
const at = (sorted, part) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))];
