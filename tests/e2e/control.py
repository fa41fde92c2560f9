#!/usr/bin/python3
"""control.py SOCKET METHOD: one call on the control socket, parameters as JSON on stdin.
Prints the reply. What the CLI would never send can be sent with this."""
import json
import socket
import sys

with socket.socket(socket.AF_UNIX) as sock:
    sock.settimeout(10)
    sock.connect(sys.argv[1])
    call = {"method": "io.openshell." + sys.argv[2], "parameters": json.load(sys.stdin)}
    sock.sendall(json.dumps(call).encode() + b"\0")
    reply = b""
    while not reply.endswith(b"\0"):
        data = sock.recv(65536)
        if not data:
            break
        reply += data
print(reply.rstrip(b"\0").decode())
