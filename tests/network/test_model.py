"""The Y-Net has the paper's layers, sizes and heads."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from napari_cln.network import blocks
from napari_cln.network.blocks import BLOCKS, PyramidPooling, growing_matrix, pooling_matrix
from napari_cln.network.model import YNet, YNetConfig

SMALL = {"width": 0.125, "decoder_width": 8}


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_paper_network_has_the_parameters_of_its_layer_table():
    assert parameters(YNet(YNetConfig.paper())) == 3_683_474


def test_the_classification_only_network_is_the_paper_network_without_decoder():
    joint, alone = YNet(YNetConfig.paper()), YNet(YNetConfig.paper(segmentation=False))

    assert parameters(alone) == 3_168_370
    assert set(alone.state_dict()) < set(joint.state_dict())


@pytest.mark.parametrize(("channels", "expected"), [(128, 73_984), (256, 295_424)])
def test_the_efficient_pyramid_has_the_parameters_of_the_original(channels, expected):
    assert parameters(BLOCKS["esp"](channels)) == expected


@pytest.mark.parametrize(("block", "millions"), [("psa", 2.95), ("rcb", 9.11)])
def test_the_other_readings_of_the_encoder_have_their_size(block, millions):
    net = YNet(YNetConfig(block=block, decoder_width=8, guided=False))

    assert parameters(net) / 1e6 == pytest.approx(millions, abs=0.005)


@pytest.mark.parametrize("block", list(BLOCKS))
@pytest.mark.parametrize(("segmentation", "guided"), [(True, True), (True, False), (False, False)])
def test_every_variant_gives_a_mask_and_a_score(block, segmentation, guided):
    net = YNet(YNetConfig(block=block, segmentation=segmentation, guided=guided, **SMALL)).eval()

    mask_logits, class_logits = net(torch.rand(2, 1, 64, 64))

    assert class_logits.shape == (2, 2)
    assert (mask_logits is None) is not segmentation
    if mask_logits is not None:
        assert mask_logits.shape == (2, 2, 64, 64)


@pytest.mark.slow
@pytest.mark.parametrize("bins", [3, 5, 7, 9])
@pytest.mark.parametrize("size", [32, 64, 128])
def test_pooling_as_a_matrix_equals_adaptive_pooling(bins, size):
    x = torch.rand(2, 3, size, size)
    pool, grow = pooling_matrix(size, bins), growing_matrix(bins, size)

    pooled = pool @ x @ pool.T
    grown = grow @ pooled @ grow.T

    torch.testing.assert_close(pooled, F.adaptive_avg_pool2d(x, bins), atol=1e-6, rtol=0)
    torch.testing.assert_close(
        grown, F.interpolate(pooled, size, mode="bilinear", align_corners=False), atol=1e-6, rtol=0
    )


def textbook(pooling: PyramidPooling, x: torch.Tensor, convolution: nn.Conv2d) -> torch.Tensor:
    """The pyramid as its authors wrote it: average, weigh, grow, concatenate, convolve."""
    maps = [x]
    for bins, branch in zip(pooling.bins, pooling.branches, strict=True):
        averages = branch(F.adaptive_avg_pool2d(x, bins))
        maps.append(F.interpolate(averages, x.shape[-2:], mode="bilinear", align_corners=False))
    return convolution(torch.cat(maps, 1))


@pytest.mark.parametrize("bins", [(3, 5, 7, 9), (1, 2)])
@pytest.mark.parametrize("kernel", [1, 3, 7])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.slow
def test_the_pyramid_is_convolved_as_if_it_had_been_made(bins, kernel, bias, order):
    torch.manual_seed(0)
    pooling = PyramidPooling(6, 4, bins, 32, kernel).double()
    convolution = nn.Conv2d(6 + 4 * len(bins), 5, kernel, padding=kernel // 2, bias=bias).double()
    x = torch.rand(2, 6, 32, 32, dtype=torch.double).to(memory_format=order).requires_grad_()
    learnt = [x, *pooling.parameters(), *convolution.parameters()]

    expected, found = textbook(pooling, x, convolution), pooling(x, convolution)

    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)  # the matrices are in float32
    weights = torch.rand_like(expected)
    gradients = (torch.autograd.grad(y, learnt, weights) for y in (found, expected))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_the_constants_of_the_pyramid_go_along_and_into_no_file(monkeypatch):
    net = YNet(YNetConfig(**SMALL, size=64)).eval()
    x = torch.rand(1, 1, 64, 64)
    before = net(x).mask_logits
    for name in ("pooling_matrix", "growing_matrix", "shifted_growing_matrix"):
        monkeypatch.setattr(blocks, name, None)  # none is made on the way

    assert torch.equal(net(x).mask_logits, before)
    assert not [key for key in net.state_dict() if key.endswith(("pool", "grow"))]


def test_the_pyramid_takes_maps_of_another_size_too():
    torch.manual_seed(0)
    one = YNet(YNetConfig(**SMALL, size=64)).eval()
    other = YNet(YNetConfig(**SMALL, size=256)).eval()
    other.load_state_dict(one.state_dict())
    x = torch.rand(1, 1, 64, 64)

    assert torch.equal(one(x).mask_logits, other(x).mask_logits)


def test_each_node_is_scored_under_its_own_mask():
    torch.manual_seed(0)
    net = YNet(YNetConfig(**SMALL)).eval()
    x = torch.rand(2, 1, 64, 64)
    features = net.encode(x)
    guides = torch.zeros(3, 1, 64, 64)
    guides[0, 0, 8:24, 8:24] = 1
    guides[1, 0, 40:56, 40:56] = 1
    guides[2, 0, 8:24, 8:24] = 1
    frames = torch.tensor([0, 0, 1])

    together = net.classify(features, guides, frames)

    alone = net.classify(net.encode(x[:1]), guides[1:2])
    torch.testing.assert_close(together[1:2], alone)
    assert not torch.allclose(together[0], together[1])
    assert not torch.allclose(together[0], together[2])


def test_an_empty_guide_gives_a_finite_score():
    net = YNet(YNetConfig(**SMALL)).eval()

    logits = net.classify(net.encode(torch.rand(1, 1, 64, 64)), torch.zeros(1, 1, 64, 64))

    assert logits.isfinite().all()


def test_the_class_loss_does_not_move_the_mask():
    net = YNet(YNetConfig(**SMALL))

    net(torch.rand(2, 1, 64, 64)).class_logits.sum().backward()

    assert net.dec1[1].weight.grad is None
    assert net.stem[0].weight.grad is not None


def test_a_guided_network_without_a_guide_says_so():
    net = YNet(YNetConfig(**SMALL)).eval()

    with pytest.raises(ValueError, match=r"give classify\(\) a guide"):
        net.classify(net.encode(torch.rand(1, 1, 64, 64)))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"block": "vgg"}, "no encoder block 'vgg'. Choose one of esp, psa, rcb"),
        ({"segmentation": False}, "guided classifier needs the mask"),
    ],
)
def test_an_impossible_configuration_is_refused(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        YNetConfig(**wrong)


def test_a_network_can_be_trained_after_another_has_predicted():
    net = YNet(YNetConfig(**SMALL))
    x = torch.rand(2, 1, 96, 96)
    with torch.inference_mode():
        net(x)

    net(x).mask_logits.sum().backward()

    assert net.stem[0].weight.grad is not None
