#!/usr/bin/python3
"""Fails when an #include under src/ or drivers/ is an arrow that the architecture does not have.
See README.md.

usage: check.py [TREE]      the tree (default: this repository), then every canary: each must fail
       check.py --only TREE just that tree
"""

import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
CORE = [
    "base",
    "wire",
    "crypto",
    "stream",
    "transport",
    "tcp",
    "utp",
    "net",
    "peer",
    "swarm",
    "store",
]

# Module -> what it may include besides itself: modules, or single headers where only those are
# meant.
ALLOWED = {
    "base": [],
    "wire": ["base"],
    "crypto": ["base", "wire"],
    "stream": ["base"],
    "transport": ["base", "wire"],
    "tcp": ["base", "wire", "stream", "transport"],
    "utp": ["base", "wire", "stream", "transport"],
    "store": ["base", "wire", "crypto"],
    "swarm": ["base", "wire", "crypto"],
    "peer": ["base", "wire", "stream", "crypto", "swarm"],
    "net": ["base", "wire", "stream", "tcp", "utp"],
    "shard": CORE,
    "discovery": [
        "base",
        "wire",
        "crypto",
        "swarm",
        "store",
        "shard/mailbox.hh",
        "shard/counters.hh",
    ],
    "control": [
        "base",
        "wire",
        "crypto",
        "swarm",
        "store",
        "shard/mailbox.hh",
        "shard/counters.hh",
        "discovery",
    ],
    "cli": ["control", "discovery", "wire", "crypto", "store", "base"],
}
# The seam that a driver implements: that header and what it includes.
# drivers/host is what every driver stands on (descriptors, clock, errno tables).
SEAMS = {
    "nic_": "net/nic_port.hh",
    "stream_": "stream/byte_stream.hh",
    "disk_": "store/storage.hh",
    "host": "store/storage.hh",
}

# What only drivers, discovery, control, cli and app may touch: kernel, threads, time.
OUTSIDE_CORE = re.compile(
    r"rte_.*|liburing(\.h|/.*)|linux/(io_uring|if_.*|tcp|udp|sockios)\.h"
    r"|sys/(socket|un|epoll|eventfd|timerfd|select|poll|time)\.h"
    r"|poll\.h|netinet/.*|netdb\.h|arpa/inet\.h|net/if\.h|ifaddrs\.h|pthread\.h|threads\.h"
    r"|time\.h|ctime|chrono|thread|stop_token|mutex|shared_mutex|condition_variable|future"
    r"|semaphore|latch|barrier"
)
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]', re.MULTILINE)


def sources(tree):
    for top in ("src", "drivers"):
        for parent, folders, names in os.walk(os.path.join(tree, top)):
            folders.sort()
            for name in sorted(names):
                if name.endswith((".hh", ".cc", ".h", ".hpp", ".cpp", ".def", ".inc")):
                    yield os.path.relpath(os.path.join(parent, name), tree)


def module(path):
    """("src", module) or ("drivers", driver) of a path in the tree; None for a file that lies in
    neither.
    """
    parts = path.split("/")
    return (parts[0], parts[1]) if len(parts) > 2 and parts[0] in ("src", "drivers") else None


class Tree:
    def __init__(self, root):
        self.root = root
        self.includes = {}
        for path in sources(root):
            with open(os.path.join(root, path), encoding="utf-8", errors="replace") as file:
                text = file.read()
            self.includes[path] = [
                (text.count("\n", 0, m.start()) + 1, m[1], m[2]) for m in INCLUDE.finditer(text)
            ]

    def resolve(self, path, name):
        """The file of the tree that `path` means by `name`, or None: it is not the tree's."""
        for folder in ("src", "drivers", "", os.path.dirname(path)):
            candidate = os.path.normpath(os.path.join(folder, name))
            if candidate in self.includes:
                return candidate
        return None

    def behind(self, header):
        """`header` and all of the tree that it includes, directly or not."""
        found, todo = set(), [header]
        while todo:
            path = todo.pop()
            if path in self.includes and path not in found:
                found.add(path)
                todo += filter(
                    None, (self.resolve(path, name) for _, _, name in self.includes[path])
                )
        return found

    def violations(self):
        for path in self.includes:
            if module(path) is None:
                yield f"{path}:1: lies in no module"
                continue
            for line, bracket, name in self.includes[path]:
                fault = self.judge(path, bracket, name)
                if fault:
                    yield f"{path}:{line}: {fault}"

    def judge(self, path, bracket, name):
        """Why `path` may not include `name`, or an empty string."""
        top, this = module(path)
        target = self.resolve(path, name)
        if target is None:
            if bracket == '"':
                return f'"{name}" is no file of this tree'
            if top == "src" and (this in CORE or this == "shard") and OUTSIDE_CORE.fullmatch(name):
                return f"<{name}> is not for {this}: kernel, threads and time stay behind the seams"
            return ""
        if bracket == "<":
            return f'<{name}> is this tree\'s own: write "{name}"'
        if module(target) == (top, this) or (top, this) == ("src", "app"):
            return ""
        if top == "drivers":
            return self.judge_driver(this, target)
        if this not in ALLOWED:
            return f"module {this} is not in the table of tests/arrows/check.py"
        other_top, other = module(target)
        if other_top == "src" and (
            other in ALLOWED[this] or target[len("src/") :] in ALLOWED[this]
        ):
            return ""
        return f"{this} may not include {target}"

    def judge_driver(self, driver, target):
        if target.startswith(("src/base/", "src/wire/", "drivers/host/", "drivers/uring/")):
            return ""
        seam = next((header for prefix, header in SEAMS.items() if driver.startswith(prefix)), None)
        if seam and target in self.behind(os.path.join("src", seam)):
            return ""
        allowed = f"only its seam ({seam}), base, wire, drivers/host and drivers/uring"
        return f"drivers/{driver} may not include {target}: {allowed}"


def check(root):
    """Prints what is wrong with the tree and returns how much it is, and how many files were read."""
    tree = Tree(root)
    faults = list(tree.violations())
    for fault in faults:
        print(fault)
    return faults, len(tree.includes)


def check_canaries():
    """Each canary must fail, with exactly the faults that its file `expected` lists. Returns
    passed, failed.
    """
    passed = failed = 0
    folder = os.path.join(HERE, "canary")
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name, "expected"), encoding="utf-8") as file:
            expected = file.read().splitlines()
        found = list(Tree(os.path.join(folder, name)).violations())
        if expected and sorted(found) == sorted(expected):
            passed += 1
        else:
            failed += 1
            print(
                f"canary {name} sings wrongly:",
                *(f"  expected {e}" for e in expected),
                *(f"  found    {f}" for f in found),
                sep="\n",
            )
    return passed, failed


def main():
    arguments = sys.argv[1:]
    if arguments[:1] == ["--only"]:
        return 1 if check(arguments[1])[0] else 0
    faults, files = check(arguments[0] if arguments else os.path.join(HERE, "..", ".."))
    passed, failed = check_canaries()
    if not files or not passed:
        print("nothing was checked")
        failed += 1
    print(f"{files} files, {len(faults)} wrong arrows")
    print(f"{passed + (not faults)} passed, {failed + bool(faults)} failed")
    return 1 if faults or failed else 0


if __name__ == "__main__":
    sys.exit(main())
