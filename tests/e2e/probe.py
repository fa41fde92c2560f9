"""Attempts to reach the network in ways that programs rarely use. Runs inside a sandbox.

Prints one line for each attempt: `ok DETAIL`, or the name of the errno, or `timeout`.
Each command takes its own arguments; see `commands` below.
"""
import ctypes
import errno
import os
import signal
import socket
import struct
import sys
import tempfile
import time

SOCK_NAMES = {"stream": socket.SOCK_STREAM, "dgram": socket.SOCK_DGRAM, "raw": socket.SOCK_RAW,
              "seqpacket": socket.SOCK_SEQPACKET}
RESOLVER = ("198.18.0.1", 53)


def attempt(action):
    begin = time.monotonic()
    try:
        detail = action()
        print("ok", "" if detail is None else detail)
    except socket.timeout:
        print("timeout")
    except OSError as error:
        print(errno.errorcode.get(error.errno, error))
    return time.monotonic() - begin


def create(family, kind, protocol):
    """A socket of any family, type, protocol (numbers, or names of types)."""
    attempt(lambda: socket.socket(int(family), SOCK_NAMES.get(kind) or int(kind), int(protocol)).close())


def packet(text):
    """A frame straight to every device (AF_PACKET)."""
    def send():
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
        for _, name in socket.if_nameindex():
            sock.bind((name, 0))
            sock.send(b"\xff" * 12 + b"\x08\x00" + text.encode())
    attempt(send)


def tcp(host, port, text=""):
    """Connect once (a name by IPv4), send text, print what comes back first."""
    def talk():
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.settimeout(10)
            sock.connect((host, int(port)))
            sock.sendall(text.encode())
            return sock.recv(200)
    attempt(talk)


def tcp_many(host, port, count):
    """COUNT connects, one after another."""
    for _ in range(int(count)):
        attempt(lambda: socket.create_connection((host, int(port)), timeout=10).close())


def peer(host, port):
    """By both families: getpeername must show what was dialled, and neither end the agent's port."""
    for family in (socket.AF_INET, socket.AF_INET6):
        def look(family=family):
            dialled = socket.getaddrinfo(host, int(port), family, socket.SOCK_STREAM)[0][4]
            with socket.socket(family, socket.SOCK_STREAM) as sock:
                sock.settimeout(10)
                sock.connect(dialled)
                return sock.getpeername() == dialled and sock.getsockname()[1] >= 1024
        attempt(look)

    def datagram():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(5)
            sock.connect(("203.0.113.10", 53))
            sock.send(question("ok.test"))
            return sock.getpeername() == ("203.0.113.10", 53) and describe(sock.recv(512))
    attempt(datagram)


def udp(host, port, text):
    """Three ways to send one datagram."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    address = (host, int(port))
    data = text.encode()

    def plain():
        socket.socket(family, socket.SOCK_DGRAM).sendto(data, address)

    def connected():
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.connect(address)
        sock.send(data)

    def message():
        socket.socket(family, socket.SOCK_DGRAM).sendmsg([data], [], 0, address)

    slowest = max(attempt(plain), attempt(connected), attempt(message))
    print("fast" if slowest < 5 else f"slow {slowest:.3f}")


def udplite(host, port, text):
    """UDP-Lite (protocol 136), both families."""
    for family in (socket.AF_INET, socket.AF_INET6):
        def send(family=family):
            sock = socket.socket(family, socket.SOCK_DGRAM, 136)
            sock.connect((host if family == socket.AF_INET else "2001:db8::10", int(port)))
            sock.send(text.encode())
        attempt(send)


def reconnect(host, port, other, text):
    """One descriptor: connected to PORT, which is allowed, disconnected, connected to the port OTHER, and
    to PORT again. Then a datagram that is held back for the resolver and ends elsewhere."""
    where = socket.gethostbyname(host)
    sock = socket.socket()
    sock.settimeout(10)
    libc = ctypes.CDLL(None, use_errno=True)

    def go(number, data):
        sock.connect((where, int(number)))
        sock.sendall(data.encode())
        return sock.recv(200)

    def leave():
        libc.connect(sock.fileno(), struct.pack("=HHIQ", socket.AF_UNSPEC, 0, 0, 0), 16)

    attempt(lambda: go(port, ""))
    leave()
    attempt(lambda: go(other, text))
    leave()
    attempt(lambda: go(port, ""))
    corked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    attempt(lambda: corked.sendto(question("ok.test"), socket.MSG_MORE, RESOLVER) and None)
    attempt(lambda: corked.sendto(text.encode(), ("203.0.113.10", 443)) and None)


def group(text):
    """Broadcast and multicast, then a query that names its interface (IP_PKTINFO)."""
    for family, address in ((socket.AF_INET, ("255.255.255.255", 9999)), (socket.AF_INET, ("203.0.113.255", 9999)),
                            (socket.AF_INET, ("224.0.0.251", 5353)), (socket.AF_INET, ("224.0.0.252", 5355)),
                            (socket.AF_INET6, ("ff02::fb", 5353, 0, 1))):
        def send(family=family, address=address):
            sock = socket.socket(family, socket.SOCK_DGRAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.sendto(text.encode(), address)
        attempt(send)

    def ask():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.settimeout(5)
        info = struct.pack("=i4s4s", 1, bytes(4), bytes(4))
        sock.sendmsg([question("ok.test")], [(socket.IPPROTO_IP, 8, info)], 0, RESOLVER)
        return describe(sock.recv(512))
    attempt(ask)


def options(host, port, text):
    """Socket options that choose where packets go: each set, then HOST dialled all the same."""
    wanted = {"mark": (socket.SOL_SOCKET, 36, 7), "transparent": (socket.IPPROTO_IP, socket.IP_TRANSPARENT, 1),
              "device": (socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0"),
              "interface": (socket.IPPROTO_IP, 50, struct.pack(">i", 1)),
              "tos": (socket.IPPROTO_IP, socket.IP_TOS, 16)}
    for name, (level, option, value) in wanted.items():
        sock = socket.socket()
        sock.settimeout(10)
        try:
            sock.setsockopt(level, option, value)
            print(name, "set", end=" ")
        except OSError as error:
            print(name, errno.errorcode[error.errno], end=" ")

        def dial(sock=sock):
            sock.connect((host, int(port)))
            sock.sendall(text.encode())
            return sock.recv(200)
        attempt(dial)


def unix(text, *paths):
    """Each PATH by a stream, which is answered, and PATH.dgram by sendto and by connect. Ends in one
    line for each PATH: what came of the three. `@name` is abstract."""
    for path in paths:
        results = []
        for way in unix_stream, unix_datagram, unix_connected:
            try:
                results.append(way(path.replace("@", "\0", 1) if path[0] == "@" else path, text.encode()))
            except OSError as error:
                results.append(errno.errorcode.get(error.errno, str(error)))
        print(path, *results)


def unix_stream(path, data):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(5)
        sock.connect(path)
        sock.sendall(data)
        return "heard" if sock.recv(200) == b"heard " + data else "silent"


def unix_datagram(path, data):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(data, path + ".dgram")
        return "sent"


def unix_connected(path, data):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(path + ".dgram")
        sock.send(data)
        return "sent"


def unix_spellings(text, path):
    """One socket, PATH, by six spellings of its path: a line for each."""
    directory, name = os.path.split(path)
    os.chdir(directory)
    held = os.open(directory, os.O_PATH)
    with tempfile.TemporaryDirectory() as place:
        os.symlink(path, f"{place}/link")
        os.symlink(directory, f"{place}/tree")
        for spelling in (f"{directory}/../{os.path.basename(directory)}/./{name}", name, f"{place}/link",
                         f"{place}/tree/{name}", f"/proc/self/root{path}", f"/proc/self/fd/{held}/{name}"):
            attempt(lambda spelling=spelling: unix_stream(spelling, text.encode()))


def question(name, kind=1, klass=1, ident=0x1234):
    labels = b"".join(bytes([len(label)]) + label for label in name.encode().split(b"."))
    return struct.pack(">HHHHHH", ident, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", kind, klass)


def describe(reply):
    """RCODE and number of answers."""
    _, flags, _, answers = struct.unpack_from(">HHHH", reply)
    return f"rcode={flags & 15} answers={answers}"


def raw_sendto(sock, data, family, address):
    """sendto with an address family of one's choice."""
    libc = ctypes.CDLL(None, use_errno=True)
    where = struct.pack("=H", family) + struct.pack(">H", address[1]) + socket.inet_aton(address[0]) + b"\0" * 8
    if libc.sendto(sock.fileno(), data, len(data), 0, where, len(where)) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def redirect(host, port, text):
    """A socket connected to the resolver, then used for another address; the twins last."""
    def fresh():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.settimeout(5)
        sock.connect(RESOLVER)
        return sock

    data = text.encode()
    target = (host, int(port))
    attempt(lambda: fresh().sendto(data, target) and None)
    attempt(lambda: fresh().sendmsg([data], [], 0, target) and None)
    attempt(lambda: raw_sendto(fresh(), data, socket.AF_UNSPEC, target))

    def ask_connected():
        sock = fresh()
        sock.send(question("ok.test"))
        return describe(sock.recv(512))

    def ask_unspec():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.settimeout(5)
        raw_sendto(sock, question("ok.test"), socket.AF_UNSPEC, RESOLVER)
        return describe(sock.recv(512))

    attempt(ask_connected)
    attempt(ask_unspec)


def dns(name, kind, klass="1", server="198.18.0.1"):
    """One query by UDP; prints result code, number of answers, and from whom."""
    def ask():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.settimeout(5)
        sock.sendto(question(name, int(kind), int(klass)), (server, 53))
        reply, sender = sock.recvfrom(4096)
        return f"{describe(reply)} from={sender[0]}"
    attempt(ask)


def dns_tcp(name, kind, step="0"):
    """The same by TCP, in pieces of STEP bytes."""
    def ask():
        query = question(name, int(kind))
        data = struct.pack(">H", len(query)) + query
        with socket.create_connection(RESOLVER, timeout=5) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            size = int(step) or len(data)
            for at in range(0, len(data), size):
                sock.send(data[at:at + size])
            reply = b""
            while len(reply) < 2 or len(reply) < 2 + struct.unpack_from(">H", reply)[0]:
                piece = sock.recv(4096)
                if not piece:
                    return "closed"
                reply += piece
            return describe(reply[2:])
    attempt(ask)


def dns_raw(*queries):
    """Raw messages in hex over one socket, numbered: `timeout`, or the result code, each. 0.3 s for an answer, 5 for
    the last one's, which has to come."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for number, query in enumerate(queries):
        def ask(head=struct.pack(">H", number), rest=bytes.fromhex(query)[2:]):
            sock.settimeout(5 if number == len(queries) - 1 else 0.3)
            sock.sendto(head + rest, RESOLVER)
            while not (reply := sock.recv(4096)).startswith(head):
                pass  # one to an earlier message, late
            return describe(reply)
        attempt(ask)


def resolve(*names):
    """getaddrinfo, as programs do it: the IPv4 address, and whether there is an IPv6 one."""
    for name in names:
        def ask(name=name):
            found = socket.getaddrinfo(name, 443, proto=socket.IPPROTO_TCP)
            v4 = sorted({entry[4][0] for entry in found if entry[0] == socket.AF_INET})
            v6 = {entry[4][0] for entry in found if entry[0] == socket.AF_INET6}
            return f"{name} {','.join(v4)} v6={len(v6)}"
        try:
            attempt(ask)
        except socket.gaierror as error:
            print("gaierror", error)


def raw_http(host, port, tls):
    """Send the environment's REQUEST (python escapes) as it is, print the reply until the end, or
    `closed`. TLS is the server name, or `plain`."""
    import ssl
    request = os.environ["REQUEST"].encode("latin-1").decode("unicode_escape").encode("latin-1")
    sock = socket.create_connection((host, int(port)), timeout=10)
    if tls != "plain":
        context = ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE"))
        sock = context.wrap_socket(sock, server_hostname=tls)
    reply = b""
    try:
        sock.sendall(request)
        while True:
            data = sock.recv(65536)
            if not data:
                break
            reply += data
    except OSError as error:
        print("error:", error)
    print(reply.decode("latin-1") if reply else "closed")


def alive(host, port, path):
    """Keep one TLS connection and make a request for each method that is written to /sandbox/go, until
    `end`. The status, and whether it is still the same connection, go to /sandbox/answers."""
    import http.client
    import ssl
    connection = http.client.HTTPSConnection(host, int(port), timeout=20,
                                             context=ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"]))
    connection.connect()
    local = connection.sock.getsockname()
    done = 0
    with open("/sandbox/answers", "w", buffering=1, encoding="ascii") as out:
        while True:
            with open("/sandbox/go", encoding="ascii") as go:
                wanted = go.read().split()
            for word in wanted[done:]:
                done += 1
                if word == "end":
                    return
                connection.request(word, path)
                response = connection.getresponse()
                response.read()
                same = connection.sock is not None and connection.sock.getsockname() == local
                out.write(f"{response.status} {'same' if same else 'closed'}\n")
            time.sleep(0.01)


def frame(word):
    """TEXT, or KIND:VALUE: the bytes that a client sends for it."""
    kind, colon, value = word.partition("=")
    if not colon or kind not in ("text", "bin", "ping", "frag", "hex", "unmasked", "big"):
        kind, value = "text", word
    if kind == "hex":
        return bytes.fromhex(value)
    if kind == "frag":
        parts = value.split("|")
        return b"".join(one_frame(0 if i else 1, part.encode(), last=i == len(parts) - 1)
                        for i, part in enumerate(parts))
    if kind == "big":
        return one_frame(1, b"x" * int(value))
    if kind == "unmasked":
        return bytes([0x81, len(value)]) + value.encode()
    return one_frame({"text": 1, "bin": 2, "ping": 9}[kind], value.encode())


def one_frame(opcode, data, last=True):
    size, mask = len(data), os.urandom(4)
    head = struct.pack(">BB", (128 if last else 0) | opcode, 128 | (size if size < 126 else 126 if size < 65536 else 127))
    if size >= 126:
        head += struct.pack(">H" if size < 65536 else ">Q", size)
    key = (mask * (size // 4 + 1))[:size]
    masked = (int.from_bytes(data, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")
    return head + mask + masked


def show_frame(stream):
    """Prints one frame of the server. False: it was the last."""
    head = stream.read(2)
    if len(head) < 2:
        print("closed")
        return False
    size = head[1] & 127
    if size >= 126:
        size, = struct.unpack(">H" if size == 126 else ">Q", stream.read(2 if size == 126 else 8))
    data = stream.read(size)
    opcode = head[0] & 15
    if opcode == 8:
        print("close", struct.unpack(">H", data[:2])[0], data[2:].decode())
        return False
    name = {1: "text", 2: "bin", 10: "pong"}.get(opcode, opcode)
    print(name, data.decode() if size < 500 else f"{size} bytes", flush=True)
    return True


def websocket(host, path, *words):
    """Upgrade over TLS, then for each word send what frame() makes of it and show the answer. Offers
    compression, as browsers do. `wait` only shows what comes next."""
    import base64
    import ssl
    context = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
    sock = context.wrap_socket(socket.create_connection((host, 443), timeout=20), server_hostname=host)
    key = base64.b64encode(os.urandom(16)).decode()
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                 f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"
                 f"Sec-WebSocket-Key: {key}\r\n\r\n".encode())
    stream = sock.makefile("rb")
    status = stream.readline().split()[1].decode()
    print("status", status)
    while stream.readline() not in (b"\r\n", b""):
        pass
    if status != "101":
        return
    if not show_frame(stream):
        return
    for word in words:
        if word != "wait":
            sock.sendall(frame(word))
        if not show_frame(stream):
            return


def traced(text):
    """A child has its parent trace it, and becomes another program: TEXT is said by a parent that then has
    hold of that one."""
    child = os.fork()
    if child == 0:
        ctypes.CDLL(None).ptrace(0, 0, 0, 0)  # PTRACE_TRACEME
        os.execv("/usr/bin/true", ["true"])
    if os.WIFSTOPPED(os.waitpid(child, 0)[1]):
        print("ok", text)
        os.kill(child, signal.SIGKILL)


def fork_twice(*command):
    """Double fork, own session: the grandchild, adopted by pid 1, runs the command; its output
    and status come back by a file."""
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            parent = os.getppid()
            while os.getppid() == parent and parent != 1:
                time.sleep(0.01)
            os.dup2(write, 1)
            os.dup2(write, 2)
            os.execv(command[0], command)
        os._exit(0)
    os.wait()
    os.close(write)
    with os.fdopen(read, "rb") as out:
        print(out.read().decode())


commands = {f.__name__: f for f in (create, packet, tcp, tcp_many, peer, udp, udplite, redirect, reconnect, group, options,
                                    unix, unix_spellings, dns, dns_tcp, dns_raw, resolve, raw_http, alive, websocket,
                                    traced, fork_twice)}
commands[sys.argv[1]](*sys.argv[2:])
