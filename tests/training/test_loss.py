"""A truth that is not known moves nothing, and every weight still gets a gradient."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_cln.network.model import YNet, YNetConfig
from napari_cln.training.data import Batch
from napari_cln.training.loss import Objective, _mean_of_nodes, soft_dice
from napari_cln.training.recipes import LossTerms

SMALL = {"width": 0.125, "decoder_width": 8}


def objective(node_weight: float = 0.0, deep: bool = False, **changes) -> Objective:
    torch.manual_seed(0)
    network = YNet(YNetConfig(**SMALL, **changes))
    return Objective(network, LossTerms(deep_supervision=deep, class_weight=0.5, node_weight=node_weight))


def test_the_terms_add_up(samples):
    terms = objective()(Batch.of(samples.take(range(4))))

    assert set(terms) == {"mask_ce", "mask_dice", "class_ce", "total"}
    torch.testing.assert_close(
        terms["total"], terms["mask_ce"] + terms["mask_dice"] + 0.5 * terms["class_ce"]
    )


def test_coarser_levels_are_compared_with_the_mask_too(samples):
    plain, deep = objective(), objective(deep=True)
    batch = Batch.of(samples.take(range(4)))

    alone, terms = plain(batch), deep(batch)
    terms["total"].backward()

    assert set(terms) == {*alone, "mask_deep"}
    for name in ("mask_ce", "mask_dice", "class_ce"):
        torch.testing.assert_close(terms[name], alone[name])
    torch.testing.assert_close(terms["total"], alone["total"] + terms["mask_deep"])
    assert all(head.weight.grad.any() for head in deep.heads)
    assert set(deep.network.state_dict()) == set(plain.network.state_dict())  # nothing of it is used later


def test_a_level_that_draws_the_mask_costs_nothing(samples):
    deep = objective(deep=True).eval()
    mask = (Batch.of(samples.take(range(4))).instances > 0).float()
    exact = torch.nn.functional.avg_pool2d(mask, 4).repeat(1, 8, 1, 1)
    for head in deep.heads:
        head.weight.data[0], head.weight.data[1] = -5, 5
        head.bias.data[0], head.bias.data[1] = 20, -20

    right, wrong = (deep._deep([head(level) for head in deep.heads], mask) for level in (exact, 1 - exact))

    assert (right < 0.1).all()
    assert (wrong > 10).all()


def test_a_network_that_draws_nothing_has_no_levels(samples):
    deep = objective(deep=True, segmentation=False, guided=False)

    assert not deep.heads
    assert set(deep(Batch.of(samples.take(range(4))))) == {"class_ce", "total"}


@pytest.mark.parametrize("guided", [True, False])
def test_frames_without_label_train_the_mask_alone(samples, guided):
    unlabelled = replace(
        samples,
        node_targets=np.full_like(samples.node_targets, np.nan),
        frame_targets=np.full_like(samples.frame_targets, np.nan),
    )
    loss = objective(guided=guided)

    terms = loss(Batch.of(unlabelled.take(range(4))))
    terms["total"].backward()

    assert terms["class_ce"] == 0
    assert not loss.network.head[0].weight.grad.any()
    assert loss.network.dec1[1].weight.grad.any()


@pytest.mark.parametrize("guided", [True, False])
def test_frames_without_mask_train_the_class_alone(samples, guided):
    unmasked = replace(samples, has_mask=np.zeros(len(samples), dtype=bool))
    loss = objective(guided=guided)

    terms = loss(Batch.of(unmasked.take(range(4))))
    terms["total"].backward()

    assert terms["mask_ce"] == terms["mask_dice"] == 0
    assert not loss.network.dec1[1].weight.grad.any()
    assert loss.network.head[0].weight.grad.any()


def test_frames_of_which_nothing_is_known_still_give_every_weight_a_gradient(samples):
    unknown = replace(
        samples,
        has_mask=np.zeros(len(samples), dtype=bool),
        node_targets=np.full_like(samples.node_targets, np.nan),
        frame_targets=np.full_like(samples.frame_targets, np.nan),
    )
    loss = objective()

    loss(Batch.of(unknown.take(range(4))))["total"].backward()

    assert all(parameter.grad is not None for parameter in loss.parameters())


def test_a_frame_counts_the_same_beside_frames_without_truth(samples):
    half = replace(samples, has_mask=np.arange(len(samples)) < 2)
    loss = objective().eval()

    alone = loss(Batch.of(samples.take(range(2))))
    beside = loss(Batch.of(half.take(range(4))))

    torch.testing.assert_close(alone["mask_ce"], beside["mask_ce"])
    torch.testing.assert_close(alone["mask_dice"], beside["mask_dice"])


def test_soft_dice_of_equal_masks_is_one_even_when_empty():
    mask = torch.zeros(2, 1, 8, 8)
    mask[0, 0, 2:5, 2:5] = 1

    torch.testing.assert_close(soft_dice(mask, mask), torch.ones(2))
    assert soft_dice(1 - mask, mask)[0] < 0.05


def two_nodes(samples, small_first: bool):
    """The first frame with a node of 36 pixels and one of 900."""
    one = samples.take([0])
    one.instances[:] = 0
    one.instances[0, 5:11, 5:11] = 1 if small_first else 2
    one.instances[0, 25:55, 25:55] = 2 if small_first else 1
    return one


@pytest.mark.parametrize("missed", [1, 2])
def test_a_small_node_that_is_missed_costs_as_much_as_a_large_one(samples, missed):
    one = two_nodes(samples, small_first=True)
    instances = torch.from_numpy(one.instances).float()
    pixelwise = torch.where(instances == missed, 3.0, 0.2)

    means, nodes = _mean_of_nodes(pixelwise, instances)

    assert nodes == 2
    torch.testing.assert_close(means, torch.tensor([(3.0 + 0.2) / 2]))


def test_the_numbers_of_the_nodes_do_not_matter(samples):
    loss = objective(node_weight=1.0).eval()

    one, other = (loss(Batch.of(two_nodes(samples, small_first=first))) for first in (True, False))

    torch.testing.assert_close(one["node_ce"], other["node_ce"])


def test_the_nodes_term_is_part_of_the_total_and_left_out_at_weight_0(samples):
    batch = Batch.of(samples.take(range(4)))
    without, half, whole = (objective(node_weight=weight).eval()(batch) for weight in (0.0, 0.5, 1.0))

    assert "node_ce" not in without
    torch.testing.assert_close(2 * half["node_ce"], whole["node_ce"])
    torch.testing.assert_close(whole["total"], without["total"] + whole["node_ce"])


def test_frames_without_mask_or_node_weigh_nothing_in_the_nodes_term(samples):
    half = replace(samples, has_mask=np.arange(len(samples)) < 2)
    loss = objective(node_weight=1.0).eval()

    alone = loss(Batch.of(samples.take([0, 1])))
    beside_unmasked = loss(Batch.of(half.take([0, 1, 2, 3])))
    beside_empty = loss(Batch.of(samples.take([0, 1, 4])))  # every fifth frame shows no node

    torch.testing.assert_close(beside_unmasked["node_ce"], alone["node_ce"])
    torch.testing.assert_close(beside_empty["node_ce"], alone["node_ce"])
