"""A server of core_pattern's "@SOCKET" and "@@SOCKET" (Linux 6.16): binds SOCKET, prints `listening`, `connected` for
each crash that comes, and every canary in its memory. Ends with its standard input."""
import re
import select
import socket
import sys


def memory(peer):
    first = peer.recv(65536)
    if not first.startswith(b"\x7fELF"):
        return b""  # "@@" asks first; unanswered, nothing follows
    rest = iter(lambda: peer.recv(1 << 20), b"")
    return first + b"".join(rest)


server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
print("listening", flush=True)
while sys.stdin not in select.select([sys.stdin, server], [], [])[0]:
    with server.accept()[0] as peer:
        print("connected", flush=True)
        for canary in sorted(set(re.findall(rb"canary[0-9a-f]{20}", memory(peer)))):
            print(canary.decode(), flush=True)
