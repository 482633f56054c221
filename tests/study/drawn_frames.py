"""Frames with rectangles for nodes, of which every figure can be worked out by hand."""

from dataclasses import replace

import numpy as np

from napari_cln import Annotation, Frame, Node, Prediction

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
