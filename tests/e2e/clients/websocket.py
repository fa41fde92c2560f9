"""websocket.py LIBRARY URL TEXT...: sends each text once the last was answered; prints what comes, and the end."""
import asyncio
import sys

DEADLINE = 20


async def by_websockets(url, texts):
    import websockets
    try:
        async with websockets.connect(url) as socket:
            print(await socket.recv())
            for text in texts:
                await socket.send(text)
                print(await socket.recv())
    except websockets.InvalidStatusCode as error:
        print("status", error.status_code)
    except websockets.ConnectionClosed as error:
        print("closed", error.code)


async def by_aiohttp(url, texts):
    import aiohttp
    async with aiohttp.ClientSession() as session:
        try:
            async with session.ws_connect(url) as socket:
                print((await socket.receive()).data)
                for text in texts:
                    await socket.send_str(text)
                    message = await socket.receive()
                    print(message.data if message.type == aiohttp.WSMsgType.TEXT else f"closed {socket.close_code}")
        except aiohttp.WSServerHandshakeError as error:
            print("status", error.status)


asyncio.run(asyncio.wait_for(globals()["by_" + sys.argv[1]](sys.argv[2], sys.argv[3:]), DEADLINE))
