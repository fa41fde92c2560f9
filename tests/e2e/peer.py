#!/usr/bin/python3
"""peer.py SOCKET DEED [ARGUMENT...]: a peer of the control socket that does what the CLI never does.

Each deed prints one line about how the agent took it: "closed", "refused NAME", "answered", ..."""
import fcntl
import json
import mmap
import os
import resource
import select
import socket
import sys

DEADLINE = 10


def connect():
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(sys.argv[1])  # waits for room in the queue
    sock.settimeout(DEADLINE)
    return sock


def message(method, more=False, **parameters):
    return json.dumps({"method": "io.openshell." + method, "parameters": parameters, "more": more}).encode() + b"\0"


def reply(sock):
    data, fds = b"", []
    while b"\0" not in data:
        part, got, _, _ = socket.recv_fds(sock, 65536, 16)
        fds += got
        if not part:
            return None, fds
        data += part
    return json.loads(data.split(b"\0")[0]), fds  # a second one may have come with it


def outcome(sock):
    """How the agent took what was sent."""
    try:
        answer, _ = reply(sock)
    except (ConnectionResetError, BrokenPipeError):
        answer = None
    if answer is None:
        return "closed"
    return "refused " + answer["error"] if "error" in answer else "answered"


def send_until_closed(data, total):
    """Sends `total` bytes of it, or as much as is taken; how much that was."""
    sock, sent = connect(), 0
    try:
        while sent < total:
            sent += sock.send(data)
    except (ConnectionResetError, BrokenPipeError):
        return sent
    except socket.timeout:
        return sent
    return sent


def huge():
    """A message of a GiB that never ends."""
    sent = send_until_closed(b"x" * (1 << 20), 1 << 30)
    print("closed" if sent < 64 << 20 else f"took {sent}")


def deep():
    sock = connect()
    sock.sendall(b'{"method":"io.openshell.Status","parameters":' + b'{"a":' * 100000 + b"1" + b"}" * 100001 + b"\0")
    print(outcome(sock))


def raw():
    """Any bytes, given in Python's notation."""
    sock = connect()
    sock.sendall(sys.argv[3].encode().decode("unicode_escape").encode("latin-1"))
    sock.shutdown(socket.SHUT_WR)
    print(outcome(sock))


def unasked():
    """Descriptors that no call asks for, again and again on one connection."""
    sock = connect()
    with open("/dev/null") as null:
        for _ in range(100):
            socket.send_fds(sock, [message("Status")], [null.fileno()] * 16)
            answer, _ = reply(sock)
            assert "parameters" in answer, answer
    print("answered")


def mute():
    """Calls by the thousand, whose answers nobody reads."""
    sock = connect()
    sock.setblocking(False)
    call, sent = message("Status") * 100, 0
    while sent < 64 << 20:
        if not select.select([], [sock], [], 0.5)[1]:
            print("waits")
            return
        try:
            sent += sock.send(call)
        except BlockingIOError:
            pass
        except (ConnectionResetError, BrokenPipeError):
            print("closed")
            return
    print(f"took {sent}")


def many():
    """Thousands of connections at once, then a call on the last one."""
    count = int(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_NOFILE, (count + 100, count + 100))
    socks = [connect() for _ in range(count)]
    last = connect()
    last.sendall(message("Status"))
    print(outcome(last), "of", len(socks))


def ring():
    """What can be done with the verdict ring's descriptor."""
    sock = connect()
    sock.sendall(message("VerdictRing"))
    fd = reply(sock)[1][0]
    size = os.fstat(fd).st_size

    def refused(deed):
        try:
            deed()
        except OSError:
            return True
        return False

    deeds = {
        "map": lambda: mmap.mmap(fd, size, prot=mmap.PROT_READ | mmap.PROT_WRITE),
        "write": lambda: os.pwrite(fd, b"x", 0),
        "shrink": lambda: os.ftruncate(fd, 0),
        "open": lambda: mmap.mmap(os.open(f"/proc/self/fd/{fd}", os.O_RDWR), size),
        "unseal": lambda: fcntl.fcntl(fd, fcntl.F_ADD_SEALS, 0),
    }
    for name, deed in deeds.items():
        print(name, "refused" if refused(deed) else "POSSIBLE")
    with mmap.mmap(fd, size, prot=mmap.PROT_READ) as view:
        print("read", "possible" if view[:8].strip(b"\0") else "EMPTY")


def all():
    """Every byte of every descriptor that the verdict calls give."""
    sock = connect()
    for method in ("VerdictRing", "VerdictHistory"):
        sock.sendall(message(method))
        for fd in reply(sock)[1]:
            size = os.fstat(fd).st_size
            sys.stdout.buffer.write(os.pread(fd, size, 0))


def lend():
    """A program inside gets a connection to the agent as its standard input."""
    sock, lent = connect(), connect()
    call = message("SandboxExec", more=True, name=sys.argv[3], argv=["true"], tty=False)
    with open("/dev/null", "r+") as null:
        stdio = [lent if sys.argv[4] == "connection" else null] + [null] * 2
        socket.send_fds(sock, [call], [file.fileno() for file in stdio])
        print(outcome(sock))


def storm():
    """Connects as fast as it can until the file FLAG is there; how often it was let in."""
    tried = let_in = 0
    while not os.path.exists(sys.argv[3]):
        tried += 1
        with socket.socket(socket.AF_UNIX) as sock:
            try:
                sock.connect(sys.argv[1])
                let_in += 1
            except OSError:
                pass
    print(f"let in {let_in}" if tried > 100 else f"only {tried} tries")


{deed.__name__: deed for deed in (huge, deep, raw, unasked, mute, many, ring, all, lend, storm)}[sys.argv[2]]()
