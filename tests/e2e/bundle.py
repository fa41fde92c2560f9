#!/usr/bin/python3
"""bundle.py DIR CGROUP NETNS [OPTION...]: an OCI bundle in DIR, whose config.json `runc spec` wrote.
The container's files are DIR/rootfs and the host's /usr; it joins the network namespace NETNS and runs a
shell that does what comes on its stdin, with a seccomp filter. OPTION: CAP_X, one capability more; `userns`, a
user namespace of its own, and a network namespace in place of NETNS that belongs to it; `unfiltered`, no filter;
`hostpid`, `hostipc`, no namespace of that kind."""
import json
import os
import sys

directory, cgroup, netns, *options = sys.argv[1:]
for path in "proc", "sys", "dev", "tmp", "usr", "etc":
    os.makedirs(f"{directory}/rootfs/{path}", exist_ok=True)
for path in "bin", "lib", "lib64", "sbin":
    os.symlink(f"usr/{path}", f"{directory}/rootfs/{path}")

with open(f"{directory}/config.json", encoding="utf-8") as file:
    config = json.load(file)
config["process"].update(terminal=False, args=["/usr/bin/sh"])
config["mounts"].append({"destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]})
config["linux"]["cgroupsPath"] = cgroup
namespaces = config["linux"]["namespaces"]
for namespace in namespaces:
    if namespace["type"] == "network" and "userns" not in options:
        namespace["path"] = netns
for kind in "pid", "ipc":
    if f"host{kind}" in options:
        namespaces.remove({"type": kind})
if "unfiltered" not in options:
    config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["perf_event_open", "keyctl", "userfaultfd"], "action": "SCMP_ACT_ERRNO"}]}
if "userns" in options:
    namespaces.append({"type": "user"})
    config["linux"]["uidMappings"] = config["linux"]["gidMappings"] = [
        {"containerID": 0, "hostID": 1000000, "size": 65536}]
for kind in "bounding", "effective", "permitted":
    config["process"]["capabilities"][kind] += [o for o in options if o.startswith("CAP_")]
with open(f"{directory}/config.json", "w", encoding="utf-8") as file:
    json.dump(config, file)
