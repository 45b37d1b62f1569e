// `make watch`: a stock Socket.IO client that prints every event it gets, one a line. Ctrl-C ends it.
import { io } from "socket.io-client";
import { argument, required, url } from "./arguments.mjs";
import { devToken } from "./token.mjs";

const user = required("USER", "make watch USER=u1 [DEPARTMENTS=cs,math]");
const token = devToken(user, { ttl: 12 * 3600, departments: argument("DEPARTMENTS")?.split(",") });
const socket = io(`${url}/notifications`, { transports: ["websocket"], query: { token } });

const print = (name, ...values) => console.log(name, ...values.map((value) => JSON.stringify(value)));

socket.on("connect", () => print("connect", { sid: socket.id, recovered: socket.recovered }));
socket.on("connect_error", (error) => print("connect_error", { message: error.message, data: error.data }));
socket.on("disconnect", (reason) => print("disconnect", { reason }));
socket.onAny(print);
