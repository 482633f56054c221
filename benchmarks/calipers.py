"""Whether a model reads the reader's marks: ``python benchmarks/calipers.py --data ../shared/data``.

The same frames with and without calipers: BUSI's test lesions with crosses and dotted lines drawn at the
ends of their axes, as a reader sets them, and screens with and without their drawn overlays. What counts
is how far the malignancy moves.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

from measure_default import busi
from napari_cln.imaging.measurement import measure_nodes
from napari_cln.io.sources import read_frame
from napari_cln.network.inference import Segmenter
from napari_cln.network.weights import load_model
from napari_cln.phantom import Screen, draw_calipers
from napari_cln.study.statistics.intervals import median_interval
from napari_cln.types import Frame

COLOURS = {"white": (255, 255, 255), "yellow": (250, 230, 40)}


def marked_lesions(data: Path, colour: tuple[int, int, int]) -> Iterator[tuple[Frame, Frame]]:
    """BUSI's test frames with a lesion, without and with calipers at the ends of its axes."""
    for annotation in busi(data, "public_test"):
        if not annotation.nodes:
            continue
        screen = Screen(annotation.frame.grey)
        plain = replace(annotation.frame, pixels=screen.pixels)
        for size in measure_nodes(annotation):
            if size.long_axis_ends and size.short_axis_ends:
                draw_calipers(screen, [size.long_axis_ends, size.short_axis_ends], colour, size=4.0)
        yield plain, replace(annotation.frame, pixels=screen.pixels)


def screens(data: Path) -> Iterator[tuple[Frame, Frame]]:
    """Screens without and with their drawn overlays."""
    folder = data / "overlay_pairs"
    with (folder / "labels.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            yield read_frame(folder / row["clean"]), read_frame(folder / row["shown"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with busi_384 and overlay_pairs")
    parser.add_argument("--model", default="default")
    arguments = parser.parse_args()
    network = load_model(arguments.model)
    assert network.card is not None
    card = network.card
    for what, remove in (("as shipped", True), ("marks left in, to compare", False)):
        network.card = replace(card, prepare=replace(card.prepare, remove_overlay=remove))
        segmenter = Segmenter(network, "cpu")
        sources = {f"{name} calipers": marked_lesions(arguments.data, c) for name, c in COLOURS.items()}
        for name, pairs in {**sources, "screens": screens(arguments.data)}.items():
            moved = []
            for plain, marked in pairs:
                before, after = segmenter.predict([plain, marked])
                moved.append(abs(after.malignancy - before.malignancy))
            print(
                f"{what}, {name}: malignancy moves by {median_interval(moved)} in median, "
                f"at most {max(moved):.3f}; by more than 0.05 on {np.mean(np.array(moved) > 0.05):.0%} "
                f"of {len(moved)} frames (target: median <= 0.05)",
                flush=True,
            )


if __name__ == "__main__":
    main()
