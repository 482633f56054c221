"""10,000 cases with every interval, beside scikit-learn's ROC with one bootstrap on the same data.

    pip install scikit-learn
    python benchmarks/evaluation.py

The peer computes one AUC and one bootstrap interval over patients, in the usual loop; ours the
whole evaluation: seven measures per node and per patient, AUC, calibration, decision curve, masks,
detection, axes and subgroups, each with its bootstrap. Both draw 2000 resamples.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from napari_cln import Annotation, Frame, Node, Prediction
from napari_cln.study.cases import CaseRow
from napari_cln.study.evaluation import EvaluationConfig, evaluate_rows
from napari_cln.study.matching import compare

RESAMPLES = 2000


def make_rows(n: int, patients: int, seed: int = 0) -> list[CaseRow]:
    """Nodes with scores, overlaps and sizes drawn at random."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        metastatic = rng.random() < 0.5
        score = round(float(1 / (1 + np.exp(-rng.normal(1.6 * metastatic - 0.8)))), 6)
        found = rng.random() > 0.08
        dice = round(float(rng.beta(9, 2)), 6) if found else 0.0
        size = round(float(rng.uniform(3, 20)), 6)
        rows.append(
            CaseRow(
                id=f"{i:016x}",
                patient=f"p{rng.integers(patients)}",
                truth="metastatic" if metastatic else "benign",
                score=score,
                score_of="node" if found else "frame",
                frame_score=score,
                predicted_node=int(found),
                confidence=0.8 if found else None,
                compared=True,
                dice=dice,
                iou=dice / (2 - dice),
                frame_dice=dice,
                missed=not found,
                hd95_mm=3 * (1 - dice) if found else None,
                assd_mm=1 - dice if found else None,
                hd95_px=30 * (1 - dice) if found else None,
                assd_px=10 * (1 - dice) if found else None,
                reference_long_mm=1.6 * size,
                reference_short_mm=size,
                predicted_long_mm=1.6 * size if found else None,
                predicted_short_mm=size + float(rng.normal(0, 0.5)) if found else None,
                vendor=("A", "B", "C")[i % 3],
                level=("II", "III", "IV")[i % 3],
                side=("left", "right")[i % 2],
            )
        )
    return rows


def peer(rows: Sequence[CaseRow]) -> tuple[float, float]:
    """AUC by scikit-learn in a bootstrap over patients."""
    from sklearn.metrics import roc_auc_score, roc_curve

    truth = np.array([row.truth == "metastatic" for row in rows])
    score = np.array([row.score for row in rows])
    _, index = np.unique([row.patient for row in rows], return_inverse=True)
    members = np.split(np.argsort(index, kind="stable"), np.cumsum(np.bincount(index))[:-1])
    rng = np.random.default_rng(0)
    roc_curve(truth, score)
    areas = []
    for _ in range(RESAMPLES):
        drawn = np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))])
        areas.append(roc_auc_score(truth[drawn], score[drawn]))
    low, high = np.percentile(areas, [2.5, 97.5])
    return float(low), float(high)


def compare_masks(n: int) -> None:
    """Rows of n frames of 384 × 384 pixels with one node each, outlined a few pixels off."""
    row, column = np.mgrid[:384, :384]
    reference = (((row - 190) / 40) ** 2 + ((column - 200) / 70) ** 2 <= 1).astype(np.uint8)
    predicted = np.roll(reference, (3, 5), axis=(0, 1))
    frame = Frame(pixels=np.zeros((384, 384), np.uint8), spacing_mm=(0.1, 0.1))
    truth = Annotation(frame=frame, instances=reference, nodes=(Node(id=1, truth="benign"),))
    prediction = Prediction(
        frame=frame,
        probability=predicted.astype(np.float32),
        instances=predicted,
        node_scores=(0.4,),
        class_probabilities={"benign": 0.6, "malignant": 0.4},
        model_id="m",
    )
    for _ in range(n):
        compare(truth, reference, prediction)


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor time of one run."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--patients", type=int, default=6_000)
    options = parser.parse_args()
    rows = make_rows(options.cases, options.patients)
    config = EvaluationConfig(resamples=RESAMPLES)
    evaluate_rows(rows[:200], replace(config, resamples=20))  # imports and caches

    print(f"{options.cases} nodes of {options.patients} patients, {RESAMPLES} resamples")
    print(f"{'':44}{'wall s':>9}{'CPU s':>9}")
    ours = seconds(lambda: evaluate_rows(rows, config))
    print(f"{'whole evaluation, all intervals':44}{ours[0]:9.1f}{ours[1]:9.1f}")
    try:
        theirs = seconds(lambda: peer(rows))
    except ImportError:
        print("scikit-learn is not installed: no ratio.")
    else:
        print(f"{'scikit-learn: ROC and one bootstrap':44}{theirs[0]:9.1f}{theirs[1]:9.1f}")
        print(f"{'ratio (ours / scikit-learn)':44}{ours[0] / theirs[0]:9.2f}{ours[1] / theirs[1]:9.2f}")
    frames = 200
    wall, cpu = (1e3 * t / frames for t in seconds(lambda: compare_masks(frames)))
    print(f"{'masks of a 384 × 384 frame, milliseconds':44}{wall:9.1f}{cpu:9.1f}")


if __name__ == "__main__":
    main()
