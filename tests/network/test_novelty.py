"""A frame unlike the training data is known by its texture, and one like it is left in peace."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from pathlib import Path

import numpy as np
import pytest
import skimage
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_cln.imaging.preprocessing import prepare
from napari_cln.io.sources import read_frame
from napari_cln.network.doubt import pooled_texture
from napari_cln.network.inference import Segmenter, segment
from napari_cln.network.model import YNet
from napari_cln.network.weights import load_model
from napari_cln.phantom import simulate
from napari_cln.training.novelty import ALARM_RATE, MIN_VALIDATION, _fit, fit_novelty
from napari_cln.types import UNLIKE_TRAINING_DATA, Frame

PHOTOGRAPHS = Path(skimage.__file__).parent / "data"


def images_of(frames: list[Frame]) -> np.ndarray:
    return np.stack([np.rint(prepare(frame).image * 255).astype(np.uint8) for frame in frames])


@pytest.fixture(scope="module")
def speckle() -> np.ndarray:
    """Prepared simulated frames, mirrored and darkened: 72 in all."""
    some = images_of([simulate(seed).frame for seed in range(12)])
    some = np.concatenate([some, some[:, :, ::-1]])
    return np.concatenate([some, some // 8 * 7, some // 16 * 13])


@pytest.fixture
def knowing(small: YNet, speckle) -> YNet:
    """A network that knows what its training frames are like."""
    order = np.random.default_rng(0).permutation(len(speckle))
    small.novelty = fit_novelty(small, [speckle[order[:48]]], speckle[order[48:]])
    return small


@pytest.mark.slow
def test_photographs_are_further_from_ultrasound_than_fresh_frames_are(knowing):
    photographs = [read_frame(PHOTOGRAPHS / name) for name in ("camera.png", "brick.png", "page.png")]
    fresh = [simulate(seed).frame for seed in range(40, 43)]

    of_photographs, of_fresh = (
        [prediction.novelty for prediction in Segmenter(knowing, "cpu").predict(frames)]
        for frames in (photographs, fresh)
    )

    assert min(of_photographs) > 1
    assert min(of_photographs) > max(of_fresh)


@pytest.mark.slow
def test_a_prediction_says_that_it_is_not_to_be_relied_on(knowing):
    unlike = segment(read_frame(PHOTOGRAPHS / "brick.png"), knowing, "cpu")

    assert unlike.status == "unlike-training-data"
    assert unlike.warnings == (UNLIKE_TRAINING_DATA, *unlike.frame.warnings)
    like = replace(unlike, novelty=1.0)
    assert (like.status, like.warnings) == ("ok", unlike.frame.warnings)


def test_a_model_that_does_not_know_its_training_data_flags_nothing(small):
    prediction = segment(read_frame(PHOTOGRAPHS / "brick.png"), small, "cpu")

    assert prediction.novelty is None
    assert prediction.status == "ok"


def test_too_few_validation_frames_give_no_threshold(small, speckle):
    assert fit_novelty(small, [speckle[:20]], speckle[20 : 20 + MIN_VALIDATION - 1]) is None
    assert fit_novelty(small, [speckle[:20], speckle[:1]], speckle[20:]) is None


@pytest.mark.slow
def test_the_nearest_of_several_sources_counts(small, speckle):
    negatives = 255 - speckle
    one = fit_novelty(small, [speckle[:40]], speckle[40:])
    two = fit_novelty(small, [speckle[:40], negatives[:40]], np.concatenate([speckle[40:], negatives[40:]]))
    assert one is not None
    assert two is not None

    with torch.no_grad():
        texture = pooled_texture(small.stem(torch.from_numpy(negatives[:8]).float()[:, None] / 255))

    assert (one(texture) > 2).all()
    assert (two(texture) < 1.5).all()


@settings(max_examples=30)
@given(
    n_train=st.integers(2, 60),
    n_validation=st.integers(MIN_VALIDATION, 120),
    size=st.integers(1, 12),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
    silent=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_share_of_validation_frames_beyond_the_threshold_is_as_promised(
    n_train, n_validation, size, scale, silent, seed
):
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(size, size)) * scale
    train, validation = (
        (rng.normal(size=(n, size)) @ mixing + 5).astype(np.float32) for n in (n_train, n_validation)
    )
    if silent:
        train[:, 0] = validation[:, 0] = 0

    beyond = int((_fit([train], validation)(validation) > 1 + 1e-3).sum())

    allowed = n_validation - min(ceil((1 - ALARM_RATE) * (n_validation + 1)), n_validation)
    assert beyond <= allowed
    assert (beyond + 1) / (n_validation + 1) <= 0.05


@pytest.mark.slow
def test_the_shipped_model_tells_photographs_from_its_own_frames():
    model = load_model("default")
    if model.novelty is None:
        pytest.skip("the shipped model does not know its training data")
    names = ("astronaut.png", "camera.png", "coffee.png", "grass.png", "page.png", "rocket.jpg")
    photographs = [read_frame(PHOTOGRAPHS / name) for name in names]
    fresh = [simulate(seed).frame for seed in range(3_000_000, 3_000_010)]

    flagged, alarms = (
        [prediction.status != "ok" for prediction in Segmenter(model, "cpu").predict(frames)]
        for frames in (photographs, fresh)
    )

    assert sum(flagged) >= 5
    assert sum(alarms) <= 1
