#!/usr/bin/python3
"""Makes fuzz_session's corpus of what stock clients say to `penstock seed`.

usage: record.py [--penstock FILE] --out FOLDER [CLIENT...]      (default: all of tests/interop)

Each client fetches a torrent of the target's shape (6 pieces of 64 KiB, the last one short) through
a proxy that keeps its bytes. These become steps of the target: its bytes in parts, with the calls of
a shard between them; the info-hash becomes the target's.
"""

import argparse
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
sys.path.insert(0, os.path.join(TOP, "tests", "interop"))

import clients  # noqa: E402
import support  # noqa: E402

INSIDE = "PENSTOCK_RECORD_NAMESPACE"
SIZE = 5 * 65536 + 16384 + 9
MOST = 6000  # bytes of a client that are kept
# Steps of fuzz_session.cc: the first byte of each is taken modulo 16.
FEED_RAW, PUMP, TAKE, END, SHARD = 0, 8, 10, 11, 13
UNCHOKE = bytes([SHARD, 0, 0])


class Proxy:
    def __init__(self, seed):
        self.seed = seed
        self.heard = []
        self.listener = socket.create_server((support.address(), 0))
        self.peer = "%s:%d" % self.listener.getsockname()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client = self.listener.accept()[0]
            heard = bytearray()
            self.heard.append(heard)
            seed = socket.create_connection(self.seed)
            threading.Thread(target=self.carry, args=(client, seed, heard), daemon=True).start()
            threading.Thread(target=self.carry, args=(seed, client, None), daemon=True).start()

    @staticmethod
    def carry(source, sink, heard):
        try:
            while data := source.recv(65536):
                if heard is not None:
                    heard += data
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


class Dataset:
    def __init__(self, torrent, version):
        self.torrent, self.version, self.root = torrent, version, "data.bin"


def steps(heard):
    """The target's input: no options, then what was heard."""
    heard = bytes(heard[:MOST])
    heard = heard[:28] + b"\x11" * 20 + heard[48:]
    draw = random.Random(1)
    out = bytearray([0])
    at = 0
    while at < len(heard):
        size = min(draw.choice((1, 17, 68, 100, 255)), len(heard) - at)
        out += bytes([FEED_RAW, size]) + heard[at : at + size]
        at += size
        out += bytes([PUMP, draw.randrange(256)])
        if at > 68:
            out += UNCHOKE + bytes([TAKE, 7]) + bytes([END, 1]) * 7
    return bytes(out)


def record(kind, options, folder):
    os.makedirs(folder)
    version = clients.HYBRID if clients.HYBRID in kind.versions else clients.V1
    data = os.path.join(folder, "data.bin")
    with open(data, "wb") as file:
        file.write(random.Random(7).randbytes(SIZE))
    torrent = os.path.join(folder, "data.torrent")
    subprocess.run([options.penstock, "create", data, "-o", torrent, f"--{version}", "--piece-size", "64KiB"],
                   check=True, capture_output=True)
    port = support.free_port()
    command = [options.penstock, "seed", torrent, "--data", folder, "--state", folder, "--listen",
               f"{support.address()}:{port}"]
    seed = support.Process("seed", command, folder)
    proxy = Proxy((support.address(), port))
    client = kind(Dataset(torrent, version), proxy.peer, os.path.join(folder, "client"))
    try:
        client.start()
        support.Deadline(60).wait_until(client.complete, f"{kind.name} to fetch", client.process)
    finally:
        client.close()
        seed.stop()
    return max(proxy.heard, key=len)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--penstock", default=os.path.join(TOP, "build", "penstock"))
    parser.add_argument("--out", required=True)
    parser.add_argument("clients", nargs="*")
    options = parser.parse_args()
    options.penstock = os.path.abspath(options.penstock)
    if not os.environ.get(INSIDE):
        os.environ[INSIDE] = "1"
        wrap = ["unshare", "--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child"]
        os.execvp(wrap[0], [*wrap, sys.executable, os.path.abspath(__file__), *sys.argv[1:]])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["ip", "address", "add", f"{support.NAMESPACE_ADDRESS}/32", "dev", "lo"], check=True)
    os.makedirs(options.out, exist_ok=True)
    kinds = [clients.Aria2, clients.Libtorrent, clients.Webtorrent, clients.Transmission,
             clients.Qbittorrent, clients.Rtorrent]
    for kind in kinds:
        if options.clients and kind.name not in options.clients:
            continue
        lacking = kind.lacking()
        if lacking:
            print(f"{kind.name}: left out: {lacking}")
            continue
        with tempfile.TemporaryDirectory() as folder:
            heard = record(kind, options, os.path.join(folder, kind.name))
        with open(os.path.join(options.out, kind.name), "wb") as file:
            file.write(steps(heard))
        print(f"{kind.name}: {len(heard)} bytes")


if __name__ == "__main__":
    sys.exit(main())
