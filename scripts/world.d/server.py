#!/usr/bin/python3
"""The servers of the test world: DNS, TLS, HTTP, GitHub, raw TCP, packet capture.

Runs inside the world's `up` namespace, in one process. Everything that arrives is
written down, so that a test can show what never did:
  dns.log       one line per query: NAME TYPE
  requests.log  one JSON object per line, in order: every connection, handshake, request
  capture.pcap  every frame on the wire
Files it reads from the world's directory: zone (NAME ADDRESS..., read anew for each
query), token (what GitHub accepts), certs/, git/, files/ (served below /pub/files/).
"""
import base64
import gzip
import hashlib
import json
import os
import re
import socket
import socketserver
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib

MAIN = "203.0.113.10"
PRIVATE = "10.9.0.5"
GATEWAY = "169.254.7.1"
PUBLIC = "93.184.215.14"
TRAP = "203.0.113.66"
MAIN6 = "2001:db8::10"
HEAD_MAX = 65536
BODY_MAX = 64 << 20
LOGGED_MAX = 8192

world = sys.argv[1]
interface = sys.argv[2]
log_lock = threading.Lock()
log_file = open(os.path.join(world, "requests.log"), "a", buffering=1, encoding="utf-8")


def note(event, **fields):
    with log_lock:
        log_file.write(json.dumps({"event": event, **fields}) + "\n")


def text(data):
    """Bytes, readable and lossless."""
    return data.decode("latin-1")


def read_token():
    with open(os.path.join(world, "token"), encoding="ascii") as f:
        return f.read().strip()


# ---- DNS --------------------------------------------------------------------------

TYPES = {1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA",
         33: "SRV", 65: "HTTPS", 255: "ANY"}
dns_lock = threading.Lock()
dns_log = open(os.path.join(world, "dns.log"), "a", buffering=1, encoding="utf-8")


def look_up(name):
    with open(os.path.join(world, "zone"), encoding="ascii") as zone:
        for line in zone:
            words = line.split()
            if words and words[0] == name:
                return words[1:]
    return None


def answer_dns(query):
    if len(query) < 17:
        return None
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode("latin-1"))
        at += 1 + query[at]
    kind, = struct.unpack_from(">H", query, at + 1)
    name = ".".join(labels).lower()
    with dns_lock:
        dns_log.write(f"{name!a} {TYPES.get(kind, kind)}\n".replace("'", ""))
    addresses = look_up(name)
    records = b""
    count = 0
    for address in addresses or ():
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        if kind == (28 if ":" in address else 1):
            packed = socket.inet_pton(family, address)
            records += struct.pack(">HHHIH", 0xC00C, kind, 1, 0, len(packed)) + packed
            count += 1
    flags = 0x8180 if addresses is not None else 0x8183
    return query[:2] + struct.pack(">HHHHH", flags, 1, count, 0, 0) + query[12:at + 5] + records


class DnsUdp(socketserver.BaseRequestHandler):
    def handle(self):
        data, sock = self.request
        reply = answer_dns(data)
        if reply:
            sock.sendto(reply, self.client_address)


class DnsTcp(socketserver.StreamRequestHandler):
    def handle(self):
        size = self.rfile.read(2)
        if len(size) == 2:
            reply = answer_dns(self.rfile.read(struct.unpack(">H", size)[0]))
            if reply:
                self.wfile.write(struct.pack(">H", len(reply)) + reply)


# ---- HTTP -------------------------------------------------------------------------

class Bad(Exception):
    pass


class Request:
    """One request as it arrived. `head` is raw; the body is de-chunked, not inflated."""

    def __init__(self, head):
        self.head = head
        lines = text(head).split("\r\n")
        parts = lines[0].split(" ")
        if len(parts) != 3:
            raise Bad("request line")
        self.method, self.target, self.version = parts
        self.path, _, self.query = self.target.partition("?")
        self.headers = {}
        for line in lines[1:]:
            if line:
                key, colon, value = line.partition(":")
                if not colon:
                    raise Bad("header")
                self.headers[key.lower()] = value.strip()
        self.host = self.headers.get("host", "").rpartition(":")[0] or self.headers.get("host", "")
        self.body = b""

    def inflated(self):
        if self.headers.get("content-encoding") == "gzip":
            return gzip.decompress(self.body)
        if self.headers.get("content-encoding") == "deflate":
            return zlib.decompress(self.body)
        return self.body


class HttpHandler(socketserver.StreamRequestHandler):
    """HTTP/1.1 with keep-alive, on a socket that may be TLS."""
    disable_nagle_algorithm = True
    timeout = 120

    def setup(self):
        self.where = {"local": self.request.getsockname()[0], "port": self.request.getsockname()[1],
                      "sni": ""}
        note("connection", **self.where)
        if self.server.tls:
            self.request = self.accept_tls(self.request)
        super().setup()

    def accept_tls(self, raw):
        raw.settimeout(10)
        names = []
        context = make_context(names)
        tls = context.wrap_socket(raw, server_side=True, do_handshake_on_connect=False)
        try:
            tls.do_handshake()
        except OSError as error:
            self.where["sni"] = names[0] if names else ""
            note("handshake-failed", error=str(error), **self.where)
            raise
        self.where["sni"] = names[0] if names else ""
        note("handshake", version=tls.version(), **self.where)
        return tls

    def handle(self):
        try:
            while self.serve_one():
                pass
        except Bad as error:
            note("malformed", error=str(error), **self.where)
            self.reply(400, b"bad request\n", close=True)
        except OSError as error:
            note("broken", error=str(error), **self.where)

    def read_head(self):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self.rfile.readline(HEAD_MAX)
            head += line
            if not line or len(head) > HEAD_MAX:
                if head:
                    note("cut-head", head=text(head[:LOGGED_MAX]), **self.where)
                return None
        return head

    def read_chunked(self):
        body = b""
        while True:
            size = int(self.rfile.readline(1024).split(b";")[0], 16)
            if size == 0:
                while (line := self.rfile.readline(HEAD_MAX)) not in (b"\r\n", b""):
                    self.trailers += text(line)
                return body
            body += self.rfile.read(size)
            self.rfile.readline(16)
            if len(body) > BODY_MAX:
                raise Bad("body too large")

    def read_body(self, request):
        if request.headers.get("expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.wfile.flush()
        if "chunked" in request.headers.get("transfer-encoding", ""):
            return self.read_chunked()
        length = int(request.headers.get("content-length", "0"))
        if length > BODY_MAX:
            raise Bad("body too large")
        return self.rfile.read(length)

    def serve_one(self):
        head = self.read_head()
        if head is None:
            return False
        request = Request(head)
        self.trailers = ""
        request.body = self.read_body(request)
        note("request", host=request.host, method=request.method, target=request.target,
             head=text(head), body=text(request.body[:LOGGED_MAX]), size=len(request.body),
             trailers=self.trailers, **self.where)
        if self.where["local"] == TRAP:
            self.reply(200, b"you should not be here\n")
        elif request.path.startswith("/pub/exact/"):  # the bytes of a file of files/, and no more
            with open(os.path.join(world, "files", os.path.basename(request.path)), "rb") as f:
                self.wfile.write(f.read())
        elif request.headers.get("upgrade", "").lower() == "websocket":
            websocket(self, request)
            return False
        elif request.host == "github.com":
            git_http(self, request)
        elif request.host == "api.github.com":
            github_api(self, request)
        else:
            other_host(self, request)
        return request.headers.get("connection", "").lower() != "close"

    def reply(self, status, body, kind="text/plain", headers=(), close=False):
        lines = [f"HTTP/1.1 {status} Status", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
        lines += [f"{key}: {value}" for key, value in headers]
        if close:
            lines.append("Connection: close")
        self.wfile.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
        self.wfile.flush()

    def reply_json(self, status, value, headers=()):
        self.reply(status, json.dumps(value).encode() + b"\n", "application/json", headers)


def other_host(handler, request):
    """Any other name: says what arrived. A few paths misbehave on request."""
    if request.path == "/pub/stream":  # chunks, one by one, as many as ?n= says
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for i in range(int(request.query.partition("n=")[2] or 3)):
            line = f"line {i}\n".encode()
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            handler.wfile.flush()
        handler.wfile.write(b"0\r\n\r\n")
    elif request.path.startswith("/pub/files/"):  # what a test put into files/ of the world
        serve_file(handler, request.path.removeprefix("/pub/files/"))
    elif request.path == "/pub/large":
        handler.reply(200, b"x" * int(request.query.partition("n=")[2] or 1 << 20))
    elif request.path.startswith("/pub/held/"):  # once a test writes to the fifo `gate` of the world, with what it wrote
        with open(os.path.join(world, "gate"), "rb") as f:
            handler.reply(200, f.read())
    elif request.path == "/pub/drop":  # half a body, then the end
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        handler.wfile.flush()
        raise OSError("dropped on request")
    else:
        handler.reply_json(200, {"host": request.host, "method": request.method,
                                 "target": request.target, "headers": request.headers,
                                 "body": text(request.inflated()[:LOGGED_MAX])})


def serve_file(handler, name):
    top = os.path.realpath(os.path.join(world, "files"))
    path = os.path.realpath(os.path.join(top, name))
    if os.path.isdir(path):
        path = os.path.join(path, "index.html")
    if not path.startswith(top + "/") or not os.path.isfile(path):
        handler.reply(404, b"no such file\n")
        return
    with open(path, "rb") as f:
        handler.reply(200, f.read(), "text/html" if path.endswith(".html") else "application/octet-stream")


# ---- WebSocket ----------------------------------------------------------------------

def read_frame(stream):
    """One frame: opcode, last, payload; None at the end."""
    head = stream.read(2)
    if len(head) < 2:
        return None
    size = head[1] & 127
    if size == 126:
        size, = struct.unpack(">H", stream.read(2))
    elif size == 127:
        size, = struct.unpack(">Q", stream.read(8))
    if size > BODY_MAX:
        raise Bad("frame too large")
    mask = stream.read(4) if head[1] & 128 else b"\0\0\0\0"
    data = stream.read(size)
    if mask != b"\0\0\0\0":
        data = bytes(byte ^ mask[i & 3] for i, byte in enumerate(data))
    return head[0] & 15, bool(head[0] & 128), data


def write_frame(stream, opcode, data):
    size = len(data)
    head = bytes([128 | opcode, size]) if size < 126 else struct.pack(">BBH", 128 | opcode, 126, size) \
        if size < 65536 else struct.pack(">BBQ", 128 | opcode, 127, size)
    stream.write(head + data)
    stream.flush()


def websocket(handler, request):
    """Accepts every upgrade, says `ready`, and sends every message back."""
    key = request.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
    handler.wfile.write(f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode())
    write_frame(handler.wfile, 1, b"ready")
    message, kind = b"", 0
    while True:
        frame = read_frame(handler.rfile)
        if frame is None:
            return
        opcode, last, data = frame
        note("frame", host=request.host, target=request.target, opcode=opcode, data=text(data[:LOGGED_MAX]),
             size=len(data), **handler.where)
        if opcode == 8:
            write_frame(handler.wfile, 8, data)
            return
        if opcode == 9:
            write_frame(handler.wfile, 10, data)
        elif opcode in (0, 1, 2):
            message, kind = message + data, kind or opcode
            if last:
                write_frame(handler.wfile, kind, message)
                message, kind = b"", 0


# ---- GitHub -------------------------------------------------------------------------

def is_authorised(request):
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(value).decode().partition(":")
        except ValueError:
            return False
        return user == "x-access-token" and password == read_token()
    return scheme.lower() in ("bearer", "token") and value == read_token()


def git_http(handler, request):
    """github.com: git's own smart HTTP server behind the one access rule."""
    pushes = "git-receive-pack" in request.target
    if pushes and not is_authorised(request):
        handler.reply(401, b"authentication required\n",
                      headers=[("WWW-Authenticate", 'Basic realm="GitHub"')])
        return
    environment = {
        "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": os.path.join(world, "git"),
        "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": request.path, "QUERY_STRING": request.query,
        "REQUEST_METHOD": request.method, "CONTENT_LENGTH": str(len(request.body)),
        "CONTENT_TYPE": request.headers.get("content-type", ""),
        "HTTP_CONTENT_ENCODING": request.headers.get("content-encoding", ""),
        "HTTP_GIT_PROTOCOL": request.headers.get("git-protocol", ""),
        "GIT_PROTOCOL": request.headers.get("git-protocol", ""),
        "GIT_CONFIG_NOSYSTEM": "1", "HOME": world,
    }
    if pushes:
        environment["REMOTE_USER"] = "x-access-token"
    result = subprocess.run(["git", "http-backend"], input=request.body, env=environment,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    head, _, body = result.stdout.partition(b"\r\n\r\n")
    status, kind, headers = 200, "text/plain", []
    for line in text(head).split("\r\n"):
        key, _, value = line.partition(": ")
        if key == "Status":
            status = int(value.split()[0])
        elif key == "Content-Type":
            kind = value
        elif key:
            headers.append((key, value))
    if not head:
        note("http-backend-failed", stderr=text(result.stderr))
        status = 500
    handler.reply(status, body, kind, headers)


def git(*words, data=None, extra=None):
    environment = {"PATH": os.environ["PATH"], "HOME": world, "GIT_CONFIG_NOSYSTEM": "1",
                   "GIT_AUTHOR_NAME": "api", "GIT_AUTHOR_EMAIL": "api@github.com",
                   "GIT_COMMITTER_NAME": "api", "GIT_COMMITTER_EMAIL": "api@github.com",
                   **(extra or {})}
    return subprocess.run(["git", f"--git-dir={world}/git/acme/widgets.git", *words], input=data,
                          env=environment, stdout=subprocess.PIPE, check=True).stdout.decode().strip()


def commit_file(path, content, message):
    """One file onto main, as the contents API does."""
    with tempfile.TemporaryDirectory() as scratch:
        index = {"GIT_INDEX_FILE": os.path.join(scratch, "index")}
        parent = git("rev-parse", "refs/heads/main")
        blob = git("hash-object", "-w", "--stdin", data=content)
        git("read-tree", parent, extra=index)
        git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", extra=index)
        tree = git("write-tree", extra=index)
        commit = git("commit-tree", tree, "-p", parent, "-m", message)
        git("update-ref", "refs/heads/main", commit, parent)
    return blob, commit


def github_api(handler, request):
    contents = re.fullmatch(r"/repos/acme/widgets/contents/([\w./-]+)", request.path)
    if request.method in ("GET", "HEAD") and request.path == "/repos/acme/widgets":
        handler.reply_json(200, {"full_name": "acme/widgets", "private": False,
                                 "default_branch": "main",
                                 "authenticated": is_authorised(request)})
    elif request.method in ("GET", "HEAD") and request.path in ("/", "/zen", "/user"):
        handler.reply_json(200, {"path": request.path, "authenticated": is_authorised(request)})
    elif not is_authorised(request):
        handler.reply_json(401, {"message": "Requires authentication"})
    elif request.method == "PUT" and contents:
        try:
            body = json.loads(request.inflated())
            blob, commit = commit_file(contents[1], base64.b64decode(body["content"]), body["message"])
        except (KeyError, ValueError, zlib.error):
            handler.reply_json(422, {"message": "Invalid request"})
            return
        handler.reply_json(201, {"content": {"path": contents[1], "sha": blob},
                                 "commit": {"sha": commit}})
    elif request.method == "POST" and request.path == "/graphql":
        handler.reply_json(200, {"data": {"viewer": {"login": "acme"}}})
    else:
        handler.reply_json(404, {"message": "Not Found"})


# ---- Certificates -------------------------------------------------------------------

def make_context(names):
    """Serves certs/SNI.pem when there is one, else the good certificate. The name that the
    client asked for is put into `names`."""
    certs = os.path.join(world, "certs")

    def choose(sock, name, _context):
        names.append(name or "")
        own = os.path.join(certs, f"{name}.pem")
        if name and re.fullmatch(r"[a-z0-9.-]+", name) and os.path.exists(own):
            special = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            special.load_cert_chain(own)
            sock.context = special

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.path.join(certs, "good.pem"))
    context.sni_callback = choose
    return context


# ---- Raw TCP, UDP and the wire --------------------------------------------------------

class EchoHandler(socketserver.StreamRequestHandler):
    """Speaks first, then sends every byte back."""

    def handle(self):
        port = self.request.getsockname()[1]
        note("connection", port=port, local=self.request.getsockname()[0], sni="")
        self.wfile.write(b"l4 ready\n")
        while True:
            data = self.request.recv(65536)
            if not data:
                return
            note("bytes", port=port, data=text(data[:LOGGED_MAX]), size=len(data))
            self.request.sendall(data)


class UdpHandler(socketserver.BaseRequestHandler):
    def handle(self):
        data, sock = self.request
        note("datagram", port=self.server.server_address[1], data=text(data))
        sock.sendto(data, self.client_address)


def capture(sock, path):
    """Every frame to a file that tcpdump can read, unbuffered."""
    with open(path, "ab", buffering=0) as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        while True:
            frame = sock.recv(65535)
            now = time.time()
            out.write(struct.pack("<IIII", int(now), int(now % 1 * 1e6), len(frame), len(frame)) + frame)


class TcpServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128
    tls = False

    def handle_error(self, request, client_address):
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            note("server-error", error=repr(error))


class TlsServer(TcpServer):
    tls = True


class TcpServer6(TcpServer):
    address_family = socket.AF_INET6


class TlsServer6(TlsServer):
    address_family = socket.AF_INET6


class UdpServer(socketserver.ThreadingUDPServer):
    daemon_threads = True


def start_capture():
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    wire.bind((interface, 0))
    threading.Thread(target=capture, args=(wire, os.path.join(world, "capture.pcap")),
                     daemon=True).start()


def main():
    servers = [
        UdpServer((MAIN, 53), DnsUdp), TcpServer((MAIN, 53), DnsTcp),
        TlsServer((MAIN, 443), HttpHandler), TlsServer((MAIN, 8443), HttpHandler),
        TcpServer((MAIN, 80), HttpHandler), TcpServer((MAIN, 5432), EchoHandler),
        UdpServer((MAIN, 443), UdpHandler), UdpServer((MAIN, 9999), UdpHandler),
        TlsServer((TRAP, 443), HttpHandler), TcpServer((TRAP, 80), HttpHandler),
        TcpServer((TRAP, 5432), EchoHandler),
        TcpServer((PUBLIC, 80), HttpHandler), TcpServer((PUBLIC, 5432), EchoHandler),
        TcpServer((GATEWAY, 80), HttpHandler),
        TcpServer((PRIVATE, 9443), HttpHandler), TcpServer((MAIN, 9443), HttpHandler),
        TcpServer6((MAIN6, 80), HttpHandler), TlsServer6((MAIN6, 443), HttpHandler),
    ]
    # A benchmark's figures would be about this reader of every frame.
    if os.environ.get("OSH_WORLD_CAPTURE") != "no":
        start_capture()
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    # The parent waits for this: everything listens.
    with open(os.path.join(world, "ready"), "w", encoding="ascii") as f:
        f.write("ready\n")
    threading.Event().wait()


main()
