"""Clients that break the rules of HTTP/2, or bend them: h2_client.py CASE CANARY. Prints what came of it."""
import random
import socket
import ssl
import struct
import sys

from h2wire import *  # noqa: F403

CANARY = sys.argv[2] if len(sys.argv) > 2 else "none"
SECRET = "/pub/" + CANARY  # allowed: what keeps it from arriving is its form


def clean(wire, stream, host="ok.test"):
    """Does the same connection still serve a request as it should be?"""
    wire.send(request(stream, get("/pub/clean", host)))
    return wire.outcome(stream)


# ---- Requests that no HTTP/2 message may hold -----------------------------------------------

MALFORMED = {
    "cr": get(SECRET) + [("x", "a\rb")],
    "lf": get(SECRET) + [("x", "a\nHost: no.test")],
    "nul": get(SECRET) + [("x", "a\0b")],
    "lf-name": get(SECRET) + [("x\nhost", "no.test")],
    "colon-name": get(SECRET) + [("x:y", "1")],
    "space-name": get(SECRET) + [("x y", "1")],
    "empty-name": get(SECRET) + [("", "1")],
    "uppercase": get(SECRET) + [("X-Upper", "1")],
    "te": get(SECRET) + [("te", "gzip")],
    "transfer-encoding": get(SECRET) + [("transfer-encoding", "chunked")],
    "connection": get(SECRET) + [("connection", "close")],
    "upgrade": get(SECRET) + [("upgrade", "h2c")],
    "late": [(":method", "GET"), (":scheme", "https"), ("x", "1"), (":authority", "ok.test"), (":path", SECRET)],
    "double-path": get("/pub/x") + [(":path", SECRET)],
    "double-authority": get(SECRET) + [(":authority", "ok.test")],
    "double-method": get(SECRET) + [(":method", "POST")],
    "unknown-pseudo": get(SECRET) + [(":extra", "1")],
    "status": get(SECRET) + [(":status", "200")],
    "no-path": [(":method", "GET"), (":scheme", "https"), (":authority", "ok.test"), ("x", CANARY)],
    "no-method": [(":scheme", "https"), (":authority", "ok.test"), (":path", SECRET)],
    "no-scheme": [(":method", "GET"), (":authority", "ok.test"), (":path", SECRET)],
    "empty-path": [(":method", "GET"), (":scheme", "https"), (":authority", "ok.test"), (":path", ""), ("x", CANARY)],
    "lf-path": get(SECRET + "\nHost: no.test"),
    "space-path": get(SECRET + " HTTP/1.1"),
    "absolute-path": get("https://no.test" + SECRET),
    "lf-authority": get(SECRET, "ok.test\r\nx: 1"),
    "lf-method": [(":method", "GET /pub/x HTTP/1.1\r\nx: 1")] + get(SECRET)[1:],
    "lower-method": [(":method", "get")] + get(SECRET)[1:],
    "bad-length": get(SECRET) + [("content-length", "+5")],
    "two-lengths": get(SECRET) + [("content-length", "0"), ("content-length", "5")],
    "protocol": get(SECRET) + [(":protocol", "websocket")],
}


def malformed():
    for name, fields in MALFORMED.items():
        wire = connect("ok.test")
        wire.send(request(1, fields))
        print(name, wire.outcome(1), clean(wire, 3))


def wrong_length():
    """More and less payload than was announced."""
    for size in (4, 6):
        wire = connect("ok.test")
        head = request(1, post("/api/" + CANARY) + [("content-length", "5")], end=False)
        wire.send(head, frame(DATA, END_STREAM, 1, b"x" * size))
        print(wire.outcome(1), clean(wire, 3))


def authority():
    """Another host, none, twice; the last are right."""
    plain = [(":method", "GET"), (":scheme", "https"), (":path", "/pub/" + CANARY)]
    good = [(":method", "GET"), (":scheme", "https"), (":path", "/pub/good")]
    wire = connect("ok.test")
    for stream, fields in enumerate((
            plain + [(":authority", "no.test")],
            plain + [("host", "no.test")],
            plain,
            plain + [(":authority", "ok.test"), ("host", "no.test")],
            plain + [(":authority", "ok.test@no.test")],
            plain + [(":authority", "ok.test:8443")],
            good + [("host", "ok.test")],
            good + [(":authority", "ok.test"), ("host", "ok.test")],
            good + [(":authority", "OK.test:443")])):
        wire.send(request(2 * stream + 1, fields))
        print(wire.outcome(2 * stream + 1))


def connects():
    """CONNECT, CONNECT-UDP and a protocol that nobody knows, where every method is allowed."""
    tunnel = [(":method", "CONNECT"), (":authority", "tunnel.test:443")]
    masque = [(":method", "CONNECT"), (":protocol", "connect-udp"), (":scheme", "https"), (":authority", "tunnel.test"),
              (":path", "/.well-known/masque/udp/203.0.113.10/443/")]
    unknown = masque[:1] + [(":protocol", "tcp")] + masque[2:4] + [(":path", "/pub/x")]
    for fields in (tunnel, masque, unknown):
        wire = connect("tunnel.test")
        wire.send(request(1, fields, end=False), frame(DATA, 0, 1, CANARY.encode()))
        print(wire.outcome(1), clean(wire, 3, "tunnel.test"))


def preface():
    """HTTP/2 where HTTP/1.1 was agreed upon: over TLS, and in clear."""
    for stream in (dial("ok.test", 443, "http/1.1"), socket.create_connection(("plain.test", 80), 20)):
        stream.sendall(PREFACE + settings() + request(1, get(SECRET)))
        print(stream.makefile("rb").readline().decode().strip())


def trailers():
    """All of these behind one body; some of them must not arrive, and what is no trailer is refused."""
    wire = connect("ok.test", 9447)
    fields = [("x-checksum", "1"), ("grpc-status", "0"), ("host", "no.test"), ("content-length", "1"),
              ("authorization", "Bearer x"), ("cookie", "a=b"), ("te", "trailers"), ("x-forwarded-for", "10.0.0.1"),
              ("content-encoding", "gzip"), ("x-http-method-override", "DELETE"), ("trailer", "x-checksum")]
    for stream, behind in ((1, fields), (3, [(":path", SECRET)]), (5, [("transfer-encoding", "chunked")])):
        wire.send(request(stream, post("/api/trailers", "ok.test:9447"), end=False), frame(DATA, 0, stream, b"x"),
                  request(stream, behind))
        print(wire.outcome(stream), wire.payload(stream).decode())


def early():
    """Hundreds of requests that the server answers before their body is there."""
    wire = connect("ok.test", 9447)
    good = 0
    for first in range(1, 801, 100):
        streams = range(first, first + 100, 2)
        wire.send(b"".join(request(stream, post("/api/early", "ok.test:9447"), end=False) for stream in streams))
        good += [wire.outcome(stream) for stream in streams].count("200")
        wire.send(b"".join(frame(DATA, END_STREAM, stream) for stream in streams))
    print(good)


def many():
    """Twelve requests at once, for a server that takes two."""
    wire = connect("ok.test", 9448)
    streams = range(1, 25, 2)
    wire.send(b"".join(request(stream, get("/pub/held", "ok.test:9448")) for stream in streams))
    print([wire.outcome(stream) for stream in streams].count("200"))


def order():
    """Allowed, denied, allowed on one connection; the body of the first holds a whole request."""
    wire = connect("ok.test")
    body = f"GET /secret/{CANARY} HTTP/1.1\r\nHost: ok.test\r\n\r\n".encode()
    wire.send(request(1, post("/api/first"), end=False), frame(DATA, END_STREAM, 1, body),
              request(3, get("/secret/" + CANARY)), request(5, get("/pub/third")))
    print(wire.outcome(1), wire.outcome(3), wire.outcome(5))


# ---- Floods ---------------------------------------------------------------------------------

def flood(piece, times):
    wire = connect("ok.test")
    wire.polite = False
    wire.until(lambda: wire.settings)
    for first in range(0, times, 200):
        wire.send(b"".join(piece(i) for i in range(first, min(first + 200, times))))
        if wire.goaway is not None:
            break
    wire.until(lambda: wire.goaway is not None)
    print("sent away" if wire.goaway in (1, 5, 11, "closed") else wire.goaway)


FLOODS = {
    "reset": lambda i: request(2 * i + 1, get("/pub/x")) + frame(RST_STREAM, 0, 2 * i + 1, struct.pack(">I", 8)),
    "ping": lambda i: frame(PING, 0, 0, b"8 bytes."),
    "settings": lambda i: settings((INITIAL_WINDOW_SIZE, 65535)),
    "priority": lambda i: frame(PRIORITY, 0, 2 * i + 1, struct.pack(">IB", 0, 1)),
    "empty": lambda i: frame(DATA, 0, 1) if i else request(1, post("/api/x"), end=False),
    "window": lambda i: frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1)),
    "fault": lambda i: request(2 * i + 1, get("/pub/x") + [("X", "1")]),
    "reuse": lambda i: request(1, get("/pub/x")),
}


def floods():
    for name, piece in FLOODS.items():
        print(name, end=" ", flush=True)
        flood(piece, 100000)


def company():
    """The twin: pings and windows that come with data, one ping at a time, as gRPC's do."""
    wire = connect("ok.test")
    wire.send(request(1, post("/api/x"), end=False))
    piece = frame(DATA, 0, 1, b"word") + frame(PING, 0, 0, b"8 bytes.") + FLOODS["window"](0)
    for count in range(1, 501):
        wire.send(piece)
        wire.until(lambda: wire.pongs == count)
    wire.send(frame(DATA, END_STREAM, 1))
    print(wire.outcome(1))


def continuation():
    """A head that never ends, and one that is long."""
    wire = connect("ok.test")
    wire.send(frame(HEADERS, END_STREAM, 1, block(*get("/pub/x"))))
    piece = frame(CONTINUATION, 0, 1, block(("x", "y" * 1000)))
    for _ in range(200):
        wire.send(piece * 20)
        if wire.goaway is not None:
            break
    print(wire.outcome(1) if wire.goaway is None else "closed")


def bomb():
    """One field of 4000 bytes in the table, then thousands of references of one byte (C32)."""
    wire = connect("ok.test")
    entry = b"\x40" + number(1, 7) + b"x" + number(4000, 7) + b"y" * 4000
    wire.send(frame(HEADERS, END_STREAM, 1, block(*get("/pub/x")) + entry),
              frame(CONTINUATION, 0, 1, b"\xbe" * 16000), frame(CONTINUATION, END_HEADERS, 1, b"\xbe" * 16000))
    print(wire.outcome(1), clean(wire, 3))


def cookie():
    """The twin: 15 KiB in one field."""
    wire = connect("ok.test")
    wire.send(request(1, get("/pub/x") + [("cookie", "a=" + "y" * 15000)]))
    print(wire.outcome(1))


# ---- Streams --------------------------------------------------------------------------------

def streams():
    """As many at once as are offered are served; one more breaks what was agreed upon."""
    for more in (0, 1):
        wire = connect("ok.test")
        wire.until(lambda: wire.settings)
        limit = wire.settings[MAX_CONCURRENT_STREAMS]
        ids = [2 * i + 1 for i in range(limit)]
        wire.send(b"".join(request(i, post("/api/x"), end=False) for i in ids))
        if more:
            wire.send(request(2 * limit + 1, get("/pub/" + CANARY)))
        wire.send(b"".join(frame(DATA, END_STREAM, i, b"x") for i in ids))
        print(limit, [wire.outcome(i) for i in ids].count("200"), clean(wire, 2 * limit + 3))


def reuse():
    """The number of a stream that is over, one that was passed over, and one that is not a client's."""
    for again in (3, 1, 4):
        wire = connect("ok.test")
        wire.send(request(3, get("/pub/x")))
        first = wire.outcome(3)
        wire.send(request(again, get("/pub/" + CANARY)))
        print(first, clean(wire, 5))


def zero_window():
    """Takes nothing of a large answer; others on the connection are served. Then it is taken."""
    wire = connect("ok.test", 443, (INITIAL_WINDOW_SIZE, 0))
    wire.send(request(1, get("/pub/large?n=3000000")))
    wire.until(lambda: 1 in wire.statuses)
    wire.send(request(3, get("/secret")), frame(WINDOW_UPDATE, 0, 3, struct.pack(">I", 65535)))
    print(wire.statuses[1], wire.bytes.get(1, 0), wire.outcome(3))
    wire.send(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 4000000)),
              frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 4000000)))
    print(wire.outcome(1), wire.bytes[1])


def pressure():
    """Ten large answers that nobody takes: how much did the server get rid of? Then one is taken."""
    wire = connect("ok.test", 9447)
    wire.send(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 30)))
    streams = range(1, 21, 2)
    for stream in streams:
        wire.send(request(stream, get("/pub/large", "ok.test:9447")))
    wire.until(lambda: all(wire.bytes.get(stream) == 65535 for stream in streams))
    print("held", flush=True)
    wire.send(request(21, get("/pub/sent", "ok.test:9447")))
    print(wire.outcome(21), flush=True)
    sys.stdin.readline()
    wire.send(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 1 << 30)))
    print(wire.outcome(1), wire.bytes[1])


def late_pressure():
    """Half of a large answer is taken as it comes, then nothing: how much more did the server get rid of?"""
    wire = connect("ok.test", 9448)
    wire.send(request(1, get("/pub/sent", "ok.test:9448")))
    wire.outcome(1)
    before = int(wire.payload(1))
    wire.send(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 30)), request(3, get("/pub/large", "ok.test:9448")),
              frame(WINDOW_UPDATE, 0, 3, struct.pack(">I", (8 << 20) - 65535)))
    wire.until(lambda: wire.bytes.get(3) == 8 << 20)
    wire.send(request(5, get("/pub/sent", "ok.test:9448")))
    wire.outcome(5)
    print(int(wire.payload(5)) - before - (8 << 20))


def overflow():
    """A server that sends more than anybody asked for; what it says later arrives behind it."""
    wire = connect("ok.test", 9447, (INITIAL_WINDOW_SIZE, 0))
    wire.send(request(1, get("/pub/overflow", "ok.test:9447")))
    wire.until(lambda: 1 in wire.statuses)
    wire.send(request(3, get("/pub/ok", "ok.test:9447")), frame(WINDOW_UPDATE, 0, 3, struct.pack(">I", 100)))
    print(wire.outcome(3))
    wire.send(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 4000000)),
              frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 4000000)))
    wire.outcome(1)
    print(wire.ended[1])


def open_socket(wire, stream, path, host="ws.test"):
    """RFC 8441's handshake; returns its status."""
    wire.send(request(stream, [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"),
                               (":authority", host), (":path", path), ("sec-websocket-version", "13")], end=False))
    wire.until(lambda: stream in wire.statuses)
    return wire.statuses[stream]


def sockets():
    """WebSockets on one connection: allowed; denied; allowed, but none of its texts."""
    wire = connect("ws.test")
    wire.until(lambda: wire.settings)
    print("offered", wire.settings.get(ENABLE_CONNECT_PROTOCOL))
    print(open_socket(wire, 1, "/v1/chat/1"))
    wire.until(lambda: b"ready" in wire.payload(1))
    wire.send(frame(DATA, 0, 1, masked(b"hello")))
    wire.until(lambda: b"hello" in wire.payload(1))
    print(open_socket(wire, 3, "/secret/" + CANARY))
    print(open_socket(wire, 5, "/v1/quiet"))
    wire.send(frame(DATA, 0, 5, masked(CANARY.encode())))
    wire.until(lambda: 5 in wire.ended)
    print("closed by", struct.unpack(">H", wire.payload(5).partition(b"\x88")[2][1:3])[0])
    wire.send(frame(DATA, 0, 1, masked(b"again")))
    wire.until(lambda: b"again" in wire.payload(1))
    wire.send(frame(DATA, END_STREAM, 1, masked(b"\x03\xe8", 8)))
    wire.until(lambda: 1 in wire.ended)
    print("closed by", struct.unpack(">H", wire.payload(1).partition(b"\x88")[2][1:3])[0])


def unread():
    """A WebSocket that no rule reads: frames pass, and then no frame."""
    wire = connect("ok.test")
    print(open_socket(wire, 1, "/pub/x", "ok.test"))
    wire.send(frame(DATA, 0, 1, masked(b"hello")))
    wire.until(lambda: b"hello" in wire.payload(1))
    wire.send(frame(DATA, 0, 1, f"GET /secret/{CANARY} HTTP/1.1\r\nHost: ok.test\r\n\r\n".encode()))
    wire.until(lambda: b"\x88" in wire.payload(1))
    print("closed by", struct.unpack(">H", wire.payload(1).partition(b"\x88")[2][1:3])[0])
    wire.send(request(3, get("/pub/x")))
    print(wire.outcome(3))


def masked(data, opcode=1):
    """One frame of RFC 6455, with a mask of zeros."""
    return bytes([0x80 | opcode, 0x80 | len(data)]) + bytes(4) + data


# ---- Anything at all --------------------------------------------------------------------------

PATHS = ["ok", "size", "reset", "held", "large", "once/refused", "once/goaway", "uppercase", "short", "long", "data-first",
         "push", "bomb", "large-head", "interims", "headers-on-0", "switching", "hpack", "window"]


def random_frames(dice, opened):
    """One thing that a client may do, or nearly; `opened`: streams that may still be spoken on."""
    port = dice.port
    host = f"ok.test:{port}"
    stream = dice.choice(opened) if opened else 1
    kind = dice.randrange(12)
    if kind < 4 or not opened:
        stream = dice.next_stream
        dice.next_stream += 2
        path = ("/pub/" + dice.choice(PATHS)) if dice.random() < 0.8 else "/secret"
        if dice.random() < 0.6:
            return request(stream, get(path, host))
        opened.append(stream)
        length = [("content-length", str(dice.randrange(20000)))] if dice.random() < 0.5 else []
        kind = [("content-type", "application/grpc")] if dice.random() < 0.3 else []
        return request(stream, post(path.replace("pub", "api"), host) + length + kind, end=False)
    if kind < 7:
        end = dice.random() < 0.3
        if end:
            opened.remove(stream)
        return frame(DATA, END_STREAM if end else 0, stream, b"x" * dice.randrange(10000))
    if kind == 7:
        opened.remove(stream)
        return request(stream, [("x-sum", "1")] if dice.random() < 0.8 else [(":path", "/")])
    if kind == 8:
        opened.remove(stream)
        return frame(RST_STREAM, 0, stream, struct.pack(">I", dice.randrange(14)))
    if kind == 9:
        return frame(WINDOW_UPDATE, 0, dice.choice((0, stream)), struct.pack(">I", dice.randrange(1, 100000)))
    if kind == 10:
        return settings((INITIAL_WINDOW_SIZE, dice.randrange(100000)))
    return frame(PING, 0, 0, b"8 bytes.") if dice.random() < 0.9 else dice.randbytes(3)


def hear(wire, seconds):
    """What comes within that time."""
    wire.sock.settimeout(seconds)
    try:
        while wire.take():
            pass
    except TimeoutError:
        pass
    wire.sock.settimeout(20)


def chaos(first=0, count=40):
    """Connections that do anything, each from a seed of its own, and end anyhow."""
    for seed in range(first, first + count):
        dice = random.Random(seed)
        dice.port, dice.next_stream = dice.choice((443, 9447)), 1
        wire = connect("ok.test", dice.port)
        opened = []
        for _ in range(dice.randrange(1, 60)):
            wire.send(b"".join(random_frames(dice, opened) for _ in range(dice.randrange(1, 8))))
            if wire.goaway is not None:
                break
            hear(wire, dice.choice((0.001, 0.01)))
        if dice.random() < 0.8:
            wire.sock.close() # or else when Python likes to
    print("done")


CASES = dict(preface=preface, trailers=trailers, early=early, many=many, malformed=malformed, wrong_length=wrong_length, authority=authority, connects=connects, order=order,
             floods=floods, company=company, continuation=continuation, bomb=bomb, cookie=cookie, streams=streams, reuse=reuse,
             zero_window=zero_window, pressure=pressure, late_pressure=late_pressure, overflow=overflow, sockets=sockets, unread=unread, chaos=chaos)
CASES[sys.argv[1]](*map(int, sys.argv[3:]))
