"""The data that the matrix moves: deterministic, made once, kept in a cache folder."""

import dataclasses
import os
import random
import shutil
import subprocess

KiB, MiB = 1 << 10, 1 << 20
# Part of the cache's path: change it when the contents below change.
VERSION = 1


@dataclasses.dataclass(frozen=True)
class Dataset:
    name: str
    version: str  # "v1", "v2" or "hybrid"
    torrent: str  # path of the .torrent, without a tracker
    data: str  # the directory that contains `root`, as `--data` takes it
    root: str  # the torrent's name: a file or a directory

    @property
    def source(self):
        return os.path.join(self.data, self.root)

    def size(self):
        if os.path.isfile(self.source):
            return os.path.getsize(self.source)
        return sum(
            os.path.getsize(os.path.join(parent, name))
            for parent, _, names in os.walk(self.source)
            for name in names
        )


def _odd_files():
    """Sizes around block and piece borders, an empty file, names outside ASCII, many files much
    smaller than a piece.
    """
    files = {
        "empty.dat": 0,
        "one byte": 1,
        "block-1.bin": 16 * KiB - 1,
        "block.bin": 16 * KiB,
        "block+1.bin": 16 * KiB + 1,
        "Übergröße/ñandú.bin": 3 * MiB + 333,
        "日本語/ファイル.dat": 5 * MiB + 7,
        "日本語/空.dat": 0,
        "emoji \U0001f6b0.txt": 4097,
        "combining e\u0301.txt": 77777,
        "deep/er/and/deeper/still.bin": 256 * KiB,
        "big/first.iso": 17 * MiB + 12345,
        "big/second.iso": 9 * MiB + 1,
    }
    files.update({f"small/{i:03}.txt": 13 + 37 * i % 997 for i in range(150)})
    return files


# name -> (torrent version, piece size, files; a single file has the name None)
_KINDS = {
    "multi": ("v1", 256 * KiB, _odd_files),
    "single": ("v1", 1 * MiB, lambda: {None: 48 * MiB + 12345}),
    "v2": ("v2", 128 * KiB, _odd_files),
    "hybrid": ("hybrid", 256 * KiB, _odd_files),
    "large": (
        "v1",
        512 * KiB,
        lambda: {"a.bin": 40 * MiB + 11, "b.bin": 31 * MiB + 4095, "c": 8 * MiB},
    ),
}
NAMES = list(_KINDS)


def version(name):
    """ "v1", "v2" or "hybrid", without making the dataset."""
    return _KINDS[name][0]


def cache_folder():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "penstock", f"interop-{VERSION}")


def make(name, creator=None, folder=None):
    """Makes the dataset, or finds it made. `creator` is the penstock program; None: libtorrent
    makes the torrent.
    """
    version, piece_size, files = _KINDS[name]
    folder = folder or cache_folder()
    root = f"penstock-{name}" if None not in files() else f"penstock-{name}.bin"
    _make_files(os.path.join(folder, name), root, name, files())
    torrent = os.path.join(folder, f"{name}-{'penstock' if creator else 'libtorrent'}.torrent")
    dataset = Dataset(name, version, torrent, os.path.join(folder, name), root)
    if creator:
        # Always anew: this is a program under test. The rename keeps readers in other cells whole.
        partial = f"{torrent}.{os.getpid()}"
        subprocess.run(
            [
                creator,
                "create",
                dataset.source,
                "-o",
                partial,
                f"--{version}",
                "--piece-size",
                f"{piece_size // KiB}KiB",
            ],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        os.rename(partial, torrent)
    elif not os.path.exists(torrent):
        _create_with_libtorrent(dataset, piece_size)
    return dataset


def make_demo():
    """The files of tools/run's demonstration. The torrent is the caller's to make."""
    folder = os.path.join(os.path.dirname(cache_folder()), "demo-1")
    files = {
        "README.txt": 2222,
        "images/system.iso": 150 * MiB + 12345,
        "images/tools.iso": 60 * MiB + 4097,
        "measurements/2024.csv": 31 * MiB + 999,
        "measurements/2025.csv": 14 * MiB + 1,
        **{f"notes/{i:02}.txt": 100 + 37 * i for i in range(20)},
    }
    _make_files(folder, "penstock-demo", "demo", files)
    return Dataset("demo", "v1", folder + ".torrent", folder, "penstock-demo")


def _make_files(folder, root, seed, files):
    if os.path.exists(folder):
        return
    partial = f"{folder}.{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    generator = random.Random(seed)
    for name, size in files.items():
        path = os.path.join(partial, root, name) if name else os.path.join(partial, root)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            for at in range(0, size, MiB):
                file.write(generator.randbytes(min(MiB, size - at)))
    try:
        os.rename(partial, folder)
    except OSError:  # somebody else was faster, with the same bytes
        shutil.rmtree(partial)


def _create_with_libtorrent(dataset, piece_size):
    import libtorrent as lt

    flags = {"v1": lt.create_torrent.v1_only, "v2": lt.create_torrent.v2_only, "hybrid": 0}[
        dataset.version
    ]
    storage = lt.file_storage()
    lt.add_files(storage, dataset.source)
    torrent = lt.create_torrent(storage, piece_size, flags)
    lt.set_piece_hashes(torrent, dataset.data)
    partial = f"{dataset.torrent}.{os.getpid()}"
    with open(partial, "wb") as file:
        file.write(lt.bencode(torrent.generate()))
    os.rename(partial, dataset.torrent)
