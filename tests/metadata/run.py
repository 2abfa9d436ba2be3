#!/usr/bin/python3
"""Do we take a torrent for what libtorrent takes it for?

Makes torrents with several programs and by rules (makers.py, odd.py, broken.py), gives each to
libtorrent and to metainfo_probe, and compares: accepted or refused, both info-hashes, sizes,
pieces, files. Whatever differs must be a case that says so, by the id of a row of the table in
src/wire/README.md; and what says so must differ.

usage: run.py --probe PROGRAM [--penstock PROGRAM] [--keep DIR] [--only WORD] [FILE.torrent...]
With files, only those are compared, and nothing is made.
The last line is "N passed, N failed, N skipped".
Exit: 0 all agree, 1 not, 77 no libtorrent (1 under STRICT=1, where nothing may be skipped).
"""

import argparse
import collections
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
README = os.path.join(HERE, "..", "..", "src", "wire", "README.md")
STRICT = os.environ.get("STRICT") == "1"
GOOD_MIN, BROKEN_MIN = 300, 200

try:
    import libtorrent
except ImportError:
    print(
        "libtorrent's Python module (python3-libtorrent) is missing: tools/setup --test installs it"
    )
    print("0 passed, %d failed, %d skipped" % (STRICT, not STRICT))
    sys.exit(1 if STRICT else 77)

import broken
import makers
import odd
from cases import Case


def by_libtorrent(data):
    """What libtorrent makes of a torrent, in the probe's words."""
    try:
        info = libtorrent.torrent_info(data)
    except RuntimeError as error:
        return {"ok": False, "error": str(error)}
    if not info.is_valid():
        return {"ok": False, "error": "not valid"}
    known = info.info_hashes()
    files = info.files()
    stored = [
        i
        for i in range(files.num_files())
        if not files.file_flags(i) & libtorrent.file_flags_t.flag_pad_file
    ]
    paths = [files.file_path(i) for i in stored]
    return {
        "ok": True,
        "v1": str(known.v1) if known.has_v1() else None,
        "v2": str(known.v2) if known.has_v2() else None,
        "files": len(stored),
        "bytes": sum(files.file_size(i) for i in stored),
        "pieces": info.num_pieces(),
        "piece_size": info.piece_length(),
        "private": info.priv(),
        "paths": paths,
    }


def by_probe(probe, paths):
    done = subprocess.run(
        [probe, "--paths"],
        input="".join(p + "\n" for p in paths),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    answers = {}
    for line in done.stdout.splitlines():
        answer = json.loads(line)
        answers[answer["file"]] = answer
    return answers


def differences(theirs, ours):
    if theirs["ok"] != ours["ok"]:
        words = {True: "accepts it", False: "refuses it"}
        theirs, ours = (words[x["ok"]] + f" ({x.get('error', '')})" for x in (theirs, ours))
        return [f"libtorrent {theirs}, we: {ours}"]
    if not theirs["ok"]:
        return []
    found = [
        f"{key}: libtorrent {theirs[key]!r}, we {ours[key]!r}"
        for key in theirs
        if key != "paths" and theirs[key] != ours[key]
    ]
    # We name files below the torrent's folder, libtorrent from where the folder is.
    top = "" if ours["single"] else ours["name"] + "/"
    for a, b in zip(theirs["paths"], ours["paths"]):
        if a != top + b:
            found.append(f"path: libtorrent {a!r}, we {top + b!r}")
            break
    return found


def table_rows():
    with open(README, encoding="utf-8") as readme:
        text = readme.read().partition("## Where we differ from libtorrent")[2]
    return set(re.findall(r"^\| `([a-z0-9-]+)` \|", text, re.MULTILINE))


class Comparison:
    def __init__(self, probe, scratch):
        self.probe, self.scratch = probe, scratch
        self.passed, self.failed = 0, 0
        self.rows_used = set()
        self.groups = collections.Counter()

    def fail(self, what):
        self.failed += 1
        print("FAILED", what)

    def compare(self, group, cases):
        named = {}
        for case in cases:
            path = os.path.join(self.scratch, f"{group}-{len(named):04d}.torrent")
            with open(path, "wb") as out:
                out.write(case.data)
            named[path] = case
        answers = by_probe(self.probe, named)
        for path, case in named.items():
            self.judge(group, case, differences(by_libtorrent(case.data), answers[path]))

    def judge(self, group, case, found):
        self.groups[group] += 1
        if case.differs:
            self.rows_used.add(case.differs)
        if found and not case.differs:
            self.fail(f"{group}: {case.name}: {'; '.join(found)}")
        elif case.differs and not found:
            self.fail(f"{group}: {case.name}: is said to differ ({case.differs}), but agrees")
        else:
            self.passed += 1

    def check_table(self):
        rows = table_rows()
        for row in sorted(self.rows_used - rows):
            self.fail(f"src/wire/README.md says nothing of {row}")
        for row in sorted(rows - self.rows_used):
            self.fail(f"src/wire/README.md lists {row}, which no case shows")


def creators(penstock):
    yield "mktorrent", makers.mktorrent, shutil.which("mktorrent")
    yield "transmission", makers.transmission, shutil.which("transmission-create")
    yield "libtorrent", makers.by_libtorrent, True
    yield "create-torrent", makers.create_torrent, os.path.isdir(
        os.path.join(makers.NODE_MODULES, "create-torrent")
    )
    if penstock:
        yield "penstock", makers.penstock(penstock), True


def everything(comparison, arguments, scratch):
    skipped = 0
    data = makers.datasets(os.path.join(scratch, "data"))
    for name, make, there in creators(arguments.penstock):
        if arguments.only and arguments.only not in name:
            continue
        if not there:
            print(f"{name} is not installed: tools/setup --test installs it")
            skipped += 1
            continue
        begun = time.monotonic()
        try:
            comparison.compare(name, list(make(data, scratch)))
        except makers.Failed as error:
            comparison.fail(f"{name}: {error}")
        print(f"{name}: {comparison.groups[name]} torrents, {time.monotonic() - begun:.1f} s")
    for name, cases in (("odd", odd.cases), ("broken", broken.cases)):
        if arguments.only and arguments.only not in name:
            continue
        begun = time.monotonic()
        comparison.compare(name, cases())
        print(f"{name}: {comparison.groups[name]} torrents, {time.monotonic() - begun:.1f} s")
    if arguments.only or skipped:
        return skipped
    comparison.check_table()
    good = sum(comparison.groups.values()) - comparison.groups["broken"]
    if good < GOOD_MIN or comparison.groups["broken"] < BROKEN_MIN:
        comparison.fail(f"only {good} made and {comparison.groups['broken']} broken torrents")
    return skipped


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--probe", required=True)
    parser.add_argument("--penstock", help="also torrents made by this program's `create`")
    parser.add_argument("--keep", help="leave all torrents in this directory")
    parser.add_argument("--only", help="only the groups whose name has this in it")
    parser.add_argument("files", nargs="*")
    arguments = parser.parse_args()
    scratch = arguments.keep or tempfile.mkdtemp(prefix="penstock-metadata-")
    os.makedirs(scratch, exist_ok=True)
    skipped = 0
    try:
        comparison = Comparison(arguments.probe, scratch)
        if arguments.files:
            comparison.compare(
                "files", [makers.read(os.path.basename(f), f) for f in arguments.files]
            )
        else:
            skipped = everything(comparison, arguments, scratch)
    finally:
        if not arguments.keep:
            shutil.rmtree(scratch)
    failed = comparison.failed + (skipped if STRICT else 0)
    print(f"{comparison.passed} passed, {failed} failed, {0 if STRICT else skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
