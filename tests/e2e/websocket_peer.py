"""Both ends of a WebSocket, by Python's websockets, which offers and takes compression.

websocket_peer.py serve PEM PORT       sends every message back; prints "ready", then of each
                                       message its extensions and its length
websocket_peer.py talk URL LENGTH...   sends texts of these lengths (LENGTH/N: in frames of N characters;
                                       `on`: one after another until the socket closes); prints the extensions, and of each answer
                                       whether it is the text, or how the socket closed"""
import asyncio
import itertools
import ssl
import sys

import websockets

SIZE_MAX = 32 << 20


def extensions(socket):
    return ",".join(extension.name for extension in socket.extensions) or "none"


async def serve(pem, port):
    async def echo(socket):
        async for message in socket:
            print(extensions(socket), len(message), flush=True)
            await socket.send(message)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    async with websockets.serve(echo, "203.0.113.10", int(port), ssl=context, max_size=SIZE_MAX):
        print("ready", flush=True)
        await asyncio.Future()


def message(length, piece):
    text = ("wörds and " * length)[:length]
    return text, [text[at:at + piece] for at in range(0, length, piece)] if piece else text


async def talk(url, *lengths):
    async with websockets.connect(url, max_size=SIZE_MAX) as socket:
        print(extensions(socket))
        for length in itertools.repeat("5") if lengths == ("on",) else lengths:
            length, _, piece = length.partition("/")
            text, pieces = message(int(length), int(piece or 0))
            try:
                await socket.send(pieces)
                print("same" if await socket.recv() == text else "other")
            except websockets.ConnectionClosed as error:
                print("closed", error.code)
                return


asyncio.run({"serve": serve, "talk": talk}[sys.argv[1]](*sys.argv[2:]))
