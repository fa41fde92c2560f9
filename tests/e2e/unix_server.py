"""Unix sockets for a test to reach: binds each PATH (`@name` is abstract) for streams and PATH.dgram
for datagrams, prints `listening`, and then every text that arrives. Ends with its standard input.

Streams are answered with `heard TEXT`, as an ssh-agent would."""
import os
import selectors
import socket
import sys


def bind(path, kind):
    name = path if kind == socket.SOCK_STREAM else path + ".dgram"
    sock = socket.socket(socket.AF_UNIX, kind)
    sock.bind("\0" + name[1:] if name[0] == "@" else name)
    if name[0] != "@":
        os.chmod(name, 0o666)
    if kind == socket.SOCK_STREAM:
        sock.listen()
    return sock


def answer(sock):
    if sock.type == socket.SOCK_DGRAM:
        print("datagram", sock.recv(200).decode(), flush=True)
        return
    peer, _ = sock.accept()
    with peer:
        peer.settimeout(5)
        text = peer.recv(200)
        print("stream", text.decode(), flush=True)
        peer.sendall(b"heard " + text)


waiting = selectors.DefaultSelector()
waiting.register(sys.stdin, selectors.EVENT_READ)
for where in sys.argv[1:]:
    for wanted in socket.SOCK_STREAM, socket.SOCK_DGRAM:
        waiting.register(bind(where, wanted), selectors.EVENT_READ)
print("listening", flush=True)
while True:
    for key, _ in waiting.select():
        if key.fileobj is sys.stdin:
            sys.exit(0)
        answer(key.fileobj)
