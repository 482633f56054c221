"""The arm learns from nodes, from what the decoder draws where none is, and from frames as a whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_cln.network.model import YNetConfig
from napari_cln.network.u_shaped import UYNet
from napari_cln.study.statistics.metrics import auc
from napari_cln.training.arm import PatchFeatures, fit_arm, read_patches
from napari_cln.training.data import Batch, Samples
from napari_cln.training.loop import fit
from napari_cln.training.loss import Objective
from napari_cln.training.patches import patches_of
from napari_cln.training.recipes import LossTerms, Recipe
from napari_cln.training.run_folder import Epoch
from napari_cln.training.scoring import FrameScore, fit_limits, score_frames, trade_off

SMALL = YNetConfig(trunk="u", width=0.125)


def rows_of(batch: Batch, predicted: torch.Tensor) -> list[tuple[int, list[float], int]]:
    """Frame, target and area of each patch."""
    guides, rows, targets, _ = patches_of(batch, predicted).filled()
    return [
        (int(row), target.tolist(), int(guide.sum()))
        for guide, row, target in zip(guides, rows, targets, strict=True)
    ]


@pytest.fixture
def batch(samples: Samples) -> Batch:
    return Batch.of(samples.take([0, 1, 4]))  # a benign node, a malignant one, none


def test_a_drawn_patch_on_a_frame_without_a_node_is_nothing(batch):
    predicted = torch.zeros(3, 1, 64, 64)
    predicted[2, 0, 10:30, 10:30] = 0.9

    assert (2, [0.0, 0.0, 1.0], 400) in rows_of(batch, predicted)


def test_a_drawn_patch_beside_a_node_is_nothing_and_one_on_it_has_its_class(batch):
    node = batch.instances[1, 0] > 0
    predicted = torch.zeros(3, 1, 64, 64)
    predicted[1, 0] = torch.where(node, 0.9, 0.0)
    predicted[1, 0, :8, :8] = 0.9

    found = rows_of(batch, predicted)

    assert (1, [0.0, 0.0, 1.0], 64) in found
    assert found.count((1, [0.0, 1.0, 0.0], int(node.sum()))) == 2  # as it is, and as it was drawn


def test_a_part_of_a_node_is_neither(batch):
    node = batch.instances[1, 0] > 0
    row, column = node.nonzero()[len(node.nonzero()) // 2].tolist()
    predicted = torch.zeros(3, 1, 64, 64)
    predicted[1, 0, row - 2 : row + 2, column - 2 : column + 2] = 0.9

    assert not [one for one in rows_of(batch, predicted) if one[2] == 16]


def test_the_frame_as_a_whole_has_its_class_or_nothing(batch):
    empty = [(row, target) for row, target, area in rows_of(batch, torch.zeros(3, 1, 64, 64)) if not area]

    assert empty == [(0, [1.0, 0.0, 0.0]), (1, [0.0, 1.0, 0.0]), (2, [0.0, 0.0, 1.0])]


def test_a_frame_without_a_known_mask_teaches_no_patch(batch, samples):
    unknown = replace(samples, has_mask=np.zeros(len(samples), bool)).take([0, 1, 4])
    predicted = torch.full((3, 1, 64, 64), 0.9)

    assert all(area == 0 for _, _, area in rows_of(Batch.of(unknown), predicted))


def test_what_nobody_judged_is_no_proof_of_nothing(samples):
    instances = samples.instances.copy()
    instances[4, 10:30, 10:30] = 255
    batch = Batch.of(replace(samples, instances=instances).take([0, 4]))
    predicted = torch.zeros(2, 1, 64, 64)
    predicted[1, 0, 12:28, 12:28] = 0.9

    assert not [one for one in rows_of(batch, predicted) if one[2] == 256]


def test_nothing_weighs_at_most_as_much_as_the_nodes(batch):
    objective = Objective(UYNet(SMALL), Recipe.best().loss)
    predicted = torch.zeros(3, 1, 64, 64)
    few = objective._class_of_patches(objective.network.encode(batch.image), batch, predicted)
    predicted[2, 0, ::16, ::16] = 0  # and the same with many patches that are none
    for row in range(0, 64, 16):
        predicted[2, 0, row : row + 8] = 0.9
    many = objective._class_of_patches(objective.network.encode(batch.image), batch, predicted)

    # an untrained arm says a third to each class, so that every patch costs about the same
    assert few.item() == pytest.approx(many.item(), rel=0.2)


def test_it_learns_to_tell_a_node_from_nothing(samples, draw, tmp_path):
    config = replace(SMALL, width=0.25)
    recipe = replace(Recipe.best(), network=config, batch_size=4, average=0.9, learning_rate=3e-3)
    recipe = replace(recipe, loss=LossTerms(), augmentation="flip")
    *_, last = (
        event for event in fit(samples, draw(10, 1), recipe, tmp_path, epochs=30) if isinstance(event, Epoch)
    )
    network = UYNet(config).eval()
    network.load_state_dict(torch.load(tmp_path / "best.pt", weights_only=True))
    scores = score_frames(network, samples)

    limits = fit_limits(scores, samples.node_areas(), knows_nothing=True)

    assert last.dice_mean is not None and last.dice_mean > 0.6
    assert limits.min_peak == 0
    without = trade_off(scores, 0.0, limits.min_node_area)
    assert sum(trade_off(scores, limits.min_node_chance, limits.min_node_area)) >= sum(without)
    whole = torch.zeros(len(samples), 1, 64, 64)
    with torch.no_grad():
        logits = network.classify(network.encode(Batch.of(samples).image), whole)
    nothing = logits.softmax(1)[:, 2].numpy()
    has_node = samples.instances.any((1, 2))
    assert nothing[~has_node].min() > nothing[has_node].mean()


def test_half_the_side_comes_first_and_the_best_is_of_the_full_side(samples, draw, tmp_path):
    recipe = replace(Recipe.best(), network=SMALL, batch_size=4, half=0.5)
    epochs = [e for e in fit(samples, draw(10, 1), recipe, tmp_path, epochs=4) if isinstance(e, Epoch)]

    assert len(epochs) == 4
    assert epochs[0].best and epochs[2].best


def test_half_the_side_keeps_nodes_where_they_are(samples):
    whole, half = Batch.of(samples), Batch.of(samples.halved())

    torch.testing.assert_close(whole.halved().image, half.image, atol=1 / 255, rtol=0)
    assert torch.equal(whole.halved().instances, half.instances)
    assert half.instances.shape[-1] == 32


@pytest.mark.slow
def test_the_arm_alone_learns_to_tell_a_node_from_nothing(samples, draw):
    torch.manual_seed(0)
    network = UYNet(SMALL).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    random = torch.get_rng_state()
    other = Batch.of(draw(20, 7))
    guides, rows, targets, _ = patches_of(other, torch.zeros(20, 1, 64, 64)).filled()

    def told_apart() -> float:
        with torch.no_grad():
            logits = network.classify(network.encode(other.image), guides, rows)
        return auc(targets[:, 2].numpy() > 0.5, logits.softmax(1)[:, 2].numpy())

    at_first = told_apart()
    halves = (samples.take(range(10)), samples.take(range(10, 20)))
    fit_arm(network, [read_patches(network, half, passes=2) for half in halves])

    changed = {name for name, value in network.state_dict().items() if (value != before[name]).any()}
    assert changed and all(name.startswith("head.") for name in changed)
    assert torch.equal(torch.get_rng_state(), random)
    assert told_apart() > max(at_first + 0.15, 0.7)


@pytest.mark.slow
def test_the_arm_believes_the_source_that_weighs_more(samples):
    network = UYNet(SMALL).eval()
    right = read_patches(network, samples.take(range(10)), passes=1)
    node = right.targets[:, 2] < 0.5
    wrong = right._replace(targets=torch.where(node[:, None], right.targets[:, [1, 0, 2]], right.targets))

    def chance_of_the_first(weights: tuple[float, float]) -> float:
        fit_arm(network, [right, wrong], weights=weights)
        with torch.no_grad():
            said = network.head(right.features[node]).softmax(1)
        return (said * right.targets[node]).sum(1).mean().item()

    assert chance_of_the_first((20, 1)) > 0.6 > 0.4 > chance_of_the_first((1, 20))

    with pytest.raises(ValueError):
        fit_arm(network, [right, wrong], weights=[1.0])


def test_patches_know_their_frame_so_that_a_fold_can_be_left_out(samples):
    network = UYNet(SMALL).eval()
    some = samples.take(range(11))

    read = read_patches(network, some, augmented=False, passes=1)
    rest = read.of(read.frames % 5 != 1)

    assert set(read.frames.tolist()) == set(range(11))
    assert set(rest.frames.tolist()) == set(range(11)) - {1, 6}
    assert len(rest.features) == len(rest.targets) == len(rest.frames) < len(read.frames)
    for index in range(11):
        is_node = read.targets[read.frames == index, :2].sum(1) > 0
        assert bool(is_node.any()) == bool(some.instances[index].any())
    joined = PatchFeatures.join([rest, read.of(read.frames % 5 == 1)])
    assert joined.features.shape == read.features.shape


def score(node_area: int, *patches: tuple[float, int, int]) -> FrameScore:
    """A frame with the chance, area, and area on a node, of each patch."""
    return FrameScore(
        id="f", dice=0.0, has_node=node_area > 0, claimed=bool(patches), malignancy=0.5, target=1.0,
        patches=patches, node_area=node_area,
    )  # fmt: skip


def test_the_limit_weighs_nodes_lost_against_nodes_claimed():
    scores = [
        score(100, (0.9, 100, 100), (0.3, 100, 0)),
        score(100, (0.6, 80, 80)),
        score(0, (0.5, 50, 0)),
        score(0, (0.2, 50, 0)),
    ]

    assert trade_off(scores, 0.0) == pytest.approx(((2 / 3 + 160 / 180) / 2, 0.0))
    assert trade_off(scores, 0.55) == pytest.approx(((1 + 160 / 180) / 2, 1.0))
    assert trade_off(scores, 0.7) == pytest.approx((0.5, 1.0))
    assert fit_limits(scores, [100], knows_nothing=True).min_node_chance == pytest.approx(0.51)
    assert fit_limits(scores[:2], [100], knows_nothing=True).min_node_chance == pytest.approx(0.31)
    assert fit_limits([], [], knows_nothing=True).min_node_chance == 0
