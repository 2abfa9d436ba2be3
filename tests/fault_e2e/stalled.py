"""A hundred Linux peers that ask for much and take nothing, of a seed with a TCP of its own: most
stop reading, the rest vanish with their addresses, so that what is under way is never
acknowledged. Later they come back, and some of what they wait for can't be read any more.
"""

import json
import os
import select
import socket
import struct
import subprocess
import time

from support import Deadline, Failure

BLOCK = 16384
PROTOCOL = b"\x13BitTorrent protocol"
ASKED = 48  # blocks, by each
RECEIVE_BUFFER = 32 << 10


def ip(*words, batch=None):
    done = subprocess.run(["ip", *words], input=batch, capture_output=True, check=False)
    return done.stderr.decode().strip() if done.returncode else ""


def lacking(number):
    """Why there can be no TAP interface here; empty: there can. number: of the wire, which names
    the one that is tried.
    """
    name = f"probe{number}"
    wrong = ip("tuntap", "add", "dev", name, "mode", "tap")
    if not wrong:
        ip("tuntap", "delete", "dev", name, "mode", "tap")
    return wrong


class Torrent:
    def __init__(self, path, program, piece, data):
        self.path, self.piece, self.data, self.size = path, piece, data, len(data)
        self.name = os.path.basename(path)
        shown = subprocess.run([program, "show", path, "--json"], check=True, capture_output=True)
        self.hash = bytes.fromhex(json.loads(shown.stdout.splitlines()[-1])["info_hash_v1"])


class Wire:
    """A TAP interface: the kernel at .1, the seed at .2; peers that may vanish have addresses of
    their own, which the seed reaches by way of the kernel.
    """

    def __init__(self, number):
        self.interface = f"stall{number}"
        self.network = f"10.96.{number}"
        self.seed = f"{self.network}.2"
        self.others = [f"10.97.{number}.{i}" for i in range(1, 101)]
        for words in (
            ("tuntap", "add", "dev", self.interface, "mode", "tap"),
            ("address", "add", f"{self.network}.1/24", "dev", self.interface),
            ("link", "set", self.interface, "up"),
        ):
            wrong = ip(*words)
            if wrong:
                raise Failure(f"ip {' '.join(words)}: {wrong}")
        self.show(True, self.others)

    def arguments(self):
        return [
            *("--backend", "tap", "--interface", self.interface),
            *("--address", f"{self.seed}/24", "--gateway", f"{self.network}.1"),
        ]

    def show(self, there, addresses):
        """Gives the kernel these addresses, or takes them from it: then it is deaf to them."""
        word = "add" if there else "del"
        lines = "".join(f"address {word} {a}/32 dev {self.interface}\n" for a in addresses)
        wrong = ip("-batch", "-", batch=lines.encode())
        if wrong:
            raise Failure(f"addresses: {wrong}")

    def close(self):
        ip("tuntap", "delete", "dev", self.interface, "mode", "tap")


class Peer:
    """Asks for ASKED blocks, takes the first kilobytes, and then nothing until resume()."""

    def __init__(self, source, target, torrent, first):
        self.torrent, self.first = torrent, first
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self.socket.bind((source, 0))
        self.socket.settimeout(20)
        self.socket.connect(target)
        self.socket.sendall(PROTOCOL + bytes(8) + torrent.hash + os.urandom(20))
        self.socket.sendall(struct.pack(">IB", 1, 2))  # INTERESTED
        self.buffer = bytearray()
        self.greeted = self.unchoked = False
        self.wanted = set()
        self.got = 0
        self.ended = None

    def ask(self):
        """Once unchoked. It has its first bytes when this returns."""
        deadline = Deadline(20)
        while not self.unchoked:
            self.take(4096)
            if self.ended or not deadline.left():
                raise Failure(f"a peer was not unchoked: {self.ended}")
        per_piece = self.torrent.piece // BLOCK
        request = b""
        for i in range(ASKED):
            block = (self.first + i) % (self.torrent.size // BLOCK)
            begin = (block // per_piece, block % per_piece * BLOCK)
            self.wanted.add(begin)
            request += struct.pack(">IBIII", 13, 6, *begin, BLOCK)
        self.socket.sendall(request)
        while not self.got and not self.ended and deadline.left():
            self.take(4096)
        self.socket.setblocking(False)

    def take(self, most):
        try:
            data = self.socket.recv(most)
        except BlockingIOError:
            return
        except OSError as error:
            self.ended = error.strerror
            return
        if not data:
            self.ended = "closed"
        self.buffer += data
        while self.message():
            pass

    def message(self):
        """One out of the buffer; False: there is none."""
        if not self.greeted:
            if len(self.buffer) < 68:
                return False
            del self.buffer[:68]
            self.greeted = True
        if len(self.buffer) < 4:
            return False
        length = struct.unpack_from(">I", self.buffer)[0]
        if len(self.buffer) < 4 + length:
            return False
        body = bytes(self.buffer[4 : 4 + length])
        del self.buffer[: 4 + length]
        if body[:1] == b"\1":
            self.unchoked = True
        elif body[:1] == b"\7":
            piece, begin = struct.unpack_from(">II", body, 1)
            if (piece, begin) not in self.wanted:
                raise Failure(f"a block that was not asked for: {piece}, {begin}")
            self.wanted.remove((piece, begin))
            at = piece * self.torrent.piece + begin
            if body[9:] != self.torrent.data[at : at + BLOCK]:
                raise Failure(f"{self.torrent.name}: other bytes at {at}")
            self.got += 1
        return True

    def over(self):
        return self.ended is not None or not self.wanted


def resume(peers, seconds, until=Peer.over):
    """Reads from all of them until each is `until`; returns how long the last took."""
    begin = time.monotonic()
    deadline = Deadline(seconds)
    open_ones = {peer.socket: peer for peer in peers if not peer.over()}
    while open_ones and deadline.left():
        for ready in select.select(list(open_ones), [], [], 0.2)[0]:
            peer = open_ones[ready]
            peer.take(1 << 16)
            if until(peer):
                del open_ones[ready]
    return time.monotonic() - begin
