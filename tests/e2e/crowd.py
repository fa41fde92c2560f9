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


def park(host, count):
    """COUNT idle flows, a request on each; `held SERVED REFUSED`. They end with standard input."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    context, held, refused = trusting(), [], 0
    for _ in range(int(count)):
        try:
            sock = tls(host, context)
            assert ask(sock, host) == 200
            held.append(sock)
        except OSError:
            refused += 1
    tell(f"held {len(held)} {refused}")
    sys.stdin.read()


def pace(host, count):
    """COUNT requests one after another, each on a flow of its own: the slowest but one in a hundred, in ms."""
    context, times = trusting(), []
    for _ in range(int(count)):
        begin = time.monotonic()
        with tls(host, context) as sock:
            assert ask(sock, host) == 200
        times.append(1000 * (time.monotonic() - begin))
    tell(int(sorted(times)[int(count) * 99 // 100 - 1]))


def fetch(host, path):
    """Milliseconds that one download takes, and its bytes."""
    begin = time.monotonic()
    with tls(host) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = http.client.HTTPResponse(sock)
        answer.begin()
        size = len(answer.read())
    tell(f"{int(1000 * (time.monotonic() - begin))} {size}")


def stall(host, count):
    """COUNT flows in the clear that stop in the middle of a head; a few of a body, or of reading large
    answers. Held until the end of standard input."""
    request = f"GET /pub/large?n=3000000 HTTP/1.1\r\nHost: {host}\r\n"
    starts = {0: request + "Content-Length: 9\r\n\r\nx", 20: request + "\r\n"}
    flows = []
    for number in range(int(count)):
        flows.append(socket.create_connection((host, 80), timeout=60))
        flows[-1].sendall(starts.get(number // 20 * 20, request).encode())
    tell("stalled")
    sys.stdin.read()


commands = {name: globals()[name] for name in ("fetch", "hold", "pace", "park", "stall")}
commands[sys.argv[1]](*sys.argv[2:])
