"""Drawing on a screen: the mask knows every pixel."""

from __future__ import annotations

import numpy as np
import pytest

from napari_cln.phantom import Screen, draw_calipers, draw_doppler_box, draw_text, simulate

YELLOW = (250, 230, 40)


@pytest.fixture
def screen():
    return Screen(np.full((200, 300), 60, dtype=np.uint8))


def test_calipers_cross_where_asked(screen):
    draw_calipers(screen, [((50.0, 40.0), (50.0, 140.0))], YELLOW, size=5)

    for row, column in ((50, 40), (50, 140), (46, 40), (50, 136)):
        assert tuple(screen.pixels[row, column]) == YELLOW


def test_dots_join_the_crosses_only_on_request():
    dotted, plain = (Screen(np.zeros((100, 200), dtype=np.uint8)) for _ in range(2))
    ends = [((50.0, 20.0), (50.0, 180.0))]

    draw_calipers(dotted, ends, YELLOW, dotted=True)
    draw_calipers(plain, ends, YELLOW, dotted=False)

    between = np.s_[:, 40:160]
    assert dotted.overlay[between].sum() >= 20
    assert not plain.overlay[between].any()


def test_faint_edges_of_letters_are_in_the_mask(screen):
    draw_text(screen, (80, 50), "TEST 0.84 cm", YELLOW, 16)

    differs = (screen.pixels != 60).any(axis=-1)
    assert differs.sum() > 100
    assert not (differs & ~screen.overlay).any()


def test_a_doppler_box_is_hollow(screen):
    draw_doppler_box(screen, (40, 60, 120, 200), YELLOW)

    assert screen.overlay[40, 60:201].all()
    assert not screen.overlay[45:115, 65:195].any()


@pytest.mark.slow
def test_marks_tell_nothing_of_the_class():
    """Benign and metastatic nodes are measured equally often: within 99.9 % limits of one rate."""
    marked = {"benign": [], "metastatic": []}
    for seed in range(90):
        phantom = simulate(seed + 700, n_nodes=1, machine="esaote-like")
        rows, columns = np.nonzero(phantom.instances)
        near = phantom.overlay[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        marked[phantom.nodes[0].truth].append(near.mean() > 0.004)

    a, b = (np.array(marked[truth], dtype=float) for truth in ("benign", "metastatic"))
    pooled = np.concatenate([a, b]).mean()
    assert 0.15 < pooled < 0.75
    assert abs(a.mean() - b.mean()) < 3.3 * np.sqrt(pooled * (1 - pooled) * (1 / a.size + 1 / b.size))
