"""Pixels that nobody judged teach nothing, and no figure counts them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_cln.annotation import Annotation, Node
from napari_cln.network.model import YNet, YNetConfig
from napari_cln.study.matching import judged_part
from napari_cln.training.augmentation import augment
from napari_cln.training.data import NOT_JUDGED, Batch, Samples
from napari_cln.training.loss import Objective
from napari_cln.training.recipes import LossTerms
from napari_cln.training.scoring import score_frames
from napari_cln.types import Frame, Prediction, PrepareConfig


@pytest.fixture
def network():
    torch.manual_seed(0)
    return YNet(YNetConfig(width=0.125, decoder_width=8))


@pytest.fixture
def annotation():
    pixels = np.random.default_rng(0).integers(0, 255, (256, 256), np.uint8)
    instances = np.zeros((256, 256), np.uint8)
    instances[40:90, 40:100] = 1
    not_judged = np.zeros((256, 256), bool)
    not_judged[150:220, 120:240] = True
    return Annotation(
        frame=Frame(pixels=pixels, scan_area=(0, 0, 256, 256)),
        instances=instances,
        nodes=(Node(id=1, truth="benign"),),
        not_judged=not_judged,
    )


def samples(annotation, **changes):
    return Samples.from_annotation("a", replace(annotation, **changes), PrepareConfig(remove_overlay=False))


def test_they_are_marked_in_the_samples_and_are_no_node(annotation):
    one = samples(annotation)

    assert (one.instances == NOT_JUDGED).sum() == 70 * 120
    assert one.node_areas().tolist() == [50 * 60]


def test_the_mask_loss_is_the_same_whatever_is_drawn_there(network, annotation):
    """The gradient there is zero, and elsewhere it is not."""
    batch = Batch.of(samples(annotation))
    with torch.no_grad():
        plain = network.decode(network.encode(batch.image))
    logits = plain.clone().requires_grad_()
    network.masks = lambda _features: (logits,)
    Objective(network, LossTerms(class_weight=0.0))(batch)["total"].backward()

    inside = logits.grad[0, :, 150:220, 120:240]
    assert torch.equal(inside, torch.zeros_like(inside))
    assert logits.grad[0, :, :140].abs().sum() > 0


def test_without_them_the_loss_is_what_it_was(network, annotation):
    plain = Batch.of(samples(annotation, not_judged=None))
    weighted = replace(plain, judged=torch.ones_like(plain.image))

    assert plain.judged is None
    objective = Objective(network, LossTerms(deep_supervision=True, class_weight=0.3, node_weight=0.5))
    one, other = ({k: float(v.detach()) for k, v in objective(batch).items()} for batch in (plain, weighted))
    assert one == pytest.approx(other, rel=1e-5)


@pytest.mark.parametrize("crop", [False, True])
def test_augmentation_moves_them_with_the_frame(annotation, crop):
    batch = Batch.of(samples(annotation))

    moved = augment(batch, [(0, 0, 3)], "ultrasound", crop=crop)

    assert moved.judged.shape == moved.instances.shape
    assert set(moved.judged.unique().tolist()) <= {0.0, 1.0}
    assert not (moved.instances[moved.judged == 0] > 0).any()


def test_validation_leaves_out_what_the_network_draws_there(network, annotation):
    class Claims(YNet):
        """Draws the node, and a patch where nobody judged."""

        def masks(self, features):
            logits = torch.full((1, 2, 256, 256), -9.0)
            logits[0, 0] = 9.0
            for rows, columns in ((slice(40, 90), slice(40, 100)), (slice(150, 220), slice(120, 240))):
                logits[0, :, rows, columns] = torch.tensor([-9.0, 9.0])[:, None, None]
            return (logits,)

    (score,) = score_frames(Claims(network.config).eval(), samples(annotation))

    assert score.dice == 1.0


def test_a_prediction_is_judged_without_what_it_draws_there(annotation):
    instances = annotation.instances.copy()
    instances[160:200, 130:200] = 2
    prediction = Prediction(
        frame=annotation.frame,
        probability=(instances > 0).astype(np.float32),
        instances=instances,
        node_scores=(0.2, 0.9),
        class_probabilities={"benign": 0.8, "malignant": 0.2},
        model_id="m@0",
    )

    judged = judged_part(prediction, annotation.not_judged)

    assert np.array_equal(judged.instances, annotation.instances)
    assert judged.node_scores == (0.2,)
    assert judged_part(prediction, None) is prediction
