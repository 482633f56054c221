"""A step asks the device for nothing: what it chooses, it chooses there, and just as it would here."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.utils._python_dispatch import TorchDispatchMode

from napari_cln.annotation import Annotation
from napari_cln.imaging.measurement import TOUCHING
from napari_cln.network.model import YNetConfig
from napari_cln.network.u_shaped import network_of
from napari_cln.phantom import simulate
from napari_cln.training.augmentation import augment, hide_cells
from napari_cln.training.checkpoint import Average
from napari_cln.training.data import Batch, Samples, Store
from napari_cln.training.loss import Objective, Restoration
from napari_cln.training.patches import label_on_device, patches_of
from napari_cln.training.recipes import Recipe
from napari_cln.training.unlabelled import Teacher

SMALL = YNetConfig(trunk="u", width=0.125)
RECIPES = {
    "best": replace(Recipe.best(), network=SMALL),
    "pyramids": Recipe(network=YNetConfig(width=0.125, decoder_width=8)),
}
WITHOUT_VALUES = torch.device("meta")
"""A device whose tensors have shapes alone: whatever asks for a value of one raises."""


class Choices(TorchDispatchMode):
    """Counts operations whose result has a size that only the device knows."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        picked = args[1] if name in ("index", "index_put", "index_put_") else ()
        by_mask = any(one is not None and one.dtype in (torch.bool, torch.uint8) for one in picked)
        if by_mask or name in ("nonzero", "masked_select", "_local_scalar_dense", "unique", "_unique2"):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def mixed(samples: Samples) -> Samples:
    """With a part that nobody judged, a frame without a mask, and one without a class."""
    instances, has_mask, targets = samples.instances.copy(), samples.has_mask.copy(), samples.frame_targets
    instances[0, :9, :9] = 255
    has_mask[1] = False
    targets = targets.copy()
    targets[2] = np.nan
    return replace(samples, instances=instances, has_mask=has_mask, frame_targets=targets)


def keys(count: int) -> list[tuple[int, ...]]:
    return [(0, 0, index) for index in range(count)]


@pytest.mark.parametrize("crop", [False, True])
@pytest.mark.parametrize("name", RECIPES)
def test_a_step_needs_no_value_from_the_device(mixed, draw, name, crop):
    recipe, rows = RECIPES[name], np.arange(6)
    objective = Objective(network_of(recipe.network), recipe.loss).to(WITHOUT_VALUES)
    teacher = Teacher(
        draw(8, 3), Average(objective.network, 0.9), objective.network, replace(recipe, average=0.9), 0
    )
    with Choices() as choices:
        batch = augment(Store(mixed, WITHOUT_VALUES).batch(rows), keys(6), "ultrasound", crop=crop)
        guessed = teacher.guess(*teacher.batch(3, 6, (0, 1), WITHOUT_VALUES), 0.5, crop=crop, half=False)
        objective(batch, guessed)["total"].backward()

    assert choices.found == []
    assert all(weight.grad is not None for weight in objective.parameters())


def test_restoring_needs_none_either(samples):
    objective = Restoration(network_of(SMALL)).to(WITHOUT_VALUES)
    with Choices() as choices:
        batch = augment(Store(samples, WITHOUT_VALUES).batch(np.arange(4)), keys(4), "ultrasound")
        objective(hide_cells(batch, keys(4)), batch)["total"].backward()

    assert choices.found == []


def test_what_asks_for_a_value_is_noticed():
    x = torch.ones(3)
    with Choices() as choices:
        x[x > 0], x[x > 0].sum().item()
        x[x > 0] = torch.zeros(3)

    assert choices.found == ["index", "index", "_local_scalar_dense", "index_put_"]
    with pytest.raises((RuntimeError, NotImplementedError)):
        torch.ones(3, device=WITHOUT_VALUES).sum().item()


def spiral(side: int) -> np.ndarray:
    """A line of one pixel, wound from the rim to the middle: the longest way between two pixels."""
    drawn = np.zeros((side, side), bool)
    row, column, down, right, turned = 0, 0, 0, 1, 0
    drawn[0, 0] = True
    while turned < 2:
        nearest, next_one = ((row + k * down, column + k * right) for k in (1, 2))
        outside = not all(0 <= place < side for place in nearest)
        meets = all(0 <= place < side for place in next_one) and drawn[next_one]
        if outside or drawn[nearest] or meets:
            down, right, turned = right, -down, turned + 1
            continue
        row, column = nearest
        drawn[nearest], turned = True, 0
    return drawn


def test_a_device_numbers_patches_as_the_processor_does():
    rng = np.random.default_rng(0)
    masks = [rng.random((128, 128)) < share for share in (0.0, 0.3, 0.41, 0.6, 1.0)]
    masks += [ndimage.gaussian_filter(rng.standard_normal((128, 128)), sigma) > 0 for sigma in (1, 4)]
    masks += [spiral(128), spiral(128)[::-1, ::-1]]

    found = label_on_device(torch.from_numpy(np.stack(masks))).numpy()

    for mask, labels in zip(masks, found, strict=True):
        expected, count = ndimage.label(mask, structure=TOUCHING)
        numbers, in_turn = np.unique(np.append(labels, 0), return_inverse=True)
        assert len(numbers) == count + 1
        assert np.array_equal(in_turn[:-1].reshape(mask.shape), expected)


def told(*targets: float) -> tuple[float, ...]:
    return tuple(round(target, 5) for target in targets)


def in_plain_words(batch: Batch, predicted: np.ndarray) -> list[tuple[int, tuple[float, ...], bytes]]:
    """The selection as its rules read, one frame and one patch after the other."""
    instances, known = batch.instances[:, 0].numpy(), batch.mask_weight.numpy() > 0
    unjudged = np.zeros(instances.shape, bool) if batch.judged is None else batch.judged[:, 0].numpy() < 0.5
    kept = batch.node_weight > 0
    nodes = {
        tuple(key): value
        for key, value in zip(batch.nodes[kept].tolist(), batch.node_target[kept].tolist(), strict=True)
    }
    found = [(row, instances[row] == id_, target) for (row, id_), target in nodes.items()]
    shapes = [mask for _, mask, _ in found]
    for row, here in enumerate(instances > 0):
        nowhere = np.zeros_like(here)
        if batch.frame_weight[row] > 0 and (here.any() or not known[row]):
            found.append((row, nowhere, float(batch.frame_target[row])))
        if not known[row]:
            continue
        if not here.any() and batch.judged is None:
            found.append((row, nowhere, None))
        if shapes and not (shapes[row % len(shapes)] & here).any():
            found.append((row, shapes[row % len(shapes)], None))
        labels, count = ndimage.label(predicted[row] >= (0.5, 0.25, 0.1)[row % 3], structure=TOUCHING)
        patches = sorted((labels == number for number in range(1, count + 1)), key=lambda one: -one.sum())
        for patch in patches[:4]:
            if patch.sum() < here.size // 2000 or (patch & unjudged[row]).any():
                continue
            touched = np.unique(instances[row][patch & here])
            node = np.isin(instances[row], touched) & here
            common, either = (patch & node).sum(), (patch | node).sum()
            target = nodes.get((row, int(touched[0]))) if len(touched) == 1 else None
            if not len(touched) or (common / either < 0.1 and common < 0.5 * patch.sum()):
                found.append((row, patch, None))
            elif common / either >= 0.3 and target is not None:
                found.append((row, patch, target))
    return sorted(
        (row, (0.0, 0.0, 1.0) if target is None else told(1 - target, target, 0.0), mask.tobytes())
        for row, mask, target in found
    )


@pytest.fixture(scope="module")
def frames() -> Samples:
    """Real-sized frames with several nodes, of which a part was not judged."""
    parts = []
    for seed in range(6):
        phantom = simulate(seed, n_nodes=seed % 4)
        marked = Annotation(frame=phantom.frame, instances=phantom.instances, nodes=phantom.nodes)
        parts.append(Samples.from_annotation(str(seed), marked, Recipe.best().prepare))
    joined = Samples.join(parts)
    return replace(joined, has_mask=np.arange(6) != 3)


@pytest.mark.parametrize("part_unjudged", [False, True])
@pytest.mark.parametrize("crop", [False, True])
def test_patches_are_those_that_the_rules_say(frames, crop, part_unjudged):
    if part_unjudged:
        instances = frames.instances.copy()
        instances[2, 40:120, 30:90] = 255
        frames = replace(frames, instances=instances)
    batch = augment(Batch.of(frames), keys(6), "ultrasound", crop=crop)
    rng, side = np.random.default_rng(0), batch.image.shape[-1]
    noise = ndimage.gaussian_filter(rng.standard_normal((6, side, side)), (0, 3, 3))
    near = ndimage.gaussian_filter((batch.instances[:, 0] > 0).numpy().astype(float), (0, 2, 2))
    drawn = 1 / (1 + np.exp(3 - 6 * near - 1.5 * noise / noise.std()))

    guides, rows, targets, weight = patches_of(batch, torch.from_numpy(drawn).float()[:, None]).filled()

    assert (weight == 1).all()
    assert in_plain_words(batch, drawn.astype(np.float32)) == sorted(
        (int(row), told(*target.tolist()), (guide[0] > 0).numpy().tobytes())
        for row, target, guide in zip(rows, targets, guides, strict=True)
    )
