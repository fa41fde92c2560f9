#!/usr/bin/python3
"""yaml_bombs.py OPENSHELL DIR: policy texts made to hurt a reader, one file each, through
`policy validate`. Prints one line for each that is not refused with its place, within 100 ms of
processor time and 32 MiB; nothing printed is success. The last two are good and have to load."""
import os
import resource
import subprocess
import sys

HEAD = b"version: 1\nnetwork_policies:\n"


def endpoint(text, name=b"a"):
    return HEAD + b"  " + name + b":\n    binaries: [{ path: /bin/x }]\n    endpoints:\n      - " + text + b"\n"


def large(count):
    items = b"".join(b"      - { host: h%d.test, port: 443 }\n" % i for i in range(count))
    return HEAD + b"  a:\n    binaries: [{ path: /bin/x }]\n    endpoints:\n" + items


ALIASES = b"a0: &a0 [x, x]\n" + b"".join(
    b"a%d: &a%d [%s]\n" % (i, i, b", ".join([b"*a%d" % (i - 1)] * 10)) for i in range(1, 20))

REFUSED = {
    "alias-bomb": b"version: 1\n" + ALIASES,
    "merge-key": HEAD + b"  a: &x { binaries: [] }\n  b: { <<: *x }\n",
    "deep-flow": b"version: " + b"[" * 10000 + b"]" * 10000,
    "deep-block": b"version: 1\n" + b"".join(b" " * i + b"a:\n" for i in range(1000)),
    "wide-line": HEAD + b"  a: [" + b"x," * 500000 + b"x]\n",
    "long-scalar": HEAD + b"  a: " + b"x" * 1000000 + b"\n",
    "not-utf8": HEAD + b"  a\xff: {}\n",
    "overlong-utf8": HEAD + b"  a\xc0\xaf: {}\n",
    "utf16": "version: 1\n".encode("utf-16"),
    "nul": HEAD + b"  a\0b: {}\n",
    "escape": HEAD + b"  a\x1b[2Jb: {}\n",
    "tag": HEAD + b"  a: !!python/object/apply:os.system [id]\n",
    "custom-tag": HEAD + b"  a: !x {}\n",
    "duplicate": HEAD + b"  a: { binaries: [], endpoints: [] }\n  a: { binaries: [], endpoints: [] }\n",
    "several-documents": b"version: 1\n---\nversion: 1\n",
    "directive": b"%YAML 3.0\n---\nversion: 1\n",
    "unclosed": HEAD + b"  a: {\n",
    "tabs": b"version: 1\nnetwork_policies:\n\ta: {}\n",
    "port-hexadecimal": endpoint(b"{ host: a.test, port: 0x1bb }"),
    "port-octal": endpoint(b"{ host: a.test, port: 0o673 }"),
    "port-leading-zero": endpoint(b"{ host: a.test, port: 08 }"),
    "port-text": endpoint(b'{ host: a.test, port: "443" }'),
    "port-float": endpoint(b"{ host: a.test, port: 443.0 }"),
    "port-sexagesimal": endpoint(b"{ host: a.test, port: 7:23 }"),
    "no-as-enforcement": endpoint(b"{ host: a.test, port: 443, protocol: rest, access: full, enforcement: no }"),
    "no-as-flag": endpoint(b"{ host: a.test, port: 443, protocol: rest, access: full, allow_encoded_slash: no }"),
    "no-as-host": endpoint(b"{ host: no, port: 443, tls: off }"),
    "version-text": b'version: "1"\n',
    "null": b"version: 1\nnetwork_policies: ~\nfilesystem_policy: ~\nx: ~\n",
    "list": b"- version: 1\n",
}
ACCEPTED = {
    "ten-thousand-endpoints": large(10000),
    "as-text": endpoint(b'{ host: "no.test", port: 443, protocol: rest, access: full, enforcement: enforce }'),
}

CPU_SECONDS_MAX = 1  # what explodes takes far longer


def validate(program, path):
    """Exit status, output, processor seconds, MiB."""
    pid, out = None, None
    with subprocess.Popen([program, "policy", "validate", path], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT) as process:
        out = process.stdout.read()
        pid, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, out.decode(), usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def judge(program, path, refused):
    status, out, seconds, mib = validate(program, path)
    if refused and (status != 1 or f"{path}:" not in out):
        return f"status {status}: {out[:200]!r}"
    if not refused and status != 0:
        return f"refused: {out[:200]!r}"
    if refused and (seconds > CPU_SECONDS_MAX or mib > 32):
        return f"{seconds:.3f} s, {mib:.1f} MiB"
    if any(ord(c) < 0x20 and c != "\n" for c in out):
        return f"raw bytes: {out[:200]!r}"
    return None


def main():
    program, directory = sys.argv[1:]
    # A reader that grows without bound dies instead of taking the machine along.
    resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))
    for name, text in [*REFUSED.items(), *ACCEPTED.items()]:
        path = f"{directory}/{name}.yaml"
        with open(path, "wb") as file:
            file.write(text)
        fault = judge(program, path, name in REFUSED)
        if fault:
            print(f"{name}: {fault}")
    # 100 MB, and a file without an end.
    path = f"{directory}/sparse.yaml"
    with open(path, "wb") as file:
        file.truncate(100 << 20)
    for path in (path, "/dev/zero", directory):
        status, out, seconds, mib = validate(program, path)
        if status != 1 or not out or seconds > CPU_SECONDS_MAX or mib > 32:
            print(f"{path}: status {status}, {seconds:.3f} s, {mib:.1f} MiB: {out[:200]!r}")


main()
