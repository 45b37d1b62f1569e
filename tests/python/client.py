"""A python-socketio client that does what it is told and tells what it hears, a line of JSON each.

    .venv/bin/python tests/python/client.py '{"url": "http://127.0.0.1:8787", "token": "...", "place": "auth"}'

The argument: `url`; `token`; `place` of the token, "auth" (in CONNECT) or "query"; `kind` of client, "async" or "sync";
`transports`, those of the client by default; `query`, further parameters; `handler`: "any" takes whatever arguments an
event has, "payload" exactly one, as handlers in Python are usually written; `since`: true says in each CONNECT how far
the client came, for want of connection state recovery.

It prints `{"event", "args"}` for each event, `{"transport"}` when it has connected, `{"answer"}` to each
`{"emit", "args"}` that it reads, and `{"failed"}` when it gives up. It leaves when its input ends.
"""

import asyncio
import json
import sys
import threading
from urllib.parse import urlencode

import socketio

NAMESPACE = "/notifications"
RESERVED = ["connect", "connect_error", "disconnect"]
RECONNECTING = {"reconnection_delay": 0.05, "reconnection_delay_max": 0.2, "randomization_factor": 0}


# The synchronous client runs each handler in a thread of its own.
MOUTH = threading.Lock()


def say(**what):
    with MOUTH:
        sys.stdout.write(json.dumps(what) + "\n")
        sys.stdout.flush()


class Settings:
    def __init__(self, given):
        self.kind = given.get("kind", "async")
        self.since = 0 if given.get("since") else None
        self.handler = given.get("handler", "any")
        query = dict(given.get("query", {}))
        self.token = given.get("token")
        self.in_connect = given.get("place", "auth") == "auth"
        if not self.in_connect:
            query["token"] = self.token
        self.url = given["url"] + ("?" + urlencode(query) if query else "")
        self.options = {
            "namespaces": [NAMESPACE],
            "transports": given.get("transports"),
            "auth": self.auth,
            "wait_timeout": 20,
        }

    def auth(self):
        """What goes into CONNECT, made anew at each one."""
        auth = {"token": self.token} if self.in_connect else {}
        return auth if self.since is None else {**auth, "since": self.since}

    def hear(self, event, args):
        if self.since is not None and args and isinstance(args[0], dict):
            self.since = max(self.since, args[0].get("seq", 0))
        say(event=event, args=args)

    def register(self, client):
        """A handler of each event of interest, a coroutine function where the client wants one."""
        names = [*RESERVED, "notification:new" if self.handler == "payload" else "*"]
        for name in names:
            client.on(name, self.handler_of(name), namespace=NAMESPACE)

    def handler_of(self, name):
        if name == "*":
            return lambda event, *args: self.hear(event, args)
        if name in RESERVED:
            return lambda *args: self.hear(name, args)
        return lambda payload: self.hear(name, [payload])


async def run_async(settings):
    client = socketio.AsyncClient(**RECONNECTING)
    settings.register(client)
    await client.connect(settings.url, **settings.options)
    say(transport=client.transport())
    while line := await asyncio.to_thread(sys.stdin.readline):
        command = json.loads(line)
        say(answer=await client.call(command["emit"], command.get("args"), namespace=NAMESPACE, timeout=10))
    await client.disconnect()


def run_sync(settings):
    client = socketio.Client(**RECONNECTING)
    settings.register(client)
    client.connect(settings.url, **settings.options)
    say(transport=client.transport())
    while line := sys.stdin.readline():
        command = json.loads(line)
        say(answer=client.call(command["emit"], command.get("args"), namespace=NAMESPACE, timeout=10))
    client.disconnect()


def main():
    settings = Settings(json.loads(sys.argv[1]))
    try:
        if settings.kind == "async":
            asyncio.run(run_async(settings))
        else:
            run_sync(settings)
    except socketio.exceptions.SocketIOError as error:
        say(failed=str(error))


if __name__ == "__main__":
    main()
