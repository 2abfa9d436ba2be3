#!/usr/bin/python3
"""Prints the table of merkle_golden.inc: roots that libtorrent (python3-libtorrent) computes.

The file of n bytes is pattern(n); merkle_test.cc makes the same.
"""
import os
import tempfile

import libtorrent as lt


def pattern(size):
    """The same bytes as pattern() in merkle_test.cc."""
    return bytes((i * 31 + (i >> 8) * 7 + (i >> 16) * 13) & 0xFF for i in range(size))


def main():
    with tempfile.TemporaryDirectory() as folder:
        for size in (1, 16383, 16384, 16385, 50000, 65536, 65537, 250000, 1000000, 1048576):
            with open(os.path.join(folder, "data"), "wb") as file:
                file.write(pattern(size))
            for piece_size in (16384, 65536, 262144):
                storage = lt.file_storage()
                lt.add_files(storage, os.path.join(folder, "data"))
                torrent = lt.create_torrent(storage, piece_size, lt.create_torrent.v2_only)
                lt.set_piece_hashes(torrent, folder)
                whole = torrent.generate()
                root = whole[b"info"][b"file tree"][b"data"][b""][b"pieces root"]
                layer = whole.get(b"piece layers", {}).get(root, b"")
                last = layer[-32:].hex()
                print(f'    {{{size}, {piece_size}, {len(layer) // 32},\n'
                      f'     "{root.hex()}",\n     "{last}"}},')


main()
