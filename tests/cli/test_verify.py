#!/usr/bin/python3
"""penstock verify and show."""
import errno
import os
import signal
import subprocess
import unittest

import json_schema
from support import PENSTOCK, Case, noise


class Verify(Case):
    def make(self, form="v1"):
        self.data_set("data/set")
        self.run_ok("create", "data/set", f"--{form}", "--piece-size", "16KiB", "-o", "t.torrent")

    def flip(self, name, offset):
        with open(self.path(name), "r+b") as file:
            file.seek(offset)
            byte = file.read(1)
            file.seek(offset)
            file.write(bytes([byte[0] ^ 1]))

    def test_all_of_it(self):
        for form in ("v1", "v2", "hybrid"):
            self.make(form)
            (final,) = self.run_json("verify", "t.torrent", "--data", "data")
            self.assertEqual(final["pieces_good"], final["pieces"])
            self.assertIn("complete", self.run_ok("verify", "t.torrent", "--data", "data"))
            os.unlink(self.path("t.torrent"))

    def test_a_flipped_bit_names_piece_and_files(self):
        self.make()
        self.flip("data/set/a/one", 40_000)
        (pieces, final) = self.run_json("verify", "t.torrent", "-d", "data", status=3)
        self.assertEqual((pieces["first"], pieces["count"], pieces["files"]),
                         (2, 1, ["set/a/one"]))
        self.assertEqual(final["pieces_bad"], 1)
        text = self.run_raw("verify", "t.torrent", "-d", "data").stdout
        self.assertIn("piece  2: wrong, in set/a/one", text)

    def test_missing_short_and_long_files_are_named(self):
        self.make("hybrid")
        os.unlink(self.path("data/set/t/tiny 2"))
        os.unlink(self.path("data/set/empty"))
        os.truncate(self.path("data/set/z"), 100)
        with open(self.path("data/set/twin"), "ab") as file:
            file.write(b"x")
        objects = self.run_json("verify", "t.torrent", "-d", "data", status=3)
        problems = {o["path"]: (o["problem"], o["errno"], o["bytes"], o["bytes_wanted"])
                    for o in objects if o.get("event") == "file"}
        self.assertEqual(problems, {
            "set/t/tiny 2": ("missing", errno.ENOENT, 0, 11),
            "set/empty": ("missing", errno.ENOENT, 0, 0),
            "set/z": ("too_short", 0, 100, 65_536),
            "set/twin": ("too_long", 0, 100_001, 100_000)})
        text = self.run_raw("verify", "t.torrent", "-d", "data").stdout
        self.assertIn("set/z: too short: has 100 of 65536 bytes", text)
        self.assertIn("No such file or directory", text)

    def test_nothing_of_it(self):
        self.make()
        os.makedirs(self.path("elsewhere"))
        final = self.run_json("verify", "t.torrent", "-d", "elsewhere", status=1)[-1]
        self.assertEqual(final["status"], "failed")
        self.assertEqual(final["pieces_good"], 0)
        self.assertIn("No such file", self.fails(1, "verify", "t.torrent", "-d", "none"))

    def test_a_link_that_leads_out_is_not_followed(self):
        self.make()
        os.rename(self.path("data/set/z"), self.path("outside"))
        os.symlink(self.path("outside"), self.path("data/set/z"))
        objects = self.run_json("verify", "t.torrent", "-d", "data", status=3)
        (problem,) = [o for o in objects if o.get("event") == "file"]
        self.assertEqual((problem["path"], problem["errno"]), ("set/z", errno.EXDEV))

    def test_hostile_names_do_not_reach_the_terminal(self):
        name = "evil\x1b]0;x\x07"
        info = b"d6:lengthi5e4:name%d:%s12:piece lengthi16384e6:pieces20:%se" % (
            len(name.encode()), name.encode(), b"x" * 20)
        self.write("evil.torrent", b"d4:info" + info + b"e")
        result = self.run_raw("verify", "evil.torrent")
        self.assertEqual(result.returncode, 1)
        self.assertNotIn("\x1b", result.stdout + result.stderr)

    def test_what_is_no_torrent(self):
        self.write("x.torrent", b"hello")
        self.assertIn("\"x.torrent\"", self.fails(2, "verify", "x.torrent"))
        self.assertIn("No such file", self.fails(1, "verify", "none.torrent"))
        self.assertIn("is a directory", self.fails(2, "verify", "."))

    def test_interrupt(self):
        # 64 GiB of zeros whose hashes are wrong, without one byte on the disk.
        size, piece = 1 << 36, 1 << 20
        info = b"d6:lengthi%de4:name4:huge12:piece lengthi%de6:pieces%d:%se" % (
            size, piece, 20 * (size // piece), noise(20 * (size // piece)))
        self.write("huge.torrent", b"d4:info" + info + b"e")
        with open(self.path("huge"), "wb") as file:
            file.truncate(size)
        with subprocess.Popen([PENSTOCK, "verify", "huge.torrent", "--json"], cwd=self.folder,
                              stdout=subprocess.PIPE, text=True) as process:
            self.wait_until_open(process, self.path("huge"))
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=30)
        self.assertEqual(process.returncode, 130)
        final = json_schema.check_lines("verify", out)[-1]
        self.assertEqual(final["status"], "interrupted")
        self.assertGreater(final["pieces_unchecked"], 0)


class Show(Case):
    def test_a_torrent(self):
        self.data_set()
        self.run_ok("create", "set", "--hybrid", "-o", "t.torrent", "--comment", "a comment",
                    "--tracker", "http://one.example/a")
        *files, final = self.run_json("show", "t.torrent")
        self.assertEqual([f["path"] for f in files],
                         ["a/one", "a/two", "empty", "t/tiny 1", "t/tiny 2", "t/tiny 3", "twin",
                          "z", "é – 数据"])
        self.assertEqual(final["trackers"], [["http://one.example/a"]])
        text = self.run_ok("show", "t.torrent")
        for word in ("a comment", final["info_hash_v1"], final["info_hash_v2"], "é – 数据",
                     final["magnet"]):
            self.assertIn(word, text)

    def test_a_magnet(self):
        link = "magnet:?xt=urn:btih:" + "ab" * 20 + "&dn=a%20name&tr=udp%3A%2F%2Ft.example%3A1"
        (final,) = self.run_json("show", link)
        self.assertEqual((final["kind"], final["name"], final["info_hash_v1"], final["trackers"]),
                         ("magnet", "a name", "ab" * 20, [["udp://t.example:1"]]))
        self.assertIn("a name", self.run_ok("show", link))
        self.fails(2, "show", "magnet:?dn=nothing")


class Schemas(Case):
    """The checker itself must be able to fail."""

    def test_the_checker_finds_what_is_wrong(self):
        good = ('{"schema":"penstock.create/1","final":true,"status":"usage","error":"x"}\n')
        json_schema.check_lines("create", good)
        for bad in ("", good + good, good.replace("create/1", "create/2"),
                    good.replace('"error":"x"', '"error":1'), good.replace('"x"', '"x","more":1'),
                    good.replace('"status":"usage",', ""), good.replace("usage", "well"),
                    good.replace("true", "1")):
            with self.assertRaises(json_schema.Mismatch):
                json_schema.check_lines("create", bad)
        with self.assertRaises(KeyError):
            json_schema.check(1, {"maximum": 2}, {})


if __name__ == "__main__":
    unittest.main()
