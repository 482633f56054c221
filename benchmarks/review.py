"""The systems of the review, each measured where the truth is known: one row each.

    python benchmarks/review.py [--only ROW ...] [--frames N]

Yang, Ma and Chen, *A narrative review of deep learning in thyroid imaging*, Quant Imaging Med Surg 14(2),
2024, names the systems. A row tells what was measured, with its interval of 95 %, the bound that it is held
to, and the best that is possible there. ``no`` at its end is a bound that is not held.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from channels import ROWS as BESIDE_GREY
from napari_cln.errors import DatasetError

ROOT = Path(__file__).parents[1]
FIRST_SWEEP = 40_000
"""Seed of the first sweep; none was looked at while the tracking was made."""
NOISE = 0.8
"""Of a network-like score's logit."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure: what, its value, what it must be, and the best possible."""

    what: str
    value: str
    bound: str
    held: bool
    best: str = "–"


Measured = Callable[[int | None], Iterator[Row]]
ROWS: dict[str, Measured] = {}


def row(name: str) -> Callable[[Measured], Measured]:
    """Enter a measurement under a name."""

    def enter(measure: Measured) -> Measured:
        ROWS[name] = measure
        return measure

    return enter


@row("detection")
def detection(frames: int | None) -> Iterator[Row]:
    """Average precision of the shipped model's masks and boxes beside pycocotools'."""
    from pycocotools import mask as codes
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    from napari_cln.annotation import Annotation
    from napari_cln.network.inference import segment
    from napari_cln.network.weights import load_model
    from napari_cln.phantom import simulate
    from napari_cln.study.average_precision import average_precisions
    from napari_cln.study.matching import compare

    n = frames or 200
    rows, truths, finds, images = [], [], [], []
    network = load_model()
    for seed in range(n):
        phantom = simulate(500_000 + seed)
        prediction = segment(phantom.frame, network)
        truth = Annotation(
            frame=phantom.frame,
            instances=phantom.instances,
            nodes=phantom.nodes,
            status="accepted" if phantom.nodes else "no-node",
        )
        ours = compare(truth, phantom.instances, prediction)
        rows += ours
        sure = {r.predicted_node: r.confidence for r in ours if r.predicted_node}
        height, width = phantom.frame.shape
        images.append({"id": seed, "height": height, "width": width})
        for ids, into in ((phantom.instances, truths), (prediction.instances, finds)):
            for number in range(1, int(ids.max()) + 1):
                code = codes.encode(np.asfortranarray(ids == number).astype(np.uint8))
                one = {
                    "image_id": seed,
                    "category_id": 1,
                    "segmentation": code,
                    "bbox": list(codes.toBbox(code)),
                }
                own = {"area": float(codes.area(code)), "iscrowd": 0, "id": len(truths) + 1}
                into.append(one | (own if into is truths else {"score": sure[number]}))
    found = average_precisions(rows)
    assert found is not None
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {"images": images, "categories": [{"id": 1}], "info": {}, "annotations": truths}
        coco.createIndex()
        drawn = coco.loadRes(finds)
    for kind, name in (("segm", "masks"), ("bbox", "boxes")):
        with contextlib.redirect_stdout(io.StringIO()):
            judged = COCOeval(coco, drawn, kind)
            judged.evaluate()
            judged.accumulate()
            judged.summarize()
        for k, (figure, attribute) in enumerate(
            (("mAP", name), ("AP50", f"{name}_50"), ("AP75", f"{name}_75"))
        ):
            estimate = getattr(found, attribute)
            gap = abs(estimate.value - judged.stats[k])
            yield Row(
                what=f"{figure} of {name}, {n} simulated frames",
                value=f"{estimate}; pycocotools differs by {gap:.1e}",
                bound="≤ 1e-6",
                held=gap <= 1e-6,
                best="1.000",
            )


@row("flow")
def flow(frames: int | None) -> Iterator[Row]:
    """Doppler colour found, taken out of the grey image, and read as a pattern."""
    from dataclasses import replace

    from napari_cln.imaging.overlay import find_flow, flow_of_node
    from napari_cln.network.inference import segment
    from napari_cln.network.weights import load_model
    from napari_cln.phantom import simulate
    from napari_cln.phantom.flow import flow_log_ratio
    from napari_cln.study.statistics.intervals import auc_interval, bootstrap, compare_auc

    n = frames or 200
    network = load_model()
    counts, truths, with_colour, without, read, drawn = [], [], [], [], [], []
    for seed in range(n):
        phantom = simulate(600_000 + seed, n_nodes=1, doppler=True)
        found = find_flow(phantom.frame)
        mask = np.zeros(phantom.frame.shape, bool) if found is None else found.mask
        counts.append([np.count_nonzero(x) for x in (mask & phantom.flow, phantom.flow, mask)])
        truths.append(phantom.nodes[0].truth == "metastatic")
        pixels = phantom.frame.pixels.copy()
        pixels[phantom.flow] = phantom.clean[phantom.flow][:, None]
        with_colour.append(segment(phantom.frame, network).malignancy)
        without.append(segment(replace(phantom.frame, pixels=pixels), network).malignancy)
        node = None if found is None else flow_of_node(found, phantom.instances == 1)
        read.append(0.0 if node is None else flow_log_ratio(node.pattern))
        drawn.append(flow_log_ratio(phantom.flow_patterns[0]))
    cells = np.array(counts, dtype=float)

    def shares(weights):
        hits, there, said = (weights @ cells).T
        return np.stack([hits / there, hits / said], axis=1)

    recall, precision = shares(np.ones((1, n)))[0]
    low, high = bootstrap(shares, np.arange(n))
    for name, value, k, least in (("recall", recall, 0, 0.9), ("precision", precision, 1, 0.95)):
        yield Row(
            what=f"{name} of the pixels of flow, {n} simulated Doppler frames",
            value=f"{value:.4f} ({low[k]:.4f}–{high[k]:.4f})",
            bound=f"≥ {least}",
            held=value >= least,
            best="1",
        )
    change = compare_auc(truths, with_colour, without).difference
    yield Row(
        what=f"AUC of the score with colour ({auc_interval(truths, with_colour).value:.3f}) less without "
        f"({auc_interval(truths, without).value:.3f}), {n} nodes",
        value=f"{change.value:+.4f} ({change.low:+.4f} to {change.high:+.4f})",
        bound="within 0.01",
        held=abs(change.value) <= 0.01,
        best="0",
    )
    pattern = auc_interval(truths, read)
    yield Row(
        what="AUC of the pattern as read",
        value=str(pattern),
        bound="≥ 0.80",
        held=pattern.value >= 0.8,
        best=f"{auc_interval(truths, drawn).value:.3f} as drawn here, 0.852 at large",
    )


def _nodes(n: int) -> dict[str, np.ndarray]:
    """Simulated nodes, one a frame: truth, best and the shipped model's score, radiomics; kept on disk."""
    from napari_cln.imaging.radiomics import radiomics
    from napari_cln.network.inference import segment
    from napari_cln.network.weights import load_model
    from napari_cln.phantom import simulate

    kept = ROOT / "build" / "review" / "nodes.npz"
    made = dict(np.load(kept)) if kept.exists() else {}
    rows = (
        [tuple(row) for row in zip(*(made[k] for k in ("truth", "best", "score", "features")), strict=True)]
        if made
        else []
    )
    network = load_model() if len(rows) < n else None
    for seed in range(len(rows), n):
        phantom = simulate(700_000 + seed, n_nodes=1)
        score = segment(phantom.frame, network).malignancy
        found = radiomics(phantom.frame, phantom.instances == 1).features
        truth = phantom.nodes[0].truth == "metastatic"
        rows.append((truth, phantom.nodes[0].p_malignant, score, np.array(list(found.values()))))
        if (seed + 1) % 50 == 0 or seed + 1 == n:  # a run that is stopped goes on from here
            kept.parent.mkdir(parents=True, exist_ok=True)
            columns = [np.array(column) for column in zip(*rows, strict=True)]
            made = dict(zip(("truth", "best", "score", "features"), columns, strict=True))
            made["names"] = np.array(list(found))
            np.savez(kept, **made)
    return {name: values if name == "names" else values[:n] for name, values in made.items()}


def _held_out(x: np.ndarray, y: np.ndarray, ridge: float) -> np.ndarray:
    """Predictions of a ridge regression for five parts, each from the other four."""
    from napari_cln.study.fusion import fit_ridge

    fold, predicted = np.arange(len(y)) % 5, np.zeros(len(y))
    for k in range(5):
        rest = fold != k
        beta = fit_ridge(x[rest], y[rest], ridge)
        predicted[~rest] = beta[0] + x[~rest] @ beta[1:]
    return predicted


def _rows(nodes: dict[str, np.ndarray], which: slice) -> list:
    from napari_cln.study.cases import CaseRow

    return [
        CaseRow(
            id=f"n{k}",
            patient=f"p{k}",
            truth="metastatic" if truth else "benign",
            score=float(score),
            frame_score=float(score),
        )
        for k, (truth, score) in enumerate(zip(nodes["truth"][which], nodes["score"][which], strict=True))
    ]


@row("ibsi")
def ibsi(_: int | None) -> Iterator[Row]:
    """Reference values of the IBSI's digital phantom that are met to the printed digits."""
    from runpy import run_path

    from napari_cln.imaging.radiomics import statistics

    tests = run_path(str(ROOT / "tests" / "imaging" / "test_radiomics.py"))
    volume, reference = tests["PHANTOM"], tests["REFERENCE"]
    slices = [tests["textures"](each) for each in volume]
    found = {f"stat_{name}": value for name, value in statistics(volume[volume > 0]).items()}
    found |= {name: float(np.mean([one[name] for one in slices])) for name in slices[0]}
    met = sum(f"{found[k]:.{len(v.partition('.')[2])}f}" == v for k, v in reference.items())
    yield Row(
        what="values of the IBSI's digital phantom met to the printed digits",
        value=f"{met} of {len(reference)}",
        bound="≥ 72",
        held=met >= 72,
        best=str(len(reference)),
    )


@row("hospitals")
def hospitals(frames: int | None) -> Iterator[Row]:
    """Two hospitals with a machine each: a line each, and folds that keep them apart."""
    from dataclasses import replace

    from napari_cln.annotation import Annotation, Case
    from napari_cln.folder.split.deal import hospital_folds
    from napari_cln.network.inference import segment
    from napari_cln.network.weights import load_model
    from napari_cln.phantom import simulate
    from napari_cln.study.evaluation import evaluate_rows
    from napari_cln.study.matching import compare

    n, network, rows, cases = frames or 60, load_model(), [], []
    for hospital, machine, first_seed in (("A", "ge-like", 800_000), ("B", "philips-like", 810_000)):
        for k in range(n):
            phantom = simulate(first_seed + k, machine=machine, n_nodes=1)
            truth = Annotation(frame=phantom.frame, instances=phantom.instances, nodes=phantom.nodes)
            (first, *more) = compare(truth, phantom.instances, segment(phantom.frame, network))
            rows += [replace(each, hospital=hospital) for each in (first, *more)]
            cases.append(
                Case(
                    id=f"{len(cases):016x}",
                    image=Path("image.png"),
                    mask=Path("mask.png"),
                    instances=None,
                    nodes=phantom.nodes,
                    patient=f"{hospital}{k}",
                    status="accepted",
                    hospital=hospital,
                )
            )
    where = {case.id: case.hospital for case in cases}
    folds = hospital_folds(cases)
    mixed = sum(bool({where[i] for i in f.train} & {where[i] for i in f.validation}) for f in folds)
    yield Row(
        what=f"folds of {len(folds)} with one hospital on both sides",
        value=str(mixed),
        bound="0",
        held=mixed == 0,
        best="0",
    )
    for line in evaluate_rows(rows, learned_hospitals={"A"}).transfers:
        lost = "" if line.difference is None else f", {line.difference.value:+.3f} to home"
        yield Row(
            what=f"{line.name} (the shipped model taken as A's), {line.nodes} nodes",
            value=f"AUC {line.auc}{lost}",
            bound="a line each",
            held=line.auc is not None,
        )


@row("radiomics")
def radiomics_row(frames: int | None) -> Iterator[Row]:
    """Radiomics alone, and beside the network's score."""
    from napari_cln.study.fusion import fit_fusion, fused_rows
    from napari_cln.study.statistics.intervals import auc_interval, compare_auc

    n = frames or 800
    nodes = _nodes(n)
    truth, x = nodes["truth"], nodes["features"]
    x = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-9)
    alone = auc_interval(truth, _held_out(x, truth, 30.0))
    yield Row(
        what=f"AUC of a ridge on radiomics alone, {n} simulated nodes, five parts held out",
        value=str(alone),
        bound="≥ 0.80",
        held=alone.value >= 0.8,
        best=f"{auc_interval(truth, nodes['best']).value:.3f}",
    )
    names = nodes["names"].tolist()
    signs = [name for name in names if name.startswith("sign_")] + ["shape_axis_ratio", "shape_short_axis"]
    of = [{name: float(row[names.index(name)]) for name in signs} for row in nodes["features"]]
    half = n // 2
    fusion = fit_fusion(_rows(nodes, slice(0, half)), {f"p{k}": of[k] for k in range(half)})
    rows = _rows(nodes, slice(half, n))
    fused = fused_rows(rows, {f"p{k}": of[half + k] for k in range(n - half)}, fusion)
    change = compare_auc(truth[half:], [r.score for r in fused], [r.score for r in rows]).difference
    yield Row(
        what="AUC of the network's score with the signs that a reader knows, less without (of the rest)",
        value=f"{change.value:+.4f} ({change.low:+.4f} to {change.high:+.4f}, n = {change.n})",
        bound="≥ 0 or interval holds 0",
        held=change.high >= 0,
    )


@row("clinical")
def clinical(frames: int | None) -> Iterator[Row]:
    """A clinical record beside a network-like score: what it brings of what it could."""
    from scipy.special import expit, logit

    from napari_cln.phantom.signs import clinical_log_ratio, draw_record, draw_signs, malignancy_of
    from napari_cln.study.fusion import fit_fusion, fuse, fused_rows
    from napari_cln.study.statistics.calibration import calibration_line
    from napari_cln.study.statistics.intervals import auc_interval, compare_auc

    n = frames or 1600
    rng = np.random.default_rng(0)
    truths = rng.random(n) < 0.5
    best = np.array([malignancy_of(draw_signs(rng, bool(truth))) for truth in truths])
    # a network reads the signs less well than could be: noise on the logit makes its AUC a network's
    seen = expit(logit(np.clip(best, 1e-6, 1 - 1e-6)) * 0.5 + rng.normal(0, NOISE, n))
    nodes = {"truth": truths, "best": best, "score": seen}
    drawn = [draw_record(rng, bool(truth)) for truth in nodes["truth"]]
    half = n // 2
    fusion = fit_fusion(_rows(nodes, slice(0, half)), {f"p{k}": drawn[k] for k in range(half)})
    rows, truth = _rows(nodes, slice(half, n)), nodes["truth"][half:]
    records = {f"p{k}": drawn[half + k] for k in range(n - half)}
    fused = [r.score for r in fused_rows(rows, records, fusion)]
    image = [r.score for r in rows]
    # the best that can be made of this image score and the record: both densities known
    line = calibration_line(nodes["truth"], nodes["score"])
    assert line is not None
    ratios = np.array([clinical_log_ratio(record) for record in records.values()])
    possible = line.slope.value * logit(np.clip(image, 1e-4, 1 - 1e-4)) + ratios
    change, could = (
        compare_auc(truth, fused, image).difference,
        compare_auc(truth, possible, image).difference,
    )
    yield Row(
        what=f"AUC with the clinical record ({auc_interval(truth, fused).value:.3f}) less without "
        f"({auc_interval(truth, image).value:.3f}), {n - half} held-out nodes",
        value=f"{change.value:+.4f} ({change.low:+.4f} to {change.high:+.4f}), "
        f"{change.value / could.value:.2f} of the possible gain",
        bound="≥ 0.8 of the possible, lower limit > 0",
        held=change.value >= 0.8 * could.value and change.low > 0,
        best=f"{could.value:+.4f}; by the signs themselves "
        f"{auc_interval(truth, logit(nodes['best'][half:]) + ratios).value:.3f}",
    )
    slope = calibration_line(truth, fused)
    assert slope is not None
    yield Row(
        what="slope of the fused score's calibration",
        value=str(slope.slope),
        bound="0.8 to 1.2",
        held=0.8 <= slope.slope.value <= 1.2,
        best="1",
    )
    without = [fuse(score, {}, fusion) for score in image]
    gap = auc_interval(truth, without).value - auc_interval(truth, image).value
    yield Row(
        what="AUC with every variable missing, less the image's",
        value=f"{gap:+.4f}",
        bound="within 0.002",
        held=abs(gap) <= 0.002,
        best="0",
    )
    mixed = [drawn[k] for k in rng.permutation(n)]
    chance = fit_fusion(_rows(nodes, slice(0, half)), {f"p{k}": mixed[k] for k in range(half)})
    nothing = fused_rows(rows, {f"p{k}": mixed[half + k] for k in range(n - half)}, chance)
    change = compare_auc(truth, [r.score for r in nothing], image).difference
    yield Row(
        what="AUC with a shuffled table, less the image's",
        value=f"{change.value:+.4f} ({change.low:+.4f} to {change.high:+.4f})",
        bound="interval holds 0",
        held=change.low <= 0 <= change.high,
        best="0",
    )


@row("cine")
def cine(frames: int | None, n_frames: int = 24) -> Iterator[Row]:
    """One score a clip on sweeps across a node, and whether the node keeps its id."""
    from dataclasses import replace

    from scipy.special import expit, logit

    from napari_cln.imaging.tracking import Tracker
    from napari_cln.network.inference import segment
    from napari_cln.network.weights import load_model
    from napari_cln.phantom.motion import Sweep
    from napari_cln.study.detection import match_nodes
    from napari_cln.study.statistics.calibration import calibration_line
    from napari_cln.study.statistics.intervals import auc_interval, compare_auc, proportion
    from napari_cln.training.scoring import fit_temperature

    n, network, rng = frames or 200, load_model(), np.random.default_rng(0)
    truths, best, clips, singles = [], [], [], []
    switches = seen = undrawn = lost = large = strange = 0
    started = time.monotonic()
    for seed in range(n):
        sweep, tracker = Sweep(FIRST_SWEEP + seed, n_frames, breath_mm=3.0), Tracker()
        scores, ids, missed, truths_of = [], [], {}, {}
        for index, phantom in enumerate(sweep):
            prediction = segment(replace(phantom.frame, index=index), network)
            names = tracker.add(prediction)
            if not phantom.nodes:
                continue
            (pair, *_) = match_nodes(prediction.instances, phantom.instances)
            found = pair.iou >= 0.3
            size, truths_of[index] = phantom.placed[0].axes_mm[0], phantom.instances > 0
            large += size >= 5
            if size >= 5 and not found:
                missed[index] = phantom.instances > 0
            if found:
                ids.append(names[pair.predicted - 1])
                scores.append(prediction.node_scores[pair.predicted - 1])
        undrawn += len(missed)
        for one in tracker.tracks:
            for faint in one.faint:
                truth, mask = missed.get(faint.frame), faint.mask
                strange += not (truths_of.get(faint.frame, np.zeros_like(mask)) & mask).any()
                if truth is not None and (truth & mask).sum() >= 0.3 * (truth | mask).sum():
                    del missed[faint.frame]
        lost += len(missed)
        if not ids:
            continue
        most = max(set(ids), key=ids.count)
        switches += sum(a != b for a, b in pairwise(ids))
        seen += len(ids) - 1
        truths.append(sweep.node.truth == "metastatic")
        best.append(sweep.node.p_malignant)
        clips.append(next(t.malignancy for t in tracker.tracks if t.id == most))
        singles.append(float(rng.choice(scores)))
        if seed % 10 == 9:
            print(
                f"# {seed + 1} of {n} sweeps, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True
            )
    change = compare_auc(truths, clips, singles).difference
    yield Row(
        what=f"AUC of the clip ({auc_interval(truths, clips).value:.3f}) less that of a random frame of it "
        f"({auc_interval(truths, singles).value:.3f}), {len(truths)} sweeps of {n_frames} frames",
        value=f"{change.value:+.4f} ({change.low:+.4f} to {change.high:+.4f})",
        bound="≥ 0.02, lower limit > 0",
        held=change.value >= 0.02 and change.low > 0,
        best=f"whole node {auc_interval(truths, best).value:.3f}",
    )
    share = proportion(switches, seen)
    yield Row(
        what=f"switches of the id, of {seen} steps",
        value=str(share),
        bound="≤ 0.02",
        held=share.value <= 0.02,
        best="0",
    )
    share = proportion(int(lost), int(large))
    yield Row(
        what=f"frames without the node, of {large} in which it is 5 mm or longer (IoU under 0.3)",
        value=f"{share}; by what is drawn in the frame itself alone, {proportion(int(undrawn), int(large))}; "
        f"{strange} faint frames of other tracks show no part of the node",
        bound="≤ 0.01",
        held=share.value <= 0.01,
        best="0",
    )
    half = np.arange(len(truths)) % 2 == 0
    y, x = np.array(truths, float), np.array(clips)
    own = fit_temperature(x[half], y[half])
    scaled = expit(logit(np.clip(x, 1e-6, 1 - 1e-6)) / own)
    slopes = [calibration_line(y[~half] > 0.5, each[~half]) for each in (x, scaled)]
    assert slopes[0] is not None and slopes[1] is not None
    yield Row(
        what=f"slope of the clips' calibration at a temperature of their own ({own:.2f}, of every other one)",
        value=f"{slopes[1].slope}; at that of single frames {slopes[0].slope}",
        bound="interval holds 1",
        held=slopes[1].slope.low <= 1 <= slopes[1].slope.high,
        best="1",
    )


@row("short cine")
def short_cine(frames: int | None) -> Iterator[Row]:
    """The same of fast sweeps, a quarter of whose frames are a node's outermost sections."""
    yield from cine(frames or 80, n_frames=8)


@row("phantom")
def phantom_row(frames: int | None) -> Iterator[Row]:
    """The best score that each modality of the phantom allows, from its densities, beside what is known."""
    from scipy.special import logit

    from napari_cln.phantom.elasticity import draw_stiffness, stiffness_log_ratio
    from napari_cln.phantom.flow import PATTERNS, SHARES, flow_log_ratio
    from napari_cln.phantom.perfusion import draw_perfusion, perfusion_log_ratio
    from napari_cln.phantom.signs import clinical_log_ratio, draw_record, draw_signs, malignancy_of
    from napari_cln.study.statistics.intervals import auc_interval

    n, rng = frames or 20_000, np.random.default_rng(3)
    truth = rng.random(n) < 0.5
    grey = np.array([logit(malignancy_of(draw_signs(rng, bool(t)))) for t in truth])
    more = {
        "flow": [flow_log_ratio(PATTERNS[int(rng.choice(4, p=SHARES[int(t)]))]) for t in truth],
        "stiffness": [stiffness_log_ratio(draw_stiffness(rng, bool(t))) for t in truth],
        "clinical record": [clinical_log_ratio(draw_record(rng, bool(t))) for t in truth],
        "wash-in": [perfusion_log_ratio(draw_perfusion(rng, bool(t))) for t in truth],
    }
    known = {"flow": 0.972, "stiffness": 0.956, "clinical record": 0.965, "wash-in": None}
    yield Row(
        what=f"best AUC of the grey signs, {n} simulated nodes",
        value=str(auc_interval(truth, grey)),
        bound="0.940 ± 0.005",
        held=abs(auc_interval(truth, grey).value - 0.940) <= 0.005,
    )
    for name, ratios in more.items():
        both, wanted = auc_interval(truth, grey + np.array(ratios)), known[name]
        yield Row(
            what=f"best AUC of {name} alone, and with the grey signs",
            value=f"{auc_interval(truth, ratios).value:.3f}, {both}",
            bound="above the grey signs'" if wanted is None else f"{wanted} ± 0.005",
            held=both.value > 0.940 if wanted is None else abs(both.value - wanted) <= 0.005,
        )
    everything = auc_interval(truth, grey + sum(np.array(ratios) for ratios in more.values()))
    yield Row(
        what="best AUC of all together",
        value=str(everything),
        bound="≥ 0.988",
        held=everything.value >= 0.988,
    )


@row("labels")
def labels_row(_: int | None) -> Iterator[Row]:
    """Few labels: what unlabelled, restored and simulated frames bring a small network."""
    from labels import arms, told

    found = arms(ROOT.parent / "shared" / "data", ROOT / "build" / "review")
    yield from (Row(**each) for each in told(found))


def _told(measure: Callable[[int | None], Iterator[tuple[str, str, str, bool, str]]]) -> Measured:
    def rows(frames: int | None) -> Iterator[Row]:
        for what, value, bound, held, best in measure(frames):
            yield Row(what=what, value=value, bound=bound, held=held, best=best)

    return rows


ROWS |= {name: _told(measure) for name, measure in BESIDE_GREY.items()}


def main() -> int:
    """Measure and print the rows; 1 where a bound is not held."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=sorted(ROWS), default=list(ROWS), metavar="ROW")
    parser.add_argument("--frames", type=int, help="how many simulated frames or nodes; else its own number")
    chosen = parser.parse_args()
    held = True
    for name in chosen.only:
        try:
            for found in ROWS[name](chosen.frames):
                held &= found.held
                verdict = "yes" if found.held else "no"
                parts = (name, found.what, found.value, f"bound {found.bound}", f"best {found.best}", verdict)
                print(" | ".join(parts), flush=True)
        except DatasetError as error:  # so few cases that a figure would mean nothing
            print(f"{name} | what comes next was left out: {error}", flush=True)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
