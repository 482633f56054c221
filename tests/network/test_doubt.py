"""Doubt tells results that fail from those that hold, and says why."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import expit, logit

from napari_cln.disk.schema import SchemaError
from napari_cln.io.sources import read_frame
from napari_cln.models.card import DoubtLine, ModelCard
from napari_cln.network.doubt import (
    CLUES,
    FALSE_ALARMS,
    chance_of_failure,
    clues_of,
    clues_of_node,
    doubt_of,
    fit_doubt,
)
from napari_cln.network.inference import Segmenter
from napari_cln.network.model import YNetConfig
from napari_cln.network.u_shaped import UYNet
from napari_cln.phantom import simulate
from napari_cln.types import Doubt, Frame, Prediction


@pytest.fixture(scope="module")
def known() -> dict[str, np.ndarray]:
    """Results that fail where the arm is unsure of the patch, or finds nothing on a frame that has a node."""
    rng = np.random.default_rng(3)
    clues = rng.normal(size=(600, len(CLUES)))
    found = rng.random(600) < 0.7
    odds = np.where(found, -3 * clues[:, 0], 3 * clues[:, 1])
    failed = rng.random(600) < expit(odds)
    return {"clues": clues, "found": found, "failed": failed, "good": ~failed & found}


@pytest.fixture(scope="module")
def model(known):
    return fit_doubt(**known)


def test_it_ranks_failures_before_results_that_hold(known, model):
    chance = chance_of_failure(model, known["clues"], known["found"])

    assert np.mean(chance[known["failed"]][:, None] > chance[~known["failed"]]) > 0.85


def test_few_good_results_are_called_doubtful(known, model):
    levels = [
        doubt_of(model, row, found, None).level
        for row, found in zip(known["clues"], known["found"], strict=True)
    ]
    doubtful = np.array([level != "sure" for level in levels])

    assert doubtful[known["good"]].mean() <= FALSE_ALARMS + 0.01
    assert doubtful[known["failed"]].mean() > 0.5
    assert model.look <= model.never


def test_the_reason_is_what_speaks_for_a_failure_most(model):
    unsure = np.zeros(len(CLUES))
    unsure[0] = -4.0

    doubt = doubt_of(model, unsure, True, None)

    assert doubt.level == "do not rely on it"
    assert str(doubt) == "Do not rely on it: the network is not sure that this is a node."


def test_a_frame_unlike_all_is_never_relied_on(model):
    sure = np.zeros(len(CLUES))
    sure[0] = 4.0

    assert doubt_of(model, sure, True, 0.9).level == "sure"
    assert doubt_of(model, sure, True, 1.1).level == "do not rely on it"
    assert "unlike" in doubt_of(model, sure, True, 1.1).reason


def test_a_sector_is_relied_on_only_where_the_model_knows_sectors(model):
    sure = np.zeros(len(CLUES))
    sure[0] = 4.0
    strange = replace(model, knows_sectors=False)

    assert doubt_of(model, sure, True, None, is_sector=True).level == "sure"
    assert doubt_of(strange, sure, True, None).level == "sure"
    assert doubt_of(strange, sure, True, 0.5, is_sector=True).level == "do not rely on it"
    assert "phased probe" in doubt_of(strange, sure, True, 1.5, is_sector=True).reason


def test_nothing_is_learnt_from_results_that_all_hold(known):
    failed = np.zeros(600, bool)
    failed[:3] = True

    assert fit_doubt(known["clues"], known["found"], failed, ~failed) is None


def test_the_best_patch_and_the_best_that_was_left_out_are_clues():
    sure, frame, rival = clues_of(np.array([0.5, 0.9]), 0.7, np.array([0.1, 0.3]))
    nothing = clues_of(np.zeros(0), 0.7, np.zeros(0))

    assert [sure, frame, rival] == pytest.approx(logit([0.9, 0.7, 0.3]).tolist())
    assert nothing[0] == 0
    assert np.isfinite(nothing).all()
    assert clues_of_node((sure, frame, rival), 0.5) == pytest.approx((0, frame, rival))


@pytest.fixture
def network() -> UYNet:
    torch.manual_seed(0)
    return UYNet(YNetConfig(trunk="u", width=0.125)).eval()


def predicted(network: UYNet, model, frame: Frame | None = None) -> Prediction:
    network.card = ModelCard(name="u", config=network.config, doubt=model)
    return next(Segmenter(network, "cpu").predict([frame or simulate(3).frame]))


@pytest.mark.slow
def test_a_prediction_on_a_heart_is_not_relied_on(network, model, shared_data):
    heart = read_frame(shared_data / "us_dicom" / "files" / "go-dicom__I_000034.dcm")
    trusting = replace(model, look=1.0, never=1.0, knows_sectors=False)

    doubts = [predicted(network, trusting, frame).doubt for frame in (heart, None)]

    assert [doubt.level for doubt in doubts] == ["do not rely on it", "sure"]
    assert "a sector" in doubts[0].reason


def test_a_prediction_carries_it_and_says_so(network, model):
    never = replace(model, look=0.0, never=0.0)

    doubted, plain = predicted(network, never), predicted(network, None)

    assert doubted.doubt.level == "do not rely on it"
    assert str(doubted.doubt) in doubted.warnings
    assert plain.doubt is None
    assert len(plain.clues) == len(CLUES)
    assert len(doubted.node_doubts) == len(doubted.node_scores)
    assert plain.node_doubts == ()


def test_a_card_gives_it_back_and_refuses_one_with_a_hole(model):
    card = ModelCard(name="u", doubt=model)

    assert ModelCard.from_json(card.to_json()).doubt == model
    short = replace(model, nothing=DoubtLine(mean=(0.0,), scale=(1.0,), weight=(0.0,), bias=0.0))
    with pytest.raises(SchemaError, match="one number for each clue"):
        ModelCard(name="u", doubt=short).to_json()


def test_a_node_has_a_doubt_of_its_own(network, model):
    prediction = predicted(network, replace(model, look=0.0, never=1.0))
    sure, unsure = (
        Doubt(chance=0.0, level="sure"),
        Doubt(chance=0.9, level="look twice", reason="it is faint"),
    )
    both = replace(prediction, node_doubts=(sure, unsure))

    assert str(unsure) not in both.warnings_of(1)
    assert str(unsure) in both.warnings_of(2)
    assert replace(both, node_doubts=()).warnings_of(2) == both.warnings
