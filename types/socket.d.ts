// A stock client's socket with every answer typed, those of `emitWithAck` included: the type `Socket` finds an answer only where
// none may be left out.
//
//   const socket: DormouseSocket = io(`${url}/notifications`, { auth: { token } });
import type { Socket } from "socket.io-client";
import type {
  Acknowledgement,
  CamelClientRequests,
  CamelServerToClientEvents,
  ClientRequests,
  Requests,
  ServerToClientEvents,
} from "./events.js";

/** A client's socket. */
export type DormouseSocket = TypedSocket<ServerToClientEvents, ClientRequests>;

/** The socket of a client with `case=camel`. */
export type CamelDormouseSocket = TypedSocket<CamelServerToClientEvents, CamelClientRequests>;

type TypedSocket<Listen extends object, Of extends Requests<Of>> = {
  /** Emits an event that wants no answer. */
  emit<Name extends keyof Of & string>(name: Name, ...payload: Of[Name]["payload"]): TypedSocket<Listen, Of>;
  /** The same socket, with an end to waiting for an answer. */
  timeout(ms: number): Timed<Of> & ReturnType<Socket<Listen, AnsweredEventsOf<Of>>["timeout"]>;
} & Socket<Listen, AnsweredEventsOf<Of>>;

interface Timed<Of extends Requests<Of>> {
  /** Emits an event and waits for its answer, for the time that was given. */
  emitWithAck<Name extends keyof Of & string>(
    name: Name,
    ...payload: Of[Name]["payload"]
  ): Promise<Acknowledgement<Of[Name]["answer"]>>;
}

type AnsweredEventsOf<Of extends Requests<Of>> = {
  [Name in keyof Of]: (
    ...args: [...Of[Name]["payload"], answer: (answer: Acknowledgement<Of[Name]["answer"]>) => void]
  ) => void;
};
