"""Many connections from inside a sandbox, by one program. See `commands` below."""
import http.client
import os
import resource
import selectors
import socket
import ssl
import sys
import time


def trusting():
    return ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE"))


def tls(host, context=None):
    return (context or trusting()).wrap_socket(socket.create_connection((host, 443), timeout=60), server_hostname=host)


def ask(sock, host, path="/pub/x"):
    """One request; the status of its answer, whose body is read."""
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    answer = http.client.HTTPResponse(sock)
    answer.begin()
    answer.read()
    return answer.status


def tell(status):
    print(status, flush=True)


def hold(host, count):
    """COUNT flows, a request on each, all of them kept: their statuses. Then, for each line of standard
    input, one more request on each that was served, and one on a flow of its own."""
    flows = []
    for _ in range(int(count)):
        sock = tls(host)
        flows.append((sock, ask(sock, host)))
    tell(" ".join(str(status) for _, status in flows))
    served = [sock for sock, status in flows if status == 200]
    for _ in sys.stdin:
        old = " ".join(str(ask(sock, host)) for sock in served)
        with tls(host) as sock:
            tell(f"{old} new {ask(sock, host)}")


def take_all_descriptors():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def park(host, count):
    """COUNT idle flows, a request on each; `held SERVED REFUSED`. For each line of standard input one more
    request on the first twenty: `served 20`. They end with it."""
    take_all_descriptors()
    context, held, refused = trusting(), [], 0
    for _ in range(int(count)):
        try:
            sock = tls(host, context)
            assert ask(sock, host) == 200
            held.append(sock)
        except OSError:
            refused += 1
    tell(f"held {len(held)} {refused}")
    for _ in sys.stdin:
        tell(f"served {[ask(sock, host) for sock in held[:20]].count(200)}")


def dawdle(host, count):
    """COUNT clients of plain HTTP: all but 200 take a byte a second to say their head, 100 to send their
    body, 100 do not read. `started`; then, when the proxy has ended every head, `STATUS COUNT` of those."""
    take_all_descriptors()
    flows = [socket.create_connection((host, 80), timeout=60) for _ in range(int(count))]
    heads, bodies, readers = flows[:-200], flows[-200:-100], flows[-100:]
    for some, start in ((heads, "GET /pub/x HTTP/1.1\r\nHost: {}\r\nX-Slow: "),
                        (bodies, "POST /api/x HTTP/1.1\r\nHost: {}\r\nContent-Length: 100000\r\n\r\n"),
                        (readers, "GET /pub/large?n=3000000 HTTP/1.1\r\nHost: {}\r\n\r\n")):
        for sock in some:
            sock.sendall(start.format(host).encode())
    tell("started")
    waiting, ended = set(heads), {}
    while waiting:
        until = time.monotonic() + 1
        for sock in list(waiting) + bodies:
            drip(sock)
        while waiting and time.monotonic() < until:
            for sock in readable(waiting, until - time.monotonic()):
                status = sock.recv(4096)[9:12].decode() or "closed"
                ended[status] = ended.get(status, 0) + 1
                waiting.remove(sock)
    tell(" ".join(f"{status} {number}" for status, number in sorted(ended.items())))
    sys.stdin.read()


def readable(socks, seconds):
    with selectors.DefaultSelector() as events:
        for sock in socks:
            events.register(sock, selectors.EVENT_READ)
        return [key.fileobj for key, _ in events.select(max(seconds, 0))]


def drip(sock):
    """One more byte, unless the connection is over: its answer waits to be read."""
    try:
        sock.send(b"x", socket.MSG_DONTWAIT)
    except OSError:
        pass


def pace(host, count):
    """COUNT requests one after another, each on a flow of its own: the slowest but one in a hundred, in ms."""
    context, times = trusting(), []
    for _ in range(int(count)):
        begin = time.monotonic()
        with tls(host, context) as sock:
            assert ask(sock, host) == 200
        times.append(1000 * (time.monotonic() - begin))
    tell(int(sorted(times)[int(count) * 99 // 100 - 1]))


def knock(host, count):
    """COUNT connects, twenty a second: how many were refused, at once or once they stood."""
    refused = 0
    for _ in range(int(count)):
        try:
            with socket.create_connection((host, 443), timeout=20) as sock:
                sock.recv(1)
        except ConnectionResetError:
            refused += 1
        time.sleep(0.05)
    tell(f"refused {refused}")


def bounce(host, port, count, ports=1):
    """COUNT connects as fast as they go, to so many ports from PORT on in turn: how many were refused with EPERM."""
    address = socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)[0][4][0]
    refused = 0
    for i in range(int(count)):
        with socket.socket() as sock:
            try:
                sock.connect((address, int(port) + i % int(ports)))
            except PermissionError:
                refused += 1
    tell(f"refused {refused}")


def fetch(host, path):
    """Milliseconds that one download takes, and its bytes."""
    begin = time.monotonic()
    with tls(host) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = http.client.HTTPResponse(sock)
        answer.begin()
        size = len(answer.read())
    tell(f"{int(1000 * (time.monotonic() - begin))} {size}")


def ending(sock):
    """`end` as when all has come, or `reset`."""
    try:
        while sock.recv(65536):
            pass
        return "end"
    except (ConnectionResetError, ssl.SSLError):
        return "reset"


def outlast(path, last, host="plain.test"):
    """Downloads of which the beginning has come: of any bytes, by HTTP/1.0 from HOST and by TLS. `stand`, then
    how each of them ends. The first is over once LAST is `yes`, the others once PATH is."""
    bytes_only = socket.create_connection(("l4.test", 5432), timeout=60)
    bytes_only.sendall(b"half")
    if last == "yes":
        bytes_only.shutdown(socket.SHUT_WR)
    old = socket.create_connection((host, 80), timeout=60)
    old.sendall(f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
    context = trusting()
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    new = context.wrap_socket(socket.create_connection(("ok.test", 443), timeout=60),
                              server_hostname="ok.test", suppress_ragged_eofs=False)
    new.sendall(f"GET {path} HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n".encode())
    flows = {bytes_only: b"half", old: b"\r\n\r\n", new: b"\r\n\r\n"}
    for sock, part in flows.items():
        got = b""
        while part not in got:
            got += sock.recv(4096)
        assert b"policy_denied" not in got, got
    tell("stand")
    tell(" ".join(ending(sock) for sock in flows))


commands = {name: globals()[name] for name in ("bounce", "dawdle", "fetch", "hold", "knock", "outlast", "pace", "park")}
commands[sys.argv[1]](*sys.argv[2:])
