#!/usr/bin/python3
"""flips.py SOCKET NAME FILE STEP: PolicySet of FILE with one bit of it flipped, each of every STEP-th byte,
and with the digest of the whole. Prints what was not refused for its digest, and how many were asked for."""
import hashlib
import sys

from control import ask, dial

path, name, file, step = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
with open(file, "rb") as source:
    whole = source.read()
parameters = {"name": name, "policy_sha256": hashlib.sha256(whole).hexdigest(), "wait": True}
asked = 0
with dial(path) as sock:
    for at in range(0, len(whole), step):
        for bit in range(8):
            text = bytearray(whole)
            text[at] ^= 1 << bit
            reply = ask(sock, "PolicySet", parameters, [text])
            asked += 1
            if "SHA-256" not in reply or "error" not in reply:
                print(f"byte {at} bit {bit}: {reply:.300}")
print(asked)
