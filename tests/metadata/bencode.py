"""Bencoding that can also be wrong: unsorted dictionaries, and values that are bencoded already."""


class Raw(bytes):
    """Bytes that go out as they are."""


class Pairs(list):
    """A dictionary as (key, value) pairs, in this order, repeated keys included."""


def as_bytes(text):
    return text.encode() if isinstance(text, str) else text


def encode(value):
    if isinstance(value, Raw):
        return bytes(value)
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, (bytes, str)):
        data = as_bytes(value)
        return b"%d:%s" % (len(data), data)
    if isinstance(value, dict):
        value = Pairs(sorted((as_bytes(k), v) for k, v in value.items()))
    if isinstance(value, Pairs):
        return b"d" + b"".join(encode(as_bytes(k)) + encode(v) for k, v in value) + b"e"
    return b"l" + b"".join(map(encode, value)) + b"e"
