"""What the soak's clients in Python share: deeds picked at random, several at a time, and counted.

A client is called with SEED and SECONDS. It prints {deed: [whole, cut]} as its last line; `BAD` lines before it,
and exit 1, when one went wrong."""
import contextlib
import json
import os
import random
import sys
import threading
import time
import traceback

ENOUGH = 50


class Cut(Exception):
    """We ended the flow, or had it ended."""


def expect(actual, expected, what):
    if actual != expected:
        raise AssertionError(f"{what}: expected {expected!r:.80}, got {actual!r:.80}")


class _Work:
    def __init__(self, deeds, seconds):
        self.deeds = deeds
        self.seconds = seconds
        self.end = time.monotonic() + seconds
        self.counts = {deed.__name__: [0, 0] for deed in deeds}
        self.bad = []
        self.lock = threading.Lock()

    def is_over(self):
        """Time is up; and each deed was done often enough to be whole and cut, unless that takes too long."""
        now = time.monotonic()
        return self.bad or now >= self.end and (now >= self.end + 10 * self.seconds or
                                                all(sum(both) >= ENOUGH for both in self.counts.values()))

    def go(self, dice, tools):
        """One thread's: until it is over, or any deed went wrong."""
        with tools() as tool:
            arguments = [dice] if tool is None else [tool, dice]
            while not self.is_over():
                self.do(dice.choice(self.deeds), arguments)

    def do(self, deed, arguments):
        try:
            deed(*arguments)
            cut = False
        except Cut:
            cut = True
        except Exception:
            self.bad.append(f"BAD {deed.__name__}: {traceback.format_exc()}")
            return
        with self.lock:
            self.counts[deed.__name__][cut] += 1


def run(deeds, thread_count, tools=contextlib.nullcontext):
    """Each is a function of its dice; of what `tools` opens for its thread before that, if anything."""
    seed, seconds = sys.argv[1:]
    work = _Work(deeds, float(seconds))
    threads = [threading.Thread(target=work.go, args=(random.Random(f"{seed}.{i}"), tools))
               for i in range(thread_count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("\n".join(work.bad))
    print(json.dumps(work.counts), flush=True)
    os._exit(bool(work.bad))
