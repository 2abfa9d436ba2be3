"""Torrents made by other programs from small data on disk."""

import concurrent.futures
import json
import os
import subprocess

import libtorrent

from cases import Case

HERE = os.path.dirname(os.path.abspath(__file__))
NODE_MODULES = os.path.join(HERE, "..", "interop", "webtorrent", "node_modules")
TRACKER = "http://tracker.invalid/announce"


def write(path, length):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as out:
        out.write(bytes(i * 7 % 251 for i in range(min(length, 4096))))
        out.truncate(length)


def datasets(top):
    """Makes the data; returns {name: path}."""
    found = {}

    def add(name, files):
        if isinstance(files, int):
            found[name] = os.path.join(top, name, name + ".bin")
            write(found[name], files)
            return
        found[name] = os.path.join(top, name)
        for path, length in files.items():
            write(os.path.join(found[name], path), length)

    for length in (1, 16_383, 16_384, 16_385, 100_000, 3_000_001):
        add(f"single{length}", length)
    add("folder", {"a.txt": 5, "b/c.bin": 70_000, "b/d/e": 16_384, "z": 1})
    add("one", {"only.bin": 40_000})
    add("small", {f"f{i:03d}": i for i in range(1, 200)})
    add("empty", {"a": 0, "b": 33_000, "c/d": 0})
    add("unicode", {"日本語/größe.txt": 20_000, "😀": 5, "e\u0301 é.bin": 40_000, " blank ": 3})
    add("deep", {"/".join(f"d{i}" for i in range(20)) + "/f": 50_000, "g": 1})
    return found


class Failed(Exception):
    pass


def run(*arguments, **more):
    done = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **more)
    if done.returncode:
        raise Failed(f"{' '.join(arguments)}: {done.stdout.decode(errors='replace').strip()}")


def read(name, path):
    with open(path, "rb") as torrent:
        return Case(name, torrent.read())


def mktorrent(data, out):
    options = [
        (["-l", "15"], "2^15"),
        (["-l", "16", "-p"], "private"),
        (["-l", "18", "-s", "SRC"], "source"),
        (["-l", "20", "-w", "http://seed.invalid/,http://other.invalid/x"], "web seeds"),
        (
            ["-l", "22", "-a", "udp://two.invalid:80,http://three.invalid", "-c", "größe", "-d"],
            "tiers",
        ),
        (["-l", "28", "-n", "Näme"], "name"),
    ]
    for name, path in data.items():
        for i, (extra, what) in enumerate(options):
            file = os.path.join(out, f"mktorrent-{name}-{i}.torrent")
            run("mktorrent", "-a", TRACKER, "-t", "1", "-o", file, *extra, path)
            yield read(f"mktorrent {name} {what}", file)


def transmission(data, out):
    options = [
        ([], "default"),
        (["-s", "16"], "16"),
        (["-s", "64", "-p"], "private"),
        (["-s", "1024", "-c", "größe"], "comment"),
        (["-s", "16384", "-t", "udp://two.invalid:80"], "trackers"),
    ]
    jobs = []
    for name, path in data.items():
        for i, (extra, what) in enumerate(options):
            file = os.path.join(out, f"transmission-{name}-{i}.torrent")
            jobs.append((f"transmission-create {name} {what}", file, extra, path))

    # Each takes half a second, most of which it sleeps.
    def make(job):
        name, file, extra, path = job
        run("transmission-create", "-t", TRACKER, "-o", file, *extra, path)
        return read(name, file)

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        return list(pool.map(make, jobs))


def by_libtorrent(data, _out):
    create = libtorrent.create_torrent
    kinds = [
        ("v1", create.v1_only),
        ("v2", create.v2_only),
        ("hybrid", 0),
        ("v1 padded", create.v1_only | create.canonical_files),
    ]
    for name, path in data.items():
        for piece_size in (16_384, 65_536, 4_194_304):
            for kind, flags in kinds:
                files = libtorrent.file_storage()
                libtorrent.add_files(files, path)
                made = create(files, piece_size, flags)
                made.add_tracker(TRACKER)
                libtorrent.set_piece_hashes(made, os.path.dirname(path))
                yield Case(
                    f"libtorrent {kind} {name} {piece_size}", libtorrent.bencode(made.generate())
                )


def create_torrent(data, out):
    """npm's create-torrent, as webtorrent uses it: in one process, because node starts slowly."""
    jobs = []
    for name, path in data.items():
        for i, piece_size in enumerate((16_384, 65_536, 1_048_576)):
            file = os.path.join(out, f"create-torrent-{name}-{i}.torrent")
            more = (
                {"private": True, "urlList": ["http://seed.invalid/"], "comment": "größe"}
                if i == 1
                else {}
            )
            jobs.append(
                {
                    "name": f"create-torrent {name} {piece_size}",
                    "input": path,
                    "output": file,
                    "options": {"pieceLength": piece_size, "announceList": [[TRACKER]], **more},
                }
            )
    environment = {**os.environ, "NODE_PATH": NODE_MODULES}
    run(
        "node",
        os.path.join(HERE, "create_torrent.js"),
        input=json.dumps(jobs).encode(),
        env=environment,
    )
    for job in jobs:
        yield read(job["name"], job["output"])


def penstock(program):
    def make(data, out):
        for name, path in data.items():
            # In a v2 torrent a folder with one file looks like that file: penstock refuses.
            for kind in ("v1", "hybrid") if name == "one" else ("v1", "v2", "hybrid"):
                for piece_size, extra in (
                    ("16KiB", []),
                    ("1MiB", ["--private", "--comment", "größe", "--tracker", TRACKER]),
                ):
                    file = os.path.join(out, f"penstock-{name}-{kind}-{piece_size}.torrent")
                    run(
                        program,
                        "create",
                        path,
                        "-o",
                        file,
                        f"--{kind}",
                        "--piece-size",
                        piece_size,
                        *extra,
                    )
                    yield read(f"penstock create {kind} {name} {piece_size}", file)

    return make
