"""Where the model fails on real frames.

    python benchmarks/failures.py --data ../shared/data --out failures.png

A contact sheet of BUSI's public test part: the frames whose mask has a Dice under a limit, those without a
lesion where one was claimed, and those whose score lies on the wrong side of the cutoff; the drawn outline
in green, the predicted in orange. BUSI's frames may not be copied into this project, so the sheet is yours
to make.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

from measure_default import busi
from napari_cln.annotation import Annotation
from napari_cln.network.inference import Segmenter
from napari_cln.study.statistics.metrics import dice
from napari_cln.types import Prediction

COLUMNS = 6


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A frame that went wrong, and how."""

    index: int
    annotation: Annotation
    prediction: Prediction
    words: str


def failures(segmenter: Segmenter, data: Path, limit: float) -> list[Failure]:
    """Frames of the test part that went wrong, masks first."""
    masks, claims, scores = [], [], []
    for index, annotation in enumerate(busi(data, "public_test")):
        (prediction,) = segmenter.predict([annotation.frame])
        score = f"{prediction.malignancy:.2f}"

        def failure(
            words: str, i: int = index, a: Annotation = annotation, p: Prediction = prediction
        ) -> Failure:
            return Failure(index=i, annotation=a, prediction=p, words=words)

        if not annotation.nodes:
            if prediction.mask.any():
                claims.append(failure(f"no lesion, claimed {score}"))
            continue
        overlap = dice(prediction.mask, annotation.mask)
        if overlap < limit:
            masks.append(failure(f"{annotation.label}, Dice {overlap:.2f}"))
        if (prediction.malignancy >= segmenter.card.cutoff) != (annotation.label == "metastatic"):
            scores.append(failure(f"{annotation.label}, score {score}"))
    return masks + claims + scores


def draw(axes: Axes, failure: Failure) -> None:
    """A frame with both outlines."""
    axes.imshow(failure.annotation.frame.grey, cmap="gray", vmin=0, vmax=255)
    for mask, colour in ((failure.annotation.mask, "#35d07f"), (failure.prediction.mask, "#ff9b2f")):
        if mask.any():
            axes.contour(mask, levels=[0.5], colors=colour, linewidths=1)
    axes.set_title(f"{failure.index}: {failure.words}", fontsize=8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with busi_384")
    parser.add_argument("--model", default="default")
    parser.add_argument("--limit", type=float, default=0.4, help="masks with a lower Dice are shown")
    parser.add_argument("--out", type=Path, required=True, help="picture to write")
    arguments = parser.parse_args()
    found = failures(Segmenter(arguments.model, "cpu"), arguments.data, arguments.limit)
    rows = max(1, -(-len(found) // COLUMNS))
    figure = Figure(figsize=(2.6 * COLUMNS, 2.4 * rows), layout="constrained")
    each = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes in each:
        axes.set_axis_off()
    for axes, failure in zip(each, found, strict=False):
        draw(axes, failure)
        print(f"frame {failure.index}: {failure.words}")
    figure.savefig(arguments.out, dpi=100)
    print(f"{len(found)} pictures in {arguments.out.name}")


if __name__ == "__main__":
    main()
