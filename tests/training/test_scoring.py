"""Validation frames for which a network gives no finite number: missed, without a score, and counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_cln.models.card import ModelCard
from napari_cln.network.doubt import chance_of_failure
from napari_cln.network.model import YNet, YNetConfig
from napari_cln.network.u_shaped import UYNet
from napari_cln.network.weights import save_model
from napari_cln.training.checkpoint import Progress
from napari_cln.training.data import Samples
from napari_cln.training.loop import _judge
from napari_cln.training.recipes import Recipe
from napari_cln.training.run import _comparison, card_of
from napari_cln.training.run_folder import Collapsed
from napari_cln.training.scoring import (
    FrameScore,
    Limits,
    as_in_use,
    compare_scores,
    estimate_figures,
    fit_clip_point,
    fit_frame_doubt,
    fit_operating_point,
    fit_temperature,
    goodness,
    score_frames,
    summarise,
)
from napari_cln.types import PrepareConfig


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


def clips_of(n, spread):
    """Clips of four frames each, whose logits scatter about the clip's own, which says nothing wrong."""
    rng = np.random.default_rng(0)
    scores, clips = [], {}
    for clip in range(n):
        mean = rng.normal(0, 2)
        target = float(rng.random() < 1 / (1 + np.exp(-mean)))
        for frame in range(4):
            logit = mean + rng.normal(0, spread)
            id_, score = f"{clip}-{frame}", 1 / (1 + np.exp(-logit))
            known = {"dice": 1.0, "has_node": True, "claimed": True}
            scores.append(FrameScore(id=id_, malignancy=score, target=target, **known))
            clips[id_] = str(clip)
    return scores, clips


def test_the_temperature_of_a_clip_undoes_that_of_its_noisy_frames():
    scores, clips = clips_of(400, 2.0)
    of_frames = fit_temperature([s.malignancy for s in scores], [s.target for s in scores])

    of_clips, cutoff = fit_clip_point(scores, clips, of_frames)

    assert of_frames > 1.2  # a frame's noise makes it too sure of itself
    assert of_frames * of_clips == pytest.approx(1.25, abs=0.25)  # with a quarter of the noise, nearly 1
    assert 0.2 < cutoff < 0.8


def test_few_clips_give_no_cutoff_of_clips():
    scores, clips = clips_of(9, 1.0)

    assert fit_clip_point(scores, clips, 1.0) == (None, None)
    assert fit_clip_point(scores, {}, 1.0) == (None, None)


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


def frame_scores(*, is_sector: bool = False) -> list[FrameScore]:
    """Frames on which the arm is sure of what is right, and unsure of what is not."""
    rng, scores = np.random.default_rng(1), []
    for index in range(120):
        right, has_node = bool(rng.random() < 0.7), bool(rng.random() < 0.6)
        chance = float(np.clip(rng.normal(0.95 if right else 0.6, 0.05), 0.52, 0.99))
        # a node that is met, one that is missed beside a wrong patch, and a claim on a frame without
        area, on = 400, 380 if right else 0
        patches = ((chance, area, on if has_node else 0),)
        if right and not has_node:
            patches = ((0.1, area, 0), (0.9, 3, 0))
        scores.append(
            FrameScore(
                id=str(index),
                dice=0.0,
                has_node=has_node,
                claimed=True,
                malignancy=0.5,
                target=float("nan"),
                patches=patches,
                node_area=400 if has_node else 0,
                of_frame=chance,
                is_sector=is_sector,
            )
        )
    return scores


LIMITS = Limits(min_node_area=20, min_peak=0.0, min_node_chance=0.5)


def test_doubt_is_learnt_from_validation_frames():
    model = fit_frame_doubt(frame_scores(), LIMITS)

    sure, unsure = (
        chance_of_failure(model, np.array([clues]), np.array([True]))
        for clues in ((3, 3, -7), (0.2, 0.2, -7))
    )
    assert unsure > 0.7 > 0.3 > sure
    assert not model.knows_sectors
    assert fit_frame_doubt(frame_scores(is_sector=True), LIMITS).knows_sectors
    assert fit_frame_doubt([], LIMITS) is None


def test_a_frame_as_a_whole_is_asked_for_its_card_alone(mixed):
    torch.manual_seed(0)
    network = UYNet(YNetConfig(trunk="u", width=0.125)).eval()
    plain, asked = (score_frames(network, mixed, for_card=wanted) for wanted in (False, True))

    assert {(one.of_frame, one.is_sector) for one in plain} == {(None, None)}
    assert all(0 < one.of_frame < 1 and one.is_sector is False for one in asked)
    assert plain == [replace(one, of_frame=None, is_sector=None) for one in asked]


def test_a_result_is_that_of_the_patches_that_limits_let_pass():
    score = replace(frame_scores()[0], patches=((0.9, 400, 300), (0.3, 50, 50), (0.8, 5, 5)), node_area=500)

    assert score.result(0.5, 10) == (pytest.approx(600 / 900), True)
    assert score.result(0.0, 0) == (pytest.approx(710 / 955), True)
    assert score.result(0.95, 0) == (0.0, False)


def weak_claims() -> list[FrameScore]:
    """Frames with a node that is drawn, and as many without one, on which a patch of little chance is."""
    known = {"malignancy": 0.5, "target": float("nan"), "claimed": True, "of_frame": 0.5}
    node = {"has_node": True, "patches": ((0.9, 500, 450),), "node_area": 500}
    nothing = {"has_node": False, "patches": ((0.3, 500, 0),)}
    return [FrameScore(id=str(k), dice=0.8, **(node, nothing)[k % 2], **known) for k in range(40)]


def test_the_figures_of_a_card_are_those_at_its_own_limits():
    recipe = Recipe(network=YNetConfig(trunk="u", width=0.125))

    card = card_of("neck", {}, recipe, (), np.array([500] * 20), [weak_claims()])

    assert card.min_node_chance == 0.31
    figures = {figure.name: figure.estimate.value for figure in card.figures}
    assert figures["frames without a node where one is claimed"] == 0
    assert figures["Dice, median"] == pytest.approx(0.9)


def test_a_frame_whose_mask_is_unknown_has_no_dice_at_any_limit():
    unknown = replace(weak_claims()[0], has_node=None, dice=float("nan"))

    (kept,) = as_in_use([unknown], ModelCard(name="neck"))

    assert np.isnan(kept.dice)
    assert kept.has_node is None


def test_a_model_in_use_is_compared_at_the_limits_of_its_card(study, recipe, tmp_path):
    torch.manual_seed(0)
    network = UYNet(YNetConfig(trunk="u", width=0.125)).eval()
    with torch.no_grad():
        network.draw1.bias.copy_(torch.tensor([-50.0] * 4 + [50.0] * 4))  # all of a frame is a patch
    save_model(network, tmp_path / "all.safetensors", ModelCard(name="all"))
    save_model(network, tmp_path / "none.safetensors", ModelCard(name="none", min_node_chance=1.0))
    cases = study.cases()
    new = score_frames(network, Samples.from_cases(study, cases, PrepareConfig()))

    same, other = (
        _comparison(study, cases, str(tmp_path / f"{name}.safetensors"), new) for name in ("all", "none")
    )

    assert same.dice.value == 0
    assert other.dice.value == pytest.approx(np.mean([score.dice for score in new])) != 0
