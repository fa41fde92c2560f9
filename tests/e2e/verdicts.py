#!/usr/bin/python3
"""Verdict records (JSON lines on stdin) whose fields match: FIELD=VALUE exactly,
FIELD~PART anywhere, FIELD! absent."""
import json
import re
import sys


def matches(record, test):
    field, how, value = re.fullmatch(r"(\w+)([=~!])(.*)", test, re.S).groups()
    if how == "!":
        return field not in record
    actual = str(record.get(field, ""))
    return actual == value if how == "=" else value in actual


for line in sys.stdin:
    if all(matches(json.loads(line), test) for test in sys.argv[1:]):
        sys.stdout.write(line)
