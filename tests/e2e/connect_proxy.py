#!/usr/bin/python3
"""A company's proxy: CONNECT alone, for who has the credential.

connect_proxy.py ADDRESS PORT USER:PASSWORD LOG READY
Every request line is written to LOG as `STATUS LINE`; READY is made when it listens. What is
asked for by name is looked for in the world's zone, beside LOG. refused.test gets a 403.
"""
import base64
import os
import socket
import socketserver
import sys
import threading

address, port, credential, log_path, ready = sys.argv[1:]
expected = "Basic " + base64.b64encode(credential.encode()).decode()
log_lock = threading.Lock()


def note(status, line):
    with log_lock, open(log_path, "a", encoding="utf-8") as log:
        log.write(f"{status} {line}\n")


def look_up(name):
    with open(os.path.join(os.path.dirname(log_path), "zone"), encoding="ascii") as zone:
        for line in zone:
            words = line.split()
            if words and words[0] == name:
                return words[1]
    # What the outer world alone knows.
    return "203.0.113.10"


def copy(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


class Handler(socketserver.StreamRequestHandler):
    rbufsize = 0  # what follows the head belongs to the tunnel

    def refuse(self, line, status):
        note(status, line)
        self.wfile.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())

    def handle(self):
        line = self.rfile.readline(8192).decode("latin-1").strip()
        fields = {}
        while field := self.rfile.readline(8192).decode("latin-1").strip():
            key, _, value = field.partition(":")
            fields[key.lower()] = value.strip()
        words = line.split(" ")
        if words[0] != "CONNECT":
            self.refuse(line, "405 Tunnels only")
        elif fields.get("proxy-authorization") != expected:
            self.refuse(line, "407 Who are you")
        elif words[1].startswith("refused.test:"):
            self.refuse(line, "403 Not during work")
        else:
            self.tunnel(line, words[1])

    def tunnel(self, line, authority):
        name, _, number = authority.rpartition(":")
        with socket.create_connection((look_up(name.strip("[]")), int(number)), 10) as server:
            server.settimeout(None)
            note("200", line)
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            other = threading.Thread(target=copy, args=(server, self.request))
            other.start()
            copy(self.request, server)
            other.join()


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


with Server((address, int(port)), Handler) as listener:
    with open(ready, "w", encoding="ascii"):
        pass
    listener.serve_forever()
