#!/usr/bin/python3
"""control.py SOCKET METHOD [FILE]: one call on the control socket, parameters as JSON on
stdin, FILE attached as a sealed memfd. Prints the reply. What the CLI would never send can
be sent with this."""
import fcntl
import json
import os
import socket
import sys


def dial(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(10)
    sock.connect(path)
    return sock


def seal(text):
    fd = os.memfd_create("control", os.MFD_ALLOW_SEALING)
    os.write(fd, text)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)
    return fd


def ask(sock, method, parameters, texts):
    """The reply, of which nothing comes when the agent hangs up."""
    call = {"method": "io.openshell." + method, "parameters": parameters}
    fds = [seal(text) for text in texts]
    socket.send_fds(sock, [json.dumps(call).encode() + b"\0"], fds)
    for fd in fds:
        os.close(fd)
    reply = b""
    while not reply.endswith(b"\0"):
        data = sock.recv(65536)
        if not data:
            break
        reply += data
    return reply.rstrip(b"\0").decode()


def main(path, method, *files):
    texts = []
    for name in files:
        with open(name, "rb") as file:
            texts.append(file.read())
    with dial(path) as sock:
        print(ask(sock, method, json.load(sys.stdin), texts))


if __name__ == "__main__":
    main(*sys.argv[1:])
