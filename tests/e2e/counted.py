#!/usr/bin/python3
"""Requests to https://ok.test, each with a path of its own, every third one denied. As many are to
be answered as /sandbox/goal says; each answer is a line of /sandbox/answered: path and status."""
import http.client
import itertools
import os
import ssl
import time

TRUST = ssl.create_default_context()
numbers = itertools.count()


def goal():
    try:
        with open("/sandbox/goal") as file:
            return int(file.read() or 0)
    except FileNotFoundError:
        return 0


def ask(connection):
    number = next(numbers)
    path = f"/{'no' if number % 3 == 0 else 'pub'}/{number}"
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    return f"{path} {answer.status}\n"


answered = open("/sandbox/answered", "w", buffering=1)
connection = http.client.HTTPSConnection("ok.test", timeout=5, context=TRUST)
count = 0
while os.path.exists("/sandbox/answered"):
    if count >= goal():
        time.sleep(0.005)
        continue
    try:
        answered.write(ask(connection))
        count += 1
    except (OSError, http.client.HTTPException):
        connection.close()  # asks with another path then
