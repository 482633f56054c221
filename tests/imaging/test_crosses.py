"""Calipers on a screen, read as the ends of axes; what can be read in two ways is left."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from napari_cln.imaging.crosses import BurnedCalipers, find_calipers
from napari_cln.phantom import Screen, draw_calipers, draw_text
from napari_cln.types import Frame

DATA = Path(__file__).parents[1] / "data"
PAIRS = DATA / "overlay_pairs"
ROWS = list(csv.DictReader((PAIRS / "labels.csv").read_text(encoding="utf-8").splitlines()))
TISSUE = np.asarray(Image.open(sorted((DATA / "usgra").glob("*.png"))[0]).convert("L"))
YELLOW = (250, 230, 40)


def drawn(*ends, text: str = "", **look) -> BurnedCalipers:
    screen = Screen(TISSUE)
    draw_calipers(screen, ends, YELLOW, **look)
    if text:
        draw_text(screen, (20, 30), text, YELLOW, 15)
    return find_calipers(Frame(pixels=screen.pixels))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["shown"])
@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_the_ends_on_a_screen_are_found_within_three_pixels(row, kind):
    picture = Image.open(PAIRS / row["shown"]).convert("RGB")
    if kind == "jpeg":
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=92)
        picture = Image.open(buffer)
    true = [end[::-1] for pair in json.loads(row["calipers"]) for end in (pair["p"], pair["q"])]

    ends = find_calipers(Frame(pixels=np.asarray(picture))).ends

    assert len(ends) == len(true)
    assert all(min(math.dist(end, one) for one in ends) <= 3 for end in true)


@settings(max_examples=12, deadline=None)
@given(st.floats(0, math.pi), st.floats(60, 120), st.sampled_from("+x"), st.floats(4, 8))
def test_a_pair_joined_by_dots_is_one_axis_at_any_angle(angle, length, cross, size):
    middle = np.array(TISSUE.shape) / 2
    way = length / 2 * np.array([math.sin(angle), math.cos(angle)])
    pair = tuple(middle - way), tuple(middle + way)

    ends = drawn(pair, cross=cross, size=size).ends

    assert len(ends) == 2
    assert all(min(math.dist(end, one) for one in ends) <= 3 for end in pair)


def test_axes_that_cross_in_their_middles_are_one_node_the_longer_first():
    found = drawn(((200, 250), (280, 254)), ((240, 180), (244, 330)))

    (node,) = found.nodes
    assert node.hint == "four ends"
    assert math.dist(*node.long_axis) == pytest.approx(150, abs=3)
    assert math.dist(*node.short_axis) == pytest.approx(80, abs=3)


def test_lines_that_cross_at_a_slant_are_one_node():
    found = drawn(((200, 150), (240, 330)), ((190, 200), (260, 300)))

    assert [node.hint for node in found.nodes] == ["four ends"]
    assert not found.left_over


def test_small_crosses_beside_the_calipers_are_letters():
    screen = Screen(TISSUE)
    draw_calipers(screen, [((200, 150), (210, 300))], YELLOW, size=8)
    draw_calipers(screen, [((350, 100), (350, 140))], YELLOW, size=3, cross="x", dotted=False)

    found = find_calipers(Frame(pixels=screen.pixels))

    assert len(found.ends) == 2
    assert not found.left_over


def test_axes_apart_are_nodes_of_their_own():
    assert [one.hint for one in drawn(((120, 100), (130, 180)), ((300, 250), (290, 380))).nodes] == [
        "two ends"
    ] * 2


def test_two_crosses_alone_are_a_pair_without_a_line():
    assert len(drawn(((200, 150), (210, 300)), dotted=False).nodes) == 1


def test_crosses_that_nothing_joins_are_told_and_not_paired():
    found = drawn(((100, 100), (105, 200)), ((300, 250), (290, 380)), dotted=False)

    assert not found.nodes
    assert len(found.left_over) == 4
    assert "4 caliper crosses can't be told apart" in found.note


def test_axes_that_touch_near_an_end_are_not_made_one_node():
    found = drawn(((200, 150), (200, 300)), ((190, 160), (330, 158)))

    assert not found.nodes
    assert found.left_over


@pytest.mark.parametrize("text", ["1 L 0.48 cm", "2.44 cm x 0.85", "RT NECK TEST", "+ 4 + 8 +"])
def test_letters_are_no_calipers(text):
    assert drawn(text=text) == BurnedCalipers()
