// Every way a stock client gets to its hub: where its token is, and which transport it begins with.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { connected, nextEvent, startServer, until } from "./harness.mjs";

let server;
before(async () => {
  server = await startServer();
});

const TOKEN_PLACES = {
  query: (token) => ({ token }),
  auth: (token) => ({ token: null, auth: { token } }),
};
const TRANSPORTS = {
  "the default transports": { options: { transports: ["polling", "websocket"] }, ends: "websocket" },
  "WebSocket alone": { options: { transports: ["websocket"] }, ends: "websocket" },
  "polling alone": { options: { transports: ["polling"] }, ends: "polling" },
  "no upgrade": { options: { transports: ["polling", "websocket"], upgrade: false }, ends: "polling" },
};

for (const [place, credential] of Object.entries(TOKEN_PLACES)) {
  for (const [name, { options, ends }] of Object.entries(TRANSPORTS)) {
    test(`a token in ${place} and ${name}: connected, pushed to, acknowledged`, async () => {
      const user = `${place} ${name}`;
      const socket = await connected(server.connect(user, { ...credential(server.token(user)), ...options }));
      await nextEvent(socket, "authenticated", ({ user_id }) => user_id === user);
      await until(() => socket.io.engine.transport.name === ends, { what: () => `transport ${ends}` });
      await server.push(user);
      const { recipient_id } = await nextEvent(socket, "notification:new");
      const ack = await socket.timeout(5_000).emitWithAck("notification:acknowledge", { recipient_id });
      assert.deepEqual(ack, { ok: true, acknowledged: 1 });
      socket.disconnect();
      await until(async () => {
        const { body } = await server.api("GET", `/v1/presence/users/${encodeURIComponent(user)}`, { key: server.serviceKey });
        return body.online === false;
      });
    });
  }
}
