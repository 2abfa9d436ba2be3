"""Torrents that are broken or malicious, made by rules from sound ones."""

import copy
import random

from bencode import Pairs, Raw, encode
from cases import BLOCK, Case, hashes, hybrid, torrent, v1_multi, v1_single, v2

HUGE = 1 << 62


def bases():
    return {
        "v1 single": {"info": v1_single(), "announce": "http://a/"},
        "v1 multi": {
            "info": v1_multi([(5, ["a"]), (40_000, ["b", "c"]), (0, ["d"])]),
            "url-list": ["http://w/"],
        },
        "v2": v2({("a",): 5, ("b", "c"): 40_000}),
        "hybrid": hybrid({("a",): 5, ("b", "c"): 40_000}),
    }


def truncated():
    for name, base in bases().items():
        data = encode(base)
        for percent in (0, 1, 5, 20, 50, 80, 99):
            yield Case(f"{name} cut off after {percent} %", data[: len(data) * percent // 100])
        yield Case(f"{name} without its last byte", data[:-1])


WRONG = {
    "an integer": 5,
    "a negative number": -5,
    "a string": "x",
    "a list": [5],
    "a dictionary": {"x": 1},
    "an empty string": "",
    "huge": HUGE,
}


def wrong_types():
    """Each key of the info dictionary missing, and of each wrong type."""
    harmless = {
        # A string is a name, whatever it says; without one the folder is "_" or named by its hash.
        ("name", "a string"),
        ("name", "an empty string"),
        # Not a list, so not there at all; then "length" is missing.
    }
    for base_name, base in bases().items():
        for key in base["info"]:
            without = copy.deepcopy(base)
            del without["info"][key]
            yield base_name, f"without {key}", without
            for what, value in WRONG.items():
                if (key, what) in harmless:
                    continue
                changed = copy.deepcopy(base)
                changed["info"][key] = value
                yield base_name, f"{key} is {what}", changed


def wrong_values():
    for base_name, rule, changed in wrong_types():
        # Without "pieces", libtorrent takes a hybrid for one all the same.
        differs = "hybrid-pieces" if base_name == "hybrid" and rule in PIECES_GONE else ""
        yield Case(f"{base_name}: {rule}", encode(changed), differs)


PIECES_GONE = {"without pieces"} | {
    f"pieces is {what}" for what in WRONG if what not in ("a string", "an empty string")
}


def numbers():
    def single(**changes):
        return torrent({**v1_single(), **changes})

    for n in (
        0,
        -1,
        -(1 << 63),
        1 << 31,
        (1 << 31) - 1,
        1 << 30,
        (1 << 63) - 1,
        Raw(b"i99999999999999999999999e"),
    ):
        yield Case(f"piece length {n!r}", single(**{"piece length": n}))
    yield Case("piece length 2^29 + 1", torrent(v1_single(100, (1 << 29) + 1)), "big-piece")
    yield Case("piece length 2^30 - 1", torrent(v1_single(100, (1 << 30) - 1)), "big-piece")
    for n in (-1, -(1 << 63), (1 << 63) - 1, 1 << 48, Raw(b"i18446744073709551617e"), Raw(b"i-0e")):
        yield Case(f"length {n!r}", single(length=n))
        yield Case(
            f"file length {n!r}",
            torrent({**v1_multi([(5, ["a"])]), "files": [{"length": n, "path": ["a"]}]}),
        )
    yield Case(
        "lengths that overflow together",
        torrent(
            {
                **v1_multi([(5, ["a"])]),
                "files": [{"length": (1 << 63) - 1, "path": [str(i)]} for i in range(3)],
            }
        ),
    )
    yield Case(
        "lengths that add up beyond 2^48",
        torrent(
            {
                **v1_multi([(5, ["a"])]),
                "files": [{"length": 15 << 40, "path": [str(i)]} for i in range(20)],
            }
        ),
    )
    yield Case(
        "number beyond 64 bits elsewhere",
        torrent(v1_single(), x=Raw(b"i9223372036854775808e")),
        "big-integer",
    )
    for text in (b"ie", b"i-e", b"i+5e", b"i5.0e", b"i 5e", b"i0x5e", b"i5", b"i--5e", b"i5-e"):
        yield Case(f"integer {text.decode()}", single(length=Raw(text)))
    for text in (
        b"-1:a",
        b"1a",
        b"99999999999999999999:a",
        b":a",
        b"1:",
        b"5:ab",
        b"1;a",
        b"0x1:a",
    ):
        yield Case(f"string {text.decode()}", single(name=Raw(text)))


def hash_lists():
    info = v1_single()
    for n in (0, 1, 19, 20, 119, 121, 140, 2000):
        yield Case(f"{n} bytes of pieces for six", torrent({**info, "pieces": b"h" * n}))
    yield Case("many pieces, few hashes", torrent({**info, "length": 40 << 40}))
    yield Case("too many pieces", torrent({**info, "length": (1 << 48) - 1, "piece length": 1}))
    base = v2({("a",): 40_000})
    root, layer = next(iter(base["piece layers"].items()))
    for what, layers in {
        "short": {root: layer[:-32]},
        "long": {root: layer + b"x" * 32},
        "ragged": {root: layer[:-1]},
        "a number": {root: 5},
        "a list": {root: [layer]},
        "under a short root": {root[:-1]: layer},
        "under a long root": {root + b"x": layer},
    }.items():
        yield Case(f"piece layer {what}", encode({**base, "piece layers": layers}))
    for at in (0, 31, 32, 95):
        bad = bytearray(layer)
        bad[at] ^= 1
        yield Case(
            f"piece layer with byte {at} changed",
            encode({**base, "piece layers": {root: bytes(bad)}}),
            "layer-root",
        )
    swapped = layer[32:64] + layer[:32] + layer[64:]
    yield Case(
        "piece layer in another order",
        encode({**base, "piece layers": {root: swapped}}),
        "layer-root",
    )


def trees():
    def tree(value, **more):
        return encode({"info": {**v2({("a",): 5})["info"], "file tree": value, **more}})

    leaf = {"": {"length": 5, "pieces root": b"r" * 32}}
    yield Case("tree: empty", tree({}))
    yield Case("tree: empty folder only", tree({"a": {}}))
    yield Case("tree: leaf without length", tree({"a": {"": {"pieces root": b"r" * 32}}}))
    yield Case("tree: leaf without root", tree({"a": {"": {"length": 5}}}))
    yield Case("tree: root of zeros", tree({"a": {"": {"length": 5, "pieces root": bytes(32)}}}))
    for n in (0, 20, 31, 33, 64):
        yield Case(
            f"tree: root of {n} bytes", tree({"a": {"": {"length": 5, "pieces root": b"r" * n}}})
        )
    yield Case("tree: root is a number", tree({"a": {"": {"length": 5, "pieces root": 5}}}))
    for n in (-1, -(1 << 63), 1 << 48, (1 << 63) - 1):
        yield Case(f"tree: length {n}", tree({"a": {"": {"length": n, "pieces root": b"r" * 32}}}))
    yield Case(
        "tree: too many pieces", tree({"a": {"": {"length": 15 << 40, "pieces root": b"r" * 32}}})
    )
    yield Case("tree: empty name", tree({"": leaf}))
    yield Case("tree: empty name and another", tree({"": leaf, "a": leaf}))
    yield Case("tree: a file that is a folder too", tree({"a": {**leaf, "b": leaf}}))
    yield Case("tree: leaf is a number", tree({"a": {"": 5}}))
    yield Case("tree: entry is a number", tree({"a": 5}))
    yield Case("tree: entry is a list", tree({"a": [leaf]}))
    yield Case("tree: padding", tree({"a": {"": {**leaf[""], "attr": "p"}}}))
    yield Case("tree: unsorted", tree(Pairs([("b", leaf), ("a", leaf)])))
    yield Case("tree: same name twice", tree(Pairs([("a", leaf), ("a", leaf)])))
    yield Case(
        "tree: leading zero", tree({"a": {"": {"length": Raw(b"i05e"), "pieces root": b"r" * 32}}})
    )
    yield Case(
        "tree: minus zero", tree({"a": leaf, "b": {"": {"length": Raw(b"i-0e")}}}), "minus-zero"
    )
    yield Case("tree: leading zero in a name", tree(Raw(b"d01:a" + encode(leaf) + b"e")))
    deep = leaf
    for _ in range(150):
        deep = {"d": deep}
    yield Case("tree: too deep", tree(deep))
    for version in (3, 100, 1 << 40):
        yield Case(f"meta version {version}", tree({"a": leaf}, **{"meta version": version}))
    yield Case("meta version 2^32", torrent(v1_single(**{"meta version": 1 << 32})), "big-version")
    yield Case(
        "tree without meta version",
        encode({"info": {k: v for k, v in v2({("a",): 5})["info"].items() if k != "meta version"}}),
    )
    for size in (1, 8192, BLOCK - 1, BLOCK + 1, 3 * BLOCK, 1 << 31):
        yield Case(f"v2 piece length {size}", tree({"a": leaf}, **{"piece length": size}))


def hybrids():
    files = {("a",): 5, ("b", "c"): 40_000}

    def changed(rule):
        base = hybrid(files)
        rule(base["info"])
        return encode(base)

    def entry(i, **change):
        return lambda info: info["files"][i].update(change)

    yield Case("hybrid: empty files", changed(lambda info: info.update(files=[])), "hybrid-pieces")
    yield Case("hybrid: other length", changed(entry(0, length=6)))
    yield Case("hybrid: other name", changed(entry(0, path=["x"])))
    yield Case("hybrid: other folder", changed(entry(2, path=["x", "c"])))
    yield Case("hybrid: shorter padding", changed(entry(1, length=BLOCK - 6)))
    yield Case("hybrid: padding that is none", changed(entry(1, attr="x")))
    yield Case("hybrid: file that is padding", changed(entry(0, attr="p")))
    yield Case("hybrid: swapped", changed(lambda info: info["files"].reverse()))
    yield Case("hybrid: one file fewer", changed(lambda info: info["files"].pop(0)))
    yield Case(
        "hybrid: one file more",
        changed(lambda info: info["files"].append({"length": 1, "path": ["x"]})),
    )
    yield Case(
        "hybrid: no padding",
        changed(lambda info: info.update(files=[f for f in info["files"] if "attr" not in f])),
    )
    yield Case(
        "hybrid: v1 is a single file",
        changed(lambda info: (info.pop("files"), info.update(length=40_005))),
    )
    yield Case(
        "hybrid: hashes for another size",
        changed(lambda info: info.update(pieces=info["pieces"][20:])),
    )
    single = v2({("file.bin",): 100_000})["info"]
    yield Case(
        "hybrid: single file of another name",
        torrent({**single, **v1_single(name="other.bin"), "meta version": 2}),
    )
    yield Case(
        "hybrid: single file of another length",
        torrent({**single, **v1_single(length=99_999), "meta version": 2}),
    )


def names():
    def multi(entry):
        return torrent({**v1_multi([(5, ["ok"])]), "files": [entry]})

    for name in ("", ".", "..", "/", "//", "\\", "../", "\x00", "\u202e", "..\u202e", "./"):
        yield Case(f"single file called {name!r}", torrent(v1_single(name=name)))
    yield Case("path: missing", multi({"length": 5}))
    yield Case("path: empty", multi({"length": 5, "path": []}))
    yield Case("path: a string", multi({"length": 5, "path": "a"}))
    yield Case("path: a number inside", multi({"length": 5, "path": ["a", 5]}))
    yield Case("path: a list inside", multi({"length": 5, "path": [["a"]]}))
    yield Case("path: a dictionary", multi({"length": 5, "path": {"a": "b"}}))
    yield Case(
        "path: longer than any system's", torrent(v1_multi([(5, ["d" * 100] * 60)])), "long-path"
    )
    yield Case(
        "symlink path: a number inside",
        multi({"length": 5, "path": ["a"], "attr": "l", "symlink path": [5]}),
    )
    for i, entry in enumerate((5, "a", [], ["a"])):
        yield Case(f"file entry {i} of a wrong type", multi(entry))
    yield Case("every file is empty", torrent(v1_multi([(0, ["a"]), (0, ["b"])])))
    yield Case("every file is empty, v2", encode(v2({("a",): 0, ("b",): 0})))
    yield Case("no files", torrent(v1_multi([])))


def outer():
    info = v1_single()
    for i, data in enumerate(
        (
            b"",
            b"x",
            b"e",
            b"i5e",
            b"0:",
            b"le",
            b"de",
            b"d4:infoe",
            b"d4:infod",
            b"\x00" * 100,
            b"<html>",
        )
    ):
        yield Case(f"no torrent {i}", data)
    yield Case("info: missing", encode({"announce": "http://a/"}))
    yield Case("info: empty", encode({"info": {}}))
    for what, value in {"string": "x", "list": [1], "number": 5}.items():
        yield Case(f"info: a {what}", encode({"info": value}))
    yield Case("magnet link inside", encode({"magnet-uri": "magnet:?xt=urn:btih:" + "a" * 40}))
    yield Case("key that is a number", b"d4:info" + encode(info) + b"i5ei6ee")
    yield Case("key without a value", b"d4:info" + encode(info) + b"1:xe")
    yield Case("deep lists", encode({"info": info, "x": Raw(b"l" * 200 + b"e" * 200)}))
    yield Case("very deep lists", b"d1:x" + b"l" * 500_000)
    yield Case(
        "deep inside of info", torrent({**info, "x": Raw(b"d1:a" * 150 + b"i1e" + b"e" * 150)})
    )
    yield Case("deep files", torrent({**info, "files": Raw(b"l" * 120 + b"e" * 120)}))


def flipped():
    """One byte changed, by chance but the same every time."""
    chance = random.Random(20)
    for name, base in bases().items():
        base.pop("piece layers", None)  # a change there is the row layer-root
        data = encode(base)
        for i in range(25):
            at = chance.randrange(len(data))
            changed = bytearray(data)
            changed[at] = chance.choice(b"0123456789:eidl-x\x00\xff/")
            yield Case(f"{name} flipped {i}", bytes(changed))


def cases():
    for group in (
        truncated,
        wrong_values,
        numbers,
        hash_lists,
        trees,
        hybrids,
        names,
        outer,
        flipped,
    ):
        yield from group()
