"""DNS from inside a sandbox, more of it than a program needs. See `commands` below."""
import random
import socket
import struct
import sys
import time

RESOLVER = ("198.18.0.1", 53)


def question(name, number, options=b""):
    """An A question; `options` go into an OPT record (RFC 6891)."""
    labels = b"".join(bytes([len(label)]) + label for label in name.encode().split(b"."))
    message = struct.pack(">HHHHHH", number, 0x100, 1, 0, 0, 1 if options else 0) + labels + b"\0\0\1\0\1"
    return message + (b"\0\0\x29" + struct.pack(">HIH", 1232, 0, len(options)) + options if options else b"")


def outcome(reply):
    """`rcode`, or the address: behind the question and twelve bytes of the first record."""
    _, flags, _, answers = struct.unpack_from(">HHHH", reply)
    end = reply.index(b"\0\0\1\0\1", 12) + 5
    return socket.inet_ntoa(reply[end + 12:end + 16]) if answers and not flags & 15 else f"rcode={flags & 15}"


def resolver():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(RESOLVER)
    sock.settimeout(0.5)
    return sock


def resolve(sock, name, options=b""):
    """As a stub does: asks again when nothing comes."""
    number = random.randrange(1, 65536)
    for _ in range(20):
        sock.send(question(name, number, options))
        try:
            while (reply := sock.recv(4096))[:2] != struct.pack(">H", number):
                pass
            return outcome(reply)
        except socket.timeout:
            pass
    return "silence"


def ask(*names):
    sock = resolver()
    for name in names:
        print(name, resolve(sock, name))


def options(name):
    """With a cookie (RFC 7873), with the client's subnet (RFC 7871)."""
    sock = resolver()
    print(resolve(sock, name, struct.pack(">HH", 10, 8) + b"12345678"))
    print(resolve(sock, name, struct.pack(">HHHBB", 8, 7, 1, 24, 0) + b"\x0a\1\2"))


def exhaust(prefix, count):
    """COUNT names: how many got an address, how many an error; the first one, asked again."""
    sock, addresses, errors = resolver(), set(), 0
    first = resolve(sock, f"{prefix}-0.test")
    for number in range(int(count)):
        got = resolve(sock, f"{prefix}-{number}.test")
        if got.startswith("rcode="):
            errors += 1
        else:
            addresses.add(got)
    print(len(addresses), errors, resolve(sock, f"{prefix}-0.test") == first)


def ask_at_once(names):
    """Questions as fast as they can be sent: how many were, and what was answered (bytes by number)."""
    sock, sent, answers, end = resolver(), 0, [], time.monotonic() + 30
    sock.setblocking(False)
    for name in names:
        try:
            sock.send(question(name, 7))
            sent += 1
        except BlockingIOError:
            pass
        try:
            while True:
                answers.append(sock.recv(512))
        except BlockingIOError:
            pass
        if time.monotonic() > end:
            break
    return sent, answers


def flood(name, count):
    """One question COUNT times: sent, and answered."""
    sent, answers = ask_at_once([name] * int(count))
    print(sent, len(answers))


def blast(prefix, count):
    """COUNT names: sent, answered, and those of them that got an address."""
    sent, answers = ask_at_once(f"{prefix}-{number}.test" for number in range(int(count)))
    print(sent, len(answers), sum(not outcome(answer).startswith("rcode=") for answer in answers))


def streams(count):
    """COUNT TCP connections that say half a length: are they over in time? A question by UDP meanwhile, many by
    TCP at the end."""
    held = [socket.create_connection(RESOLVER, timeout=20) for _ in range(int(count))]
    for sock in held:
        try:
            sock.sendall(b"\0")
        except OSError:
            pass
    print("udp", resolve(resolver(), "ok.test").startswith("198.18."))
    begin = time.monotonic()
    for sock in held:
        try:
            assert sock.recv(1) == b""
        except ConnectionResetError:
            pass
    print("in time", time.monotonic() - begin < 18)
    print("tcp", pipelined(100))


def pipelined(count):
    """Questions in one segment: are all answered, in order?"""
    with socket.create_connection(RESOLVER, timeout=20) as sock:
        message = [question("ok.test", number) for number in range(1, count + 1)]
        sock.sendall(b"".join(struct.pack(">H", len(part)) + part for part in message))
        stream, numbers = sock.makefile("rb"), []
        for _ in range(count):
            reply = stream.read(struct.unpack(">H", stream.read(2))[0])
            numbers.append(struct.unpack_from(">H", reply)[0])
        return numbers == list(range(1, count + 1))


def sweep(first, count):
    """Dial COUNT addresses of the pool on 443, with no name: those where something but a reset came."""
    start, led = struct.unpack(">I", socket.inet_aton(first))[0], []
    for number in range(start, start + int(count)):
        address = socket.inet_ntoa(struct.pack(">I", number))
        try:
            with socket.create_connection((address, 443), timeout=10) as sock:
                sock.sendall(b"GET /pub/x HTTP/1.1\r\nHost: ok.test\r\n\r\n")
                status = sock.recv(4096)[9:12].decode()
        except OSError:
            status = "error"
        if status not in ("403", "error"):
            led.append(address)
    print(*led)


commands = {name: globals()[name] for name in ("ask", "blast", "exhaust", "flood", "options", "streams", "sweep")}
commands[sys.argv[1]](*sys.argv[2:])
