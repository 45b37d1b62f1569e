// A client on `/chat`, and what it has heard.
import { until } from "./client.mjs";
import { PATIENT, attending, tab } from "./rooms.mjs";

export const CHAT = { namespace: "/chat" };

/** A client on /chat, whom the switchboards know to follow presence. */
export async function watcher(at, user, departments) {
  const socket = await tab(at, user, { ...CHAT, departments });
  await attending(at, [user]);
  return socket;
}

/** What a client was told of users, in order: `[user, online]`. */
export function told(socket) {
  const updates = socket.events.filter(({ name }) => name === "presence:update");
  return updates.flatMap(({ data }) => data.users.map(({ user_id, online }) => [user_id, online]));
}

export const toldOf = (socket, user) => told(socket).filter(([id]) => id === user).map(([, online]) => online);

export async function hears(socket, user, online) {
  await until(() => toldOf(socket, user).at(-1) === online, {
    ...PATIENT,
    what: () => `${user} online: ${online}, at a client that heard ${JSON.stringify(told(socket))}`,
  });
}
