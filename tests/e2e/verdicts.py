#!/usr/bin/python3
"""Verdict records (JSON lines on stdin) whose fields match: FIELD=VALUE exactly,
FIELD~PART anywhere, FIELD! absent. One that stands for several refusals, which is so for those that
happen to fall into one second, comes as often as that, without the number."""
import json
import re
import sys

MORE = re.compile(r" \((\d+) more within a second\)$")


def matches(record, test):
    field, how, value = re.fullmatch(r"(\w+)([=~!])(.*)", test, re.S).groups()
    if how == "!":
        return field not in record
    actual = str(record.get(field, ""))
    return actual == value if how == "=" else value in actual


for record in map(json.loads, sys.stdin):
    more = MORE.search(record.get("l7_deny_reason", ""))
    if more:
        record["l7_deny_reason"] = record["l7_deny_reason"][:more.start()]
    if all(matches(record, test) for test in sys.argv[1:]):
        print("\n".join([json.dumps(record, ensure_ascii=False, separators=(",", ":"))] * (int(more[1]) if more else 1)))
