"""The outline of a node from its calipers: what holds for every frame, and what the network adds."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from napari_cln import measure, outline_node
from napari_cln.errors import InputError, WeightsError
from napari_cln.imaging.calipers import Calipers
from napari_cln.network import outline
from napari_cln.study.statistics.metrics import dice
from napari_cln.types import Frame

VESSELS = Path(__file__).parents[1] / "data" / "usgra"
PIXELS = np.asarray(Image.open(sorted(VESSELS.glob("*.png"))[0]).convert("L"))
FRAME = Frame(pixels=np.ascontiguousarray(PIXELS[100:340, 100:400]))
H, W = FRAME.shape
points = st.tuples(st.floats(20, H - 20), st.floats(20, W - 20))


@st.composite
def crossing_axes(draw: st.DrawFn):
    """Four ends of one node."""
    row, column = draw(points)
    angle, half = draw(st.floats(0, math.pi)), draw(st.floats(8, 60))
    short = half * draw(st.floats(0.3, 1))
    ends = [
        (row + sign * reach * math.sin(turn), column + sign * reach * math.cos(turn))
        for turn, reach in ((angle, half), (angle + math.pi / 2, short))
        for sign in (-1, 1)
    ]
    return tuple((min(max(r, 0), H - 1), min(max(c, 0), W - 1)) for r, c in ends)


@settings(max_examples=10, deadline=None)
@given(crossing_axes())
def test_the_outline_is_one_region_without_holes_on_the_axes(ends):
    try:
        mask = outline_node(FRAME, long_axis=ends[:2], short_axis=ends[2:])
    except InputError:  # clipped at the frame, the axes may cross no longer
        return

    assert mask.shape == FRAME.shape
    assert ndimage.label(mask)[1] == 1
    assert not (ndimage.binary_fill_holes(mask) & ~mask).any()
    drawn = Calipers.of(FRAME.shape, long_axis=ends[:2], short_axis=ends[2:]).ellipse(FRAME.shape)
    assert (mask & drawn).any()


@settings(max_examples=5, deadline=None)
@given(crossing_axes(), st.sampled_from(["turned", "mirrored", "swapped"]))
def test_a_frame_that_is_turned_or_mirrored_has_its_outline_turned_or_mirrored(ends, how):
    network, card = outline.load_outline_net()
    # scan area and marks are those of the frame as it lies: what is asked here is the network's part
    one = outline.Outliner(FRAME, network, card.weights)
    other = outline.Outliner(FRAME, network, card.weights)
    one.scan_area = (0, 0, H, W)
    shape, moved, back = FRAME.shape, ends, lambda mask: mask
    if how == "turned":
        shape, back = (W, H), lambda mask: np.rot90(mask, -1)
        moved = [(W - 1 - column, row) for row, column in ends]
        other._tissue = np.rot90(one._tissue)
    elif how == "mirrored":
        back = lambda mask: mask[:, ::-1]  # noqa: E731
        moved = [(row, W - 1 - column) for row, column in ends]
        other._tissue = one._tissue[:, ::-1]
    else:
        moved = [ends[1], ends[0], ends[3], ends[2]]
    other.scan_area = (0, 0, *shape)
    before, after = (Calipers.crossing(tuple(each[:2]), tuple(each[2:])) for each in (ends, moved))
    if before is None or after is None:
        return

    found, again = one.outline(before), back(other.outline(after))

    # a pixel whose logit is almost 0 may fall to either side
    assert np.count_nonzero(found != again) <= 0.002 * found.sum() + 2


def test_a_weight_of_nothing_is_the_ellipse():
    calipers = Calipers.of(FRAME.shape, long_axis=((100, 60), (120, 200)))
    outliner = outline.Outliner(FRAME, weights=dict.fromkeys(("two ends", "four ends", "box"), 0.0))

    assert np.array_equal(outliner.outline(calipers), calipers.ellipse(FRAME.shape))


def test_an_untrained_network_leaves_the_ellipse():
    calipers = Calipers.of(FRAME.shape, long_axis=((100, 60), (120, 200)))
    outliner = outline.Outliner(FRAME, outline.OutlineNet().eval(), {"two ends": 1.0})

    assert np.array_equal(outliner.outline(calipers), calipers.ellipse(FRAME.shape))


@pytest.mark.parametrize("mixed_precision", [False, True])
def test_a_network_at_work_draws_the_outline_that_it_drew_in_training(mixed_precision):
    calipers = Calipers.of(FRAME.shape, long_axis=((100, 60), (120, 200)))
    outliner = outline.Outliner(FRAME)
    outliner._network, _ = outline.load_outline_net()
    expected = outliner.outline(calipers)

    outliner._network = outliner._network.at_work(mixed_precision=mixed_precision)
    found = outliner.outline(calipers)

    moved = np.count_nonzero(found != expected) / np.count_nonzero(expected)
    assert moved <= (0.001 if mixed_precision else 0.0)


def test_marks_are_painted_over_before_the_network_looks():
    marked = FRAME.pixels.copy()
    marked[60:62, 50:250] = 255  # a white line beside the node

    clean, _ = outline.scan_of(Frame(pixels=marked))

    assert clean[60:62, 50:250].max() < 250


def test_the_outlines_beat_the_ellipse_on_lesions_that_nobody_trained_on(shared_data):
    folder = shared_data / "busi_384"
    with (folder / "labels.csv").open(newline="") as file:
        rows = [
            row for row in csv.DictReader(file) if row["split"] == "public_test" and row["n_masks"] == "1"
        ]
    gains = []
    for row in rows[::4]:
        if row["label"] == "normal":
            continue
        pixels = np.asarray(Image.open(folder / row["image"]).convert("L"))
        true = np.asarray(Image.open(folder / row["mask"]).convert("L")) > 0
        size = measure(true)
        calipers = Calipers.of(pixels.shape, long_axis=size.long_axis_ends)
        frame = Frame(pixels=pixels)
        mask = outline_node(frame, long_axis=size.long_axis_ends)
        gains.append(dice(mask, true) - dice(calipers.ellipse(pixels.shape), true))

    assert np.mean(gains) > 0.02


def test_the_card_says_how_well_it_does_and_the_file_is_small():
    _, card = outline.load_outline_net()
    folder = Path(outline.__file__).parents[1] / "models" / "outline"

    assert (folder / "calipers.safetensors").stat().st_size <= 3_000_000
    assert any("never trained" in figure.data for figure in card.figures)
    assert all(figure.estimate.n > 10 for figure in card.figures)


def test_a_damaged_file_is_refused_with_a_sentence(tmp_path, monkeypatch):
    network, card = outline.load_outline_net()
    folder = tmp_path / "models" / "outline"
    folder.mkdir(parents=True)
    outline.save_outline_net(network, folder, replace(card))
    weights = folder / "calipers.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0\0")
    monkeypatch.setattr(outline.resources, "files", lambda _: tmp_path)

    with pytest.raises(WeightsError, match="damaged"):
        outline.load_outline_net.__wrapped__()
