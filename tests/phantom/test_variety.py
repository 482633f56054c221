"""The varied neck has what the plain one lacks, and tells nothing of a node's class by it."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from scipy.special import expit

from napari_cln.phantom import simulate
from napari_cln.phantom.signs import draw_signs, malignancy_of
from napari_cln.phantom.speckle import Beam
from napari_cln.phantom.variety import Imaging, hide_signs, reverberate

pytestmark = pytest.mark.slow  # its frames take seconds to make


@pytest.fixture(scope="module")
def varied() -> list:
    return [simulate(seed, scene="varied", overlays=False) for seed in range(12)]


@pytest.fixture(scope="module")
def hidden() -> list:
    """Class, signs and hidden signs of many nodes."""
    rng = np.random.default_rng(5)
    rows = []
    for _ in range(4000):
        metastatic = bool(rng.random() < 0.5)
        rows.append((metastatic, *hide_signs(rng, draw_signs(rng, metastatic))))
    return rows


def test_the_plain_neck_keeps_its_pixels():
    pixels = simulate(7, n_nodes=1).frame.pixels

    assert hashlib.sha256(pixels.tobytes()).hexdigest()[:16] == "b38e3972c956fbe0"


@pytest.mark.slow
def test_the_same_seed_gives_the_same_varied_frame(varied):
    again = simulate(3, scene="varied", overlays=False)

    assert np.array_equal(again.frame.pixels, varied[3].frame.pixels)


def test_nodes_lie_whole_in_the_frame_and_apart_from_vessels(varied):
    for phantom in varied:
        vessels = [phantom.structures.get(name) for name in ("carotid", "jugular")]
        for vessel in vessels:
            assert vessel is None or not (vessel & (phantom.instances > 0)).any()
        assert phantom.instances.max() == len(phantom.nodes)


def test_some_nodes_are_brighter_than_what_surrounds_them_and_some_darker(varied):
    from scipy.ndimage import binary_dilation

    gaps = []
    for phantom in varied:
        for number in range(1, len(phantom.nodes) + 1):
            node = phantom.instances == number
            ring = binary_dilation(node, iterations=8) & (phantom.instances == 0)
            gaps.append(float(phantom.clean[node].mean()) - float(phantom.clean[ring].mean()))

    assert min(gaps) < -20
    assert max(gaps) > 5


def test_what_is_hidden_leaves_the_score_calibrated(hidden):
    scores = np.array([malignancy_of(signs, names) for _, signs, names in hidden])
    truth = np.array([metastatic for metastatic, *_ in hidden])

    for low in np.arange(0, 1, 0.2):
        part = (scores >= low) & (scores < low + 0.2)
        share, spread = truth[part].mean(), 3 * (0.25 / part.sum()) ** 0.5
        assert share == pytest.approx(scores[part].mean(), abs=spread)


@pytest.mark.parametrize("sign", ["echo_db", "axis_ratio"])
def test_a_hidden_sign_tells_nothing_of_the_class(hidden, sign):
    values = [
        [getattr(signs, sign) for m, signs, names in hidden if sign in names and m is of]
        for of in (False, True)
    ]

    assert len(values[0]) > 300
    spread = np.std(values[0]) / len(values[0]) ** 0.5
    assert abs(np.mean(values[0]) - np.mean(values[1])) < 5 * spread


def test_a_hidden_sign_changes_the_score_of_no_other(hidden):
    _, signs, _ = hidden[0]
    both = malignancy_of(signs, frozenset({"echo_db", "axis_ratio"}))
    other = malignancy_of(
        type(signs)(**{**vars(signs), "echo_db": -7.0, "axis_ratio": 3.1}),
        frozenset({"echo_db", "axis_ratio"}),
    )

    assert both == other
    assert 0 < both < 1 and expit(0) == 0.5


def test_strong_reflectors_come_again_weaker_and_deeper():
    reflectors = np.zeros((200, 3), np.float32)
    reflectors[10, 1], reflectors[20, 2] = 8.0, 1.0
    imaging = Imaging(
        tissue_db=24,
        dynamic_range_db=60,
        fade_db_per_mm=0,
        side_lobe=0.1,
        reverberation=0.5,
        reverberation_mm=2.0,
    )

    echoed = reverberate(reflectors, imaging, step_mm=0.05)

    assert echoed[[10, 50, 90, 130], 1] == pytest.approx([8, 4, 2, 1])
    assert echoed[:, 2].sum() == 1  # a weak one has none
    assert reflectors[50, 1] == 0


def test_settings_stay_within_what_a_beam_takes():
    rng = np.random.default_rng(0)
    for _ in range(50):
        imaging = Imaging.draw(rng, 62.0)
        Beam(axial_mm=0.1, lateral_mm=0.3, focus_mm=20, spread=0.5, side_lobe=imaging.side_lobe)
        assert 0 <= imaging.reverberation < 1
        assert imaging.dynamic_range_db > imaging.tissue_db


def test_a_vessel_beside_the_frame_is_none_in_it():
    frame = simulate(2_000_021, scene="varied").frame

    assert frame.pixels.any()


def test_an_unknown_scene_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match="plain, varied"):
        simulate(0, scene="odd")
