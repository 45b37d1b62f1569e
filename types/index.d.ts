// What a client of Dormouse sends and gets: over HTTP (http.d.ts, generated from docs/openapi.json) and over Socket.IO.
import type { components } from "./http.js";

export type * from "./events.js";
export type * from "./socket.js";
export type { components, operations, paths } from "./http.js";

/** The bodies of the HTTP API, by name. */
export type Schemas = components["schemas"];
