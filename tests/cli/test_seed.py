#!/usr/bin/python3
"""penstock seed as a user starts it: torrents made and kept, mistakes, reports."""
import fcntl
import json
import os
import resource
import signal
import socket
import subprocess
import unittest

import json_schema
from support import PENSTOCK, Case, noise


def fill_pipes():
    """Pipes with all the pages that this user's may have: new ones of his get two."""
    with open("/proc/sys/fs/pipe-user-pages-soft", encoding="utf-8") as file:
        pages = int(file.read())
    ends = []
    while pages > 0:
        ends += os.pipe()
        try:
            pages -= fcntl.fcntl(ends[-1], fcntl.F_SETPIPE_SZ, 1 << 20) // 4096
        except PermissionError:
            break
    return ends


class Seed(Case):
    def seed(self, *arguments, until="listening", limit=None, wrap=()):
        """Runs until the event was reported, then stops it: its objects and stderr."""
        def set_limit():
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE, (min(limit, 64), limit))

        process = subprocess.Popen(
            [*wrap, PENSTOCK, "seed", "--state", "state", "--listen", "127.0.0.1:0", "--cache", "16MiB",
             "--json", *arguments], cwd=self.folder, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, preexec_fn=set_limit)
        out = ""
        stopped = False  # a second SIGINT would interrupt the stop
        for line in process.stdout:
            out += line
            event = json.loads(line)
            if not stopped and (until(event) if callable(until) else event.get("event") == until):
                self.while_it_runs(event)
                process.send_signal(signal.SIGINT)
                stopped = True
        err = process.communicate(timeout=20)[1]
        self.assertEqual(process.returncode, 0, err)
        return json_schema.check_lines("seed", out), err

    def while_it_runs(self, event):
        pass

    def info_hash(self, path):
        objects, err = self.seed(path)
        return objects[0]["info_hash"], "from an earlier run" in err

    def test_the_torrent_is_kept_until_the_data_changes(self):
        self.data_set()
        first, kept = self.info_hash("set")
        self.assertFalse(kept)
        self.assertEqual(self.info_hash("set/"), (first, True))
        # As large and as old as it was before.
        old = os.stat(self.path("set/z"))
        self.write("set/z", noise(65_536, 77))
        os.utime(self.path("set/z"), ns=(old.st_atime_ns, old.st_mtime_ns))
        changed, kept = self.info_hash("set")
        self.assertFalse(kept)
        self.assertNotEqual(changed, first)
        os.unlink(self.path("set/z"))
        self.assertNotIn(self.info_hash("set")[0], (first, changed))

    def test_data_of_the_same_name_elsewhere_has_a_torrent_of_its_own(self):
        for i in (1, 2):
            self.write(f"{i}/data/file", noise(50_000, i))
            os.utime(self.path(f"{i}/data/file"), (1e9, 1e9))
        one, _ = self.info_hash("1/data")
        two, kept = self.info_hash("2/data")
        self.assertFalse(kept)
        self.assertNotEqual(one, two)
        self.assertEqual(self.info_hash("1/data"), (one, True))

    def test_a_torrent_and_its_reports(self):
        self.data_set("data/set")
        self.run_ok("create", "data/set", "-o", "t.torrent")
        objects, err = self.seed("t.torrent", "--data", "data", until="status")
        self.assertEqual([o.get("event") for o in objects[:3]], ["torrent", "listening", "status"])
        self.assertEqual((objects[0]["files"], objects[0]["files_lacking"]), (9, 0))
        self.assertEqual(objects[1]["backend"], "kernel")
        self.assertIn("backend kernel: no --device", err)
        self.assertNotIn("\033", err)
        self.assertIn("magnet:?xt=urn:btih:" + objects[0]["info_hash"], err)

    def test_verified_pieces_are_counted_whoever_hashed_them(self):
        self.data_set("data/set")
        self.run_ok("create", "data/set", "--piece-size", "16KiB", "-o", "t.torrent")
        pieces = self.run_json("verify", "t.torrent", "--data", "data")[-1]["pieces"]

        def all_there(event):
            return event.get("pieces_verified") == pieces

        arguments = "t.torrent", "--data", "data"
        objects, _ = self.seed(*arguments, "--verify", "full", until=all_there)
        self.assertEqual(objects[-1]["pieces_lost"], 0)
        # A later run knows it from the state directory.
        objects, _ = self.seed(*arguments, until="status")
        self.assertEqual(objects[-1]["pieces_verified"], pieces)
        # One piece is wrong now.
        with open(self.path("data/set/a/one"), "r+b") as file:
            file.seek(40_000)
            file.write(b"no such bytes")
        objects, err = self.seed(*arguments, "--verify", "full",
                                 until=lambda event: event.get("pieces_lost"))
        self.assertEqual(objects[-1]["pieces_verified"], pieces - 1)
        self.assertIn(f"set: 1 of {pieces} pieces are bad or missing", err)

    def test_what_sends_nothing_by_reference_says_so_once(self):
        self.data_set("data/set")
        self.run_ok("create", "data/set", "-o", "t.torrent")
        arguments = "t.torrent", "--data", "data", "--shards", "2"
        _, err = self.seed(*arguments, until="status")
        self.assertNotIn("copied", err)
        wrap = ()
        if os.geteuid() == 0:  # whom no limit of pipes stops
            wrap = "setpriv", "--bounding-set=-sys_resource,-sys_admin"
        pipes = fill_pipes()
        try:
            _, err = self.seed(*arguments, until="status", wrap=wrap)
        finally:
            for end in pipes:
                os.close(end)
        self.assertEqual(err.count("content is copied to the sockets"), 1, err)

    def test_logs_do_not_go_where_the_report_goes(self):
        self.write("data/set/file", noise(100_000))
        self.run_ok("create", "data/set", "--piece-size", "16KiB", "-o", "t.torrent")
        with open(self.path("data/set/file"), "r+b") as file:
            file.write(b"wrong")
        self.while_it_runs = lambda event: self.run_raw(
            "bench", "leech", "--torrent", "t.torrent", "--peer", event["addresses"][0],
            "--duration", "300ms", "--warmup", "100ms", "--connections", "2")
        objects, err = self.seed("t.torrent", "--data", "data")
        self.assertEqual(objects[-1]["pieces_lost"], 1)
        self.assertIn("piece 0 is lost", err)

    def test_data_that_is_not_there(self):
        self.data_set("data/set")
        self.run_ok("create", "data/set", "-o", "t.torrent")
        for arguments, words in (
                (["--data", "data/set"], [f"give --data {self.path('data')}"]),
                (["--data", "."], ["none of its files", "set/a/one", 'contains "set"']),
                (["--data", "nowhere"], ["nowhere", "No such file"]), ([], ["none of its files"])):
            with self.subTest(arguments):
                text = self.fails(1, "seed", "t.torrent", "--state", "state", "--listen",
                                  "127.0.0.1:0", *arguments)
                for word in words:
                    self.assertIn(word, text)
        os.unlink(self.path("data/set/z"))
        objects, err = self.seed("t.torrent", "--data", "data")
        self.assertEqual(objects[0]["files_lacking"], 1)
        self.assertIn('1 of 9 files are missing or too short in "data", "set/z"', err)

    def test_a_port_that_is_taken_is_said_before_anything_is_hashed(self):
        os.makedirs(self.path("set"))
        with open(self.path("set/huge"), "wb") as file:
            file.truncate(1 << 40)
        # As Penstock's own listeners are: a second process of this user could share the port.
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = other.getsockname()[1]
            for address in (f"127.0.0.1:{port}", f"0.0.0.0:{port}"):
                text = self.fails(1, "seed", "set", "--state", "state", "--listen", address)
                self.assertIn(f"listening on {address}", text)
                self.assertIn("in use", text)

    def test_interrupted_while_hashing(self):
        os.makedirs(self.path("set"))
        with open(self.path("set/huge"), "wb") as file:
            file.truncate(1 << 40)
        with subprocess.Popen([PENSTOCK, "seed", "set", "--state", "state", "--listen",
                               "127.0.0.1:0", "--json"], cwd=self.folder, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            self.wait_until_open(process, self.path("set/huge"))
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=30)
        self.assertEqual(process.returncode, 130, err)
        self.assertEqual(json_schema.check_lines("seed", out)[-1]["status"], "interrupted")

    def test_the_limit_of_open_files(self):
        self.write("set/file", noise(100_000))
        # The soft limit is raised to the hard one, and fewer peers are taken when that is too low.
        _, err = self.seed("set", "--max-peers", "500", limit=1024)
        self.assertNotIn("open files", err)
        _, err = self.seed("set", "--max-peers", "500", limit=300)
        self.assertIn("300 open files are allowed", err)
        self.assertIn("not 500", err)

    def test_mistakes(self):
        self.write("set/file", noise(1000))
        tap = ("--backend", "tap")
        null = ("--backend", "dpdk", "--device", "net_null0", "--address", "10.0.0.2/24")
        for status, words, arguments in (
                (1, ['"none"', "no such file"], ["none"]),
                (2, ["there is no option --vrify: did you mean --verify?"], ["set", "--vrify"]),
                (2, ["there is no option --upload-limt: did you mean --upload-limit?"],
                 ["set", "--upload-limt=1Gbps"]),
                (2, ["PATH is required"], []),
                (2, ["--listen", "ADDRESS:PORT"], ["set", "--listen", "127.0.0.1"]),
                (2, ["25Gbps"], ["set", "--upload-limit", "100"]),
                (2, ["too small"], ["set", "--cache", "1MiB"]),
                (2, ["2 shards"], ["set", "--shards", "2", "--cpus", "0"]),
                (2, ["--io"], ["set", "--io", "fast"]),
                (2, ["--address ADDR/PREFIX"], ["set", "--backend", "tap"]),
                (2, ["--address", "10.0.0.2/24"], ["set", *tap, "--address", "10.0.0.2"]),
                (2, ["--address", "10.0.0.2/24"], ["set", *tap, "--address", "10.0.0.2/33"]),
                (2, ["--gateway fd00::1", "family"],
                 ["set", *tap, "--address", "10.0.0.2/24", "--gateway", "fd00::1"]),
                (2, ["--listen", "give :PORT"],
                 ["set", *tap, "--address", "10.0.0.2/24", "--listen", "10.0.0.3:6881"]),
                (2, ["one shard"], ["set", *tap, "--address", "10.0.0.2/24", "--shards", "2"]),
                (2, ["--backend tap"], ["set", "--address", "10.0.0.2/24"]),
                (2, ["--backend tap"], ["set", "--no-offload"]),
                (1, ["no interface nosuch0"], ["set", "--interface", "nosuch0"]),  # auto: xdp
                (2, ["--backend dpdk needs --address"], ["set", "--device", "net_null0"]),
                (2, ["needs --device"], ["set", "--backend", "dpdk", "--address", "10.0.0.2/24"]),
                (2, ["--interface is for --backend tap and xdp"],
                 ["set", "--backend", "kernel", "--interface", "lo"]),
                (2, ["--device is for --backend dpdk"], ["set", *tap, "--device", "net_tap0"]),
                (2, ["--backend xdp needs --interface"], ["set", "--backend", "xdp"]),
                (1, ["no interface nosuch0"],
                 ["set", "--backend", "xdp", "--interface", "nosuch0"]),
                (1, ["no Ethernet"], ["set", "--backend", "xdp", "--interface", "lo"]),
                (2, ["--backend dpdk needs --address"],
                 ["set", "--backend", "dpdk", "--device", "net_null0"]),
                (2, ["one shard"], ["set", *null, "--shards", "2"]),
                # Built without it, it says that.
                (1, ["DPDK"], ["set", "--backend", "dpdk", "--device", "net_nothing0",
                               "--address", "10.0.0.2/24"]),
                (1, ["interface lo"],
                 ["set", *tap, "--address", "10.0.0.2/24", "--interface", "lo"])):
            with self.subTest(arguments=arguments):
                text = self.fails(status, "seed", *arguments, "--state", "state")
                for word in words:
                    self.assertIn(word, text)
        self.assertFalse(os.path.exists(self.path("state/made")))


if __name__ == "__main__":
    unittest.main()
