"""An ensemble answers with the mean of its members, and is one file like any other model."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import napari_cln
from napari_cln.errors import WeightsError
from napari_cln.models.card import ModelCard, TrainingData
from napari_cln.models.library import model_in_use
from napari_cln.network import inference
from napari_cln.network.device import Device
from napari_cln.network.doubt import Novelty
from napari_cln.network.ensemble import Ensemble
from napari_cln.network.explanation import explain
from napari_cln.network.inference import Segmenter, segment
from napari_cln.network.model import YNet, YNetConfig
from napari_cln.network.weights import load_model, save_model
from napari_cln.phantom import simulate
from napari_cln.types import Frame, PrepareConfig
from napari_cln.workflow.promote import promote

SMALL = {"width": 0.125, "decoder_width": 8}
CONFIGS = {
    "guided": YNetConfig(**SMALL),
    "unguided": YNetConfig(**SMALL, guided=False),
    "classification-only": YNetConfig(**SMALL, segmentation=False, guided=False),
}


def made(config: YNetConfig, count: int = 3) -> list[YNet]:
    """Untrained networks that disagree: their heads and last convolutions are enlarged."""
    networks = []
    for seed in range(count):
        torch.manual_seed(seed)
        network = YNet(config).eval()
        with torch.no_grad():
            network.head[1].weight *= 20
            if config.segmentation:
                network.dec1[1].weight *= 20
        networks.append(network)
    return networks


@pytest.fixture(params=sorted(CONFIGS))
def members(request) -> list[YNet]:
    return made(CONFIGS[request.param])


@pytest.fixture
def pair() -> list[YNet]:
    return made(CONFIGS["guided"], 2)


@pytest.fixture
def frame() -> Frame:
    return simulate(1, n_nodes=1).frame


@pytest.fixture
def saved(pair, card, tmp_path) -> Path:
    path = tmp_path / "both.safetensors"
    save_model(Ensemble(pair), path, card)
    return path


def change_card(path: Path, **changes: object) -> None:
    card = path.with_suffix(".json")
    card.write_text(json.dumps(json.loads(card.read_text()) | changes))


def rewrite(path: Path, state: dict[str, torch.Tensor]) -> None:
    """Replace the weights and sign them, as somebody with a text editor could."""
    save_file(state, path)
    change_card(path, sha256=sha256(path.read_bytes()).hexdigest())


def spread(values: list[torch.Tensor]) -> float:
    """How far the members are apart."""
    return float((torch.stack(values).amax(0) - torch.stack(values).amin(0)).max())


@pytest.mark.slow
@torch.no_grad()
def test_probabilities_are_the_mean_of_the_members(members):
    x = torch.rand(2, 1, 64, 64)

    mask_logits, class_logits = Ensemble(members)(x)

    guide = None
    if members[0].config.segmentation:
        masks = [member.decode(member.encode(x)).softmax(1) for member in members]
        assert spread(masks) > 0.1
        mean = torch.stack(masks).mean(0)
        torch.testing.assert_close(mask_logits.softmax(1), mean)
        guide = mean[:, 1:]  # the common one
    else:
        assert mask_logits is None
    classes = [member.classify(member.encode(x), guide).softmax(1) for member in members]
    assert spread(classes) > 0.1
    torch.testing.assert_close(class_logits.softmax(1), torch.stack(classes).mean(0))


@torch.no_grad()
def test_every_node_of_a_frame_is_scored_by_all_members_under_the_same_mask(pair):
    ensemble, x = Ensemble(pair), torch.rand(2, 1, 64, 64)
    guide = torch.zeros(3, 1, 64, 64)
    for node, columns in enumerate((slice(0, 20), slice(30, 50), slice(20, 60))):
        guide[node, :, 10:40, columns] = 1
    frames = torch.tensor([0, 0, 1])

    scores = ensemble.classify(ensemble.encode(x), guide, frames).softmax(1)

    each = [member.classify(member.encode(x), guide, frames).softmax(1) for member in pair]
    torch.testing.assert_close(scores, torch.stack(each).mean(0))


@pytest.mark.slow
def test_segment_answers_with_the_mean(members, frame):
    prediction = segment(frame, Ensemble(members), "cpu")

    each = [segment(frame, member, "cpu") for member in members]
    maps = np.stack([one.probability for one in each])
    # the way back to the frame's pixels is steeper at a mask's edge, so that it keeps no mean exactly
    np.testing.assert_allclose(prediction.probability, maps.mean(axis=0), atol=0.01)
    if members[0].config.segmentation:
        assert np.ptp(maps, axis=0).max() > 0.1
    if not members[0].config.guided:  # a guided score is one under the common mask
        assert prediction.malignancy == pytest.approx(np.mean([one.malignancy for one in each]), abs=1e-5)


@pytest.mark.slow
def test_all_members_work_in_bfloat16(pair, frame, monkeypatch):
    exact = segment(frame, ensemble := Ensemble(pair), "cpu")
    device = Device(name="cpu", reason="a test", mixed_precision=True)
    monkeypatch.setattr(inference, "choose_device", lambda _: device)

    segmenter = Segmenter(ensemble)

    for member in segmenter.model.members:
        assert torch.bfloat16 in {value.dtype for value in member.state_dict().values()}
    assert {value.dtype for value in ensemble.state_dict().values()} == {torch.float32, torch.int64}
    (mixed,) = segmenter.predict([frame])
    np.testing.assert_allclose(mixed.probability, exact.probability, atol=0.05)
    assert segmenter.model.model_id == ensemble.model_id


def test_an_ensemble_comes_back_from_one_file(members, card, tmp_path):
    path, x = tmp_path / "all.safetensors", torch.rand(1, 1, 64, 64)
    ensemble = Ensemble(members).eval()
    written = save_model(ensemble, path, card)

    loaded = load_model(path)

    assert isinstance(loaded, Ensemble)
    assert not loaded.training
    assert loaded.card == written == ensemble.card
    assert (written.members, written.config) == (3, members[0].config)
    assert loaded.model_id == f"small@{sha256(path.read_bytes()).hexdigest()[:12]}"
    with torch.no_grad():
        for ours, theirs in zip(ensemble(x), loaded(x), strict=True):
            assert (ours is None and theirs is None) or torch.equal(ours, theirs)


@pytest.mark.slow
def test_an_ensemble_is_promoted_like_any_model(saved, frame, monkeypatch, tmp_path):
    monkeypatch.setenv("NAPARI_CLN_MODELS", str(tmp_path / "models"))

    promoted = promote(saved, confirmed=True)

    assert model_in_use() == promoted.name
    assert segment(frame, "in-use", "cpu").model_id == load_model(saved).model_id
    assert [known.members for known in napari_cln.list_models() if known.name == promoted.name] == [2]


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_flipped_bit_is_noticed(saved, where, bit):
    content = bytearray(saved.read_bytes())
    content[int(where * len(content))] ^= 1 << bit
    flipped = saved.with_name("flipped.safetensors")
    flipped.write_bytes(content)
    flipped.with_suffix(".json").write_text(saved.with_suffix(".json").read_text())

    with pytest.raises(WeightsError, match=r"flipped\.safetensors is damaged"):
        load_model(flipped)


@pytest.mark.parametrize("claimed", [1, 3, 10**12])
def test_another_number_of_networks_than_the_card_says_is_refused(saved, claimed):
    change_card(saved, members=claimed)

    with pytest.raises(WeightsError, match=rf"networks in both\.safetensors is 2, .* card says {claimed}\."):
        load_model(saved)


@pytest.mark.parametrize("members", [0, -1, True, 2.0, "2", None])
def test_a_number_of_networks_that_is_none_is_refused(saved, members):
    change_card(saved, members=members)

    with pytest.raises(WeightsError, match="not a model card"):
        load_model(saved)


def test_what_one_member_lacks_or_has_too_much_is_named(saved):
    state = load_file(saved)
    rewrite(saved, {key: value for key, value in state.items() if key != "1.head.1.bias"})
    with pytest.raises(WeightsError, match=r"lacks 1\.head\.1\.bias"):
        load_model(saved)

    rewrite(saved, state | {"head.1.bias": torch.zeros(2)})
    with pytest.raises(WeightsError, match=r"has unknown head\.1\.bias"):
        load_model(saved)

    rewrite(saved, state | {"0.stem.0.weight": torch.zeros(4, 3, 7, 7)})
    with pytest.raises(WeightsError, match="frames of 3 channels"):
        load_model(saved)


def test_a_card_from_before_there_were_ensembles_is_of_one_network(small, card, tmp_path):
    path = tmp_path / "old.safetensors"
    save_model(small, path, card)
    old = json.loads(path.with_suffix(".json").read_text())
    del old["members"]
    path.with_suffix(".json").write_text(json.dumps(old))

    loaded = load_model(path)

    assert isinstance(loaded, YNet)
    assert loaded.card.members == 1


def test_networks_of_different_kinds_are_refused(pair):
    other = YNet(YNetConfig(width=0.125, decoder_width=4))
    with pytest.raises(WeightsError, match=r"differ in their configuration.*decoder_width 8 and 4"):
        Ensemble([*pair, other])

    for network, keep_aspect in zip(pair, (True, False), strict=True):
        network.card = ModelCard(name="one", prepare=PrepareConfig(keep_aspect=keep_aspect))
    with pytest.raises(WeightsError, match="frames prepared in different ways"):
        Ensemble(pair)


def carded(networks: list[YNet], **points: list[object]) -> list[YNet]:
    """The networks with cards, of which each point has its own value."""
    for index, network in enumerate(networks):
        own = {name: values[index] for name, values in points.items()}
        same = {"cutoff": 0.3, "temperature": 2.0, "mask_threshold": 0.4}
        facts = {"name": f"fold-{index}", "sha256": str(index) * 64, "config": network.config, **same}
        network.card = ModelCard(**facts | own)
    return networks


def test_networks_that_agree_on_their_operating_points_answer_by_these(pair, frame):
    source = TrainingData(name="scans", n=3, licence="own", citation="")
    prepare = PrepareConfig(keep_aspect=False)
    carded(pair, trained_on=[(source,), (source,)], prepare=[prepare, prepare], limits=["Few.", "Old."])

    card = Ensemble(pair).card

    assert (card.name, card.members, card.config) == ("ensemble of fold-0, fold-1", 2, pair[0].config)
    assert (card.cutoff, card.temperature, card.mask_threshold) == (0.3, 2.0, 0.4)
    assert (card.prepare, card.trained_on, card.limits) == (prepare, (source,), "Few. Old.")
    assert ModelCard.from_json(card.to_json()) == card
    prediction = segment(frame, Ensemble(pair), "cpu")
    assert (prediction.cutoff, prediction.model_id) == (0.3, card.model_id)
    pair[1].card = replace(pair[1].card, sha256="2" * 64)
    assert Ensemble(pair).model_id != card.model_id


@pytest.mark.parametrize(
    ("points", "said"),
    [
        ({"cutoff": [0.3, 0.6]}, "cutoff 0.3 and 0.6"),
        ({"temperature": [1.0, 2.0], "min_node_chance": [0.0, 0.5]}, "min_node_chance 0.0 and 0.5, temp"),
    ],
)
def test_networks_that_differ_in_their_operating_points_answer_when_these_are_said(
    pair, frame, tmp_path, points, said
):
    both = Ensemble(carded(pair, **points))

    with pytest.raises(WeightsError, match=rf"operating points \({said}.*save_model\(ensemble, path, card\)"):
        segment(frame, both, "cpu")

    save_model(both, tmp_path / "both.safetensors", ModelCard(name="both", cutoff=0.45))
    assert segment(frame, both, "cpu").cutoff == 0.45
    assert [member.card.name for member in both.members] == ["fold-0", "fold-1"]


def test_a_network_without_a_card_beside_one_that_has_it_is_told(pair, frame):
    carded(pair[:1])

    with pytest.raises(WeightsError, match="1 of 2 have no card"):
        segment(frame, Ensemble(pair), "cpu")


def test_an_ensemble_of_pretrained_networks_neither_draws_nor_scores(pair, frame):
    carded(pair, recipe=[{"task": "restore", "seed": 0}, {"task": "restore", "seed": 1}])

    with pytest.raises(WeightsError, match="neither draws nor scores"):
        segment(frame, Ensemble(pair), "cpu")


def test_each_network_of_a_file_answers_alone_as_the_file_says(pair, card, frame, tmp_path):
    card = replace(card, cutoff=0.3, prepare=PrepareConfig(keep_aspect=False))
    save_model(Ensemble(pair), tmp_path / "both.safetensors", card)

    first, second = load_model(tmp_path / "both.safetensors").members

    assert (first.card.prepare, first.card.cutoff, first.card.members) == (card.prepare, 0.3, 1)
    assert segment(frame, second, "cpu").cutoff == 0.3
    assert first.model_id != second.model_id
    assert Ensemble([first, second]).card.cutoff == 0.3


def test_one_network_is_no_ensemble_and_an_ensemble_counts_as_its_members(pair):
    with pytest.raises(WeightsError, match="two networks or more"):
        Ensemble(pair[:1])
    assert Ensemble([Ensemble(pair), made(pair[0].config, 1)[0]]).members[:2] == tuple(pair)


def knowing(network: YNet, scale: float) -> YNet:
    """The network with an opinion: frames are ``scale`` times as unlike as the length of their texture."""
    size = 2 * network.stem[0].out_channels
    factor = scale * np.eye(size, dtype=np.float32)[None]
    network.novelty = Novelty(mean=np.zeros((1, size), np.float32), factor=factor)
    return network


@pytest.mark.slow
@pytest.mark.parametrize(("scales", "unlike"), [((1e6, 1e-6, 1e-6), False), ((1e6, 1e6, 1e-6), True)])
def test_half_of_the_members_must_find_a_frame_unlike(frame, scales, unlike):
    members = [
        knowing(network, scale) for network, scale in zip(made(CONFIGS["unguided"]), scales, strict=True)
    ]

    prediction = segment(frame, Ensemble(members), "cpu")

    each = [segment(frame, member, "cpu").novelty for member in members]
    assert prediction.novelty == pytest.approx(np.median(each), rel=1e-4)
    assert (prediction.status == "unlike-training-data") is unlike


@pytest.mark.slow
def test_members_that_do_not_know_their_training_data_say_nothing(pair, frame):
    assert segment(frame, Ensemble(pair), "cpu").novelty is None

    knowing(pair[1], 2.0)

    assert segment(frame, Ensemble(pair), "cpu").novelty == segment(frame, pair[1], "cpu").novelty


def test_what_each_member_knows_of_its_training_data_comes_back(pair, card, tmp_path):
    for network, scale in zip(pair, (2.0, 3.0), strict=True):
        knowing(network, scale)
    save_model(Ensemble(pair), tmp_path / "both.safetensors", card)

    loaded = load_model(tmp_path / "both.safetensors")

    for ours, theirs in zip(pair, loaded.members, strict=True):
        np.testing.assert_array_equal(ours.novelty.factor, theirs.novelty.factor)


def test_an_ensemble_has_no_score_map_and_says_so(saved, frame):
    with pytest.raises(WeightsError, match=r"ensemble of 2 networks: its score is no sum.*Choose one"):
        explain(frame, saved, "cpu")
