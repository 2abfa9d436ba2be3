"""The servers that are compared, each tuned for this one job as well as its manual and our trials allow.

The settings are the code: README.md says why. A server is constructed with the data and a folder of its own; `start()`
returns when it can serve everything.
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
import urllib.request
import xmlrpc.client

import penstock
import world
from world import MiB, support

_HTTP = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Server:
    name = ""
    program = ""
    kind = "peer"  # "peer": competes with Penstock; "limit": the reference; "penstock"
    depth = 40  # requests in flight on a connection
    warmup = 1.0  # seconds until it serves everybody
    connections_max = 100000  # rows with more are left out

    def __init__(self, data, core, options):
        self.data, self.core, self.options = data, core, options
        self.folder = world.scratch(self.name)
        self.port = world.free_port()
        self.process = None

    @classmethod
    def lacking(cls, _options):
        return "" if shutil.which(cls.program) else f"{cls.program} is not installed"

    def start(self):
        raise NotImplementedError

    def load_arguments(self):
        return ["--torrent", self.data.torrent, "--peer", f"{world.SERVER_ADDRESS}:{self.port}",
                "--source", world.SOURCE_PREFIX]

    def run(self, *command, environment=None, **options):
        environment = {"HOME": self.folder, "XDG_CONFIG_HOME": self.folder, "XDG_DATA_HOME": self.folder,
                       **world.server_environment(), **(environment or {})}
        self.process = support.Process(self.name, [*world.pinned(self.core), *command], self.folder,
                                       environment=environment, **options)

    def pause(self):
        for pid in world.descendants(self.process.pid):
            os.kill(pid, signal.SIGSTOP)

    def resume(self):
        for pid in world.descendants(self.process.pid):
            os.kill(pid, signal.SIGCONT)

    def stop(self):
        """The server's own last words as a dictionary, when it has some."""
        if self.process:
            self.resume()
            self.process.stop(signal.SIGTERM, 10)
        return {}

    def listening(self):
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex((world.SERVER_ADDRESS, self.port)) == 0


class Penstock(Server):
    name, kind = "penstock", "penstock"
    verify = "full"

    @classmethod
    def lacking(cls, options):
        return "" if os.access(options.program, os.X_OK) else f"{options.program} is not built"

    def start(self):
        self.seed = penstock.Seed(
            self.options.program, self.core, [self.data.torrent], self.data.folder,
            ["--shards", "1", "--cache", f"{3 * self.data.size // 2 // MiB + 64}MiB", "--verify", self.verify,
             "--max-peers", "4096", *self.options.seed_option])
        self.process, self.port = self.seed.process, self.seed.port
        self.seed.wait_serving(self.options.load_program or self.options.program, self.data.torrent)

    def stop(self):
        self.resume()
        return self.seed.stop()


class PenstockLazy(Penstock):
    name, verify = "penstock-lazy", "lazy"


class Libtorrent(Server):
    name = "libtorrent"

    @classmethod
    def lacking(cls, _options):
        try:
            import libtorrent  # noqa: F401
        except ImportError:
            return "python3-libtorrent is not installed"
        return ""

    def start(self):
        self.run(sys.executable, os.path.join(world.HERE, "libtorrent_seed.py"), self.data.torrent, self.data.folder,
                 f"{world.SERVER_ADDRESS}:{self.port}")
        support.Deadline(30).wait_until(self.listening, "libtorrent to listen", self.process)


class Transmission(Server):
    name, program = "transmission", "transmission-daemon"
    # It looks every 500 ms at what a peer wants and sends so much: only a deep queue keeps it busy. 512 is its limit.
    depth = 500
    # It looks every ten seconds at whom to unchoke.
    warmup = 12.0

    def start(self):
        rpc = world.free_port()
        with open(os.path.join(self.folder, "settings.json"), "w") as file:
            json.dump({
                "download-dir": self.data.folder, "incomplete-dir-enabled": False, "dht-enabled": False,
                "lpd-enabled": False, "pex-enabled": False, "utp-enabled": False, "port-forwarding-enabled": False,
                "encryption": 0, "peer-port": self.port, "bind-address-ipv4": world.SERVER_ADDRESS,
                "peer-limit-global": 8000, "peer-limit-per-torrent": 8000, "upload-slots-per-torrent": 2000,
                "speed-limit-up-enabled": False, "ratio-limit-enabled": False, "idle-seeding-limit-enabled": False,
                "seed-queue-enabled": False, "scrape-paused-torrents-enabled": False, "cache-size-mb": 64,
                "rpc-port": rpc, "rpc-bind-address": "127.0.0.1", "rpc-whitelist-enabled": False,
                "rpc-authentication-required": False, "message-level": 1}, file)
        self.run("transmission-daemon", "--foreground", "--log-error", "--config-dir", self.folder)
        self.session = ""
        self.rpc_url = f"http://127.0.0.1:{rpc}/transmission/rpc"
        deadline = support.Deadline(90)
        deadline.wait_until(lambda: self.call("session-get"), "transmission's RPC", self.process)
        self.call("torrent-add", filename=self.data.torrent, paused=False)
        deadline.wait_until(self.complete, "transmission to have checked the data", self.process)

    def call(self, method, **arguments):
        request = urllib.request.Request(
            self.rpc_url, json.dumps({"method": method, "arguments": arguments}).encode(),
            {"X-Transmission-Session-Id": self.session})
        try:
            with _HTTP.open(request, timeout=10) as answer:
                answer = json.load(answer)
                return answer["arguments"] if answer["result"] == "success" else None
        except urllib.error.HTTPError as error:
            self.session = error.headers.get("X-Transmission-Session-Id", "")
        except (OSError, http.client.HTTPException):
            pass
        return None

    def complete(self):
        answer = self.call("torrent-get", fields=["leftUntilDone", "status"])
        torrents = answer and answer["torrents"]
        return bool(torrents) and torrents[0]["leftUntilDone"] == 0 and torrents[0]["status"] == 6


class Rtorrent(Server):
    name, program = "rtorrent", "rtorrent"
    warmup = 2.0

    def start(self):
        session = os.path.join(self.folder, "session")
        os.makedirs(session)
        self.scgi = world.free_port()
        rc = os.path.join(self.folder, "rtorrent.rc")
        with open(rc, "w") as file:
            file.write(f"""directory.default.set = {self.data.folder}
session.path.set = {session}
network.bind_address.set = {world.SERVER_ADDRESS}
network.port_range.set = {self.port}-{self.port}
network.port_random.set = no
network.scgi.open_port = 127.0.0.1:{self.scgi}
network.max_open_sockets.set = 4000
network.max_open_files.set = 1000
network.send_buffer.size.set = 4M
network.receive_buffer.size.set = 1M
throttle.max_uploads.set = 2000
throttle.max_uploads.global.set = 0
throttle.min_peers.seed.set = 1
throttle.max_peers.seed.set = 2000
throttle.max_peers.normal.set = 2000
throttle.global_up.max_rate.set_kb = 0
protocol.encryption.set = none
protocol.pex.set = no
dht.mode.set = disable
trackers.use_udp.set = no
pieces.memory.max.set = 8000M
pieces.preload.type.set = 0
pieces.hash.on_completion.set = no
""")
        master, slave = pty.openpty()
        try:
            self.run("rtorrent", "-n", "-o", f"import={rc}", stdin=slave, stdout=slave, environment={"TERM": "dumb"})
        finally:
            os.close(slave)
        threading.Thread(target=_drain, args=(master,), daemon=True).start()
        deadline = support.Deadline(90)
        deadline.wait_until(lambda: self.call("system.client_version"), "rtorrent's SCGI", self.process)
        self.call("load.start", "", self.data.torrent)
        deadline.wait_until(self.complete, "rtorrent to have checked the data", self.process)

    def complete(self):
        hashes = self.call("download_list", "")
        return hashes and self.call("d.complete", hashes[0]) == 1 and self.call("d.is_active", hashes[0]) == 1

    def call(self, method, *arguments):
        body = xmlrpc.client.dumps(arguments, method).encode()
        headers = b"CONTENT_LENGTH\0%d\0SCGI\0001\0" % len(body)
        try:
            with socket.create_connection(("127.0.0.1", self.scgi), 5) as connection:
                connection.sendall(b"%d:%s,%s" % (len(headers), headers, body))
                answer = b"".join(iter(lambda: connection.recv(65536), b""))
            return xmlrpc.client.loads(re.split(rb"\r?\n\r?\n", answer, maxsplit=1)[1])[0][0]
        except (OSError, IndexError, xmlrpc.client.Fault):
            return None


class Aria2(Server):
    name, program = "aria2", "aria2c"
    connections_max = 10  # it uploads to four peers at a time, whatever is asked
    warmup = 12.0

    def start(self):
        self.run("aria2c", "--no-conf", f"--dir={self.data.folder}", f"--listen-port={self.port}",
                 "--enable-dht=false", "--enable-dht6=false", "--enable-peer-exchange=false", "--bt-enable-lpd=false",
                 "--seed-ratio=0", "--bt-seed-unverified=true", "--check-integrity=false", "--bt-max-peers=0",
                 "--max-upload-limit=0", "--max-overall-upload-limit=0", "--file-allocation=none",
                 "--enable-mmap=true", "--disk-cache=64M", "--allow-overwrite=false", "--summary-interval=0",
                 "--console-log-level=error", "--bt-tracker-connect-timeout=1", self.data.torrent)
        support.Deadline(30).wait_until(self.listening, "aria2 to listen", self.process)


class Nginx(Server):
    name, program, kind = "nginx", "nginx", "limit"
    depth = 2  # ranges of 1 MiB, pipelined

    @classmethod
    def lacking(cls, options):
        os.environ["PATH"] += ":/usr/sbin"
        return super().lacking(options)

    def start(self):
        conf = os.path.join(self.folder, "nginx.conf")
        with open(conf, "w") as file:
            file.write(f"""daemon off;
user root;
pid {self.folder}/nginx.pid;
error_log {self.folder}/error.log;
worker_processes 1;
events {{ worker_connections 4096; multi_accept on; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  tcp_nodelay on;
  keepalive_requests 1000000000;
  keepalive_timeout 300;
  open_file_cache max=100 inactive=300s;
  client_body_temp_path {self.folder}/body;
  proxy_temp_path {self.folder}/proxy;
  fastcgi_temp_path {self.folder}/fastcgi;
  uwsgi_temp_path {self.folder}/uwsgi;
  scgi_temp_path {self.folder}/scgi;
  server {{ listen {world.SERVER_ADDRESS}:{self.port} backlog=4096; root {self.data.folder}; }}
}}
""")
        self.run("nginx", "-c", conf, "-p", self.folder)
        support.Deadline(15).wait_until(self.listening, "nginx to listen", self.process)

    def load_arguments(self):
        url = f"http://{world.SERVER_ADDRESS}:{self.port}/{os.path.basename(self.data.path)}"
        return ["--torrent", self.data.torrent, "--http", url, "--range", "1MiB", "--source", world.SOURCE_PREFIX]


def _drain(descriptor):
    try:
        while os.read(descriptor, 65536):
            pass
    except OSError:
        pass
    finally:
        os.close(descriptor)


ALL = {server.name: server
       for server in (Penstock, PenstockLazy, Rtorrent, Libtorrent, Transmission, Aria2, Nginx)}
