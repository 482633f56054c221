"""Channels beside the grey image, measured where the truth is known; rows of ``review.py``.

Each row is a generator of (what, value, bound, held, best), for a number of frames or its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
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
    from napari_cln.annotation import Annotation
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
    from napari_cln.types import ColourFlow, Frame, PrepareConfig

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
        train, validation, test = (samples.take(range(a, b)) for a, b in pairwise(edges))
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
    aucs = {name: auc_interval(truths, found).value for name, found in (*scores.items(), ("none", flowless))}
    alone, both = (auc_interval(truths, [pair[k] for pair in best]).value for k in (0, 1))
    of = f"{n} nodes, trainings of {parts[0]} frames, {EPOCHS} epochs at half the side"

    def less_grey(what: str, found: list[float], bound: str, possible: str, held) -> Told:
        change = compare_auc(truths, found, scores["grey"]).difference
        value = f"{change.value:+.4f} ({change.low:+.4f} to {change.high:+.4f})"
        return f"AUC {what} less grey alone ({aucs['grey']:.3f}), {of}", value, bound, held(change), possible

    yield less_grey(
        f"with flow ({aucs['grey + flow']:.3f})",
        scores["grey + flow"],
        "≥ 0.015, lower limit > 0",
        f"{both - alone:+.3f} ({alone:.3f} and {both:.3f})",
        lambda change: change.value >= 0.015 and change.low > 0,
    )
    yield less_grey(
        f"of that network where flow is missing ({aucs['none']:.3f})",
        flowless,
        "within 0.01",
        "0",
        lambda change: abs(change.value) <= 0.01,
    )
    yield less_grey(
        f"with a despeckled plane ({aucs['grey + despeckled']:.3f})",
        scores["grey + despeckled"],
        "stated; in use if its lower limit > 0",
        "–",
        lambda change: True,
    )


def stiffness(frames: int | None) -> Iterator[Told]:
    """Stiffness of simulated elastograms, read by the colour bar."""
    from napari_cln.imaging.elastogram import find_elastogram
    from napari_cln.phantom import simulate
    from napari_cln.phantom.elasticity import FULL_SCALE_KPA
    from napari_cln.study.statistics.intervals import auc_interval

    n = frames or 100
    off, covered, greys, truths, read, drawn = [], [], [], [], [], []
    for seed in range(n):
        phantom = simulate(700_000 + seed, n_nodes=1, stiffness=True)
        found = find_elastogram(phantom.frame, full_scale_kpa=FULL_SCALE_KPA)
        shown = ~np.isnan(phantom.stiffness)
        both = shown & (False if found is None else ~np.isnan(found.stiffness))
        if found is None or not both.any():
            covered.append(0.0)
            continue
        truth = np.clip(phantom.stiffness, 0, FULL_SCALE_KPA)
        off.append(float(np.abs(found.stiffness - truth)[both].mean()))
        covered.append(float(both.sum() / shown.sum()))
        free = both & ~phantom.overlay
        greys.append(float(np.abs(found.grey.astype(int) - phantom.clean)[free].mean()))
        node = phantom.instances == 1
        own = found.of_node(node)
        if own is not None:
            truths.append(phantom.nodes[0].truth == "metastatic")
            read.append(own)
            drawn.append(phantom.stiffness_kpa[0])
    spread = np.percentile(off, [2.5, 97.5])
    yield (
        f"difference to the stiffness shown, {len(off)} elastograms, full scale {FULL_SCALE_KPA:g} kPa",
        f"{np.mean(off):.2f} kPa (95 % of frames {spread[0]:.2f}–{spread[1]:.2f})",
        "≤ 2.5 kPa",
        bool(np.mean(off) <= 2.5),
        "0",
    )
    yield (
        f"share of the pixels with stiffness that are read, {n} frames",
        f"{np.mean(covered):.3f} (least {np.min(covered):.3f})",
        "≥ 0.95",
        bool(np.mean(covered) >= 0.95),
        "1",
    )
    yield (
        "grey levels between the image under the colours and the same without them",
        f"{np.mean(greys):.2f}",
        "≤ 4",
        bool(np.mean(greys) <= 4),
        "0",
    )
    of_read, of_drawn = auc_interval(truths, read), auc_interval(truths, drawn)
    yield (
        f"AUC of a node's stiffness as read, {len(truths)} nodes",
        str(of_read),
        "within 0.02 of that drawn",
        abs(of_read.value - of_drawn.value) <= 0.02,
        f"{of_drawn.value:.3f} as drawn here, 0.761 at large",
    )


def contrast(frames: int | None) -> Iterator[Told]:
    """Wash-in of simulated contrast-enhanced clips with breathing, under the true mask of one frame."""
    from napari_cln.imaging.perfusion import perfusion
    from napari_cln.phantom.perfusion import DYNAMIC_RANGE_DB, ContrastClip

    n = frames or 50
    peaks, rises, step = [], [], 0.5
    for seed in range(n):
        clip = ContrastClip(800_000 + seed)
        shown = list(clip)
        step, truth = shown[0].frame.frame_time_s, clip.nodes[0]
        found = perfusion(
            [one.frame for one in shown], shown[30].instances == 1, at=30, dynamic_range_db=DYNAMIC_RANGE_DB
        ).wash_in
        if found is None:
            peaks.append(np.inf)
            rises.append(np.inf)
            continue
        peaks.append(abs(found.arrival_s + found.time_to_peak_s - truth.arrival_s - truth.peak_s) / step)
        rises.append(abs(found.rise_s / truth.rise_s - 1))
    for what, errors, bound, unit in (
        ("time to peak within a frame of the truth", peaks, 1.0, "frames"),
        ("rise time within 5 % of the truth", rises, 0.05, ""),
    ):
        held = int(np.sum(np.array(errors) <= bound))
        yield (
            f"clips with {what}, of {n} with 2 mm of breathing",
            f"{held} (median {np.median(errors):.3f} {unit}, most {np.max(errors):.3f})".replace(" ,", ","),
            "all",
            held == n,
            f"{n}",
        )


def despeckled(frames: int | None) -> Iterator[Told]:
    """Contrast of node to rim, and sharpness of its edge, with and without speckle."""
    from scipy import ndimage

    from napari_cln.imaging.channels import despeckle
    from napari_cln.phantom import simulate

    n = frames or 60
    found = []
    for seed in range(2 * n):
        phantom = simulate(750_000 + seed, n_nodes=1, overlays=False)
        node = phantom.instances == 1
        if np.count_nonzero(node) < 800 or len(found) == n:
            continue
        inner = ndimage.binary_erosion(node, iterations=4)
        near, far = (ndimage.binary_dilation(node, iterations=k) for k in (4, 14))
        edge = ndimage.binary_dilation(node, iterations=2) & ~ndimage.binary_erosion(node, iterations=2)
        pair = []
        for image in (phantom.clean, despeckle(phantom.clean)):
            bins = np.arange(0, 257, 4)
            shares = [np.histogram(image[part], bins)[0] / part.sum() for part in (inner, far & ~near)]
            steep = np.hypot(*np.gradient(ndimage.gaussian_filter(image.astype(float), 1)))
            pair.append((1 - np.minimum(*shares).sum(), steep[edge].mean() / steep[inner].mean()))
        found.append(pair)
    before, after = np.array(found).transpose(1, 2, 0)
    gain = after - before
    for k, (what, least) in enumerate((("gCNR of node and rim", 0.1), ("edge against flat gradient", 0.0))):
        error = 1.96 * gain[k].std(ddof=1) / np.sqrt(len(found))
        mean = float(gain[k].mean())
        yield (
            f"gain in {what} ({before[k].mean():.3f} without), {len(found)} frames",
            f"{mean:+.3f} ({mean - error:+.3f} to {mean + error:+.3f})",
            f"≥ {least:+g}",
            bool(mean >= least),
            "–",
        )


ROWS = {
    "channels": channels,
    "stiffness": stiffness,
    "contrast": contrast,
    "despeckled": despeckled,
}
