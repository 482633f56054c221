"""Masks that are carried through a cine, and made between two frames, against the truth of simulated clips.

    python benchmarks/carrying.py [--clips N]

Two kinds of clips: the probe slides along the neck, so that a node moves across the picture; and it sweeps
across a node, whose section shrinks from the middle to the end, while the patient breathes.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from napari_cln.imaging.carrying import carry_masks, interpolate_masks
from napari_cln.imaging.tracking import rolled, shift_between
from napari_cln.phantom import simulate_cine
from napari_cln.phantom.motion import Sweep
from napari_cln.phantom.simulation import Phantom
from napari_cln.study.statistics.intervals import median_interval
from napari_cln.study.statistics.metrics import dice

FARTHEST = 8


def clips(kind: str, n: int) -> Iterator[list[Phantom]]:
    """Clips of nine frames; the first shows the node whole."""
    for seed in range(1000, 1000 + n):
        if kind == "slide":
            yield list(simulate_cine(seed, FARTHEST + 1, n_nodes=1, slide_mm=6.0))
        else:
            yield list(Sweep(seed, 24, breath_mm=2.0))[12 : 12 + FARTHEST + 1]


def main() -> None:
    """Print a table in Markdown: median Dice with its 95 % interval, by distance in frames."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--clips", type=int, default=40)
    n = parser.parse_args().clips
    print("| clip | masks | n | 1 frame | 2 | 4 | 8 |\n|---|---|---|---|---|---|---|")
    for kind in ("slide", "sweep"):
        found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
        for clip in clips(kind, n):
            frames = [replace(phantom.frame, index=k) for k, phantom in enumerate(clip)]
            truth = [phantom.instances for phantom in clip]
            carried = [truth[0], *carry_masks(frames, truth[0])]
            carried += [np.zeros_like(truth[0])] * (len(truth) - len(carried))  # given up: counts as wrong
            way = np.zeros(2, dtype=int)
            for k in range(1, FARTHEST + 1):
                way += shift_between(frames[k - 1].grey, frames[k].grey)
                moved = rolled(truth[0] > 0, (int(way[0]), int(way[1])))
                for name, masks in (
                    ("left where it was", truth[0] > 0),
                    ("whole picture's motion", moved),
                    ("carried", carried[k] > 0),
                ):
                    found[name][k].append(dice(masks, truth[k] > 0))
            for gap in (2, 4, 8):
                made = interpolate_masks(frames[: gap + 1], truth[0], truth[gap])
                half = gap // 2
                found["interpolated, middle"][gap].append(dice(made[half - 1] > 0, truth[half] > 0))
        for name, by_distance in found.items():
            cells = []
            for k in (1, 2, 4, 8):
                values = np.array(by_distance.get(k, []))
                middle = median_interval(values) if values.size else None
                cells.append(
                    "–" if middle is None else f"{middle.value:.3f} ({middle.low:.3f}–{middle.high:.3f})"
                )
            print(f"| {kind} | {name} | {n} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
