"""What a case is, and torrents that other modules build upon."""

import dataclasses
import hashlib
import random

from bencode import as_bytes, encode

BLOCK = 16384
ZERO = bytes(32)


@dataclasses.dataclass
class Case:
    name: str
    data: bytes
    # The id of a row in the table of differences in src/wire/README.md; empty: none.
    differs: str = ""


def sha256(data):
    return hashlib.sha256(data).digest()


def merkle_root(nodes, pad=ZERO):
    """The root over nodes, filled up with pad to a power of two."""
    nodes = list(nodes)
    while len(nodes) > 1:
        if len(nodes) % 2:
            nodes.append(pad)
        nodes = [sha256(nodes[i] + nodes[i + 1]) for i in range(0, len(nodes), 2)]
        pad = sha256(pad + pad)
    return nodes[0]


def piece_layer(count, piece_size, seed=b""):
    """(root, layer): a made-up layer of count pieces, and what it hashes up to."""
    layer = [sha256(seed + b"%d" % i) for i in range(count)]
    pad = ZERO
    size = BLOCK
    while size < piece_size:
        pad = sha256(pad + pad)
        size *= 2
    return merkle_root(layer, pad), b"".join(layer)


def count_pieces(length, piece_size):
    return (length + piece_size - 1) // piece_size


def hashes(length, piece_size):
    # Any bytes will do: nobody here has the data.
    return random.Random(length).randbytes(20 * count_pieces(length, piece_size))


def v1_single(length=100_000, piece_size=BLOCK, name="file.bin", **more):
    info = {
        "name": name,
        "piece length": piece_size,
        "length": length,
        "pieces": hashes(length, piece_size),
    }
    return {**info, **more}


def v1_multi(files, piece_size=BLOCK, name="folder", **more):
    """files: (length, path components) or a whole dictionary."""
    entries = [f if isinstance(f, dict) else {"length": f[0], "path": list(f[1])} for f in files]
    # A symlink takes no room, whatever length it claims (BEP 47).
    total = sum(e["length"] for e in entries if b"l" not in _attr(e))
    info = {
        "name": name,
        "piece length": piece_size,
        "files": entries,
        "pieces": hashes(total, piece_size),
    }
    return {**info, **more}


def _attr(entry):
    attr = as_bytes(entry.get("attr", b""))
    return attr if isinstance(attr, bytes) else b""


def v2_tree(files, piece_size):
    """({path components: length}) → (file tree, piece layers)."""
    tree, layers = {}, {}
    for path, length in files.items():
        node = tree
        for component in path:
            node = node.setdefault(component, {})
        leaf = {"length": length}
        if length > piece_size:
            root, layer = piece_layer(
                count_pieces(length, piece_size), piece_size, repr(path).encode()
            )
            leaf["pieces root"] = root
            layers[root] = layer
        elif length:
            leaf["pieces root"] = sha256(repr(path).encode())
        node[""] = leaf
    return tree, layers


def v2(files, piece_size=BLOCK, name="folder", **more):
    """A whole torrent, not an info dictionary."""
    tree, layers = v2_tree(files, piece_size)
    info = {"name": name, "piece length": piece_size, "meta version": 2, "file tree": tree, **more}
    return {"info": info, "piece layers": layers}


def hybrid(files, piece_size=BLOCK, name="folder", tail=True, **more):
    torrent = v2(files, piece_size, name, **more)
    entries = []
    ordered = sorted(files.items(), key=lambda f: tuple(c.encode() for c in f[0]))
    for i, (path, length) in enumerate(ordered):
        entries.append({"length": length, "path": list(path)})
        rest = -length % piece_size
        if rest and (tail or i + 1 < len(ordered)):
            entries.append({"length": rest, "path": [".pad", str(rest)], "attr": "p"})
    total = sum(e["length"] for e in entries)
    torrent["info"].update({"files": entries, "pieces": hashes(total, piece_size)})
    return torrent


def torrent(info, **outer):
    return encode({**outer, "info": info})
