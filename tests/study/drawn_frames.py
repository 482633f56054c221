"""Frames with rectangles for nodes and tables of cases, of which every figure can be worked out by hand."""

from dataclasses import replace

import numpy as np

from napari_cln import Annotation, Frame, Node, Prediction
from napari_cln.study.cases import CaseRow

LEFT = (slice(20, 40), slice(10, 50))
RIGHT = (slice(60, 70), slice(70, 90))
FAR = (slice(80, 90), slice(10, 30))


def frame(spacing_mm=(0.1, 0.1)):
    pixels = np.random.default_rng(0).integers(0, 200, (100, 120), dtype=np.uint8)
    return Frame(pixels=pixels, spacing_mm=spacing_mm, vendor="Acme 1", patient_id="p1")


def drawn(*places):
    instances = np.zeros((100, 120), np.uint8)
    for i, place in enumerate(places, start=1):
        instances[place] = i
    return instances


def annotation(*places, truth="metastatic", **more):
    node = Node(id=1, truth=truth, truth_source="fna", level="IV", side="left")
    nodes = tuple(replace(node, id=i) for i in range(1, len(places) + 1))
    status = {} if places else {"status": "no-node"}
    return Annotation(frame=frame(), instances=drawn(*places), nodes=nodes, **status, **more)


def prediction(*places, scores=(), **more):
    instances = drawn(*places)
    return Prediction(
        frame=frame(),
        probability=np.where(instances > 0, 0.9, 0.05).astype(np.float32),
        instances=instances,
        node_scores=scores or (0.8,) * len(places),
        class_probabilities={"benign": 0.7, "malignant": 0.3},
        model_id="m@0",
        cutoff=0.4,
        **more,
    )


def rows_from_counts(tp, fn, tn, fp):
    table = [("metastatic", 0.9, tp), ("metastatic", 0.1, fn), ("benign", 0.1, tn), ("benign", 0.9, fp)]
    rows = [(truth, score) for truth, score, n in table for _ in range(n)]
    return [
        CaseRow(id=f"f{i:04d}", patient=f"p{i:04d}", truth=truth, score=score, frame_score=score)
        for i, (truth, score) in enumerate(rows)
    ]


def random_rows(n=200, seed=0, patients=60):
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        metastatic = rng.random() < 0.45
        dice = float(np.clip(rng.beta(8, 2), 0, 1)) if rng.random() > 0.1 else 0.0
        wrong = dice == 0 and rng.random() < 0.5
        score = float(1 / (1 + np.exp(-rng.normal(1.5 * metastatic - 0.7, 1))))
        size = float(rng.uniform(3, 15))
        rows.append(
            CaseRow(
                id=f"f{i:04d}",
                patient=f"p{rng.integers(patients)}",
                split="validation" if i % 3 == 0 else "test",
                truth="metastatic" if metastatic else "benign",
                truth_source="fna",
                score=score,
                score_of="node" if dice else "frame",
                frame_score=score,
                predicted_node=int(dice > 0),
                confidence=0.8 if dice else None,
                compared=True,
                dice=dice,
                iou=dice / (2 - dice),
                frame_dice=dice,
                missed=dice == 0 and not wrong,
                wrong_node=wrong,
                hd95_mm=(1 - dice) * 10 if dice else None,
                assd_mm=(1 - dice) * 3 if dice else None,
                hd95_px=(1 - dice) * 100 if dice else None,
                assd_px=(1 - dice) * 30 if dice else None,
                reference_long_mm=size * 1.6,
                reference_short_mm=size,
                predicted_long_mm=size * 1.6 + float(rng.normal(0, 0.5)) if dice else None,
                predicted_short_mm=size + float(rng.normal(0, 0.5)) if dice else None,
                vendor=["Acme", "Bmax"][i % 2],
                level=["II", "III", "IV"][i % 3],
                side=["left", "right"][i % 2],
                model="m@0",
            )
        )
        if wrong:
            rows.append(
                replace(
                    rows[-1],
                    kind="stray",
                    node=0,
                    predicted_node=1,
                    confidence=0.6,
                    truth="unknown",
                    dice=None,
                    iou=None,
                    wrong_node=False,
                )
            )
    return rows
