"""idle.py HOST COUNT: COUNT TLS connections, one request on each, then all are held open.
Prints a line when they stand; ends when its standard input does."""
import socket
import ssl
import sys

host, count = sys.argv[1], int(sys.argv[2])
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
held = []
for _ in range(count):
    flow = context.wrap_socket(socket.create_connection((host, 443)), server_hostname=host)
    flow.sendall(f"GET /pub/1k HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    answer = flow.recv(65536)
    if not answer.startswith(b"HTTP/1.1 200"):
        sys.exit(f"idle.py: {answer[:60]!r}")
    held.append(flow)
print("held", flush=True)
sys.stdin.read()
