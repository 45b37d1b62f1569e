// Where Dormouse is meant to differ from the reference, each time with the reason.

const ERRORS = ["Transport unknown", "Session ID unknown", "Bad handshake method", "Bad request", "Forbidden", "Unsupported protocol version"];

/** What the reference says in its own way on many rows: `ours` is the same line as Dormouse says it. */
export const DIALECT = [
  {
    reason: "credentials are allowed to somebody: the header means nothing without the one that says to whom",
    says: /^(?!.*access-control-allow-origin).*; access-control-allow-credentials: true/,
    ours: (line) => line.replace("; access-control-allow-credentials: true", ""),
  },
  {
    reason: "a refused upgrade has the same body as any other refusal, with the number",
    says: /^refused -> 400; content-type: text\/html; /,
    ours: (line) => {
      const message = line.split("; ").at(-1);
      return `refused -> 400; content-type: application/json; ${JSON.stringify({ code: ERRORS.indexOf(message), message })}`;
    },
  },
];

/** The reference's lines as Dormouse would say them; `used` collects the parts of the dialect that were met. */
export function translated(lines, used = new Set()) {
  return lines.map((line) =>
    DIALECT.reduce((text, part) => {
      if (!part.says.test(text)) return text;
      used.add(part);
      return part.ours(text);
    }, line),
  );
}

const UNKNOWN_SID = 'GET -> 400; content-type: application/json; {"code":1,"message":"Session ID unknown"}';
const BAD_REQUEST = 'content-type: application/json; {"code":3,"message":"Bad request"}';
const UNSUPPORTED = 'refused -> 400; content-type: application/json; {"code":5,"message":"Unsupported protocol version"}';
const POLL = "200; content-type: text/plain; charset=UTF-8; cache-control: no-store";
const TAKEN = "POST -> 200; content-type: text/html; cache-control: no-store; ok";

/** The payload is refused, and the session is gone. */
const PAYLOAD_REFUSED = ["POST -> 400", UNKNOWN_SID.replace("GET", "POST"), UNKNOWN_SID];
/** The server closes the connection, by WebSocket and by polling. */
const CLOSED = { WebSocket: ["closed 1005"], polling: ["< 6", "< 1", UNKNOWN_SID] };

/** The same on both transports: frames, binary ones as in base64 when by polling. */
const frames = (...lines) => ({
  WebSocket: lines.map((line) => `< ${line}`),
  polling: lines.map((line) => `< ${line.replace(/^<(.*)>$/, "b$1")}`),
});
const onBoth = (vectors) =>
  Object.entries(vectors).flatMap(([name, lines]) =>
    Object.entries(lines).map(([transport, ours]) => [`vector: ${name} (${transport})`, ours]),
  );
const closed = (...names) => names.map((name) => [`vector: ${name} (WebSocket)`, CLOSED.WebSocket]);

const PLACE = '{"_placeholder":true,"num":0}';

/** For each row that differs, what Dormouse's client sees from the first line that differs. */
const TABLE = [
  {
    reason: "JSONP ended with protocol 3; an unknown parameter changes nothing",
    rows: [["GET ?EIO=4&transport=polling&j=0", [`GET -> ${POLL}; 0{"sid":"<sid>","upgrades":["websocket"],"pingInterval":20000,"pingTimeout":20000,"maxPayload":1000000}`]]],
  },
  {
    reason: "a protocol version is refused before the upgrade; the reference writes an HTTP answer into the open WebSocket",
    rows: [
      ["WebSocket to ?transport=websocket", [UNSUPPORTED]],
      ["WebSocket to ?EIO=3&transport=websocket", [UNSUPPORTED]],
      ["WebSocket to ?EIO=abc&transport=websocket", [UNSUPPORTED]],
    ],
  },
  {
    reason: "a WebSocket that says it is polling is refused before the upgrade instead of opened and closed",
    rows: [
      ["WebSocket to ?EIO=4&transport=polling", [`refused -> 400; ${BAD_REQUEST}`]],
      ["upgrade: to polling", [`refused -> 400; ${BAD_REQUEST}`, TAKEN, `GET -> ${POLL}; 40{"sid":"<sid>"} | 42["auth",{}]`]],
    ],
  },
  {
    reason: "only a polling session can move to a WebSocket: the sid of a WebSocket names nothing",
    rows: [["upgrade: of a session that never polled", ['refused -> 400; content-type: application/json; {"code":1,"message":"Session ID unknown"}']]],
  },
  {
    reason: "a preflight allows the two methods there are, and for ten minutes",
    rows: [
      ["OPTIONS from nowhere", ["OPTIONS -> 204; access-control-allow-methods: GET,POST; access-control-max-age: 600"]],
      [
        "a preflight",
        [
          "OPTIONS -> 204; access-control-allow-origin: http://allowed.example; access-control-allow-credentials: true; access-control-allow-methods: GET,POST; access-control-allow-headers: content-type; access-control-max-age: 600",
        ],
      ],
    ],
  },
  {
    reason: "a method that polling does not have is the client's mistake; the reference answers 500",
    rows: [
      ["poll: PUT", [`PUT -> 400; ${BAD_REQUEST}`]],
      ["poll: DELETE", [`DELETE -> 400; ${BAD_REQUEST}`]],
      ["poll: HEAD", ["HEAD -> 400; content-type: application/json"]],
    ],
  },
  {
    reason: "who sends what is no packet is told so; the reference answers ok and forgets the session",
    rows: [
      ...["", "\x1e", "\x1e4a", "4a\x1e", "4a\x1e\x1e4b", "x\x1e4a", "4a\x1ex\x1e4b", " 4a", "abc"].map((body) => [
        `payload ${JSON.stringify(body)}`,
        PAYLOAD_REFUSED,
      ]),
      ["poll: form data", PAYLOAD_REFUSED],
      ["poll: a parse error while a poll waits", ["POST -> 400", `poll -> ${POLL}; 1`, UNKNOWN_SID]],
    ],
  },
  {
    reason: "packets act in their order; the reference puts an event off and then finds the connection closed",
    rows: [["poll: a malformed packet after a good one", [`GET -> ${POLL}; 42["message-back",1] | 1`, UNKNOWN_SID]]],
  },
  {
    reason: "the echo passes a binary packet on as it came; the reference takes it apart and builds it anew. A client sees the same",
    rows: onBoth({
      "placeholders in another order": frames(
        '452-["message-back",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]',
        "<AQ==>",
        "<Ag==>",
      ),
      "placeholder used twice": frames(`451-["message-back",${PLACE},${PLACE}]`, "<AQ==>"),
      "attachment without a placeholder": frames('451-["message-back"]', "<AQ==>"),
      "zeros before the number of attachments": frames('451-["message-back"]', "<AQ==>"),
      "placeholder with more keys": frames('451-["message-back",{"num":0,"x":1,"_placeholder":true}]', "<AQ==>"),
      "no placeholder without true": frames(
        '451-["message-back",{"_placeholder":false,"num":9},{"_placeholder":1,"num":9},{"_placeholder":"true"},{"num":9}]',
        "<AQ==>",
      ),
      "what is within a placeholder is not looked at": frames(
        '451-["message-back",{"x":{"_placeholder":true,"num":9},"_placeholder":true,"num":0}]',
        "<AQ==>",
      ),
      "placeholder in a text is none": frames('451-["message-back","{\\"_placeholder\\":true,\\"num\\":9}"]', "<AQ==>"),
      "binary message too many": {
        WebSocket: ['< 451-["message-back"]', "< <AQ==>", ...CLOSED.WebSocket],
        polling: ['< 451-["message-back"]', "< bAQ==", TAKEN, ...CLOSED.polling],
      },
    }),
  },
  {
    reason: "an ack id is made of digits; the reference reads white space as digits, because JavaScript takes it for 0",
    rows: [
      ...onBoth({ "white space for an ack id": CLOSED }),
      ...closed(
        "white space after the ack id",
        "white space between digits of the ack id",
        "white space before the payload of a connect",
        "white space alone after the type",
        "byte order mark for an ack id",
        "byte order mark after a disconnect",
      ),
    ],
  },
  {
    reason: "an ack id that does not fit into 64 bits cannot be answered; the reference answers a rounded one",
    rows: closed("ack id of 65 bits", "ack id of forty digits"),
  },
  {
    reason: "a placeholder has a whole number in digits, wherever it stands; the reference looks after JavaScript has read it",
    rows: onBoth({
      "placeholder with a fraction": CLOSED,
      "placeholder with a number not in digits": CLOSED,
      "placeholder that a later key replaces": CLOSED,
    }),
  },
  {
    reason: "a character beyond Latin-1 is no base64 and is skipped like any other; Node.js takes its low byte",
    rows: [["vector: base64 with a character above Latin-1 (engine)", ["< <AQID>"]]],
  },
];

export const DIFFERENCES = new Map(TABLE.flatMap(({ rows }) => rows));
