"""Prints the HTTP status of each URL, by the library that the first argument names."""
import asyncio
import sys


def by_urllib(url):
    import urllib.error
    import urllib.request
    try:
        return urllib.request.urlopen(url).status
    except urllib.error.HTTPError as error:
        return error.code


def by_requests(url):
    import requests
    return requests.get(url, timeout=20).status_code


def by_aiohttp(url):
    import aiohttp

    async def get():
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return answer.status

    return asyncio.run(get())


for argument in sys.argv[2:]:
    print(globals()["by_" + sys.argv[1]](argument))
