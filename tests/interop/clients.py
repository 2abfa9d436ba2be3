"""The stock clients of the matrix, each in a profile folder of its own.

A client is constructed with a torrent, a peer and a folder; `start()` makes it fetch, `complete()`
tells whether it says that it has all, `stop()` ends it. After a stop, `start()` goes on with the
same profile. Peers are found without DHT, LSD, PEX or port mapping: told directly where the client
allows it, else by a tracker that knows nobody else. Everything else (encryption policy, request
depth, ...) stays as the client ships it: those are the clients that a seed meets.
"""

import http.client
import json
import os
import pty
import re
import shutil
import signal
import socket
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
import xmlrpc.client

import bencode
import support
import tracker

HERE = os.path.dirname(os.path.abspath(__file__))
V1, HYBRID, V2 = "v1", "hybrid", "v2"
_HTTP = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Client:
    name = ""
    program = ""  # what must be on PATH
    versions = (V1,)  # of torrents that it can fetch
    makes_empty_files = True

    def __init__(self, dataset, peer, folder):
        self.dataset = dataset
        self.peer = peer
        self.folder = folder
        self.downloads = os.path.join(folder, "downloads")
        os.makedirs(self.downloads)
        self.process = None
        with open(dataset.torrent, "rb") as file:
            torrent = file.read()
        self.tracker = tracker.Tracker(support.address(), support.split(peer))
        self.torrent = os.path.join(folder, "fetch.torrent")
        with open(self.torrent, "wb") as file:
            file.write(bencode.with_tracker(torrent, self.tracker.url))
        self.port = support.free_port()
        self.prepare()

    @classmethod
    def lacking(cls):
        """What is missing on this machine to run it, or an empty string."""
        return "" if shutil.which(cls.program) else f"{cls.program} is not installed"

    @property
    def result(self):
        return os.path.join(self.downloads, self.dataset.root)

    def prepare(self):
        """Writes the profile, once."""

    def start(self):
        raise NotImplementedError

    def complete(self):
        """Whether the client itself says that it has everything."""
        raise NotImplementedError

    def stop(self):
        if self.process:
            self.process.stop(signal.SIGTERM)

    def close(self):
        self.stop()
        self.tracker.close()

    def run(self, *command, **options):
        environment = {
            "HOME": self.folder,
            "XDG_CONFIG_HOME": self.folder,
            "XDG_DATA_HOME": self.folder,
            "no_proxy": "*",
        }
        self.process = support.Process(
            self.name, list(command), self.folder, environment=environment, **options
        )


class Aria2(Client):
    name, program = "aria2", "aria2c"

    def start(self):
        self.run(
            "aria2c",
            "--no-conf",
            f"--dir={self.downloads}",
            f"--listen-port={self.port}",
            "--enable-dht=false",
            "--enable-dht6=false",
            "--enable-peer-exchange=false",
            "--bt-enable-lpd=false",
            "--seed-time=0",
            "--file-allocation=none",
            "--summary-interval=1",
            "--check-certificate=false",
            self.torrent,
        )

    def complete(self):
        if self.process.poll() == 0:
            return True
        if self.process.poll() is not None:
            raise support.Failure(f"aria2 ended with {self.process.status()}")
        return False

    def stop(self):
        if self.process:
            self.process.stop(signal.SIGINT)


class Libtorrent(Client):
    name, program = "libtorrent", "/usr/bin/python3"
    versions = (V1, HYBRID, V2)

    @classmethod
    def lacking(cls):
        try:
            import libtorrent  # noqa: F401
        except ImportError:
            return "python3-libtorrent is not installed"
        return ""

    def start(self):
        self.run(
            sys.executable,
            os.path.join(HERE, "libtorrent_peer.py"),
            "fetch",
            self.dataset.torrent,
            "--data",
            self.downloads,
            "--listen",
            f"[::]:{self.port}" if self.peer[0] == "[" else f"{support.address()}:{self.port}",
            "--peer",
            self.peer,
        )

    def complete(self):
        with open(self.process.log, "rb") as log:
            return b'{"event": "complete"' in log.read().rsplit(b"\n$ ", 1)[-1]


class Webtorrent(Client):
    name, program = "webtorrent", "node"
    versions = (V1, HYBRID)
    makes_empty_files = False  # where one lies on a piece border, as in hybrid torrents

    @classmethod
    def lacking(cls):
        if not os.path.isdir(os.path.join(HERE, "webtorrent", "node_modules", "webtorrent")):
            return "the npm packages of tests/interop/webtorrent are not installed"
        return super().lacking()

    def start(self):
        self.run(
            "node",
            os.path.join(HERE, "webtorrent", "fetch.js"),
            self.dataset.torrent,
            self.downloads,
            self.peer,
            str(self.port),
        )

    def complete(self):
        with open(self.process.log, "rb") as log:
            return b"\ncomplete\n" in log.read().rsplit(b"\n$ ", 1)[-1]


class Transmission(Client):
    """transmission-daemon, driven by its RPC. It never connects to loopback addresses: it needs
    the run's namespace.
    """

    name, program = "transmission", "transmission-daemon"
    makes_empty_files = False

    @classmethod
    def lacking(cls):
        if support.address().startswith("127."):
            return (
                "transmission needs an own network namespace (unshare), which this machine refuses"
            )
        return super().lacking()

    def prepare(self):
        self.rpc_port = support.free_port()
        self.session_id = ""
        self.added = False
        with open(os.path.join(self.folder, "settings.json"), "w") as file:
            json.dump(
                {
                    "download-dir": self.downloads,
                    "incomplete-dir-enabled": False,
                    "dht-enabled": False,
                    "lpd-enabled": False,
                    "pex-enabled": False,
                    "utp-enabled": False,
                    "port-forwarding-enabled": False,
                    "peer-port": self.port,
                    "rpc-port": self.rpc_port,
                    "rpc-bind-address": "127.0.0.1",
                    "rpc-whitelist-enabled": False,
                    "rpc-authentication-required": False,
                    "preallocation": 0,
                },
                file,
            )

    def start(self):
        self.run("transmission-daemon", "--foreground", "--log-info", "--config-dir", self.folder)
        deadline = support.Deadline(15)
        deadline.wait_until(lambda: self.call("session-get"), "transmission's RPC", self.process)
        if not self.added:
            if not self.call("torrent-add", filename=self.torrent, paused=False):
                raise support.Failure("transmission refuses the torrent")
            self.added = True

    def call(self, method, **arguments):
        """The answer's arguments; None while the daemon can't be reached."""
        body = json.dumps({"method": method, "arguments": arguments}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.rpc_port}/transmission/rpc",
            body,
            {"X-Transmission-Session-Id": self.session_id},
        )
        try:
            with _HTTP.open(request, timeout=5) as answer:
                answer = json.load(answer)
                return answer["arguments"] if answer["result"] == "success" else None
        except urllib.error.HTTPError as error:
            self.session_id = error.headers.get("X-Transmission-Session-Id", "")
            return None
        except (OSError, http.client.HTTPException):
            return None

    def complete(self):
        answer = self.call(
            "torrent-get",
            fields=["leftUntilDone", "metadataPercentComplete", "errorString", "status"],
        )
        if not answer or not answer["torrents"]:
            return False
        torrent = answer["torrents"][0]
        checking = torrent["status"] in (1, 2)
        return (
            not checking
            and torrent["metadataPercentComplete"] == 1
            and torrent["leftUntilDone"] == 0
        )


class Qbittorrent(Client):
    """qbittorrent-nox, driven by its web API, which also takes peers directly."""

    name, program = "qbittorrent", "qbittorrent-nox"
    versions = (V1, HYBRID, V2)

    def prepare(self):
        self.web_port = support.free_port()
        self.added = False
        folder = os.path.join(self.folder, "qBittorrent", "config")
        os.makedirs(folder)
        with open(os.path.join(folder, "qBittorrent.conf"), "w") as file:
            file.write(
                f"""[BitTorrent]
Session\\DHTEnabled=false
Session\\LSDEnabled=false
Session\\PeXEnabled=false
Session\\BTProtocol=TCP
Session\\Port={self.port}
Session\\DefaultSavePath={self.downloads}

[LegalNotice]
Accepted=true

[Network]
PortForwardingEnabled=false

[Preferences]
WebUI\\Address=127.0.0.1
WebUI\\LocalHostAuth=false
WebUI\\Port={self.web_port}
WebUI\\UseUPnP=false
"""
            )

    def start(self):
        self.run("qbittorrent-nox", f"--profile={self.folder}", f"--webui-port={self.web_port}")
        deadline = support.Deadline(20)
        deadline.wait_until(lambda: self.call("app/version"), "qBittorrent's web API", self.process)
        if not self.added:
            with open(self.dataset.torrent, "rb") as file:
                self.upload("torrents/add", file.read(), savepath=self.downloads)
            self.added = True
        deadline.wait_until(self.add_peer, "qBittorrent to take the peer", self.process)

    def entry(self):
        torrents = json.loads(self.call("torrents/info") or "[]")
        return torrents[0] if torrents else None

    def add_peer(self):
        # Its own name for a torrent: for a hybrid one that isn't the hash of v1.
        torrent = self.entry()
        return (
            torrent
            and self.call("torrents/addPeers", hashes=torrent["hash"], peers=self.peer) is not None
        )

    def call(self, path, **form):
        """The answer's body; None while the program can't be reached or answers with an error."""
        data = urllib.parse.urlencode(form).encode() if form else None
        return self._open(
            urllib.request.Request(f"http://127.0.0.1:{self.web_port}/api/v2/{path}", data)
        )

    def upload(self, path, torrent, **fields):
        boundary = "----------------penstock"
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode()
            for k, v in fields.items()
        ]
        parts.append(
            f"--{boundary}\r\n"
            'Content-Disposition: form-data; name="torrents"; filename="t.torrent"\r\n'
            "Content-Type: application/x-bittorrent\r\n\r\n".encode() + torrent + b"\r\n"
        )
        parts.append(f"--{boundary}--\r\n".encode())
        answer = self._open(
            urllib.request.Request(
                f"http://127.0.0.1:{self.web_port}/api/v2/{path}",
                b"".join(parts),
                {"Content-Type": f"multipart/form-data; boundary={boundary}"},
            )
        )
        if not answer or b"Ok" not in answer:
            raise support.Failure(f"qBittorrent refuses the torrent: {answer}")

    @staticmethod
    def _open(request):
        try:
            with _HTTP.open(request, timeout=5) as answer:
                return answer.read()
        except (OSError, http.client.HTTPException):
            return None

    def complete(self):
        torrent = self.entry()
        if not torrent:
            return False
        if torrent["state"] in ("error", "missingFiles"):
            raise support.Failure(f"qBittorrent's torrent is in state {torrent['state']}")
        # A lost peer is not tried again for a minute unless it is named again.
        if torrent["state"] == "stalledDL":
            self.add_peer()
        return torrent["progress"] == 1 and torrent["state"] in (
            "uploading",
            "stalledUP",
            "forcedUP",
            "queuedUP",
        )


class Rtorrent(Client):
    """rtorrent on a terminal of its own, driven by XML-RPC over SCGI."""

    name, program = "rtorrent", "rtorrent"

    def prepare(self):
        self.session = os.path.join(self.folder, "session")
        os.makedirs(self.session)
        # The path of a UNIX socket has at most 107 bytes, which the folder's may exceed.
        self.scgi_port = support.free_port()
        self.rc = os.path.join(self.folder, "rtorrent.rc")
        with open(self.rc, "w") as file:
            file.write(
                f"""directory.default.set = {self.downloads}
session.path.set = {self.session}
network.port_range.set = {self.port}-{self.port}
network.port_random.set = no
dht.mode.set = disable
protocol.pex.set = no
trackers.use_udp.set = no
network.scgi.open_port = 127.0.0.1:{self.scgi_port}
"""
            )
        self.loaded = False

    def start(self):
        # It needs a terminal: a pseudo one, whose output nobody wants but which must not fill up.
        master, slave = pty.openpty()
        try:
            self.run("rtorrent", "-n", "-o", f"import={self.rc}", stdin=slave, stdout=slave)
        finally:
            os.close(slave)
        threading.Thread(target=_drain, args=(master,), daemon=True).start()
        deadline = support.Deadline(15)
        deadline.wait_until(
            lambda: self.call("system.client_version"), "rtorrent's SCGI", self.process
        )
        if not self.loaded:
            self.call("load.start_verbose", "", self.torrent)
            self.loaded = True

    def call(self, method, *arguments):
        """The result; None while rtorrent can't be reached or answers with a fault."""
        body = xmlrpc.client.dumps(arguments, method).encode()
        headers = b"CONTENT_LENGTH\0%d\0SCGI\0001\0" % len(body)
        try:
            with socket.create_connection(("127.0.0.1", self.scgi_port), 5) as connection:
                connection.sendall(b"%d:%s,%s" % (len(headers), headers, body))
                answer = b"".join(iter(lambda: connection.recv(65536), b""))
            text = re.split(rb"\r?\n\r?\n", answer, maxsplit=1)[1]
            return xmlrpc.client.loads(text)[0][0]
        except (OSError, IndexError, xmlrpc.client.Fault):
            return None

    def complete(self):
        hashes = self.call("download_list", "")
        if not hashes:
            return False
        message = self.call("d.message", hashes[0])
        if message and "Tracker" not in message:
            raise support.Failure(f"rtorrent says: {message}")
        return self.call("d.complete", hashes[0]) == 1 and self.call("d.is_active", hashes[0]) == 1

    def stop(self):
        if self.process:
            self.process.stop(signal.SIGINT)


def _drain(descriptor):
    try:
        while os.read(descriptor, 65536):
            pass
    except OSError:  # the other end is closed
        pass
    finally:
        os.close(descriptor)


ALL = {
    client.name: client
    for client in (Aria2, Libtorrent, Qbittorrent, Rtorrent, Transmission, Webtorrent)
}
