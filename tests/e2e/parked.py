"""parked.py WAY CANARY FIFO: a connection that is in no table of the process's first thread.

Each reading of FIFO to its end is a word to go on: first it takes the connection back, where that is
called for, then it sends CANARY on it. Tells its pid, then what it has done, a line each."""
import ctypes
import os
import signal
import socket
import sys
import threading

CLONE_FILES = 0x400
SYS_EXIT = {"x86_64": 60, "aarch64": 93}[os.uname().machine]
SYS_IO_URING_SETUP, SYS_IO_URING_REGISTER = 425, 427
REGISTER_FILES, UNREGISTER_FILES = 2, 3
libc = ctypes.CDLL(None, use_errno=True)

way, canary, fifo = sys.argv[1:]


def call(function, *args):
    result = function(*args)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def tell(word):
    print(word, flush=True)


def wait():
    open(fifo).read()


def send(sock):
    wait()
    try:
        sock.sendall(canary.encode())
        sock.shutdown(socket.SHUT_WR)
        sock.recv(9)
        tell("sent")
    except OSError:
        tell("ended")


def take(sock):
    return socket.socket(fileno=socket.recv_fds(sock, 1, 1)[1][0])


def in_flight(sock, there, take_back):
    """`there` leads to where it is queued."""
    socket.send_fds(there, [b"x"], [sock.fileno()])
    sock.close()
    there.close()
    tell("parked")
    wait()
    sock = take_back()
    tell("taken")
    send(sock)


def in_pair(sock, kind):
    here, there = socket.socketpair(socket.AF_UNIX, kind)
    in_flight(sock, there, lambda: take(here))


def in_unaccepted(sock):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("")
    listener.listen()
    there = socket.socket(socket.AF_UNIX)
    there.connect(listener.getsockname())
    in_flight(sock, there, lambda: take(listener.accept()[0]))


def in_thread(sock, first_ends):
    parted, left = threading.Event(), threading.Event()

    def own_table():
        call(libc.unshare, CLONE_FILES)
        parted.set()
        left.wait()
        tell("parked")
        send(sock)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=own_table).start()
    parted.wait()
    os.close(sock.fileno())
    left.set()
    if first_ends:
        libc.syscall(SYS_EXIT, 0)
    signal.pause()


def in_ring(sock):
    params = (ctypes.c_uint32 * 30)()
    ring = call(libc.syscall, SYS_IO_URING_SETUP, 1, params)
    files = (ctypes.c_int * 1)(sock.fileno())
    call(libc.syscall, SYS_IO_URING_REGISTER, ring, REGISTER_FILES, files, 1)
    tell("parked")
    wait()
    call(libc.syscall, SYS_IO_URING_REGISTER, ring, UNREGISTER_FILES, None, 0)
    tell("taken")
    send(sock)


tell(os.getpid())
connection = socket.create_connection(("203.0.113.10", 5432))
if way in ("stream", "datagram", "seqpacket"):
    in_pair(connection, {"stream": socket.SOCK_STREAM, "datagram": socket.SOCK_DGRAM, "seqpacket": socket.SOCK_SEQPACKET}[way])
elif way == "unaccepted":
    in_unaccepted(connection)
elif way == "ring":
    in_ring(connection)
else:
    in_thread(connection, way == "orphan")
