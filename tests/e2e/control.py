#!/usr/bin/python3
"""control.py SOCKET METHOD [FILE]: one call on the control socket, parameters as JSON on
stdin, FILE attached as a sealed memfd. Prints the reply. What the CLI would never send can
be sent with this."""
import fcntl
import json
import os
import socket
import sys


def sealed(path):
    fd = os.memfd_create("control", os.MFD_ALLOW_SEALING)
    with open(path, "rb") as file:
        os.write(fd, file.read())
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)
    return fd


with socket.socket(socket.AF_UNIX) as sock:
    sock.settimeout(10)
    sock.connect(sys.argv[1])
    call = {"method": "io.openshell." + sys.argv[2], "parameters": json.load(sys.stdin)}
    socket.send_fds(sock, [json.dumps(call).encode() + b"\0"], [sealed(path) for path in sys.argv[3:]])
    reply = b""
    while not reply.endswith(b"\0"):
        data = sock.recv(65536)
        if not data:
            break
        reply += data
print(reply.rstrip(b"\0").decode())
