"""Validation frames for which a network gives no finite number: missed, without a score, and counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_cln.network.model import YNet
from napari_cln.training.checkpoint import Progress
from napari_cln.training.data import Samples
from napari_cln.training.loop import _judge
from napari_cln.training.outcome import card_of
from napari_cln.training.run_folder import Collapsed
from napari_cln.training.scoring import (
    compare_scores,
    estimate_figures,
    fit_operating_point,
    goodness,
    score_frames,
    summarise,
)


@pytest.fixture
def mixed(samples) -> Samples:
    """Of twenty frames every other is black, and of either kind some hold a node."""
    images = samples.images.copy()
    images[::4] = images[1::4] = 0
    return replace(samples, images=images)


@pytest.fixture
def scores(mixed, recipe):
    """What a network says whose weights overflow on what is not black."""
    torch.manual_seed(0)
    network = YNet(recipe.network).eval()
    with torch.no_grad():
        network.stem[0].weight.fill_(1e38)
    return score_frames(network, mixed)


@pytest.fixture
def sound(mixed, recipe):
    torch.manual_seed(0)
    return score_frames(YNet(recipe.network).eval(), mixed)


def test_such_a_frame_is_missed_and_has_no_score(scores, mixed):
    bright = mixed.images.any(axis=(1, 2))

    assert [score.failed for score in scores] == bright.tolist()
    for score in scores:
        if score.failed:
            assert np.isnan(score.malignancy)
            assert not score.claimed
            assert score.peaks == ()
            assert score.dice == 0 or not score.has_node
        else:
            assert 0 <= score.malignancy <= 1


def test_figures_count_it_and_leave_its_score_out(scores):
    figures = summarise(scores)

    assert (figures.n, figures.failed) == (20, 10)
    assert figures.missed >= 0.5
    assert 0 <= figures.auc <= 1
    assert np.isfinite(goodness(scores))
    for figure in estimate_figures(scores, ""):
        assert np.isfinite([figure.estimate.value, figure.estimate.low, figure.estimate.high]).all()
    assert np.isfinite(fit_operating_point(scores, "them")[:2]).all()


def test_the_card_and_the_log_say_how_many_there_were(scores, mixed, recipe):
    card = card_of("neck", {}, recipe, (), mixed.node_areas(), [scores])
    *_, last = _judge(scores, Progress(), 0, 1, {"total": 1.0})

    assert all("(for 10 of them the network gave no finite number)" in figure.data for figure in card.figures)
    assert card.to_json()
    assert isinstance(last, Collapsed)
    assert last.message.startswith("The network gives no finite number for 10 of 20 validation frames.")


def test_a_comparison_is_of_the_frames_that_both_score(scores, sound):
    patients = [str(index) for index in range(20)]

    gaps = compare_scores(sound, scores, patients)

    assert gaps["auc"].n == sum(not score.failed for score in scores)
    assert gaps["dice"].n == sum(bool(score.has_node) for score in scores)
    assert np.isfinite([gaps["dice"].low, gaps["auc"].high]).all()


def test_without_any_score_nothing_is_said_of_the_class(scores):
    lost = [replace(score, failed=True, malignancy=float("nan")) for score in scores]

    assert summarise(lost).auc is None
    assert fit_operating_point(lost, "them") == (1.0, 0.5, "not set: no frame has a label and a score")
    assert compare_scores(lost, lost, [str(index) for index in range(20)])["auc"] is None
