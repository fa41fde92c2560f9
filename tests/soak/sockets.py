#!/usr/bin/python3
"""sockets.py PEM PORT: a WebSocket server with compression: every message comes back; `drop` ends the
connection without a word. Prints "ready"."""
import asyncio
import ssl
import sys

import websockets


async def serve(socket, _path):
    async for message in socket:
        if message == "drop":
            socket.transport.abort()
            return
        await socket.send(message)


async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1])
    async with websockets.serve(serve, "203.0.113.10", int(sys.argv[2]), ssl=context):
        print("ready", flush=True)
        await asyncio.Future()


asyncio.run(main())
