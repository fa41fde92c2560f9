"""HTTP/2 frame by frame, also those that no library would send (RFC 9113)."""
import socket
import ssl
import struct

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS, ENABLE_CONNECT_PROTOCOL = 0x4, 0x3, 0x8


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def settings(*pairs):
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", key, value) for key, value in pairs))


def literal(name, value):
    """A field in full, not indexed (RFC 7541 6.2.2): any bytes."""
    def text(raw):
        return number(len(raw), 7) + raw
    return b"\x00" + text(name) + text(value)


def number(value, bits, first=0):
    """RFC 7541 5.1."""
    top = (1 << bits) - 1
    if value < top:
        return bytes([first | value])
    out, value = bytes([first | top]), value - top
    while value >= 128:
        out, value = out + bytes([value % 128 + 128]), value // 128
    return out + bytes([value])


def block(*fields):
    return b"".join(literal(as_bytes(name), as_bytes(value)) for name, value in fields)


def as_bytes(text):
    return text if isinstance(text, bytes) else text.encode("latin-1")

LAST = 200


class Wire:
    """One end of a connection. Counts what comes; answers nothing by itself but SETTINGS and PING."""

    def __init__(self, sock):
        self.sock = sock
        self.buffer = b""
        self.decoder = hpack.Decoder(max_header_list_size=1 << 20)
        self.block = b""
        self.polite = True
        self.settings = {}
        self.statuses = {}  # stream: its last :status
        self.bytes = {}     # stream: length of the payload received
        self.last = {}      # stream: the end of it
        self.opened = {}    # stream (0: the connection): what its window was opened by
        self.ended = {}     # stream: "end", or "reset CODE"
        self.heads = {}     # stream: fields of the first head
        self.trailers = {}  # ... and of the last, when that is another
        self.pongs = 0      # answers to pings
        self.goaway = None  # its code; "closed": the connection ended without one

    def send(self, *parts):
        try:
            self.sock.sendall(b"".join(parts))
        except OSError:
            self.goaway = "closed" if self.goaway is None else self.goaway

    def read_frame(self):
        """(kind, flags, stream, payload), or None at the end."""
        while len(self.buffer) < 9 or len(self.buffer) < 9 + int.from_bytes(self.buffer[:3], "big"):
            try:
                piece = self.sock.recv(65536)
            except TimeoutError:
                raise
            except OSError:
                piece = b""
            if not piece:
                return None
            self.buffer += piece
        size = int.from_bytes(self.buffer[:3], "big")
        kind, flags, stream = self.buffer[3], self.buffer[4], struct.unpack(">I", self.buffer[5:9])[0] & 0x7FFFFFFF
        payload, self.buffer = self.buffer[9:9 + size], self.buffer[9 + size:]
        return kind, flags, stream, payload

    def take(self):
        """The next frame, noted. False at the end of the connection."""
        got = self.read_frame()
        if got is None:
            self.goaway = "closed" if self.goaway is None else self.goaway
            return False
        kind, flags, stream, payload = got
        if kind in (HEADERS, CONTINUATION):
            self.block += payload
            if flags & END_HEADERS:
                self.note_head(stream)
        elif kind == DATA:
            self.bytes[stream] = self.bytes.get(stream, 0) + len(payload)
            self.last[stream] = (self.last.get(stream, b"") + payload)[-LAST:]
        elif kind == WINDOW_UPDATE:
            self.opened[stream] = self.opened.get(stream, 0) + struct.unpack(">I", payload)[0]
        elif kind == RST_STREAM:
            self.ended[stream] = f"reset {struct.unpack('>I', payload)[0]}"
        elif kind == GOAWAY:
            self.goaway = struct.unpack(">I", payload[4:8])[0]
        elif kind == SETTINGS and not flags & ACK:
            self.settings.update(struct.iter_unpack(">HI", payload))
            if self.polite:
                self.send(frame(SETTINGS, ACK))
        elif kind == PING and flags & ACK:
            self.pongs += 1
        elif kind == PING and self.polite:
            self.send(frame(PING, ACK, 0, payload))
        if kind in (HEADERS, DATA) and flags & END_STREAM:
            self.ended.setdefault(stream, "end")
        return True

    def note_head(self, stream):
        fields = dict(self.decoder.decode(self.block))
        self.block = b""
        if self.heads.setdefault(stream, fields) is not fields:
            self.trailers[stream] = fields
        self.statuses[stream] = fields.get(":status", self.statuses.get(stream))

    def until(self, condition):
        """Take frames until it holds. False: the connection ended before."""
        while not condition():
            if not self.take():
                return condition()
        return True

    def payload(self, stream):
        return self.last.get(stream, b"")

    def outcome(self, stream):
        """What became of a request: "200", "reset 1", "goaway 11" or "closed"."""
        self.until(lambda: stream in self.ended or self.goaway is not None)
        if stream in self.ended:
            end = self.ended[stream]
            return self.statuses.get(stream) if end == "end" or stream in self.statuses else end
        return "closed" if self.goaway == "closed" else f"goaway {self.goaway}"


def dial(host, port=443, protocol="h2"):
    context = ssl.create_default_context()
    context.set_alpn_protocols([protocol])
    tls = context.wrap_socket(socket.create_connection((host, port), 20), server_hostname=host)
    tls.settimeout(20)
    return tls


def connect(host, port=443, *pairs):
    """A client of it, its settings sent."""
    wire = Wire(dial(host, port))
    wire.send(PREFACE, settings(*pairs))
    return wire


def request(stream, fields, end=True):
    return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, block(*fields))


def get(path, host="ok.test"):
    return [(":method", "GET"), (":scheme", "https"), (":authority", host), (":path", path)]


def post(path, host="ok.test"):
    return [(":method", "POST"), (":scheme", "https"), (":authority", host), (":path", path)]
