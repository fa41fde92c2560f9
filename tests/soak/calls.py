#!/usr/bin/python3
"""calls.py SEED SECONDS: as client.py, by gRPC: all four kinds of call to tests/e2e/grpc_server.py, several at a
time; about a third is cancelled in the middle, ended by the server, or goes with its channel."""
import queue

import grpc

from deeds import Cut, expect, run

TARGET = "ok.test:9452"
PATIENCE = 60
THREADS = 4
PATTERN = bytes(i % 251 for i in range(100000))


def expect_code(error, code):
    expect(error.code(), code, f"status ({error.details()})")


def message(dice):
    return PATTERN[:dice.randrange(1, len(PATTERN))]


def is_cut(dice):
    return dice.random() < 0.33


def open_channel(*options):
    """Without gRPC's own retries: one whose connection ends sends the call again on the next, and in 1.51 leaves out
    a message of a stream (see http2_frames.c). A connection that ends must fail here, not be made up for."""
    return grpc.secure_channel(TARGET, grpc.ssl_channel_credentials(), [("grpc.enable_retries", 0), *options])


# ---- Deeds ------------------------------------------------------------------------------------


def unary(channel, dice):
    sent = message(dice)
    future = channel.unary_unary("/test.Echo/One").future(sent, PATIENCE)
    if is_cut(dice):
        future.cancel()
        raise Cut
    expect(future.result(), sent, "message")


def server_stream(channel, dice):
    sent, left = message(dice), dice.randrange(10) if is_cut(dice) else 11
    call = channel.unary_stream("/test.Echo/Many")(sent, PATIENCE)
    for received in call:
        expect(received, sent, "message")
        left -= 1
        if left <= 0:
            call.cancel()
            raise Cut
    expect(left, 1, "messages that did not come")


def client_stream(channel, dice):
    count = dice.randrange(1, 50)
    words = queue.Queue()
    call = channel.stream_unary("/test.Echo/Sum").future(iter(words.get, None), PATIENCE)
    sent = [message(dice) for _ in range(count)]
    for word in sent:
        words.put(word)
    cut = is_cut(dice)
    if cut:
        call.cancel()
    words.put(None)
    if cut:
        raise Cut
    expect(call.result(), str(count).encode(), f"messages counted of {[len(word) for word in sent]}")


def dialogue(channel, dice):
    words = queue.Queue()
    call = channel.stream_stream("/test.Echo/Talk")(iter(words.get, None), PATIENCE)
    end = dice.choice(["whole", "whole", "cancel", "enough"])
    try:
        for _ in range(dice.randrange(1, 20)):
            sent = message(dice)
            words.put(sent)
            expect(next(call), sent, "message")
        if end == "cancel":
            call.cancel()
            raise Cut
        if end == "enough":
            words.put(b"enough")
            end_of_talk(call)
    finally:
        words.put(None)
    expect(list(call), [], "messages behind the last")


def end_of_talk(call):
    try:
        next(call)
    except grpc.RpcError as error:
        expect_code(error, grpc.StatusCode.OUT_OF_RANGE)
        raise Cut from None
    raise AssertionError("a message came after the end")


def refused_call(channel, dice):
    try:
        channel.unary_unary("/test.Echo/Secret")(message(dice), PATIENCE)
    except grpc.RpcError as error:
        expect_code(error, grpc.StatusCode.PERMISSION_DENIED)
        return
    raise AssertionError("what is denied was answered")


def torn_channel(_, dice):
    """A connection of its own goes while its calls are busy."""
    channel = open_channel(("grpc.use_local_subchannel_pool", 1))
    words = queue.Queue()
    words.put(message(dice))
    call = channel.stream_stream("/test.Echo/Talk")(iter(words.get, None), PATIENCE)
    if dice.random() < 0.5:
        next(call)
    channel.close()
    words.put(None)
    raise Cut


run([unary, server_stream, client_stream, dialogue, refused_call, torn_channel], THREADS, open_channel)
