"""How time and memory grow with size: ``python benchmarks/growth.py [--quick] [--write]``.

Frames of a batch, pixels of a frame, nodes of a frame, records of a training folder, readers of a
folder: each is doubled a few times, and the exponent is the slope of log time over log size (1 is linear,
less is better). ``--write`` draws ``docs/images/growth.png``.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np
from msgspec import structs
from numpy.typing import NDArray
from PIL import Image

from napari_cln.annotation import Annotation, Node
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.readers import pair_readings, save_reading
from napari_cln.folder.record import encode_record
from napari_cln.imaging.measurement import measure_nodes, split_nodes
from napari_cln.network.inference import Segmenter
from napari_cln.network.model import YNet
from napari_cln.phantom import simulate
from napari_cln.types import Frame
from speed import TINY, batch_of

PLOT = Path(__file__).parents[1] / "docs" / "images" / "growth.png"
Series = tuple[str, list[int], list[float], str]


def seconds(run: Callable[[], object], repeats: int = 3) -> float:
    """Least of some repeats, after one that warms up."""
    run()
    taken = []
    for _ in range(repeats):
        begun = perf_counter()
        run()
        taken.append(perf_counter() - begun)
    return min(taken)


def ellipses(side: int, n: int) -> NDArray[np.float32]:
    """Probability map (side, side) with n nodes in a grid."""
    per_row = int(np.ceil(np.sqrt(n)))
    step = side / per_row
    rows, columns = np.mgrid[:side, :side]
    map_ = np.zeros((side, side), dtype=np.float32)
    for i in range(n):
        row, column = (i // per_row + 0.5) * step, (i % per_row + 0.5) * step
        inside = ((rows - row) / (0.25 * step)) ** 2 + ((columns - column) / (0.4 * step)) ** 2 < 1
        map_[inside] = 0.9
    return map_


def frames_of_a_batch(quick: bool) -> Iterator[Series]:
    """Time and peak memory of the batch job, each size in a process of its own."""
    sizes = [50, 100, 200] if quick else [250, 500, 1000, 2000]
    taken, peaks = [], []
    for count in sizes:
        with tempfile.TemporaryDirectory() as place:
            spent, peak = batch_of(Path(place), count)
        taken.append(spent)
        peaks.append(peak / 1024)
    yield "frames of a batch", sizes, taken, "s"
    yield "frames of a batch, peak memory", sizes, peaks, "MiB"


def pixels_of_a_frame(quick: bool) -> Iterator[Series]:
    """Preparing, predicting with a tiny network, and the way back."""
    segmenter = Segmenter(YNet(TINY).eval(), "cpu", batch_size=1)
    screen = Image.fromarray(simulate(3).frame.pixels).convert("L")
    sides = (
        [(480, 360), (960, 720), (1920, 1440)] if quick else [(s, s * 3 // 4) for s in (480, 960, 1920, 3840)]
    )
    taken = []
    for side in sides:
        frame = Frame(pixels=np.asarray(screen.resize(side)))
        taken.append(seconds(lambda frame=frame: list(segmenter.predict([frame]))))
    yield "pixels of a frame", [width * height for width, height in sides], taken, "s"


def nodes_of_a_frame(quick: bool) -> Iterator[Series]:
    """Separating and measuring the nodes."""
    counts = [1, 4, 16] if quick else [1, 4, 16, 64]
    taken = []
    for count in counts:
        map_ = ellipses(720, count)

        def run(map_: NDArray[np.float32] = map_, count: int = count) -> None:
            instances = split_nodes(map_, 0.5, 4)
            nodes = tuple(Node(id=i) for i in range(1, count + 1))
            measure_nodes(
                Annotation(
                    frame=Frame(pixels=np.zeros((720, 720), np.uint8)), instances=instances, nodes=nodes
                )
            )

        taken.append(seconds(run))
    yield "nodes of a frame", counts, taken, "s"


def case(folder: TrainingFolder, seed: int = 0) -> Annotation:
    """One small annotated frame of noise."""
    grey = np.random.default_rng(seed).integers(0, 255, (72, 96), np.uint8)
    frame = Frame(pixels=grey, scan_area=(0, 0, 72, 96))
    instances = np.zeros((72, 96), np.uint8)
    instances[20:40, 30:70] = 1
    annotation = Annotation(frame=frame, instances=instances, nodes=(Node(id=1, truth="benign"),))
    folder.save(annotation, who="r1", patient=f"p{seed}")
    return annotation


def records_of_a_folder(quick: bool) -> Iterator[Series]:
    """Opening the folder and listing its cases."""
    counts = [500, 1000, 2000] if quick else [2000, 4000, 8000, 16000]
    taken = []
    for count in counts:
        with tempfile.TemporaryDirectory() as place:
            folder = TrainingFolder.create(Path(place) / "study")
            case(folder)
            (only,) = folder.cases()
            record = folder.record(only.id)
            for i in range(count - 1):
                other = structs.replace(record, id=f"{i:016x}", patient_key=f"{i // 3:016x}")
                folder.layout.record(other.id).write_bytes(encode_record(other))
            taken.append(seconds(lambda path=folder.path: TrainingFolder.open(path).cases()))
    yield "records of a folder", counts, taken, "s"


def readers_of_a_folder(quick: bool) -> Iterator[Series]:
    """Comparing one reader's readings with the folder's, beside those of others."""
    counts = [1, 2, 4] if quick else [1, 2, 4, 8]
    taken = []
    with tempfile.TemporaryDirectory() as place:
        folder = TrainingFolder.create(Path(place) / "study")
        annotations = [case(folder, seed) for seed in range(10 if quick else 40)]
        done = 0
        for count in counts:
            for reader in range(done, count):
                for annotation in annotations:
                    save_reading(folder, replace(annotation, annotator=None), f"r{reader + 2}")
            done = count
            readers = [f"r{reader + 2}" for reader in range(count)]

            def run(readers: list[str] = readers) -> None:
                for reader in readers:
                    for _ in pair_readings(folder, reader):
                        pass

            taken.append(seconds(run))
    yield "readers of a folder", counts, taken, "s"


def exponent(sizes: list[int], values: list[float]) -> float:
    """Slope of log value over log size."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def draw(found: list[Series]) -> None:
    """All series, each in its own axes."""
    import matplotlib.pyplot as plt

    figure, places = plt.subplots(2, 3, figsize=(11, 6.2), layout="constrained")
    for axes, (name, sizes, values, unit) in zip(places.flat, found, strict=True):
        axes.loglog(sizes, values, "o-", color="#1f6f8b")
        axes.loglog(sizes, values[0] * np.array(sizes) / sizes[0], ":", color="grey")
        axes.set_title(f"{name}: exponent {exponent(sizes, values):.2f}", fontsize=10)
        axes.set_ylabel(unit)
        axes.minorticks_off()
        axes.set_xticks(sizes, [f"{size:,}" if size < 1e5 else f"{size / 1e6:.2g} M" for size in sizes])
    places.flat[0].legend(["measured", "linear"], fontsize=8)
    figure.savefig(PLOT, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write", action="store_true", help="draw the figure of the documentation")
    arguments = parser.parse_args()
    found: list[Series] = []
    with tempfile.TemporaryDirectory() as config:
        os.environ["NAPARI_CLN_CONFIG"] = config
        for part in (
            frames_of_a_batch,
            pixels_of_a_frame,
            nodes_of_a_frame,
            records_of_a_folder,
            readers_of_a_folder,
        ):
            for series in part(arguments.quick):
                name, sizes, values, unit = series
                shown = ", ".join(f"{size:,}: {value:.3g}" for size, value in zip(sizes, values, strict=True))
                print(f"{name}: exponent {exponent(sizes, values):.2f} ({shown} {unit})", flush=True)
                found.append(series)
    if arguments.write:
        draw(found)


if __name__ == "__main__":
    main()
