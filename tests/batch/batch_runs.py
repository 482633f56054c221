"""Runs of a batch for its tests, and a look at all that it wrote."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from napari_cln import FrameResult, segment_to_folder
from napari_cln.batch.masks import MaskFile


def run(study: Path, out: Path, model: str, **options) -> list[FrameResult]:
    return list(segment_to_folder([study], out, model=model, device="cpu", batch_size=2, **options))


def table(out: Path) -> list[dict[str, str]]:
    with (out / "results.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def picture(path: Path) -> tuple[str, np.ndarray]:
    with Image.open(path) as image:
        return image.mode, np.asarray(image)


def written(out: Path) -> dict[str, object]:
    """All that a folder of results says, but for what was set aside."""
    files = {str(path.relative_to(out)): path for path in out.rglob("*") if path.is_file()}
    said: dict[str, object] = {
        name: path.read_bytes()
        for name, path in files.items()
        if not name.startswith(("set-aside", "masks.jsonl", "run.jsonl", ".lock"))
    }
    lines = map(json.loads, (out / "run.jsonl").read_text().splitlines())
    said["record"] = {line.get("source"): line for line in lines}
    if "masks.jsonl" in files:
        masks = MaskFile(out / "masks.jsonl")
        said["masks"] = {key: mask.tolist() for key, mask in zip(masks.keys, masks, strict=True)}
    return said


def cine_with_damaged_frames(path: Path, n: int, is_whole: Callable[[int], bool]) -> None:
    """A multi-page TIFF, packed, in which the pixels of some pages are zeros and can't be unpacked."""
    page = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    with tifffile.TiffWriter(path) as file:
        for _ in range(n):
            file.write(page, compression="zlib", contiguous=False, metadata=None)
    with tifffile.TiffFile(path) as file:
        places = [(p.dataoffsets[0], p.databytecounts[0]) for p in file.pages]
    data = bytearray(path.read_bytes())
    for index, (offset, count) in enumerate(places):
        if not is_whole(index):
            data[offset : offset + count] = bytes(count)
    path.write_bytes(data)


def in_a_process(study: Path, out: Path, model: str, preamble: str = "") -> subprocess.Popen[str]:
    code = f"""
import os, resource, sys
from napari_cln import segment_to_folder
from napari_cln.errors import ClnError
{preamble}
try:
    for result in segment_to_folder([sys.argv[1]], sys.argv[2], model=sys.argv[3], batch_size=1):
        print(result.source, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, flush=True)
except ClnError as error:
    sys.exit(str(error))
"""
    arguments = [sys.executable, "-c", code, str(study), str(out), model]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
