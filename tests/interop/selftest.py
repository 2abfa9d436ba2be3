#!/usr/bin/python3
"""The harness's own tests: what it must refuse, above all. Needs no client."""

import os
import shutil
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import bencode
import support
import tracker


class CompareTrees(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.source, self.copy = os.path.join(self.folder, "source"), os.path.join(
            self.folder, "copy"
        )
        os.makedirs(os.path.join(self.source, "sub"))
        self.write("source/a", b"x" * (3 << 20))
        self.write("source/sub/b", b"yz")
        self.write("source/empty", b"")
        shutil.copytree(self.source, self.copy)

    def tearDown(self):
        shutil.rmtree(self.folder)

    def write(self, name, content):
        with open(os.path.join(self.folder, name), "wb") as file:
            file.write(content)

    def refused(self, message, **options):
        with self.assertRaisesRegex(support.Failure, message):
            support.compare_trees(self.source, self.copy, **options)

    def test_equal(self):
        support.compare_trees(self.source, self.copy)

    def test_one_byte_differs(self):
        self.write("copy/a", b"x" * (2 << 20) + b"X" + b"x" * ((1 << 20) - 1))
        self.refused(f"a: bytes differ from offset {2 << 20}")

    def test_shorter(self):
        self.write("copy/sub/b", b"y")
        self.refused("sub/b: 1 bytes instead of 2")

    def test_missing(self):
        os.remove(os.path.join(self.copy, "sub/b"))
        self.refused("1 files are missing, the first: sub/b", empty_files=False)

    def test_extra(self):
        self.write("copy/more", b"")
        self.refused("1 files more than there should be, the first: more")

    def test_empty_file_missing(self):
        os.remove(os.path.join(self.copy, "empty"))
        self.refused("the first: empty")
        support.compare_trees(self.source, self.copy, empty_files=False)

    def test_pad_files_do_not_count(self):
        os.makedirs(os.path.join(self.copy, ".pad"))
        self.write("copy/.pad/7", b"0000000")
        support.compare_trees(self.source, self.copy)


class Waiting(unittest.TestCase):
    def test_deadline_passes(self):
        with self.assertRaisesRegex(support.Failure, "deadline passed while waiting for Godot"):
            support.Deadline(0.05).wait_until(lambda: False, "Godot")

    def test_process_that_ends_is_noticed_at_once(self):
        with tempfile.TemporaryDirectory() as folder:
            process = support.Process("short", ["sh", "-c", "echo said; exit 3"], folder)
            with self.assertRaisesRegex(support.Failure, "short ended with status 3"):
                support.Deadline(20).wait_until(lambda: False, "more", process)
            self.assertIn("said", process.log_tail())
            process.stop()

    def test_a_crash_is_told_from_an_end(self):
        with tempfile.TemporaryDirectory() as folder:
            for script, crashed in (("kill -SEGV $$", True), ("exit 3", False)):
                process = support.Process("short", ["sh", "-c", script], folder)
                with self.assertRaises(support.Failure) as caught:
                    support.Deadline(20).wait_until(lambda: False, "more", process)
                self.assertEqual(isinstance(caught.exception, support.Crash), crashed)
                process.stop()

    def test_stop_ends_the_group(self):
        with tempfile.TemporaryDirectory() as folder:
            child = os.path.join(folder, "child")
            process = support.Process(
                "parent", ["sh", "-c", f"sleep 1000 & echo $! >{child}; wait"], folder
            )
            support.Deadline(20).wait_until(
                lambda: os.path.exists(child) and os.path.getsize(child), "the child"
            )
            with open(child, encoding="utf-8") as file:
                pid = int(file.read())
            process.stop()
            support.Deadline(20).wait_until(lambda: self.gone(pid), "the child to end")

    @staticmethod
    def gone(pid):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
                return file.read().rsplit(")", 1)[1].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True


class Torrents(unittest.TestCase):
    INFO = b"d6:lengthi3e4:name1:a12:piece lengthi16384e6:pieces20:" + b"\xff" * 20 + b"e"

    def test_another_tracker_leaves_the_info_bytes(self):
        old = b"d8:announce3:old13:announce-listll3:oldee4:info" + self.INFO + b"8:url-list3:webe"
        new = bencode.with_tracker(old, "http://new/")
        self.assertEqual(new, b"d8:announce11:http://new/4:info" + self.INFO + b"e")

    def test_broken(self):
        for broken in (b"", b"i3", b"d4:info", b"5:abcd", b"l", b"i1ee"):
            with self.assertRaises((ValueError, IndexError)):
                bencode.with_tracker(broken, "http://new/")

    def test_tracker_answers(self):
        answering = tracker.Tracker("127.0.0.1", ("10.1.2.3", 6881))
        try:
            import urllib.request

            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            compact, _ = bencode.decode(opener.open(answering.url + "?compact=1", timeout=5).read())
            plain, _ = bencode.decode(opener.open(answering.url + "?compact=0", timeout=5).read())
        finally:
            answering.close()
        self.assertEqual(compact[b"peers"], bytes([10, 1, 2, 3, 0x1A, 0xE1]))
        self.assertEqual(plain[b"peers"], [{b"ip": b"10.1.2.3", b"port": 6881}])


if __name__ == "__main__":
    unittest.main()
