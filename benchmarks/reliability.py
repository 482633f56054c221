"""Whether the score means what it says: ``python benchmarks/reliability.py --data ../shared/data [--write]``.

Frames with a label that the model never saw, simulated ones and BUSI's public test part: in tenths of the
score, how many of the frames are malignant. ``--write`` puts the plot into ``docs/images``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

from measure_default import busi, drawn, measured
from napari_cln.network.inference import Segmenter
from napari_cln.study.diagnosis import diagnose
from napari_cln.study.report.figures import draw_calibration, style

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "reliability.png"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with busi_384")
    parser.add_argument("--model", default="default")
    parser.add_argument("--frames", type=int, default=200, help="simulated frames")
    parser.add_argument("--write", action="store_true", help="put the plot into the documentation")
    arguments = parser.parse_args()
    segmenter = Segmenter(arguments.model, "cpu")
    sources = {
        "simulated frames": drawn("test", arguments.frames),
        "BUSI, public test (a stand-in)": busi(arguments.data, "public_test"),
    }
    with style():
        figure = Figure(figsize=(8, 4), layout="constrained")
        for ax, (name, frames) in zip(figure.subplots(1, 2), sources.items(), strict=True):
            rows = [row for row in measured(segmenter, frames) if row.label != "unknown"]
            truth = np.array([row.label == "metastatic" for row in rows])
            score = np.array([row.malignancy for row in rows])
            alone = [str(index) for index in range(len(rows))]  # neither source names patients
            found = diagnose(truth, score, alone, segmenter.card.cutoff, unit="frame")
            assert found is not None
            line = found.line
            print(
                f"{name}: ECE {found.calibration_error}, "
                f"by chance alone {found.calibration_error_by_chance}; Brier {found.brier}; slope "
                f"{line.slope if line else 'none'}; in the large {line.in_the_large if line else 'none'}"
            )
            draw_calibration(ax, found)
            ax.set_ylabel("share malignant")
            ax.set_title(f"{name}, n = {len(rows)}: ECE {found.calibration_error.value:.3f}")
        if arguments.write:
            figure.savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    main()
