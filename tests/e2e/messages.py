"""Sends messages exactly as they are written. Runs inside a sandbox.

messages.py HOST PORT NAME, where NAME is the server name of TLS, `none` (TLS without one) or
`plain`. Each line of standard input is `STATUSES MESSAGE`, one connection: MESSAGE is sent (Python
escapes), and what comes back is read to the end. Prints the line again, with the statuses that came,
joined by commas, and `open` behind them if the connection was left open; `closed` if nothing came."""
import re
import socket
import ssl
import sys

PATIENCE = 10


def connect(host, port, name):
    sock = socket.create_connection((host, int(port)), timeout=PATIENCE)
    if name == "plain":
        return sock
    context = ssl.create_default_context()
    if name == "none":
        context.check_hostname = False
        name = None
    return context.wrap_socket(sock, server_hostname=name)


def read_to_end(sock):
    data, end = b"", []
    try:
        while piece := sock.recv(65536):
            data += piece
    except socket.timeout:
        end = ["open"]
    except OSError:
        pass  # a reset ends it as well
    statuses = [status.decode() for status in re.findall(rb"HTTP/1\.1 (\d{3})", data)]
    return ",".join(statuses + end) or "closed"


def exchange(message):
    try:
        with connect(*sys.argv[1:4]) as sock:
            sock.sendall(message.encode("latin-1").decode("unicode_escape").encode("latin-1"))
            return read_to_end(sock)
    except OSError as error:
        return type(error).__name__


for line in sys.stdin:
    _, text = line.rstrip("\n").split(" ", 1)
    print(exchange(text), text, flush=True)
