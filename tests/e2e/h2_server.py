#!/usr/bin/python3
"""An HTTP/2 server that breaks the rules when it is asked to: h2_server.py PEM PORT [STREAMS]

Prints "ready", then one line for each request: the number of its connection and its path.
STREAMS: so many at once are taken, more are refused.
  /pub/ok            answered
  /pub/size          answered with the size of the request's head
  /pub/once/goaway   the first time GOAWAY, which says that it was not looked at; then answered
  /pub/once/refused  the first time REFUSED_STREAM; then answered
  /api/once/refused  as above once its body has come; then answered with that
  /api/reset         reset, without a reason to send it again
  /api/early         answered, and reset without an error
  /api/trailers      answered with the names of the request's trailers
  /pub/held          answered when another one is there, or STREAMS are
  /pub/large         answered with 16 MB, as windows allow
  /pub/sent          answered with how much of all large answers was sent
  /pub/room          answered with the largest window that one of them had
  /pub/NAME          one of ANSWERS or FLOODS
"""
import socket
import ssl
import struct
import sys
import threading

from h2wire import *  # noqa: F403

STREAMS = int(sys.argv[3]) if len(sys.argv) > 3 else 100
LARGE = 16 << 20
OK = [(":status", "200")]
TAKEN_WHOLE = ["/api/trailers", "/api/once/refused", "/api/once/goaway"]


def answer(stream, fields, body=b"ok"):
    return frame(HEADERS, END_HEADERS, stream, block(*fields)) + frame(DATA, END_STREAM, stream, body)


# What no client may accept, each for stream `s`.
ANSWERS = {
    # This one is right: a hint, then the answer.
    "hinted": lambda s: frame(HEADERS, END_HEADERS, s, block((":status", "103"), ("link", "</a>"))) + answer(s, OK),
    "uppercase": lambda s: answer(s, OK + [("X-Upper", "1")]),
    "cr": lambda s: answer(s, OK + [("x", "a\rb")]),
    "lf": lambda s: answer(s, OK + [("x", "a\nSet-Cookie: b")]),
    "nul": lambda s: answer(s, OK + [("x", "a\0b")]),
    "colon": lambda s: answer(s, OK + [("x:y", "1")]),
    "connection": lambda s: answer(s, OK + [("connection", "close")]),
    "coding": lambda s: answer(s, OK + [("transfer-encoding", "chunked")]),
    "no-status": lambda s: answer(s, [("x", "1")]),
    "two-statuses": lambda s: answer(s, OK + OK),
    "odd-status": lambda s: answer(s, [(":status", "2x0")]),
    "late-status": lambda s: answer(s, [("x", "1")] + OK),
    "path": lambda s: answer(s, OK + [(":path", "/")]),
    "switching": lambda s: answer(s, [(":status", "101")]),
    "short": lambda s: answer(s, OK + [("content-length", "3")]),
    "long": lambda s: answer(s, OK + [("content-length", "1")]),
    "two-lengths": lambda s: answer(s, OK + [("content-length", "1"), ("content-length", "2")]),
    "data-first": lambda s: frame(DATA, END_STREAM, s, b"ok"),
    "headers-on-0": lambda s: frame(HEADERS, END_HEADERS, 0, block(*OK)),
    "push": lambda s: frame(PUSH_PROMISE, END_HEADERS, s, struct.pack(">I", 2) + block(("x", "1"))),
    "oversized": lambda s: frame(DATA, END_STREAM, s, b"x" * 20000),
    "overflow": lambda s: frame(HEADERS, END_HEADERS, s, block(*OK)) + frame(DATA, 0, s, b"x" * 16384) * 128,
    "hpack": lambda s: frame(HEADERS, END_HEADERS, s, b"\xff\xff\xff\xff\xff"),
    "settings": lambda s: settings((INITIAL_WINDOW_SIZE, 1 << 31)),
    "text": lambda s: b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "window": lambda s: frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 0x7FFFFFFF)) * 2,
    "bomb": lambda s: bomb(s),
    "large-head": lambda s: large_head(s),
    "fields": lambda s: answer(s, OK + [("x", "1")] * 200),
    "interims": lambda s: frame(HEADERS, END_HEADERS, s, block((":status", "103"))) * 50,
}
FLOODS = {
    "pings": lambda s: frame(PING, 0, 0, b"8 bytes."),
    "all-settings": lambda s: settings((INITIAL_WINDOW_SIZE, 65535)),
    "empty-data": lambda s: frame(DATA, 0, s),
    "windows": lambda s: frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1)),
}


def bomb(stream):
    """A field of 4000 bytes in the table, and thousands of references of one byte."""
    entry = b"\x40" + number(1, 7) + b"x" + number(4000, 7) + b"y" * 4000
    return (frame(HEADERS, 0, stream, block(*OK) + entry) + frame(CONTINUATION, 0, stream, b"\xbe" * 16000) +
            frame(CONTINUATION, END_HEADERS | END_STREAM, stream, b"\xbe" * 16000))


def large_head(stream):
    pieces = [block(("x", "y" * 10000)) for _ in range(8)]
    return (frame(HEADERS, 0, stream, block(*OK)) +
            b"".join(frame(CONTINUATION, 0, stream, piece) for piece in pieces[:-1]) +
            frame(CONTINUATION, END_HEADERS, stream, pieces[-1]) + frame(DATA, END_STREAM, stream, b"ok"))


class Server(threading.Thread):
    lock = threading.Lock()
    count = 0
    seen = set()
    sent = 0
    room = 0

    def __init__(self, raw):
        super().__init__(daemon=True)
        self.raw = raw
        self.answered = set()
        self.held = []
        self.large = {}  # stream: bytes sent

    def run(self):
        with Server.lock:
            Server.count += 1
            self.number = Server.count
        try:
            self.serve()
        except (OSError, ssl.SSLError):
            pass
        finally:
            self.raw.close()

    def serve(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[1])
        context.set_alpn_protocols(["h2"])
        self.raw = context.wrap_socket(self.raw, server_side=True)
        self.wire = Wire(self.raw)
        while len(self.wire.buffer) < len(PREFACE):
            self.wire.buffer += self.raw.recv(65536) or sys.exit()
        self.wire.buffer = self.wire.buffer[len(PREFACE):]
        self.wire.send(settings((MAX_CONCURRENT_STREAMS, STREAMS)))
        while self.wire.goaway is None and self.wire.take():
            for stream in self.wire.heads.keys() - self.answered:
                if self.wire.heads[stream][":path"] in TAKEN_WHOLE and stream not in self.wire.ended:
                    continue
                self.answered.add(stream)
                self.note(self.wire.heads[stream][":path"])
                self.respond(stream, self.wire.heads[stream])
            self.pump()

    def note(self, path):
        with Server.lock:
            print(self.number, path, flush=True)

    def is_first(self, path):
        with Server.lock:
            first = path not in Server.seen
            Server.seen.add(path)
            return first

    def respond(self, stream, head):
        path = head[":path"]
        name = path.rpartition("/")[2]
        wire = self.wire
        if name == "goaway" and self.is_first(path):
            wire.send(frame(GOAWAY, 0, 0, struct.pack(">II", 0, 0)))
        elif name == "refused" and self.is_first(path):
            wire.send(frame(RST_STREAM, 0, stream, struct.pack(">I", 7)))
        elif path in TAKEN_WHOLE and name != "trailers":
            wire.send(answer(stream, OK, wire.payload(stream)))
        elif name == "early":
            wire.send(answer(stream, OK), frame(RST_STREAM, 0, stream, struct.pack(">I", 0)))
        elif name == "reset":
            wire.send(frame(RST_STREAM, 0, stream, struct.pack(">I", 2)))
        elif name == "trailers":
            wire.send(answer(stream, OK, " ".join(sorted(wire.trailers.get(stream, {}))).encode()))
        elif name == "size":
            wire.send(answer(stream, OK, str(sum(len(k) + len(v) for k, v in head.items())).encode()))
        elif name == "held":
            self.hold(stream)
        elif name == "large":
            wire.send(frame(HEADERS, END_HEADERS, stream, block(*OK)))
            self.large[stream] = 0
        elif name == "sent":
            wire.send(answer(stream, OK, str(Server.sent).encode()))
        elif name == "room":
            wire.send(answer(stream, OK, str(Server.room).encode()))
        elif name in ANSWERS:
            wire.send(ANSWERS[name](stream))
        elif name in FLOODS:
            wire.send(frame(HEADERS, END_HEADERS, stream, block(*OK)))
            wire.polite = False
            while wire.goaway is None:
                wire.send(FLOODS[name](stream) * 200)
        else:
            wire.send(answer(stream, OK))

    def hold(self, stream):
        if len(self.held) == STREAMS:
            print("too many at once", flush=True)
            self.wire.send(frame(RST_STREAM, 0, stream, struct.pack(">I", 7)))
            return
        self.held.append(stream)
        if len(self.held) >= min(2, STREAMS):
            self.wire.send(*(answer(held, OK) for held in self.held))
            self.held = []

    def pump(self):
        """As much of the large answers as fits into the windows that were opened."""
        opened, each = self.wire.opened, self.wire.settings.get(INITIAL_WINDOW_SIZE, 65535)
        for stream, sent in self.large.items():
            Server.room = max(Server.room, each + opened.get(stream, 0) - sent)
            while sent < LARGE:
                size = min(16384, LARGE - sent, each + opened.get(stream, 0) - sent,
                           65535 + opened.get(0, 0) - sum(self.large.values()))
                if size <= 0:
                    break
                sent += size
                self.large[stream] = sent
                Server.sent += size
                self.wire.send(frame(DATA, END_STREAM if sent == LARGE else 0, stream, b"x" * size))


def main():
    listener = socket.create_server(("203.0.113.10", int(sys.argv[2])), backlog=64)
    print("ready", flush=True)
    while True:
        Server(listener.accept()[0]).start()


main()
