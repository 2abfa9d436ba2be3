"""Bencode (BEP 3), just enough to read a .torrent and to give it another tracker without touching
its info bytes.
"""


def decode(data, at=0):
    """The value at `at` and the offset behind it. Raises ValueError or IndexError on anything
    malformed.
    """
    head = data[at : at + 1]
    if head == b"i":
        end = data.index(b"e", at)
        return int(data[at + 1 : end]), end + 1
    if head == b"l":
        items, at = [], at + 1
        while data[at : at + 1] != b"e":
            item, at = decode(data, at)
            items.append(item)
        return items, at + 1
    if head == b"d":
        items, at = {}, at + 1
        while data[at : at + 1] != b"e":
            key, at = decode(data, at)
            items[key], at = decode(data, at)
        return items, at + 1
    colon = data.index(b":", at)
    end = colon + 1 + int(data[at:colon])
    if end > len(data):
        raise ValueError("string runs over the end")
    return data[colon + 1 : end], end


def _spans(data):
    """The top-level dictionary as key -> the bytes of its value, as they stand in the file."""
    if data[:1] != b"d":
        raise ValueError("not a dictionary")
    spans, at = {}, 1
    while data[at : at + 1] != b"e":
        key, at = decode(data, at)
        _, end = decode(data, at)
        spans[key] = data[at:end]
        at = end
    return spans


def _string(text):
    raw = text.encode()
    return b"%d:%s" % (len(raw), raw)


def with_tracker(torrent, url):
    """The same .torrent with `url` as its only tracker; the info dictionary keeps its bytes, so
    its hash.
    """
    spans = _spans(torrent)
    for key in (b"announce-list", b"nodes", b"url-list", b"httpseeds"):
        spans.pop(key, None)
    spans[b"announce"] = _string(url)
    return b"d" + b"".join(b"%d:%s%s" % (len(k), k, v) for k, v in sorted(spans.items())) + b"e"
