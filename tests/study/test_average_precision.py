"""Average precision of masks and boxes: worked out by hand, and equal to pycocotools."""

import contextlib
import io
from dataclasses import replace

import numpy as np
import pytest
from drawn_frames import LEFT, RIGHT, annotation, drawn, prediction

from napari_cln.study.average_precision import (
    OVERLAPS,
    _interpolated,
    average_precisions,
    coco_hits,
    overlaps_of,
)
from napari_cln.study.cases import CaseRow, read_rows, write_rows
from napari_cln.study.matching import compare
from napari_cln.study.statistics.intervals import Resampling

FEW = Resampling(n=200)


def blobs(rng, n, shape=(40, 50)):
    """Instances of n discs, later ones over earlier ones."""
    ids = np.zeros(shape, np.uint8)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    for number in range(1, n + 1):
        row, column, radius = rng.uniform(5, 35), rng.uniform(5, 45), rng.uniform(2, 9)
        ids[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] = number
    kept = np.unique(ids[ids > 0])
    return np.searchsorted(np.concatenate([[0], kept]), ids).astype(np.uint8)


def shifted(rng, ids):
    """The same nodes, each moved a little; some are lost."""
    moved = np.zeros_like(ids)
    for number in range(1, int(ids.max()) + 1):
        if rng.random() < 0.85:
            moved[np.roll(ids == number, rng.integers(-2, 3, 2), (0, 1))] = number
    kept = np.unique(moved[moved > 0])
    return np.searchsorted(np.concatenate([[0], kept]), moved).astype(np.uint8)


def test_a_box_is_the_smallest_upright_one():
    overlaps = overlaps_of(drawn((slice(20, 40), slice(10, 30))), drawn(LEFT))

    assert overlaps.masks.tolist() == overlaps.boxes.tolist() == [[0.5]]


def test_the_surer_find_takes_the_node_at_an_overlap_that_it_reaches():
    hits = coco_hits([0.9, 0.6], np.array([[0.6], [0.8]]))

    assert [OVERLAPS[k] for k in np.flatnonzero(hits[0])] == [0.5, 0.55, 0.6]
    assert [OVERLAPS[k] for k in np.flatnonzero(hits[1])] == [0.65, 0.7, 0.75, 0.8]


def precision_at(confidence, hits, n_reference):
    """Average precision at each overlap of finds that were made once each."""
    order = np.argsort(-np.asarray(confidence), kind="stable")
    once = np.ones((1, len(order)))
    return np.array([_interpolated(once, hit, np.array([float(n_reference)]))[0] for hit in hits[order].T])


def test_without_a_reference_node_there_is_no_figure():
    assert average_precisions(compare(annotation(), drawn(), prediction(LEFT))) is None


def test_a_table_without_hits_gives_no_figure():
    rows = compare(annotation(LEFT), drawn(LEFT), prediction(LEFT))

    assert average_precisions([replace(row, mask_hits=None) for row in rows], FEW) is None


def test_the_written_table_gives_the_same_figures(tmp_path):
    rows = compare(
        annotation(LEFT, RIGHT), drawn(LEFT, RIGHT), prediction(LEFT, (slice(60, 70), slice(74, 94)))
    )
    write_rows(rows, tmp_path / "cases.csv")

    told, read = (average_precisions(r, FEW) for r in (rows, read_rows(tmp_path / "cases.csv")))

    assert (told.masks, told.boxes_75) == (read.masks, read.boxes_75)
    assert told.masks_50.value == 1 and told.masks_75.value == pytest.approx(51 / 101)


def test_the_interval_holds_the_figure_and_is_of_patients():
    rng = np.random.default_rng(1)
    rows = [
        CaseRow(
            id=f"{k}", patient=f"p{k // 4}", score=0.5, frame_score=0.5, compared=True, predicted_node=1,
            confidence=float(rng.random()), box_hits="50",
            mask_hits="50 55" if rng.random() < 0.7 else "none",
        )
        for k in range(80)
    ]  # fmt: skip

    found = average_precisions(rows, FEW)

    assert found.masks_50.low < found.masks_50.value < found.masks_50.high
    assert found.masks_75.value == 0
    assert found.masks.value == pytest.approx(found.masks_50.value / 5)


@pytest.mark.parametrize("kind", ["segm", "bbox"])
@pytest.mark.parametrize("seed", range(3))
def test_figures_equal_pycocotools(kind, seed):
    mask = pytest.importorskip("pycocotools.mask")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    rng = np.random.default_rng(seed)
    truths, finds, rows = [], [], []
    for frame in range(25):
        reference = blobs(rng, int(rng.integers(0, 5)))
        predicted = shifted(rng, reference) if frame % 5 else blobs(rng, 3)
        sure = np.round(rng.random(int(predicted.max())), 2)  # some are alike
        hits = coco_hits(
            sure, getattr(overlaps_of(predicted, reference), "masks" if kind == "segm" else "boxes")
        )
        rows += [(c, *h) for c, h in zip(sure, hits, strict=True)]
        for ids, into in ((reference, truths), (predicted, finds)):
            for number in range(1, int(ids.max()) + 1):
                code = mask.encode(np.asfortranarray(ids == number).astype(np.uint8))
                one = {
                    "image_id": frame,
                    "category_id": 1,
                    "segmentation": code,
                    "bbox": mask.toBbox(code).tolist(),
                }
                area = float(mask.area(code))
                extra = {"area": area, "iscrowd": 0, "id": len(truths) + 1}
                into.append(one | (extra if into is truths else {"score": float(sure[number - 1])}))

    with contextlib.redirect_stdout(io.StringIO()):
        about = {
            "images": [{"id": i, "height": 40, "width": 50} for i in range(25)],
            "categories": [{"id": 1}],
            "info": {},
        }
        coco = COCO()
        coco.dataset = about | {"annotations": truths}
        coco.createIndex()
        judged = COCOeval(coco, coco.loadRes(finds), kind)
        judged.evaluate()
        judged.accumulate()
        judged.summarize()

    ours = precision_at([r[0] for r in rows], np.array([r[1:] for r in rows]), len(truths))
    assert [ours.mean(), ours[0], ours[5]] == pytest.approx(judged.stats[:3], abs=1e-9)
