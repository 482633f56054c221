"""The training folder against plain files: saving a stroke, and opening many records.

    python benchmarks/folder.py [--saves 100] [--records 50000]

Each figure stands beside what the disk alone takes for the same bytes in the same run, since disks
and loads differ.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from msgspec import structs
from PIL import Image

from napari_cln.annotation import Annotation, Node
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.pictures import encode_png
from napari_cln.folder.record import encode_record
from napari_cln.types import Frame

REAL = Path(__file__).parents[1] / "tests" / "data" / "folder" / "images" / "neck_00.png"
SHAPE = (720, 960)


def strokes(n: int) -> list[Annotation]:
    """A reader's strokes on one frame of usual size, made of a real one."""
    grey = np.tile(np.array(Image.open(REAL).convert("L")), (4, 5))[: SHAPE[0], : SHAPE[1]].copy()
    frame = Frame(pixels=grey, scan_area=(0, 0, *SHAPE), spacing_mm=(0.08, 0.08))
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    annotations = []
    for i in range(n):
        node = ((rows - 350) / (60 + i / 9)) ** 2 + ((columns - 450) / 130) ** 2 < 1
        nodes = (Node(id=1, truth="benign"),)
        annotations.append(Annotation(frame=frame, instances=node.astype(np.uint8), nodes=nodes))
    return annotations


def measure_saves(root: Path, n: int) -> None:
    """Median of a save after a stroke, beside plain writes of the same mask and record."""
    folder = TrainingFolder.create(root / "saves")
    plain = root / "plain"
    plain.mkdir()
    times: dict[str, list[float]] = {"save": [], "plain": [], "synced": []}
    for annotation in strokes(n + 1):
        begun = time.perf_counter()
        case = folder.save(annotation, who="r1")
        times["save"].append(time.perf_counter() - begun)
        mask, record = encode_png(annotation.instances), folder.layout.record(case.id).read_bytes()
        for name, sync in (("plain", False), ("synced", True)):
            begun = time.perf_counter()
            for path, data in ((plain / "mask.png", mask), (plain / "record.json", record)):
                with path.open("wb") as file:
                    file.write(data)
                    if sync:
                        file.flush()
                        os.fsync(file.fileno())
            times[name].append(time.perf_counter() - begun)
    save, unsynced, synced = (1e3 * np.array(times[name][1:]) for name in ("save", "plain", "synced"))
    print(f"save of a mask and its record, {SHAPE[1]}×{SHAPE[0]} pixels, n = {n}")
    print(f"  median {np.median(save):.1f} ms, 95 % under {np.quantile(save, 0.95):.1f} ms (target: < 20 ms)")
    print(f"  plain writes of the same bytes {np.median(unsynced):.2f} ms, synced {np.median(synced):.2f} ms")
    print(f"  ratio to plain {np.median(save / unsynced):.1f}, to synced {np.median(save / synced):.1f}")


def measure_opening(root: Path, n: int) -> None:
    """Seconds to open a folder of many records, beside reading the same bytes."""
    folder = TrainingFolder.create(root / "many")
    case = folder.save(strokes(1)[0], who="r1")
    record = folder.record(case.id)
    for i in range(n - 1):
        other = structs.replace(record, id=f"{i:016x}", patient_key=f"{i // 3:016x}")
        folder.layout.record(other.id).write_bytes(encode_record(other))

    def read_all() -> int:
        with os.scandir(folder.layout.records) as entries:
            return sum(len(Path(entry.path).read_bytes()) for entry in entries)

    read_all()
    begun = time.perf_counter()
    size = read_all()
    reading = time.perf_counter() - begun
    begun = time.perf_counter()
    cases = TrainingFolder.open(folder.path).cases()
    opening = time.perf_counter() - begun
    begun = time.perf_counter()
    again = TrainingFolder.open(folder.path).cases()
    reopening = time.perf_counter() - begun
    assert len(cases) == len(again) == n
    print(f"opening a folder of {n} records ({size / 1e6:.0f} MB)")
    print(f"  first {opening:.2f} s, again {reopening:.2f} s (target: < 3 s)")
    print(f"  reading the same bytes {reading:.2f} s; ratio {opening / reading:.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--saves", type=int, default=100)
    parser.add_argument("--records", type=int, default=50_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        os.environ["NAPARI_CLN_CONFIG"] = str(Path(place) / "config")
        measure_saves(Path(place), options.saves)
        measure_opening(Path(place), options.records)
