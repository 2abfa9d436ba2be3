#!/usr/bin/env python3
"""Plants one bug at a time and sees whether the tests find it.

Each NAME.patch of this folder breaks something; its first line says what. The tree is copied to
build-planted/, and for each patch: applied there, built, the packet scripts run, and if they find
nothing the simulator's seeds; then it is taken back. One line a bug says which script or seed found
it. Before, the same scripts and seeds must find nothing in the tree as it is.

usage: run.py [--seeds N] [--jobs N] [--both] [--apply-only] [NAME...]

--both runs the seeds also for a bug that a script found; --apply-only sees whether all patches
still apply. Ends with 1 if one doesn't, or if a bug isn't found. The last line is "N passed, N
failed, N skipped", for machines.
"""
import argparse
import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parent.parent
SCRATCH = TOP / "build-planted"
TREE = SCRATCH / "tree"
BUILD = SCRATCH / "build"
TARGETS = ("tests/packet/packet_test", "tests/sim/tcp_sim")
PACKET_SECONDS = 300
SIM_SECONDS = 1500
# git apply must not take the scratch tree for a part of the repository around it.
ENVIRONMENT = {**os.environ, "GIT_CEILING_DIRECTORIES": str(SCRATCH), "CCACHE_NOHASHDIR": "1"}


def run(command, seconds=None, cwd=None):
    """Status (None: killed, it took too long) and output."""
    with subprocess.Popen(
        [str(word) for word in command], cwd=cwd, env=ENVIRONMENT, text=True, errors="replace",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            return None, output
        except BaseException:  # told to stop: so is what was begun
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return process.returncode, output


def sources():
    """The files of the project, relative to its top."""
    if (TOP / ".git").exists():
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.check_output(listed, cwd=TOP, text=True).split("\0")
        return sorted(name for name in names if name and (TOP / name).is_file())
    found = []
    for folder, folders, files in os.walk(TOP):
        folders[:] = [name for name in folders if not name.startswith(("build", "."))]
        found += [os.path.relpath(os.path.join(folder, name), TOP) for name in files]
    return sorted(found)


def copy_tree():
    """Makes the scratch tree the same as this one; returns a digest of it."""
    names = sources()
    digest = hashlib.sha256()
    for name in names:
        content = (TOP / name).read_bytes()
        if not name.startswith("tests/planted/"):
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
        to = TREE / name
        # What is the same stays: its time tells ninja that nothing has to be built.
        if to.is_file() and to.read_bytes() == content:
            continue
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(content)
        to.chmod((TOP / name).stat().st_mode)
    for old in set(os.path.relpath(p, TREE) for p in TREE.rglob("*") if p.is_file()) - set(names):
        (TREE / old).unlink()
    return digest.hexdigest()


def apply(patch, *options):
    return run(["git", "apply", *options, patch], cwd=TREE)


def build():
    if not (BUILD / "build.ninja").exists():
        ENVIRONMENT.setdefault("CXX", "ccache g++")
        status, output = run(["meson", "setup", BUILD, TREE, "-Dbench=false"])
        if status != 0:
            return output
    status, output = run(["ninja", "-C", BUILD, *TARGETS])
    return "" if status == 0 else output


def packet_failure():
    """The first script that fails, or ""."""
    status, output = run([BUILD / TARGETS[0], "--gtest_brief=0"], PACKET_SECONDS, cwd=TREE)
    if status == 0:
        return ""
    failed = list(dict.fromkeys(re.findall(r"^\[  FAILED  \] (\S+?),? ", output, re.M)))
    begun = re.findall(r"^\[ RUN      \] (\S+)", output, re.M)
    if status is None or status < 0:
        how = "hangs" if status is None else "crashes"
        return f"script {begun[-1] if begun else '?'} ({how})"
    more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
    return f"script {failed[0]}{more}" if failed else "packet_test: " + output[-200:]


def sim_failure(seeds, jobs):
    """The first seed that fails, or ""."""
    command = [BUILD / TARGETS[1], "--seeds", f"1..{seeds}", "--jobs", jobs]
    status, output = run(command, SIM_SECONDS)
    if status == 0:
        return ""
    found = re.search(r"^FAILED (\d+).*?: (.*)", output, re.M)
    if found:
        return f"seed {found[1]}: {found[2][:110]}"
    raise RuntimeError(f"the simulator ended with {status}: {output[-300:]}")


def check_clean(digest, seeds, jobs):
    """What finds a planted bug must find nothing without it."""
    record = SCRATCH / "clean"
    if record.exists():
        known, proven = record.read_text().split()
        if known == digest and int(proven) >= seeds:
            return
    wrong = build()
    if wrong:
        sys.exit(wrong + "\nthe tree doesn't build")
    wrong = packet_failure() or sim_failure(seeds, jobs)
    if wrong:
        sys.exit(f"found without any planted bug, by {wrong}")
    record.write_text(f"{digest} {seeds}\n")


def try_bug(patch, options):
    """A line of result, and whether it is good."""
    status, output = apply(patch)
    if status != 0:
        return f"ERROR the patch doesn't apply: {output.strip()}", False
    try:
        wrong = build()
        if wrong:
            return f"ERROR it doesn't build:\n{wrong[-2000:]}", False
        script = packet_failure()
        seed = sim_failure(options.seeds, options.jobs) if options.both or not script else ""
    finally:
        apply(patch, "--reverse")
    if not script and not seed:
        return "NOT FOUND", False
    return "found by " + "; ".join(filter(None, (script, seed))), True


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seeds", type=int, default=2000)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--both", action="store_true")
    parser.add_argument("--apply-only", action="store_true")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    patches = sorted(HERE.glob("*.patch"))
    if options.names:
        wanted = {Path(name).stem for name in options.names}
        patches = [p for p in patches if p.stem in wanted]
        if len(patches) != len(wanted):
            parser.error("no patch is called " + ", ".join(wanted - {p.stem for p in patches}))
    digest = copy_tree()
    passed = failed = 0
    if not options.apply_only:
        check_clean(digest, options.seeds, options.jobs)
    for patch in patches:
        began = time.monotonic()
        what = patch.read_text().split("\n", 1)[0]
        if options.apply_only:
            status, output = apply(patch, "--check")
            good = status == 0 and not what.startswith("diff")
            line = "applies" if good else f"ERROR {output.strip() or 'no line says what it breaks'}"
        else:
            line, good = try_bug(patch, options)
        took = "" if options.apply_only else f" [{time.monotonic() - began:.0f} s]"
        print(f"{patch.stem}: {line} ({what}){took}", flush=True)
        passed, failed = passed + good, failed + (not good)
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
