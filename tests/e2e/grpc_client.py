"""A gRPC client without generated code: grpc_client.py HOST:PORT WHAT... Prints one line for each."""
import queue
import sys

import grpc

TIMEOUT_S = 30
METADATA = (("x-word", "hello"), ("raw-bin", b"\x01\x02"))

channel = grpc.secure_channel(sys.argv[1], grpc.ssl_channel_credentials())


def show(call, result):
    last = [value for key, value in call.trailing_metadata() if key in ("x-last", "raw-bin")]
    first = [value for key, value in call.initial_metadata() if key == "x-first"]
    print(call.code().name, result, first, last)


def one(message=b"hello"):
    result, call = channel.unary_unary("/test.Echo/One").with_call(message, TIMEOUT_S, METADATA)
    show(call, result)


def abort():
    one(b"abort")


def large():
    result = channel.unary_unary("/test.Echo/One")(b"x" * 3000000, TIMEOUT_S)
    print(len(result))


def many():
    call = channel.unary_stream("/test.Echo/Many")(b"word", TIMEOUT_S, METADATA)
    result = len(list(call))
    show(call, result)


def count():
    result, call = channel.stream_unary("/test.Echo/Sum").with_call(iter([b"a"] * 7), TIMEOUT_S, METADATA)
    show(call, result)


def talk():
    """Says the next word only when the last came back."""
    words = queue.Queue()
    call = channel.stream_stream("/test.Echo/Talk")(iter(words.get, None), TIMEOUT_S, METADATA)
    heard = []
    for word in (b"a", b"b", b"c"):
        words.put(word)
        heard.append(next(call))
    words.put(None)
    heard += call
    show(call, b"".join(heard))


def enough():
    """The server ends it while the client would go on."""
    words = queue.Queue()
    words.put(b"enough")
    list(channel.stream_stream("/test.Echo/Talk")(iter(words.get, None), TIMEOUT_S))


def cancel():
    words = queue.Queue()
    words.put(b"word")
    call = channel.stream_stream("/test.Echo/Talk")(iter(words.get, None), TIMEOUT_S)
    print(next(call))
    call.cancel()
    next(call)


def late():
    """A deadline that passes."""
    channel.stream_unary("/test.Echo/Sum")(iter(queue.Queue().get, None), 1)


def listen():
    """Says nothing before the server has spoken."""
    words = queue.Queue()
    call = channel.stream_stream("/test.Echo/Talk")(iter(words.get, None), TIMEOUT_S, METADATA)
    print("first", dict(call.initial_metadata())["x-first"])
    words.put(b"now")
    words.put(None)
    show(call, b"".join(call))


def secret():
    channel.unary_unary("/test.Echo/Secret")(b"hello", TIMEOUT_S)


def absent():
    channel.unary_unary("/test.Other/One")(b"hello", TIMEOUT_S)


WHAT = {"one": one, "abort": abort, "large": large, "many": many, "count": count, "talk": talk, "listen": listen, "enough": enough,
        "cancel": cancel, "late": late,
        "secret": secret, "absent": absent}
for what in sys.argv[2:]:
    try:
        WHAT[what]()
    except grpc.RpcError as error:
        print(error.code().name, error.details())
