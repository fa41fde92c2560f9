#!/usr/bin/python3
"""client.py SEED SECONDS: deeds of every kind but HTTP/2, picked at random, several at a time; about a
third is cut off in the middle, by a reset, a plain close, or the server. What is not cut must come
whole, and every denial must be one. What it prints: see deeds.py."""
import asyncio
import http.client
import json
import socket
import ssl
import struct
import time

from deeds import Cut, expect, run

HOST, PORT = "ok.test", 9450
PATIENCE = 60
THREADS = 6
PATTERN = bytes(i % 251 for i in range(251 * 1000))
ONE_ANSWER = 3  # calls: to ask, for the head, for the body
MANY_ANSWERS = 4 * ONE_ANSWER
CONTEXT = ssl.create_default_context()


def pattern(size):
    return (PATTERN * (size // len(PATTERN) + 1))[:size]


class Flow:
    """A connection with a knife: one in four is cut, one way or another, at one of its first `calls`."""

    def __init__(self, dice, host=HOST, port=PORT, tls=True, calls=ONE_ANSWER):
        self.dice = dice
        self.left = dice.randrange(calls) if dice.random() < 0.25 else None
        self.sock = socket.create_connection((host, port), PATIENCE)
        if tls:
            self.sock = CONTEXT.wrap_socket(self.sock, server_hostname=host)
        self.file = self.sock.makefile("rb")
        self.seen = [f"from {self.sock.getsockname()[1]}"]  # for whoever asks why it failed
        self.begin = time.monotonic()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _trace):
        if error and kind is not Cut:
            error.add_note(f"after {time.monotonic() - self.begin:.1f} s, answers before: {self.seen}")
        self.file.close()
        self.sock.close()

    def slice(self):
        if self.left is None:
            return
        self.left -= 1
        if self.left < 0:
            if self.dice.random() < 0.5:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raise Cut

    def send(self, data):
        self.slice()
        self.sock.sendall(data)

    def read(self, size):
        self.slice()
        data = self.file.read(size)
        expect(len(data), size, "bytes before the end")
        return data

    def answer(self):
        """Status and body of one answer."""
        self.slice()
        answer = http.client.HTTPResponse(_Open(self.file))
        answer.begin()
        self.seen.append(f"{answer.status} {answer.getheader('connection', '')}")
        self.slice()
        return answer.status, answer.read()

    def ask(self, method, path, body=b"", extra=""):
        self.send(f"{method} {path} HTTP/1.1\r\nHost: {HOST}:{PORT}\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
                  .encode() + body)

    def check(self, size):
        status, body = self.answer()
        expect(status, 200, "status")
        expect(body, pattern(size), "body")

    def check_denied(self):
        status, body = self.answer()
        expect(status, 403, "status of what is denied")
        expect(json.loads(body)["error"], "policy_denied", "error")


class _Open:
    """What HTTPResponse takes for a socket; it must not close the file."""

    def __init__(self, file):
        self.file = file

    def makefile(self, _mode):
        return _Kept(self.file)


class _Kept:
    def __init__(self, file):
        self.file = file

    def __getattr__(self, name):
        return getattr(self.file, name)

    def close(self):
        pass


# ---- Deeds ------------------------------------------------------------------------------------


def keep_alive(dice):
    with Flow(dice, calls=MANY_ANSWERS) as flow:
        for _ in range(dice.randrange(1, 8)):
            size = dice.randrange(20000)
            flow.ask("GET", f"/pub/size?{size}")
            flow.check(size)
            flow.ask("GET", "/secret")
            flow.check_denied()
            flow.ask("POST", "/api/echo", pattern(size))
            flow.check(size)


def pipelined(dice):
    sizes = [dice.randrange(3000) for _ in range(dice.randrange(2, 6))]
    with Flow(dice, calls=MANY_ANSWERS) as flow:
        flow.send(b"".join(b"GET %s HTTP/1.1\r\nHost: ok.test:9450\r\n\r\n" % path for size in sizes
                           for path in (b"/pub/size?%d" % size, b"/secret")))
        for size in sizes:
            flow.check(size)
            flow.check_denied()


def upload(dice):
    asyncio.run(asyncio.wait_for(upload_async(dice), PATIENCE))


async def upload_async(dice):
    """Chunks go up while their echo comes down; `cut` of them are too many."""
    body = pattern(dice.randrange(300000))
    cut = dice.randrange(10) if dice.random() < 0.25 else None
    reader, writer = await asyncio.open_connection(HOST, PORT, ssl=CONTEXT)
    sending = asyncio.create_task(send_chunks(writer, body, dice, cut))
    try:
        expect(await read_chunks(reader), body, "echo")
    except (asyncio.IncompleteReadError, OSError):
        if cut is None:
            raise
        raise Cut from None
    finally:
        await asyncio.gather(sending, return_exceptions=True)
        writer.transport.abort()


async def send_chunks(writer, body, dice, cut):
    writer.write(b"POST /api/echo HTTP/1.1\r\nHost: ok.test:9450\r\nTransfer-Encoding: chunked\r\n\r\n")
    at = 0
    while at < len(body):
        if cut is not None and (cut := cut - 1) < 0:
            writer.transport.abort()
            return
        piece = body[at:at + dice.randrange(1, 40000)]
        writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        await writer.drain()
        at += len(piece)
    writer.write(b"0\r\n\r\n")


async def read_chunks(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    expect(head[:12], b"HTTP/1.1 200", "status")
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    return body


def download(dice):
    size = dice.randrange(1, 4 << 20)
    with Flow(dice) as flow:
        flow.ask("GET", f"/pub/size?{size}", extra="Connection: close\r\n")
        flow.check(size)


def events(dice):
    count = dice.randrange(1, 20)
    with Flow(dice) as flow:
        flow.ask("GET", f"/pub/events?{count}")
        status, body = flow.answer()
        expect(status, 200, "status")
        expect(body.decode(), "".join(f"data: {i}\n\n" for i in range(count)), "events")


def cut_by_server(dice):
    with Flow(dice) as flow:
        flow.ask("GET", f"/pub/cut?{dice.randrange(100000)}")
        try:
            status, body = flow.answer()
        except (http.client.HTTPException, OSError):
            raise Cut from None
        if status != 502:
            raise AssertionError(f"an answer that broke off came as {status} with {len(body)} bytes")
        raise Cut


def flip(dice):
    """Allowed by every second revision only: anything may happen to this flow."""
    with Flow(dice) as flow:
        try:
            flow.ask("GET", "/flip/x")
            status, _ = flow.answer()
        except (http.client.HTTPException, OSError):
            raise Cut from None
        if status not in (200, 403):
            raise AssertionError(f"/flip answered {status}")


def relay(dice):
    with Flow(dice, "l4.test", 5432, tls=False, calls=MANY_ANSWERS) as flow:
        expect(flow.read(9), b"l4 ready\n", "greeting")
        for _ in range(dice.randrange(1, 6)):
            data = pattern(dice.randrange(1, 60000))
            flow.send(data)
            expect(flow.read(len(data)), data, "echo")


def names(dice):
    for _ in range(20):
        name = f"n{dice.randrange(200)}.test"
        found = {a[4][0] for a in socket.getaddrinfo(name, 443, socket.AF_INET, socket.SOCK_STREAM)}
        expect(len(found), 1, "addresses of a name")


def denied(dice):
    with Flow(dice, "no.test", 443) as flow:
        flow.ask("GET", "/")
        flow.check_denied()
    for _ in range(5):
        try:
            socket.create_connection(("no.test", 9), PATIENCE).close()
        except PermissionError:
            continue
        raise AssertionError("a port that no rule names could be dialled")


def chat(dice):
    asyncio.run(asyncio.wait_for(chat_async(dice), PATIENCE))


async def chat_async(dice):
    import websockets
    end = dice.choice(["whole", "whole", "abort", "drop", "deny"])
    path = "listen" if end == "deny" else "chat"
    # Where texts are inspected they come plain, elsewhere compressed if both sides like.
    host = dice.choice(["ws.test", "wsrest.test"]) if end != "deny" else "ws.test"
    try:
        async with websockets.connect(f"wss://{host}:9451/{path}", max_size=None) as web:
            expect(bool(web.extensions), host == "wsrest.test", "compression")
            await talk(web, dice, end)
    except websockets.ConnectionClosed as error:
        if end in ("abort", "drop"):
            raise Cut from None
        expect((end, error.code), ("deny", 1008), "end of a WebSocket")


async def talk(web, dice, end):
    for _ in range(dice.randrange(1, 8)):
        message = dice.choice([pattern(dice.randrange(30000)), "text " * dice.randrange(20000)])
        if end == "deny" and isinstance(message, str):
            continue
        await web.send(message)
        expect(await web.recv(), message, "message")
    if end == "abort":
        web.transport.abort()
    elif end != "whole":
        await web.send("drop")
        await web.recv()
        raise AssertionError(f"a message came after {end}")


run([keep_alive, pipelined, upload, download, events, cut_by_server, flip, relay, names, denied, chat], THREADS)
