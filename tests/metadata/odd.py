"""Torrents that no creator in the tests writes, but that exist: odd encodings, sizes and habits."""

from bencode import Pairs, Raw, encode
from cases import BLOCK, Case, hashes, hybrid, torrent, v1_multi, v1_single, v2

SJIS = "日本語".encode("shift_jis")
LATIN = "Größe".encode("latin-1")
MIB = 1024 * 1024


def sizes():
    for size in (1, 2, 3, 1000, 4095, BLOCK - 1, BLOCK + 1, 48 * 1024, 96 * 1000):
        yield Case(f"tiny or odd piece {size}", torrent(v1_single(20_000, size)))
    for power in (24, 26, 28, 29):
        yield Case(f"piece of 2^{power}", torrent(v1_single(3 << power, 1 << power)))
        yield Case(
            f"v2 piece of 2^{power}", encode(v2({("a",): 5 << power, ("b",): 7}, 1 << power))
        )
    yield Case("file of 1 TiB", torrent(v1_single(1 << 40, 1 << 26)))
    yield Case("file of 15 TiB", torrent(v1_single(15 << 40, 1 << 28)))
    yield Case("2^21 pieces", torrent(v1_single((1 << 21) * BLOCK, BLOCK)))
    yield Case(
        "2^21 and one pieces", torrent(v1_single((1 << 21) * BLOCK + 1, BLOCK)), "many-pieces"
    )
    yield Case("file of 17 TiB", torrent(v1_single(17 << 40, 1 << 28)), "big-file")
    yield Case("one byte", torrent(v1_single(1)))
    yield Case("v2, one byte", encode(v2({("a",): 1})))
    yield Case("v2, odd number of pieces", encode(v2({("a",): 5 * BLOCK + 1, ("b",): 3 * BLOCK})))


def many_files():
    many = [(i % 7, (f"d{i // 1000}", f"f{i:06d}.txt")) for i in range(100_000)]
    yield Case("100,000 files, v1", torrent(v1_multi(many, 65536)))
    yield Case("100,000 files, v2", encode(v2({p: n for n, p in many}, 65536)))
    yield Case("20,000 files, hybrid", encode(hybrid({p: n for n, p in many[:20_000]}, BLOCK)))
    yield Case("60 folders deep", torrent(v1_multi([(5, [f"d{i}" for i in range(60)])])))
    yield Case("20 folders deep, v2", encode(v2({tuple(f"d{i}" for i in range(20)): 5, ("x",): 1})))


def encodings():
    yield Case("name in Shift JIS", torrent(v1_single(name=SJIS)))
    yield Case("name in Latin-1", torrent(v1_single(name=LATIN)))
    yield Case("name.utf-8", torrent(v1_single(name=SJIS, **{"name.utf-8": "日本語"})))
    yield Case("name.utf-8 of the wrong type", torrent(v1_single(**{"name.utf-8": 5})))
    yield Case(
        "path.utf-8", torrent(v1_multi([{"length": 5, "path": [SJIS], "path.utf-8": ["日本", "語"]}]))
    )
    yield Case(
        "path.utf-8 of the wrong type",
        torrent(v1_multi([{"length": 5, "path": ["a"], "path.utf-8": "b"}])),
    )
    yield Case(
        "path in Latin-1", torrent(v1_multi([(5, [LATIN, b"\xff\xfe"]), (6, [b"\xc3\x28"])]))
    )
    yield Case("overlong slash", torrent(v1_multi([(5, [b"a\xc0\xafb"])])))
    yield Case("surrogates", torrent(v1_multi([(5, [b"a\xed\xa0\x80b"])])))
    yield Case("five-byte sequence", torrent(v1_multi([(5, [b"a\xf8\x88\x80\x80\x80b"])])))
    yield Case("emoji", torrent(v1_multi([(5, ["😀", "👩‍👩‍👧"])])))
    yield Case("decomposed", torrent(v1_multi([(5, ["e\u0301"]), (6, ["\u00e9"])])))
    yield Case("right to left mark", torrent(v1_multi([(5, ["exe\u202etxt"])])))
    yield Case("control characters", torrent(v1_multi([(5, ["a\nb\x01\x7f"])])))
    yield Case("NUL", torrent(v1_multi([(5, ["a\x00b"])])))
    yield Case(
        "Windows' forbidden characters", torrent(v1_multi([(5, ['a:b*c?d|e<f>g"']), (6, ["con"])]))
    )
    yield Case("backslashes", torrent(v1_multi([(5, ["a\\b\\c"])])))
    yield Case("slashes", torrent(v1_multi([(5, ["a/b/c"])])))
    yield Case("blanks and dots at the ends", torrent(v1_multi([(5, [" a ", "b.", "..."])])))
    yield Case(
        "long name", torrent(v1_multi([(5, ["x" * 300 + ".tar"]), (6, ["é" * 200 + ".txt"])]))
    )
    yield Case("long name without extension", torrent(v1_single(name="y" * 400)))
    yield Case("v2 with names in UTF-8", encode(v2({("日本",): 5, ("größe", "ü"): 40_000})))
    yield Case("v2 with a name in Latin-1", encode(v2({(LATIN.decode("latin-1"),): 5})))
    yield Case(
        "250 bytes that are no UTF-8",
        torrent(v1_multi([(5, [b"\xff" * 250])])),
        "replaced-too-long",
    )
    yield Case(
        "comment in Latin-1", torrent(v1_single(), comment=LATIN, **{"comment.utf-8": "Größe"})
    )


def safe_paths():
    yield Case(
        "dot dot", torrent(v1_multi([(5, ["..", "..", "etc", "passwd"]), (6, ["a", "..", "b"])]))
    )
    yield Case("absolute", torrent(v1_multi([(5, ["/", "etc", "x"]), (6, ["/etc/y"])])))
    yield Case("empty component", torrent(v1_multi([(5, ["a", "", "b"]), (6, [""])])))
    yield Case("dots only", torrent(v1_multi([(5, ["."]), (6, [".", "a"])])))
    yield Case("name with a slash", torrent(v1_multi([(5, ["a"])], name="../x/y")))
    yield Case("empty name of a folder", torrent(v1_multi([(5, ["a"])], name="")))
    yield Case("name of dots of a folder", torrent(v1_multi([(5, ["a"])], name="..")))
    yield Case(
        "same name twice", torrent(v1_multi([(5, ["a.txt"]), (6, ["a.txt"]), (7, ["a.txt"])]))
    )
    yield Case("same name after cleaning", torrent(v1_multi([(5, ["a/b"]), (6, ["ab"])])))
    yield Case("file and folder", torrent(v1_multi([(5, ["a"]), (6, ["a", "b"])])))
    yield Case(
        "names that differ in case", torrent(v1_multi([(5, ["README"]), (6, ["readme"])])), "case"
    )
    yield Case("v2 folders that differ in case", encode(v2({("A", "x"): 5, ("a", "x"): 6})), "case")
    yield Case("v2 folder called dot dot", encode(v2({("a",): 5, ("b",): 6}, name="..")))
    yield Case("v2 dot dot", encode(v2({("..", "x"): 5, ("y",): 6})))
    yield Case("v2 file called dot dot", encode(v2({("..",): 5, ("y",): 6})), "nameless-v2-file")


def padding_and_attributes():
    pad = {"length": BLOCK - 5, "path": [".pad", str(BLOCK - 5)], "attr": "p"}
    yield Case("padding", torrent(v1_multi([(5, ["a"]), pad, (6, ["b"])])))
    yield Case(
        "padding without a path",
        torrent(v1_multi([(5, ["a"]), {"length": 9, "attr": "p"}, (6, ["b"])])),
    )
    yield Case(
        "BitComet's padding",
        torrent(v1_multi([(5, ["a"]), (BLOCK - 5, ["_____padding_file_0_x____"]), (6, ["b"])])),
    )
    yield Case(
        "folder called as BitComet's padding",
        torrent(v1_multi([(5, ["a"])], name="_____padding_file_0_x____")),
        "padding-folder",
    )
    yield Case("nothing but padding", torrent(v1_multi([pad])))
    yield Case(
        "attributes",
        torrent(
            v1_multi(
                [
                    {"length": 5, "path": ["a"], "attr": "xh?"},
                    {"length": 6, "path": ["b"], "attr": 7},
                ]
            )
        ),
    )
    link = {"length": 0, "path": ["d", "link"], "attr": "l", "symlink path": ["a"]}
    yield Case("symlink", torrent(v1_multi([(5, ["a"]), link])))
    yield Case(
        "symlink out",
        torrent(v1_multi([(5, ["a"]), {**link, "symlink path": ["..", "..", "etc"]}])),
    )
    yield Case("symlink with a length", torrent(v1_multi([(5, ["a"]), {**link, "length": 99}])))
    yield Case(
        "symlink to itself",
        torrent(v1_multi([(5, ["a"]), {**link, "symlink path": ["d", "link"]}])),
    )
    yield Case(
        "symlink to nowhere",
        torrent(v1_multi([(5, ["a"]), {"length": 0, "path": ["l"], "attr": "l"}])),
    )
    yield Case("empty files", torrent(v1_multi([(0, ["a"]), (5, ["b"]), (0, ["c"])])))
    yield Case("v2 empty files", encode(v2({("a",): 0, ("b",): 5, ("c",): 0})))
    yield Case("hybrid", encode(hybrid({("a",): 40_000, ("b", "c"): 5, ("d",): BLOCK})))
    yield Case(
        "hybrid without padding at the end", encode(hybrid({("a",): 40_000, ("b",): 5}, tail=False))
    )
    yield Case("hybrid of aligned files", encode(hybrid({("a",): BLOCK, ("b",): 2 * BLOCK})))
    yield Case("v2 without piece layers", encode({"info": v2({("a",): 40_000})["info"]}))
    yield Case(
        "v2 with a layer too many",
        encode({**v2({("a",): 5}), "piece layers": {b"r" * 32: b"h" * 64}}),
    )


def habits():
    info = v1_single()
    ordered = Pairs(
        [
            ("pieces", info["pieces"]),
            ("name", info["name"]),
            ("length", info["length"]),
            ("piece length", BLOCK),
        ]
    )
    yield Case("unsorted", torrent(ordered))
    yield Case("repeated key", torrent(Pairs([*ordered, ("length", 5)])))
    yield Case(
        "unsorted outside of a v2 info", encode(Pairs(reversed(list(v2({("a",): 5}).items()))))
    )
    yield Case("leading zeros", torrent({**info, "length": Raw(b"i00100000e")}))
    yield Case("leading zeros in a string's length", torrent({**info, "name": Raw(b"0001:a")}))
    yield Case("meta version 1", torrent({**info, "meta version": 1}))
    yield Case("meta version 0", torrent({**info, "meta version": 0}))
    for depth in (98, 99):
        yield Case(f"{depth} lists deep", torrent(info, x=Raw(b"l" * depth + b"e" * depth)))
    yield Case("newline at the end", torrent(info) + b"\n")
    yield Case("another value at the end", torrent(info) + b"i5e")
    yield Case(
        "unknown keys", torrent({**info, "x": {"y": [1, {}]}, "file-duration": [5]}, z=[[[]]])
    )
    yield Case("files and length", torrent({**v1_multi([(5, ["a"])]), "length": 7}))
    yield Case("private", torrent({**info, "private": 1}))
    yield Case("private of another number", torrent({**info, "private": 7}))
    yield Case("private as a string", torrent({**info, "private": "1"}))
    yield Case(
        "trackers",
        torrent(
            info, announce="http://a/", **{"announce-list": [["http://b/"], [], ["udp://c:1", 5]]}
        ),
    )
    yield Case("trackers of the wrong type", torrent(info, announce=5, **{"announce-list": "x"}))
    yield Case("web seeds", torrent(info, **{"url-list": ["http://a/ b", 5, "http://a/ b"]}))
    yield Case("web seeds as a dictionary", torrent(info, **{"url-list": {}}))
    yield Case("nodes", torrent(info, nodes=[["h", 1], ["h"], 5, [5, "h"]]))
    yield Case("negative creation date", torrent(info, **{"creation date": -5}))
    yield Case(
        "md5sum, sha1 and ed2k",
        torrent({**info, "md5sum": "0" * 32, "sha1": b"s" * 20, "ed2k": b"e" * 16}),
    )


def cases():
    for group in (sizes, many_files, encodings, safe_paths, padding_and_attributes, habits):
        yield from group()
