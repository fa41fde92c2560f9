"""events.py LIBRARY URL: prints each event that URL/events sends as it comes, and says at URL/heard that it did."""
import asyncio
import sys

DEADLINE = 20


def by_requests(url):
    import requests
    session = requests.Session()
    with session.get(url + "/events", stream=True, timeout=DEADLINE) as answer:
        for line in answer.iter_lines(chunk_size=1):
            if line:
                print(line.decode())
                requests.get(url + "/heard", timeout=DEADLINE)


def by_aiohttp(url):
    import aiohttp

    async def listen():
        async with aiohttp.ClientSession() as session, session.get(url + "/events") as answer:
            async for line in answer.content:
                if line.strip():
                    print(line.decode().strip())
                    async with session.get(url + "/heard"):
                        pass

    asyncio.run(asyncio.wait_for(listen(), DEADLINE))


globals()["by_" + sys.argv[1]](sys.argv[2])
