"""A network that gives a number that is not finite makes a failed frame, and the others go on.

The weights here are finite, and so large that a bright frame overflows them and a black one does not.
"""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from PIL import Image

from napari_cln import segment_to_folder
from napari_cln.annotation import Annotation
from napari_cln.errors import PredictionError
from napari_cln.imaging.preprocessing import prepare
from napari_cln.models.card import ModelCard
from napari_cln.network.doubt import Novelty
from napari_cln.network.engines import openvino
from napari_cln.network.ensemble import Ensemble
from napari_cln.network.explanation import explain
from napari_cln.network.inference import Segmenter, segment, segment_batch
from napari_cln.network.model import YNet, YNetConfig
from napari_cln.network.weights import save_model
from napari_cln.phantom import simulate
from napari_cln.study.evaluation import EvaluationConfig, evaluate
from napari_cln.types import Frame, Prediction

SMALL = {"width": 0.125, "decoder_width": 8}
HUGE = 1e38


def overflowing(*layers: str, **config: bool) -> YNet:
    """A network of which one layer, or two that follow each other, have huge weights."""
    torch.manual_seed(0)
    network = YNet(YNetConfig(**SMALL, **config)).eval()
    with torch.no_grad():
        for layer in layers or ("stem.0",):
            network.get_submodule(layer).weight.fill_(HUGE)
    network.card = ModelCard(name="huge", config=network.config, sha256="ab" * 32)
    return network


def ensemble() -> Ensemble:
    """One of its two networks overflows."""
    torch.manual_seed(1)
    both = Ensemble([YNet(YNetConfig(**SMALL)).eval(), overflowing()]).eval()
    both.card = ModelCard(name="huge", config=both.config, members=2, sha256="ab" * 32)
    return both


KINDS = {
    "guided": overflowing,
    "unguided": lambda: overflowing(guided=False),
    "classification-only": lambda: overflowing(guided=False, segmentation=False),
    "head alone": lambda: overflowing("head.0", "head.1"),
    "mask alone": lambda: overflowing("dec1.0.0", "dec1.1"),
    "ensemble": ensemble,
}


@pytest.fixture(scope="module")
def bright() -> list[Frame]:
    return [simulate(seed, n_nodes=1, overlays=False).frame for seed in range(2)]


@pytest.fixture(scope="module")
def black(bright) -> Frame:
    pixels = np.zeros_like(bright[0].pixels)
    return Frame(pixels=pixels, scan_area=(0, 0, *pixels.shape[:2]))


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_an_error_in_the_frames_place_and_the_others_go_on(kind, batch_size, bright, black):
    network = KINDS[kind]()
    frames = [bright[0], black, bright[1]]

    first, second, third = segment_batch(frames, network, "cpu", batch_size=batch_size, on_error="yield")

    assert isinstance(first, PredictionError)
    assert isinstance(third, PredictionError)
    assert str(first).startswith("The model huge@abababababab gave a number that is not finite")
    assert "train it again" in str(first)
    if kind not in ("head alone", "mask alone"):  # these layers read what is not black any more
        assert isinstance(second, Prediction)
        assert np.isfinite(second.malignancy)
        assert np.isfinite(second.probability).all()


def test_one_frame_raises_it(bright):
    with pytest.raises(PredictionError, match=r"huge@.* not finite"):
        segment(bright[0], overflowing(), "cpu")
    with pytest.raises(PredictionError, match=r"huge@.* not finite"):
        next(segment_batch(bright, overflowing(), "cpu"))


def test_its_score_is_not_explained(bright):
    with pytest.raises(PredictionError, match=r"huge@.* not finite"):
        explain(bright[0], overflowing(), "cpu")


def test_a_novelty_that_is_no_number_fails_the_frame_too(bright):
    torch.manual_seed(0)
    network = YNet(YNetConfig(**SMALL)).eval()
    size = 2 * network.stem[0].out_channels
    far = np.full((1, size), HUGE, np.float32)
    network.novelty = Novelty(mean=far, factor=np.full((1, size, size), HUGE, np.float32))

    (outcome,) = Segmenter(network, "cpu").predict(bright[:1])

    assert isinstance(outcome, PredictionError)


def test_logits_that_are_large_and_finite_are_no_fault(bright):
    torch.manual_seed(0)
    network = YNet(YNetConfig(**SMALL)).eval()
    with torch.no_grad():
        network.dec1[1].weight.mul_(1e30)

    assert isinstance(segment(bright[0], network, "cpu"), Prediction)


@pytest.mark.slow
def test_openvino_fails_the_same_frames(bright, black, monkeypatch):
    monkeypatch.delenv("NAPARI_CLN_ENGINE")
    if not openvino.is_wanted():
        pytest.skip("OpenVINO (extra fast) is not installed, or has no engine for this processor")
    segmenter = Segmenter(overflowing(), "cpu", batch_size=2)
    assert segmenter.device.engine == "OpenVINO"

    first, second, third = segmenter.predict([bright[0], black, bright[1]])

    assert isinstance(first, PredictionError)
    assert isinstance(second, Prediction)
    assert isinstance(third, PredictionError)


def test_a_batch_writes_a_failed_row_with_the_reason_and_goes_on(bright, black, tmp_path):
    for name, frame in (("a", bright[0]), ("b", black), ("c", bright[1])):
        Image.fromarray(frame.pixels).save(tmp_path / f"{name}.png")
    save_model(overflowing(), tmp_path / "huge.safetensors", ModelCard(name="huge"))
    paths, model = sorted(tmp_path.glob("*.png")), tmp_path / "huge.safetensors"

    results = list(segment_to_folder(paths, tmp_path / "out", model=model, device="cpu", batch_size=2))

    assert [result.status for result in results] == ["failed", "ok", "failed"]
    with (tmp_path / "out" / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["source"]: row for row in csv.DictReader(file)}
    assert rows["a.png"]["status"] == "failed"
    assert "gave a number that is not finite" in rows["a.png"]["message"]
    assert rows["a.png"]["malignancy"] == ""
    assert rows["b.png"]["status"] != "failed"


@pytest.mark.slow
def test_an_evaluation_says_how_many_frames_the_model_lost(bright, black):
    """They are in no figure, and the report says so."""
    phantoms = [simulate(seed, n_nodes=1, overlays=False) for seed in range(2)]
    cases = [Annotation(frame=one.frame, instances=one.instances, nodes=one.nodes) for one in phantoms]
    torch.manual_seed(0)
    sound = YNet(YNetConfig(**SMALL)).eval()
    (whole,) = segment_batch([bright[0]], sound, "cpu")
    (lost,) = segment_batch([bright[1]], overflowing(), "cpu", on_error="yield")

    evaluation = evaluate(cases, [whole, lost], EvaluationConfig(resamples=200))

    assert (evaluation.flow.frames, evaluation.flow.failed, evaluation.flow.unreadable) == (2, 1, 0)
    with pytest.raises(PredictionError, match=r"huge@.* not finite"):
        evaluate(cases, [lost, lost])


@pytest.mark.slow
def test_the_window_shows_the_frame_with_the_reason(bright, tmp_path, monkeypatch):
    from napari_cln._napari import read_layers

    monkeypatch.setenv("NAPARI_CLN_MODELS", str(tmp_path))
    save_model(overflowing(), tmp_path / "huge.safetensors", ModelCard(name="huge"))
    (tmp_path / "promoted.json").write_text('["huge"]')
    Image.fromarray(bright[0].pixels).save(tmp_path / "scan.png")

    with pytest.warns(UserWarning, match="opened without a prediction. The model huge@.* not finite"):
        layers = read_layers(str(tmp_path / "scan.png"))

    assert len(layers) == 2
    assert layers[0][2] == "image"


def test_a_corrected_frame_is_told_in_its_place(bright):
    segmenter = Segmenter(overflowing(), "cpu")

    (outcome,) = segmenter.predict_prepared(bright[:1], [prepare(bright[0], segmenter.card.prepare)])

    assert isinstance(outcome, PredictionError)
