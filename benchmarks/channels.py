"""Channels beside the grey image, measured where the truth is known; rows of ``review.py``.

Each row is a generator of (what, value, bound, held, best), for a number of frames or its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

Told = tuple[str, str, str, bool, str]
EPOCHS = 5
ARMS = {"grey": (), "grey + flow": ("flow",), "grey + despeckled": ("despeckled",)}


def channels(frames: int | None) -> Iterator[Told]:
    """Three trainings from the shipped model, alike but for the channels, on Doppler frames at half the side.

    ``frames`` are the nodes of the test; the trainings have twice as many and a fifth as many to validate.
    """
    from napari_cln.imaging.channels import measured_channels
    from napari_cln.phantom import simulate
    from napari_cln.phantom.flow import flow_log_ratio
    from napari_cln.study.statistics.intervals import auc_interval, compare_auc
    from napari_cln.training.config import TrainConfig
    from napari_cln.training.data import Samples
    from napari_cln.training.loop import fit
    from napari_cln.training.run import _best_of
    from napari_cln.training.scoring import score_frames
    from napari_cln.training.start import starting_point
    from napari_cln.types import Annotation, ColourFlow, Frame, PrepareConfig

    n = frames or 800
    parts = (2 * n, n // 5, n)
    read = PrepareConfig(channels=("flow", "despeckled"))
    made, truths, best = [], [], []
    for seed in range(sum(parts)):
        phantom = simulate(900_000 + seed, n_nodes=1, overlays=False, doppler=True)
        flow = ColourFlow(mask=phantom.flow, box=phantom.flow_box)
        frame = Frame(pixels=phantom.clean, scan_area=phantom.frame.scan_area)
        frame = replace(frame, channels=measured_channels(frame, flow, None))
        nodes = tuple(replace(node, p_malignant=None) for node in phantom.nodes)
        marked = Annotation(frame=frame, instances=phantom.instances, nodes=nodes)
        made.append(Samples.from_annotation(str(seed), marked, replace(read, remove_overlay=False)))
        if seed >= sum(parts[:2]):
            truths.append(nodes[0].truth == "metastatic")
            score = float(phantom.nodes[0].p_malignant)
            best.append((score, np.log(score / (1 - score)) + flow_log_ratio(phantom.flow_patterns[0])))
    every = Samples.join(made).halved()
    edges = np.cumsum((0, *parts))
    scores, flowless = {}, []
    for name, wanted in ARMS.items():
        planes = [2 * read.channels.index(channel) + k for channel in wanted for k in (0, 1)]
        samples = replace(every, planes=every.planes[:, planes] if planes else None)
        train, validation, test = (samples.take(range(a, b)) for a, b in zip(edges, edges[1:], strict=False))
        recipe = TrainConfig(channels=wanted, learning_rate=3e-4).to_recipe()
        # short trainings: an average over few steps, and the class counts in full
        recipe = replace(recipe, average=0.95, loss=replace(recipe.loss, class_weight=1.0))
        start = starting_point("default", recipe)
        recipe = replace(recipe, network=start.network.config)
        with TemporaryDirectory() as place:
            for _ in fit(
                train, validation, recipe, Path(place), epochs=EPOCHS, seed=0, start_from=start.network
            ):
                pass
            network = _best_of(Path(place), recipe, train, validation)
        scores[name] = [found.malignancy for found in score_frames(network, test)]
        if wanted == ("flow",):
            missing = replace(test, planes=np.zeros_like(test.planes))
            flowless = [found.malignancy for found in score_frames(network, missing)]
    grey = auc_interval(truths, scores["grey"]).value
    alone, both = (auc_interval(truths, [pair[k] for pair in best]).value for k in (0, 1))
    size = f"{n} nodes, trainings of {parts[0]} frames, {EPOCHS} epochs at half the side"
    change = compare_auc(truths, scores["grey + flow"], scores["grey"]).difference
    yield (
        f"AUC with flow ({auc_interval(truths, scores['grey + flow']).value:.3f}) less grey alone ({grey:.3f}), {size}",
        f"{change.value:+.4f} ({change.low:+.4f} to {change.high:+.4f})",
        "≥ 0.015, lower limit > 0",
        change.value >= 0.015 and change.low > 0,
        f"{both - alone:+.3f} ({alone:.3f} and {both:.3f})",
    )
    change = compare_auc(truths, flowless, scores["grey"]).difference
    yield (
        f"AUC of that network where flow is missing ({auc_interval(truths, flowless).value:.3f}) less grey alone, {n} nodes",
        f"{change.value:+.4f} ({change.low:+.4f} to {change.high:+.4f})",
        "within 0.01",
        abs(change.value) <= 0.01,
        "0",
    )
    change = compare_auc(truths, scores["grey + despeckled"], scores["grey"]).difference
    yield (
        f"AUC with a despeckled plane less grey alone, {n} nodes",
        f"{change.value:+.4f} ({change.low:+.4f} to {change.high:+.4f})",
        "stated; used if lower limit > 0",
        True,
        "–",
    )


ROWS = {"channels": channels}
