"""Misbehaving peers: sockets that do one wrong thing each, thousands of them in one loop."""

import errno
import os
import select
import socket
import struct
import time
from collections import Counter

BLOCK = 16384
PROTOCOL = b"\x13BitTorrent protocol"
FAST, EXTENDED = b"\0\0\0\0\0\0\0\x04", b"\0\0\0\0\0\x10\0\x04"
PLAIN = bytes(8)
READ, WRITE = select.EPOLLIN, select.EPOLLOUT
GONE = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR


def message(kind, body=b""):
    return struct.pack(">IB", 1 + len(body), kind) + body


def block(kind, piece, begin, length=BLOCK):
    """REQUEST (6) or CANCEL (8)."""
    return message(kind, struct.pack(">III", piece, begin, length))


INTERESTED, NOT_INTERESTED, KEEPALIVE = message(2), message(3), bytes(4)


class Torrent:
    """What the peers must know of it."""

    def __init__(self, wire_hash, size, piece_size, root=bytes(32)):
        self.wire_hash, self.size, self.piece_size, self.root = wire_hash, size, piece_size, root
        self.pieces = -(-size // piece_size)

    def requests(self, count, length=BLOCK):
        """Many, all in range, mostly different; whole pieces only."""
        per_piece = self.piece_size // BLOCK
        whole = (self.size // self.piece_size) * per_piece
        return b"".join(
            block(6, i % whole // per_piece, i % per_piece * BLOCK, length) for i in range(count)
        )


class Peer:
    """One connection, and how it behaves.

    reason: the CloseReason that must end it; None: it must be left alone
    hello: its first bytes
    speech: what follows once it is unchoked; repeated without end if `endless`
    reads: bytes a second that it takes then; None: all there is, 0: none
    drip: seconds between single bytes of `hello`
    """

    reason = None
    patience = 15.0  # seconds in which the seed must have ended it
    hello = b""
    speech = b""
    endless = False
    reads = 0
    drip = 0.0
    keepalives = 0.0  # seconds between them; 0: none
    receive_buffer = 0  # SO_RCVBUF; 0: the kernel's choice

    def __init__(self, crowd, source):
        self.crowd = crowd
        self.socket = socket.socket()
        self.socket.setblocking(False)
        if self.receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
        # So that 10,000 sockets don't use up the ports of one address.
        self.socket.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
        self.socket.bind((source, 0))
        self.since = time.monotonic()
        self.ended = None
        self.out = memoryview(self.hello)
        self.talking = False  # unchoked, and saying it
        self.told = b""
        self.greeted = False
        self.received = 0
        self.next_byte = self.since
        self.next_read = self.since
        self.next_keepalive = self.since + self.keepalives
        code = self.socket.connect_ex(crowd.target)
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, os.strerror(code))
        self.heeded = self.events()
        crowd.poll.register(self.socket.fileno(), self.heeded)
        crowd.by_fd[self.socket.fileno()] = self

    def events(self):
        mask = select.EPOLLRDHUP
        if len(self.out) and not self.drip:
            mask |= WRITE
        if not self.talking or self.reads is None:
            mask |= READ
        return mask

    def on_ready(self, mask):
        try:
            if mask & WRITE and self.heeded & WRITE:
                self.write()
            if mask & (READ | GONE) and self.heeded & READ:
                self.read(1 << 16)
            elif mask & GONE:
                # Of one that doesn't read: the end may lie behind data that it never will.
                error = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                return self.end(os.strerror(error) if error else "closed")
        except (ConnectionError, TimeoutError) as error:
            return self.end(type(error).__name__)
        mask = self.events()
        if self.ended is None and mask != self.heeded:
            self.heeded = mask
            self.crowd.poll.modify(self.socket.fileno(), mask)

    def write(self):
        for _ in range(4):
            if not len(self.out):
                if not (self.talking and self.endless):
                    return
                self.out = memoryview(self.speech)
            try:
                self.out = self.out[self.socket.send(self.out) :]
            except BlockingIOError:
                return

    def read(self, most):
        try:
            data = self.socket.recv(most)
        except BlockingIOError:
            return
        if not data:
            return self.end("closed")
        self.received += len(data)
        if not self.talking:
            self.told += data
            if self.unchoked():
                self.talking = True
                self.told = b""
                self.out = memoryview(bytes(self.out) + self.speech)

    def unchoked(self):
        if not self.greeted:
            if len(self.told) < 68:
                return False
            self.told = self.told[68:]
            self.greeted = True
        while len(self.told) >= 4:
            size = 4 + struct.unpack(">I", self.told[:4])[0]
            if len(self.told) < size:
                return False
            if size > 4 and self.told[4] == 1:
                return True
            self.told = self.told[size:]
        return False

    def needs_ticks(self):
        return self.drip or self.reads

    def on_tick(self, now):
        """Every 50 ms or so: what no event announces."""
        try:
            if self.drip and len(self.out) and now >= self.next_byte:
                self.next_byte = now + self.drip
                self.out = self.out[self.socket.send(self.out[:1]) :]
            if self.talking and self.reads and now >= self.next_read:
                self.next_read = now + 0.25
                self.read(max(1, int(self.reads / 4)))
            if self.talking and self.keepalives and now >= self.next_keepalive and not len(self.out):
                self.next_keepalive = now + self.keepalives
                self.socket.send(bytes(4))
        except BlockingIOError:
            pass
        except (ConnectionError, TimeoutError) as error:
            self.end(type(error).__name__)

    def end(self, how):
        if self.ended is not None:
            return
        self.ended = how
        del self.crowd.by_fd[self.socket.fileno()]
        self.socket.close()
        self.crowd.on_ended(self)


class Crowd:
    """All misbehaving peers, and the loop that moves them."""

    def __init__(self, target, patience_factor=1.0):
        self.target = target
        self.poll = select.epoll()
        self.by_fd = {}
        self.peers = set()
        self.ticking = set()
        self.opened = Counter()  # by kind
        self.ended = Counter()
        self.longest = {}
        self.late = []
        self.waves = []
        self.patience_factor = patience_factor
        self._address = 0
        self._ticked = 0.0

    def source(self):
        """An address of its own for each, none of them .0 or .255."""
        self._address += 1
        rest, last = divmod(self._address, 250)
        return f"127.{64 + rest // 250 % 64}.{rest % 250}.{1 + last}"

    def open(self, kind):
        peer = kind(self, self.source())
        self.peers.add(peer)
        if peer.needs_ticks():
            self.ticking.add(peer)
        self.opened[kind.__name__] += 1

    def begin_wave(self, kinds, at_once, per_second):
        """Keeps at_once peers of these kinds here, replaces those that were closed."""
        self.waves = [(kinds, at_once, per_second, time.monotonic(), [0])]

    def end_waves(self):
        self.waves = []

    def count(self, kinds):
        names = [kind.__name__ for kind in set(kinds)]
        return sum(self.opened[name] - self.ended[name] for name in names)

    def _feed_waves(self, now):
        for kinds, at_once, per_second, begin, made in self.waves:
            here = self.count(kinds)
            due = int((now - begin) * per_second) + 1
            while here < at_once and made[0] < due:
                self.open(kinds[made[0] % len(kinds)])
                made[0] += 1
                here += 1

    def run(self, done):
        """Until done() says so."""
        while not done():
            for fd, mask in self.poll.poll(0.02):
                if fd in self.by_fd:
                    self.by_fd[fd].on_ready(mask)
            now = time.monotonic()
            self._feed_waves(now)
            if now - self._ticked >= 0.05:
                self._ticked = now
                for peer in list(self.ticking):
                    if peer.ended is None:
                        peer.on_tick(now)

    def on_ended(self, peer):
        name = type(peer).__name__
        self.ended[name] += 1
        took = time.monotonic() - peer.since
        self.longest[name] = max(self.longest.get(name, 0.0), took)
        if took > peer.patience * self.patience_factor:
            self.late.append(f"{name} was let go on for {took:.1f} s")
        self.peers.discard(peer)
        self.ticking.discard(peer)

    def close_all(self):
        for peer in list(self.peers):
            peer.end("by us")


def kinds_for(torrent):
    """The classes of misbehaving peers, by name."""

    def handshake(wire_hash=torrent.wire_hash, reserved=EXTENDED):
        return PROTOCOL + reserved + wire_hash + b"-XX0001-" + b"%012d" % (time.monotonic_ns() % 10**12)

    class Garbage(Peer):
        reason = "handshake_garbage"
        hello = b"\x13BitTorrent protocoX" + bytes(300)

    class OtherProtocol(Peer):
        reason = "not_bittorrent"
        hello = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + bytes(300)

    class Encrypted(Peer):
        reason = "encrypted_handshake"
        hello = bytes((i * 89 + 7) % 251 for i in range(300))

    class WrongHash(Peer):
        reason = "unknown_torrent"
        hello = handshake(bytes(20))

    class HalfOpen(Peer):
        """Connects, and says nothing."""

        reason, patience = "handshake_timeout", 25.0

    class SlowHandshake(Peer):
        """Never comes to its end."""

        reason, patience = "handshake_timeout", 25.0
        hello, drip = handshake(), 0.4

    class NoPeerId(Peer):
        reason, patience = "handshake_timeout", 25.0
        hello = handshake()[:48]

    class OutOfRange(Peer):
        reason = "request_out_of_range"
        hello = handshake() + INTERESTED
        speech = block(6, torrent.pieces, 0)

    class TooLong(Peer):
        reason = "request_too_long"
        hello = handshake() + INTERESTED
        speech = block(6, 0, 0, 2 * BLOCK)

    class TenThousandRequests(Peer):
        reason = "request_flood"
        hello = handshake() + INTERESTED
        speech = torrent.requests(10_000)

    class TenThousandPlain(TenThousandRequests):
        """The same without BEP 6."""

        hello = handshake(reserved=PLAIN) + INTERESTED

    class RequestAndCancel(Peer):
        reason, endless = "request_flood", True
        hello = handshake() + INTERESTED
        speech = torrent.requests(1024) + b"".join(
            torrent.requests(1) + block(8, 0, 0) for _ in range(4000)
        )

    class Keepalives(Peer):
        reason, endless = "message_flood", True
        hello = handshake() + INTERESTED
        speech = KEEPALIVE * 10_000

    class Fickle(Peer):
        """Interested, not interested, and so on."""

        reason, endless, reads = "message_flood", True, None
        hello = handshake() + INTERESTED
        speech = (NOT_INTERESTED + INTERESTED) * 2000

    class Unknown(Peer):
        reason, endless = "unknown_message_flood", True
        hello = handshake() + INTERESTED
        speech = message(99, b"x") * 5000

    class Hashes(Peer):
        """Asks for hashes, and reads none."""

        reason, endless = "hash_request_flood", True
        hello = handshake() + INTERESTED
        speech = message(21, torrent.root + struct.pack(">IIII", 4, 0, 2, 1)) * 1000

    class Leaves(Peer):
        """Asks for the hashes that cost a piece read from the disk, and reads them."""

        reason, endless, reads = "hash_request_flood", True, None
        hello = handshake() + INTERESTED
        speech = message(21, torrent.root + struct.pack(">IIII", 0, 0, 16, 1)) * 1000

    class Metadata(Peer):
        reason, endless, reads = "metadata_flood", True, None
        hello = handshake() + message(20, b"\0d1:md11:ut_metadatai1eee") + INTERESTED
        speech = message(20, b"\x02d8:msg_typei0e5:piecei0ee") * 100

    class NeverReads(Peer):
        """Asks for 16 MiB."""

        reason, patience = "reader_stalled", 105.0
        hello = handshake() + INTERESTED
        speech = torrent.requests(1000)

    class NeverReadsSmall(NeverReads):
        receive_buffer = 4096

    class SlowReader(Peer):
        reason, patience, reads = "reader_stalled", 105.0, 64
        hello = handshake() + INTERESTED
        speech = torrent.requests(1000)
        receive_buffer = 16384

    class PatientReader(Peer):
        """Slow, but honest; it says so once a minute (BEP 3: peers send keepalives)."""

        reads = 2 * 1024
        hello = handshake() + INTERESTED
        speech = torrent.requests(1000)
        keepalives = 60.0

    class TinyRequests(Peer):
        """As much work for as few bytes as the protocol allows, all within the rules."""

        reads, endless = None, True
        hello = handshake() + INTERESTED
        speech = torrent.requests(100, 1)

    return {name: kind for name, kind in locals().items() if isinstance(kind, type)}
