"""Measure the outlines that calipers give: ends off by 5 %, and ends that a screen shows.

::

    python tools/measure_calipers.py --data ../shared/data

Used by ``train_calipers.py``; the figures go into the network's card.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label

from measure_default import busi, drawn
from napari_cln.annotation import Annotation
from napari_cln.imaging.calipers import HINTS, Axis, Calipers, Hint
from napari_cln.imaging.crosses import find_calipers
from napari_cln.imaging.measurement import measure
from napari_cln.io.sources import read_frame
from napari_cln.models.card import Figure
from napari_cln.network.outline import OutlineNet, Outliner, load_outline_net
from napari_cln.phantom import simulate
from napari_cln.phantom.simulation import Scene
from napari_cln.study.statistics.intervals import bootstrap, proportion
from napari_cln.study.statistics.metrics import dice
from napari_cln.types import Estimate, Frame
from napari_cln.workflow.pseudo import outline_calipers

SMALLEST = 20.0
"""Long axis in frame pixels below which nothing is learnt or measured."""
UNSEEN = "nerves"
"""The organ that is never trained on."""
MEASURED_AT = 0.05
"""How far each end or side is moved where figures are taken, as a part of the longer one."""
SIMULATED = {"train": (800, 500), "validation": (60, 60), "test": (30, 30)}
"""Simulated frames of the plain and of the varied scene."""
NEAR = 3.0
"""Pixels within which an end on a screen counts as found."""

Pair = tuple[Frame, NDArray[np.uint8]]
"""A frame with the ids of its nodes."""


# ------------------------------------------------------------ what a hand does


def true_calipers(mask: NDArray[np.bool_]) -> Calipers | None:
    """Axes of a mask as they are measured; None where it is small or runs along the frame's edge."""
    edge = mask[0].sum() + mask[-1].sum() + mask[:, 0].sum() + mask[:, -1].sum()
    if mask.sum() < SMALLEST:
        return None
    size = measure(mask)
    if size.long_axis_px < SMALLEST or edge > 0.2 * size.long_axis_px:
        return None
    assert size.long_axis_ends is not None
    assert size.short_axis_ends is not None
    return Calipers.crossing(size.long_axis_ends, size.short_axis_ends)


def moved(
    rng: np.random.Generator,
    ends: NDArray[np.floating],
    outline: NDArray[np.floating],
    hint: Hint,
    far: float,
    *,
    exact: bool,
) -> Calipers:
    """Calipers as a hand sets them: each end or side off by up to ``far``, or by ``far`` exactly.

    Parameters
    ----------
    rng : Generator
    ends : ndarray of float, shape (4, 2)
        Of the true long and short axis.
    outline : ndarray of float, shape (N, 2)
        Points of the node, for its box.
    hint : str
    far : float
        As a part of the long axis, or of the box's longer side.
    exact : bool
    """
    if hint == "box":
        box = np.array([outline.min(axis=0), outline.max(axis=0) + 1])
        size = float((box[1] - box[0]).max())
        off = rng.choice([-1, 1], (2, 2)) if exact else rng.uniform(-1, 1, (2, 2))
        return Calipers.inscribed((box + far * size * off).ravel().tolist())
    length = float(np.linalg.norm(ends[1] - ends[0]))
    while True:
        angles = rng.uniform(0, 2 * np.pi, len(ends))
        distances = far * length * (1.0 if exact else rng.uniform(0, 1, len(ends)))
        hand = ends + (distances * np.array([np.cos(angles), np.sin(angles)])).T
        if hint == "two ends":
            return Calipers.along((_point(hand[0]), _point(hand[1])))
        if (calipers := Calipers.crossing(*axes_of(hand))) is not None:
            return calipers


def axes_of(ends: NDArray[np.floating]) -> tuple[Axis, Axis]:
    """Both axes of four ends."""
    a, b, c, d = map(_point, ends)
    return (a, b), (c, d)


def _point(at: NDArray[np.floating]) -> tuple[float, float]:
    return float(at[0]), float(at[1])


# ------------------------------------------------------------ frames


def usgra(data: Path, part: str, value: int) -> Iterator[Pair]:
    """Vessels (2) or nerves (1) of real frames, one id each: ``part`` is train, validation or test."""
    import csv

    with (data / "usgra" / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    side = "test" if part == "test" else "train"
    for index, row in enumerate(row for row in rows if row["split"] == side):
        if part == "test" or (index % 4 == 3) == (part == "validation"):
            mask = iio.imread(data / "usgra" / row["mask"])
            instances = label(ndimage.binary_opening(mask == value, iterations=2)).astype(np.uint8)
            yield read_frame(data / "usgra" / row["image"]), instances


def pairs(annotations: Iterable[Annotation]) -> Iterator[Pair]:
    """Frames with the ids of their nodes."""
    for annotation in annotations:
        if annotation.nodes:
            yield annotation.frame, annotation.instances


def sources(data: Path, part: str) -> dict[str, Iterable[Pair]]:
    """Frames of a part (train, validation, test) by their organ."""
    plain, varied = SIMULATED[part]
    first = 500_000 if part == "train" else 0  # other frames than those of the bundled model
    breast = {"train": "train", "validation": "val", "test": "public_test"}[part]
    return {
        "breast": pairs(busi(data, breast)),
        "simulated": pairs(drawn(part, plain, "plain", first)),
        "simulated, varied": pairs(drawn(part, varied, "varied", first + 100_000)),
        "vessels": usgra(data, part, 2),
        **({UNSEEN: usgra(data, part, 1)} if part != "train" else {}),
    }


# ------------------------------------------------------------ figures


class Row(NamedTuple):
    """Dice of one node with one hint: of the ellipse, and of the outline that is given."""

    hint: Hint
    frame: int
    ellipse: float
    outline: float


def rows_of(
    frames: Iterable[Pair], network: OutlineNet | None = None, weights: dict[str, float] | None = None
) -> list[Row]:
    """Every node with every hint, each end or side off by 5 %, always the same way."""
    rows = []
    for number, (frame, instances) in enumerate(frames):
        outliner = Outliner(frame, network, weights)
        for id_ in np.unique(instances[instances > 0]):
            mask = instances == id_
            if (true := true_calipers(mask)) is None:
                continue
            for hint in HINTS:
                rng = np.random.default_rng((number, int(id_), HINTS.index(hint)))
                ends = np.array([*true.long_axis, *true.short_axis])
                hand = moved(rng, ends, np.argwhere(mask), hint, MEASURED_AT, exact=True)
                scores = (dice(found, mask) for found in (hand.ellipse(frame.shape), outliner.outline(hand)))
                rows.append(Row(hint, number, *scores))
    return rows


def mean_of(values: NDArray[np.float64], clusters: NDArray[np.integer]) -> Estimate:
    """Mean with its interval, by resampling frames."""
    low, high = bootstrap(lambda w: w @ values / w.sum(axis=1), clusters)
    return Estimate(value=float(values.mean()), low=float(low), high=float(high), n=len(values))


def figures_of(organ: str, rows: list[Row]) -> tuple[list[Figure], list[str]]:
    """Figures of an organ for the card, and lines of a table: mean / median / lower quartile."""
    figures, lines = [], []
    trained = "never trained on" if organ == UNSEEN else "test part"
    for hint in HINTS:
        mine = [row for row in rows if row.hint == hint]
        frames = np.array([row.frame for row in mine])
        ellipse, outline = np.array([(row.ellipse, row.outline) for row in mine]).T
        data = f"{organ} ({trained}), each end or side off by 5 %"
        gain = mean_of(outline - ellipse, frames)
        figures += [
            Figure(name=f"mean Dice, {hint}", data=data, estimate=mean_of(outline, frames)),
            Figure(name=f"mean Dice less that of the ellipse, {hint}", data=data, estimate=gain),
        ]
        shown = [
            " / ".join(f"{value:.3f}" for value in (one.mean(), np.median(one), np.quantile(one, 0.25)))
            for one in (ellipse, outline)
        ]
        lines.append(
            f"| {organ} | {hint} | {len(mine)} | {shown[0]} | {shown[1]} | "
            f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f}) |"
        )
    return figures, lines


@dataclass(kw_only=True)
class Screens:
    """What was read of frames with and without calipers."""

    ends: int = 0
    found: int = 0
    invented: int = 0
    frames: int = 0
    right: int = 0
    left: int = 0
    """Frames with calipers of which some were told as not to be told apart, or not seen, and none wrong."""

    def add(self, true: list[tuple[float, float]], frame: Frame) -> None:
        """Read a frame whose ends are known."""
        ends = find_calipers(frame).ends
        near = [any(math.dist(end, one) <= NEAR for one in ends) for end in true]
        invented = sum(not any(math.dist(end, one) <= NEAR for end in true) for one in ends)
        self.ends, self.found = self.ends + len(true), self.found + sum(near)
        self.invented, self.frames = self.invented + invented, self.frames + 1
        self.right += all(near) and not invented
        self.left += not all(near) and not invented

    def __str__(self) -> str:
        return (
            f"ends within {NEAR:g} px {proportion(self.found, self.ends)}; {self.invented} invented; "
            f"frames right {proportion(self.right, self.frames)}, of the others "
            f"{self.left} of {self.frames - self.right} with nothing wrong drawn"
        )


def overlay_pairs(data: Path) -> Screens:
    """The drawn screens of ``overlay_pairs``."""
    found, folder = Screens(), data / "overlay_pairs"
    with (folder / "labels.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            pairs_ = json.loads(row["calipers"])
            true = [(end[1], end[0]) for pair in pairs_ for end in (pair["p"], pair["q"])]
            found.add(true, read_frame(folder / row["shown"]))
    return found


def phantoms(first: int, count: int) -> tuple[Screens, list[tuple[int, float]], int]:
    """Simulated screens: what was read, the Dice of each node that was outlined, and other outlines."""
    screens, overlaps, others = Screens(), [], 0
    for seed in range(first, first + count):
        scenes: tuple[Scene, ...] = ("plain", "varied")
        for number, scene in enumerate(scenes):
            phantom = simulate(seed, scene=scene)
            screens.add([end for pair in phantom.calipers for end in pair], phantom.frame)
            outlined = outline_calipers(phantom.frame).instances
            for id_ in range(1, int(outlined.max()) + 1):
                mask = outlined == id_
                nodes = range(1, int(phantom.instances.max()) + 1)
                best = max((dice(mask, phantom.instances == node) for node in nodes), default=0.0)
                if best > 0:
                    overlaps.append((2 * seed + number, best))
                others += best == 0
    return screens, overlaps, others


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="with busi_384, usgra, overlay_pairs")
    parser.add_argument("--part", default="test", choices=("validation", "test"))
    parser.add_argument("--screens", type=int, default=100, help="simulated screens of each scene")
    arguments = parser.parse_args()
    load_outline_net()
    for organ, frames in sources(arguments.data, arguments.part).items():
        print("\n".join(figures_of(organ, rows_of(frames))[1]), flush=True)
    print(f"overlay_pairs: {overlay_pairs(arguments.data)}", flush=True)
    screens, overlaps, others = phantoms(3_900_000, arguments.screens)
    print(f"simulated screens: {screens}")
    where, values = np.array(overlaps).T
    print(
        f"nodes outlined from their calipers: mean Dice {mean_of(values, where.astype(int))}, "
        f"median {np.median(values):.3f}; {others} outlines of what is no node"
    )


if __name__ == "__main__":
    main()
