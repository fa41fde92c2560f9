"""Many connections from inside a sandbox, by one program. See `commands` below."""
import http.client
import os
import select
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


def fetch(host, path):
    """Milliseconds that one download takes, and its bytes."""
    begin = time.monotonic()
    with tls(host) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = http.client.HTTPResponse(sock)
        answer.begin()
        size = len(answer.read())
    tell(f"{int(1000 * (time.monotonic() - begin))} {size}")


commands = {name: globals()[name] for name in ("hold", "fetch")}
commands[sys.argv[1]](*sys.argv[2:])
