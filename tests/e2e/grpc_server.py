#!/usr/bin/python3
"""A gRPC server without generated code: messages are bytes. grpc_server.py PEM PORT

Prints "ready", then a line for each call: METHOD, and the metadata that a test sends.
  /test.Echo/One     unary: the message back; "abort" ends in RESOURCE_EXHAUSTED
  /test.Echo/Many    server streaming: the message, ten times
  /test.Echo/Sum     client streaming: the number of messages. Prints "Sum ended" and their sizes
  /test.Echo/Talk    bidirectional: each message back as it comes; "enough" ends it early. Prints
                     "Talk ended" when it did, however
  /test.Echo/Secret  unary: never to be called
"""
import sys
from concurrent import futures

import grpc


def note(context, name):
    sent = dict(context.invocation_metadata())
    left = context.time_remaining()
    print(name, sent.get("x-word", "-"), sent.get("raw-bin", b"-"), "deadline" if left and left < 3600 else "patient",
          flush=True)
    context.send_initial_metadata([("x-first", "1")])
    context.set_trailing_metadata([("x-last", "two"), ("raw-bin", b"\x00\xff"), ("x-last", "three")])


def one(request, context):
    note(context, "One")
    if request == b"abort":
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "enough: 100% \u00fc")
    return request


def many(request, context):
    note(context, "Many")
    for _ in range(10):
        yield request


def count(requests, context):
    note(context, "Sum")
    sizes = [len(request) for request in requests]
    print("Sum ended", sizes, flush=True)
    return str(len(sizes)).encode()


def talk(requests, context):
    note(context, "Talk")
    context.add_callback(lambda: print("Talk ended", flush=True))
    for request in requests:
        if request == b"enough":
            context.abort(grpc.StatusCode.OUT_OF_RANGE, "no more")
        yield request


def secret(request, context):
    note(context, "Secret")
    return request


def main():
    with open(sys.argv[1], "rb") as file:
        pem = file.read()
    server = grpc.server(futures.ThreadPoolExecutor(64))
    handlers = {
        "One": grpc.unary_unary_rpc_method_handler(one),
        "Many": grpc.unary_stream_rpc_method_handler(many),
        "Sum": grpc.stream_unary_rpc_method_handler(count),
        "Talk": grpc.stream_stream_rpc_method_handler(talk),
        "Secret": grpc.unary_unary_rpc_method_handler(secret),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))
    server.add_secure_port(f"203.0.113.10:{sys.argv[2]}", grpc.ssl_server_credentials([(pem, pem)]))
    server.start()
    print("ready", flush=True)
    server.wait_for_termination()


main()
