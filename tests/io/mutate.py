"""Damage files at random, read them, and count what came of it: run in a process of its own.

Usage: ``python mutate.py SEED N FILE…``. Prints one line, ``read failed``; a reader that
raises anything but FrameReadError ends it with a traceback, one that aborts ends it without.
"""

import random
import sys
import tempfile
from pathlib import Path

from napari_cln.errors import FrameReadError
from napari_cln.io.sources import open_source


def mutate(data: bytearray, chance: random.Random, first: int) -> bytearray:
    """Flip, overwrite, repeat, drop or cut bytes from `first` on."""
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        if not data:
            break
        at = chance.randrange(first, max(first + 1, len(data)))
        match chance.randrange(6):
            case 0:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                data[at : at + 2] = chance.choice(
                    (b"\0\0", b"\xff\xff", b"\x7f\xff", b"\xff\xd9", b"\xff\xda")
                )
            case 2:
                data[at : at + 1] = bytes([data[min(at, len(data) - 1)] ^ 1 << chance.randrange(8)])
            case 3:
                data[at:at] = data[at : at + chance.randrange(1, 64)]
            case 4:
                del data[at : at + chance.randrange(1, 64)]
            case _ if chance.random() < 0.2:
                del data[at:]
    return data


def main() -> None:
    seed, n_files, *paths = sys.argv[1:]
    chance = random.Random(int(seed))
    read = failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for path in map(Path, paths):
            whole = path.read_bytes()
            for number in range(int(n_files)):
                # Half of the damage goes to headers, which are short.
                first = 0 if number % 2 else min(len(whole) // 2, 2000)
                target = Path(folder, f"{number}{path.suffix}")
                target.write_bytes(mutate(bytearray(whole), chance, first))
                try:
                    with open_source(target) as source:
                        for index in {0, source.n_frames - 1}:
                            source[index]
                    read += 1
                except FrameReadError:
                    failed += 1
                target.unlink()
    sys.stdout.write(f"{read} {failed}\n")


if __name__ == "__main__":
    main()
