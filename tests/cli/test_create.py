#!/usr/bin/python3
"""penstock create, held against libtorrent and mktorrent."""
import os
import shutil
import signal
import subprocess
import sys
import time
import unittest

import libtorrent

from support import PENSTOCK, Case, noise


def hashes(path):
    """(v1, v2) as libtorrent reads them; None for a half that is not there."""
    found = libtorrent.torrent_info(path).info_hashes()
    return (str(found.v1) if found.has_v1() else None, str(found.v2) if found.has_v2() else None)


class Oracle(Case):
    def libtorrents(self, form, piece, root="set"):
        storage = libtorrent.file_storage()
        libtorrent.add_files(storage, self.path(root))
        flags = {"v1": libtorrent.create_torrent.v1_only, "v2": libtorrent.create_torrent.v2_only,
                 "hybrid": 0}[form]
        made = libtorrent.create_torrent(storage, piece, flags)
        libtorrent.set_piece_hashes(made, self.folder)
        path = self.path(f"libtorrent-{form}-{piece}.torrent")
        with open(path, "wb") as file:
            file.write(libtorrent.bencode(made.generate()))
        return path

    def test_v2_and_hybrid_equal_libtorrents(self):
        self.data_set()
        for form in ("v2", "hybrid"):
            for piece in (16384, 65536, 262144):
                with self.subTest(form=form, piece=piece):
                    self.run_ok("create", "set", f"--{form}", "--piece-size", f"{piece // 1024}KiB",
                                "-fo", "own.torrent")
                    self.assertEqual(hashes(self.path("own.torrent")),
                                     hashes(self.libtorrents(form, piece)))

    def test_single_files_equal_libtorrents(self):
        for size in (1, 16384, 16385, 100_000, 300_000):
            self.write("file", noise(size))
            for form in ("v1", "v2", "hybrid"):
                with self.subTest(form=form, size=size):
                    self.run_ok("create", "file", f"--{form}", "--piece-size", "16KiB",
                                "-fo", "own.torrent")
                    self.assertEqual(hashes(self.path("own.torrent")),
                                     hashes(self.libtorrents(form, 16384, "file")))

    def test_a_directory_with_one_file_equals_libtorrents(self):
        self.write("set/file", noise(100_000))
        self.write("deep/in/file", noise(100_000))
        self.write("more/file", noise(100_000))
        self.write("more/nothing", b"")
        for root, form in ((root, form) for root in ("set", "deep", "more")
                           for form in ("v1", "v2", "hybrid")):
            with self.subTest(root=root, form=form):
                made = self.run_raw("create", root, f"--{form}", "--piece-size", "16KiB", "-fo",
                                    "own.torrent")
                self.assertEqual(made.returncode, 0, made.stderr)
                ours, theirs = self.path("own.torrent"), self.libtorrents(form, 16384, root)
                self.assertEqual(hashes(ours), hashes(theirs))
                # Only there the directory is lost, and that is said.
                alone = (root, form) == ("set", "v2")
                self.assertEqual("just that file" in made.stderr, alone, made.stderr)
                files = libtorrent.torrent_info(ours).files()
                self.assertEqual(files.file_path(0), "file" if alone else
                                 "deep/in/file" if root == "deep" else root + "/file")
                self.run_ok("verify", "own.torrent", "--data", "set" if alone else ".")

    def test_v1_equals_mktorrents(self):
        self.data_set()
        for extra in ([], ["-p"]):
            subprocess.run(["mktorrent", "-l", "15", *extra, "-o", self.path("mk.torrent"),
                            self.path("set")], check=True, stdout=subprocess.DEVNULL)
            self.run_ok("create", "set", "--piece-size", "32KiB", "-fo", "own.torrent",
                        *(["--private"] if extra else []))
            self.assertEqual(hashes(self.path("own.torrent")), hashes(self.path("mk.torrent")))
            os.unlink(self.path("mk.torrent"))

    def test_libtorrent_finds_the_data_good(self):
        self.data_set()
        for form in ("v1", "v2", "hybrid"):
            self.run_ok("create", "set", f"--{form}", "-o", f"{form}.torrent")
            session = libtorrent.session({
                "enable_dht": False, "enable_lsd": False, "enable_upnp": False,
                "enable_natpmp": False, "listen_interfaces": "127.0.0.1:0",
                "alert_mask": libtorrent.alert.category_t.status_notification})
            handle = session.add_torrent({
                "ti": libtorrent.torrent_info(self.path(f"{form}.torrent")),
                "save_path": self.folder})
            deadline = time.monotonic() + 30
            while not handle.status().is_seeding and time.monotonic() < deadline:
                session.wait_for_alert(1000)
                session.pop_alerts()
            self.assertTrue(handle.status().is_seeding, form)


class Create(Case):
    def test_report(self):
        self.data_set()
        (final,) = self.run_json("create", "set", "--hybrid", "-o", "x.torrent",
                                 "--tracker", "http://tracker.example/announce")
        self.assertEqual(final["files"], 9)
        self.assertEqual(final["bytes"], sum(
            os.path.getsize(os.path.join(where, name))
            for where, _, names in os.walk(self.path("set")) for name in names))
        self.assertEqual((final["info_hash_v1"], final["info_hash_v2"]),
                         hashes(self.path("x.torrent")))
        self.assertIn("xt=urn:btih:" + final["info_hash_v1"], final["magnet"])
        self.assertIn("tr=http%3A", final["magnet"])

    def test_same_bytes_every_time_but_with_a_date(self):
        self.data_set()
        self.data_set("other/set")
        self.run_ok("create", "set", "-o", "1.torrent", "--jobs", "1")
        self.run_ok("create", "other/set", "-o", "2.torrent", "--jobs", "4")
        with open(self.path("1.torrent"), "rb") as one, open(self.path("2.torrent"), "rb") as two:
            self.assertEqual(one.read(), two.read())
        self.run_ok("create", "set", "-o", "3.torrent", "--date")
        made = libtorrent.torrent_info(self.path("3.torrent")).creation_date()
        self.assertLess(abs(made - time.time()), 60)

    def test_trackers_are_tiers_and_seeds_are_kept(self):
        self.data_set()
        self.run_ok("create", "set", "--tracker", "http://a.example/1", "--tracker",
                    "udp://b.example:2", "--web-seed", "http://c.example/d", "--comment", "dü")
        made = libtorrent.torrent_info(self.path("set.torrent"))
        self.assertEqual([(t.url, t.tier) for t in made.trackers()],
                         [("http://a.example/1", 0), ("udp://b.example:2", 1)])
        self.assertEqual([s["url"] for s in made.web_seeds()], ["http://c.example/d/"])
        self.assertEqual(made.comment(), "dü")

    def test_quiet_without_a_terminal(self):
        self.data_set()
        result = self.run_raw("create", "set")
        self.assertEqual(result.stderr, "")
        self.assertNotIn("\033", result.stdout)

    def test_keeps_what_exists(self):
        self.data_set()
        self.write("set.torrent", b"precious")
        self.assertIn("--force", self.fails(2, "create", "set"))
        with open(self.path("set.torrent"), "rb") as file:
            self.assertEqual(file.read(), b"precious")
        self.run_ok("create", "set", "--force")
        self.assertEqual(sorted(os.listdir(self.folder)), ["set", "set.torrent"])

    def test_errors_say_what_where_and_what_to_do(self):
        self.data_set()
        for status, words, arguments in (
                (1, ["\"none\"", "No such file"], ["none"]),
                (2, ["no unit", "64KiB"], ["set", "--piece-size", "65536"]),
                (2, ["power of two"], ["set", "--piece-size", "100KiB"]),
                (2, ["\"tracker.example\"", "http://"], ["set", "--tracker", "tracker.example"]),
                (2, ["inside", "-o"], ["set", "-o", "set/x.torrent"]),
                (1, ["/none", "-o"], ["set", "-o", self.path("none/x.torrent")]),
                (2, ["CPU 1023"], ["set", "--cpus", "1023"]),
                (2, ["list of CPUs"], ["set", "--cpus", "a-b"])):
            with self.subTest(arguments=arguments):
                text = self.fails(status, "create", *arguments)
                for word in words:
                    self.assertIn(word, text)
        self.assertEqual(sorted(os.listdir(self.folder)), ["set"])

    def test_an_unreadable_file_is_named(self):
        self.data_set()
        if os.geteuid() == 0:
            # Root reads everything: a file that is busy being no file will do.
            os.unlink(self.path("set/z"))
            os.mkfifo(self.path("set/z"))
            self.assertIn("set/z", self.fails(1, "create", "set"))
        else:
            os.chmod(self.path("set/z"), 0)
            text = self.fails(1, "create", "set")
            self.assertIn("\"z\": Permission denied", text)

    def test_an_empty_directory_is_mentioned(self):
        self.data_set()
        os.makedirs(self.path("set/nothing"))
        result = self.run_raw("create", "set")
        self.assertEqual(result.returncode, 0)
        self.assertIn("\"nothing\": an empty directory", result.stderr)

    def test_interrupt_leaves_nothing_behind(self):
        # Sparse, and more than any machine hashes before it is told to stop.
        os.makedirs(self.path("set"))
        with open(self.path("set/huge"), "wb") as file:
            file.truncate(1 << 40)
        for number in (signal.SIGINT, signal.SIGTERM):
            with subprocess.Popen([PENSTOCK, "create", "set", "--json"], cwd=self.folder,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  text=True) as process:
                self.wait_until_open(process, self.path("set/huge"))
                process.send_signal(number)
                out, err = process.communicate(timeout=30)
            self.assertEqual(process.returncode, 130, err)
            self.assertIn('"status":"interrupted"', out)
            self.assertEqual(os.listdir(self.folder), ["set"])


if __name__ == "__main__":
    if not shutil.which("mktorrent"):
        sys.exit("mktorrent is missing: tools/setup --test installs it")
    unittest.main()
