"""A disk that can hang or fail: files in memory behind the kernel's FUSE protocol, without any
library. Works for whoever may open /dev/fuse and mount in a namespace of his own.

Never touch its files from the process that serves it while it hangs.
"""

import ctypes
import errno
import os
import stat
import struct
import threading

_libc = ctypes.CDLL(None, use_errno=True)
DEVICE = "/dev/fuse"
MNT_DETACH = 2

# Of <linux/fuse.h>, version 7.31.
LOOKUP, FORGET, GETATTR, OPEN, READ, STATFS, RELEASE = 1, 2, 3, 14, 15, 17, 18
INIT, OPENDIR, READDIR, RELEASEDIR, INTERRUPT, DESTROY, BATCH_FORGET = 26, 27, 28, 29, 36, 38, 42
IN_HEADER = struct.Struct("<IIQQIIIHH")
OUT_HEADER = struct.Struct("<IiQ")
ATTR = struct.Struct("<6Q10I")
FOPEN_DIRECT_IO = 1  # every read comes here
ASYNC_READ = 1
BUFFER = 1 << 18
ROOT = 1


def lacking():
    """Why there can be none here, or an empty string."""
    try:
        os.close(os.open(DEVICE, os.O_RDWR))
    except OSError as error:
        return f"{DEVICE}: {error.strerror}"
    return ""


class FuseDisk:
    """files: {"folder/name": bytes}. Served until close()."""

    def __init__(self, mountpoint, files):
        self.mountpoint = mountpoint
        self.lock = threading.Lock()
        self.kinds = ()  # operations that hang: READ, LOOKUP, GETATTR, OPEN
        self.bad = {}  # path: (begin, end) that can't be read: EIO
        self.held = []  # requests without an answer
        self.paths = {ROOT: ""}
        self.nodes = {"": ROOT}
        self.content = {}
        self.children = {"": set()}
        for path, data in files.items():
            self._add(path)
            self.content[path] = data
        self.device = os.open(DEVICE, os.O_RDWR)
        how = f"fd={self.device},rootmode=40755,user_id={os.getuid()},group_id={os.getgid()}"
        flags = 1 | 2 | 4  # read-only, nosuid, nodev
        if _libc.mount(b"penstock", os.fsencode(mountpoint), b"fuse", flags, how.encode()) != 0:
            error = ctypes.get_errno()
            os.close(self.device)
            raise OSError(error, os.strerror(error), mountpoint)
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def hang(self, *kinds):
        with self.lock:
            self.kinds = kinds

    def go_on(self):
        """Answers what was held, and hangs no more."""
        with self.lock:
            self.kinds = ()
            held, self.held = self.held, []
        for request in held:
            self._answer(*request)

    def close(self):
        self.go_on()
        _libc.umount2(os.fsencode(self.mountpoint), MNT_DETACH)
        self.thread.join(5)
        os.close(self.device)

    def _add(self, path):
        parent, _, name = path.rpartition("/")
        if parent and parent not in self.nodes:
            self._add(parent)
        self.children.setdefault(parent, set()).add(name)
        node = len(self.nodes) + 1
        self.nodes[path] = node
        self.paths[node] = path

    def _serve(self):
        while True:
            try:
                request = os.read(self.device, BUFFER + 4096)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.ENOENT):  # ENOENT: interrupted meanwhile
                    continue
                return  # ENODEV: unmounted
            if not request:
                return
            _, kind, unique, node = IN_HEADER.unpack_from(request)[:4]
            body = request[IN_HEADER.size :]
            with self.lock:
                if kind in self.kinds:
                    self.held.append((kind, unique, node, body))
                    continue
            self._answer(kind, unique, node, body)

    def _answer(self, kind, unique, node, body):
        if kind in (FORGET, BATCH_FORGET, INTERRUPT):
            return
        try:
            data, error = self._do(kind, self.paths.get(node), body), 0
        except OSError as failure:
            data, error = b"", failure.errno
        try:
            header = OUT_HEADER.pack(OUT_HEADER.size + len(data), -error, unique)
            os.write(self.device, header + data)
        except OSError:
            pass  # interrupted, or unmounted

    def _attr(self, path):
        size = len(self.content.get(path, b""))
        mode = stat.S_IFREG | 0o444 if path in self.content else stat.S_IFDIR | 0o555
        times = 0, 1_600_000_000, 0
        numbers = 0, 0, 0, mode, 1, os.getuid(), os.getgid(), 0, 4096, 0
        return ATTR.pack(self.nodes[path], size, (size + 511) // 512, *times, *numbers)

    def _do(self, kind, path, body):
        if kind == INIT:
            major, minor, read_ahead = struct.unpack_from("<III", body)
            assert major == 7 and minor >= 31
            answer = 7, 31, read_ahead, ASYNC_READ
            background, max_write, granularity, pages = (64, 48), 4096, 1, (0, 0)
            rest = [0] * 8
            fields = *answer, *background, max_write, granularity, *pages, *rest
            return struct.pack("<4I2H2I2H8I", *fields)
        if kind == LOOKUP:
            name = body.split(b"\0")[0].decode()
            wanted = f"{path}/{name}" if path else name
            if wanted not in self.nodes:
                raise OSError(errno.ENOENT, name)
            return struct.pack("<QQQQII", self.nodes[wanted], 0, 0, 0, 0, 0) + self._attr(wanted)
        if kind == GETATTR:
            return struct.pack("<QII", 0, 0, 0) + self._attr(path)
        if kind == OPEN:
            return struct.pack("<QIi", 0, FOPEN_DIRECT_IO, 0)
        if kind == READ:
            _, offset, size = struct.unpack_from("<QQI", body)
            begin, end = self.bad.get(path, (0, 0))
            if offset < end and offset + size > begin:
                raise OSError(errno.EIO, path)
            return self.content[path][offset : offset + size]
        if kind == STATFS:
            return struct.pack("<5Q4I6I", 0, 0, 0, 0, 0, 4096, 255, 4096, *[0] * 7)
        if kind == OPENDIR:
            return struct.pack("<QIi", 0, 0, 0)
        if kind == READDIR:
            return self._entries(path, struct.unpack_from("<QQI", body)[1])
        if kind in (RELEASE, RELEASEDIR, DESTROY):
            return b""
        raise OSError(errno.ENOSYS, "")

    def _entries(self, path, skip):
        out = b""
        for i, name in enumerate(sorted(self.children[path])):
            if i < skip:
                continue
            child = f"{path}/{name}" if path else name
            kind = 8 if child in self.content else 4  # DT_REG, DT_DIR
            encoded = name.encode()
            out += struct.pack("<QQII", self.nodes[child], i + 1, len(encoded), kind)
            out += encoded + b"\0" * (-len(encoded) % 8)
            if len(out) > 2048:
                break
        return out
