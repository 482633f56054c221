"""A model file comes back as it was saved, or says what is wrong with it."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from napari_cln.errors import WeightsError
from napari_cln.models.card import Figure, ModelCard, TrainingData
from napari_cln.network.doubt import Novelty
from napari_cln.network.model import YNet, YNetConfig
from napari_cln.network.weights import list_models, load_model, save_model
from napari_cln.types import Estimate


@pytest.fixture
def saved(small: YNet, card: ModelCard, tmp_path: Path) -> Path:
    path = tmp_path / "small.safetensors"
    save_model(small, path, card)
    return path


def rewrite(path: Path, state: dict[str, torch.Tensor]) -> None:
    """Replace the weights and sign them, as somebody with a text editor could."""
    save_file(state, path)
    sign(path)


def sign(path: Path) -> None:
    card = path.with_suffix(".json")
    card.write_text(
        json.dumps(json.loads(card.read_text()) | {"sha256": sha256(path.read_bytes()).hexdigest()})
    )


@pytest.mark.slow
def test_a_saved_model_predicts_the_same_after_loading(small, saved):
    x = torch.rand(1, 1, 256, 256)

    loaded = load_model(saved)

    with torch.no_grad():
        for ours, theirs in zip(small(x), loaded(x), strict=True):
            torch.testing.assert_close(ours, theirs, atol=0, rtol=0)
    assert not loaded.training
    assert loaded.model_id == f"small@{sha256(saved.read_bytes()).hexdigest()[:12]}"


def test_a_card_comes_back_as_it_was_written(small, tmp_path):
    card = ModelCard(
        name="small",
        created="2026-11-22",
        trained_on=(TrainingData(name="simulated", n=10, licence="BSD-3-Clause", citation="napari-cln"),),
        recipe={"epochs": 3},
        figures=(
            Figure(
                name="median Dice", data="200 frames", estimate=Estimate(value=0.9, low=0.8, high=1.0, n=200)
            ),
        ),
        cutoff=0.4,
        cutoff_from="Youden",
        temperature=1.5,
    )

    written = save_model(small, tmp_path / "small.safetensors", card)

    assert load_model(tmp_path / "small.safetensors").card == written
    assert written == replace(card, config=small.config, sha256=written.sha256)


def test_every_card_says_what_the_model_has_never_seen(saved):
    assert "never seen a cervical lymph node" in load_model(saved).card.limits
    assert "not for diagnosis" in load_model(saved).card.limits


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_flipped_bit_is_noticed(saved, where, bit):
    content = bytearray(saved.read_bytes())
    content[int(where * len(content))] ^= 1 << bit
    flipped = saved.with_name("flipped.safetensors")
    flipped.write_bytes(content)
    flipped.with_suffix(".json").write_text(saved.with_suffix(".json").read_text())

    with pytest.raises(WeightsError, match=r"flipped\.safetensors is damaged.*Copy the model file"):
        load_model(flipped)


def test_a_truncated_file_is_refused_even_when_its_card_fits(saved):
    saved.write_bytes(saved.read_bytes()[:5000])
    sign(saved)

    with pytest.raises(WeightsError, match=r"small\.safetensors is not a readable safetensors file"):
        load_model(saved)


def test_a_header_of_a_terabyte_is_refused(saved):
    saved.write_bytes(struct.pack("<Q", 2**40) + b"{}")
    sign(saved)

    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        load_model(saved)


def test_missing_keys_are_named(saved):
    state = load_file(saved)
    del state["head.1.bias"]
    rewrite(saved, state)

    with pytest.raises(WeightsError, match=r"lacks head\.1\.bias"):
        load_model(saved)


def test_unknown_keys_are_named(saved):
    rewrite(saved, load_file(saved) | {"tail.weight": torch.zeros(2)})

    with pytest.raises(WeightsError, match=r"has unknown tail\.weight"):
        load_model(saved)


def test_wrong_shapes_are_named(saved):
    rewrite(saved, load_file(saved) | {"head.1.bias": torch.zeros(3)})

    with pytest.raises(WeightsError, match=r"wrong shapes for head\.1\.bias"):
        load_model(saved)


@pytest.mark.parametrize("kind", [torch.complex64, torch.float8_e4m3fn, torch.int8, torch.bool])
def test_numbers_of_another_kind_are_named(saved, kind):
    rewrite(saved, load_file(saved) | {"head.1.bias": torch.zeros(2).to(kind)})

    with pytest.raises(WeightsError, match=r"has numbers of another kind in head\.1\.bias"):
        load_model(saved)


@pytest.mark.parametrize("n_renames", range(4))
def test_a_kill_between_any_two_writes_leaves_a_model_that_loads(saved, n_renames):
    """The process dies at each of its renames in turn, as it saves another network over this one."""
    code = (
        "import os, sys; from pathlib import Path; import torch\n"
        "from napari_cln.models.card import ModelCard\n"
        "from napari_cln.network.model import YNet, YNetConfig\n"
        "from napari_cln.network.weights import save_model\n"
        "left, rename = [int(sys.argv[2])], Path.replace\n"
        "def replace(self, target):\n"
        "    if not left[0]: os._exit(9)\n"
        "    left[0] -= 1; return rename(self, target)\n"
        "Path.replace = replace\n"
        "save_model(YNet(YNetConfig(width=0.125)), sys.argv[1], ModelCard(name='new'))"
    )

    done = subprocess.run([sys.executable, "-c", code, str(saved), str(n_renames)], timeout=120)

    assert done.returncode == (9 if n_renames < 3 else 0)
    model = load_model(saved)
    assert model.card.name == ("small" if n_renames < 2 else "new")
    assert model.config.decoder_width == (8 if n_renames < 2 else 32)
    save_model(model, saved, model.card)
    assert load_model(saved).model_id == model.model_id


def test_weights_for_colour_frames_are_refused_before_inference(saved):
    state = load_file(saved)
    state["stem.0.weight"] = state["stem.0.weight"].repeat(1, 3, 1, 1)
    rewrite(saved, state)

    with pytest.raises(WeightsError, match="frames of 3 channels; this Y-Net reads 1"):
        load_model(saved)


def test_weights_that_are_not_numbers_are_neither_loaded_nor_saved(small, saved, card, tmp_path):
    state = load_file(saved)
    state["head.1.bias"][0] = torch.nan
    rewrite(saved, state)
    small.head[1].bias.data[0] = torch.inf

    with pytest.raises(WeightsError, match=r"not numbers in head\.1\.bias"):
        load_model(saved)
    with pytest.raises(WeightsError, match=r"not numbers in head\.1\.bias"):
        save_model(small, tmp_path / "other.safetensors", card)
    assert not (tmp_path / "other.safetensors").exists()


class Payload:
    def __reduce__(self):
        return (Path("executed").touch, ())


def test_a_pickle_is_never_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(Payload(), tmp_path / "model.pt")

    with pytest.raises(WeightsError, match=r"model\.pt is not a \.safetensors file.*can run code"):
        load_model(tmp_path / "model.pt")
    assert not (tmp_path / "executed").exists()


def test_a_pickle_under_another_name_is_not_executed(saved, monkeypatch):
    monkeypatch.chdir(saved.parent)
    torch.save(Payload(), saved)
    sign(saved)

    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        load_model(saved)
    assert not (saved.parent / "executed").exists()


def test_an_object_array_is_refused(tmp_path):
    np.save(tmp_path / "model.npy", np.array([{}], dtype=object), allow_pickle=True)

    with pytest.raises(WeightsError, match=r"model\.npy is not a \.safetensors file"):
        load_model(tmp_path / "model.npy")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        "[" * 200_000,
        "x" * 1_000_001,
        '{"name": "x", "config": {"block": "vgg"}}',
    ],
    ids=["empty", "list", "null", "no keys", "deep", "large", "unknown block"],
)
def test_a_damaged_card_is_a_sentence(saved, text):
    saved.with_suffix(".json").write_text(text)

    with pytest.raises(WeightsError, match=r"small\.json is not a model card of this version"):
        load_model(saved)


@pytest.mark.parametrize(("key", "value"), [("cutoff", "high"), ("temperature", 0), ("surprise", 1)])
def test_a_card_with_a_senseless_value_is_refused(saved, key, value):
    card = saved.with_suffix(".json")
    card.write_text(json.dumps(json.loads(card.read_text()) | {key: value}))

    with pytest.raises(WeightsError, match="not a model card"):
        load_model(saved)


def test_a_missing_card_is_asked_for(saved):
    saved.with_suffix(".json").unlink()

    with pytest.raises(WeightsError, match=r"small\.json is missing: a model file needs its card"):
        load_model(saved)


def test_an_unknown_name_lists_the_known_ones(saved, monkeypatch):
    monkeypatch.setenv("NAPARI_CLN_MODELS", str(saved.parent))

    with pytest.raises(WeightsError, match=r"no model 'defualt'\. Known by name: .*small"):
        load_model("defualt")


@pytest.mark.slow
def test_a_model_in_the_users_folder_is_known_by_its_name(saved, monkeypatch):
    monkeypatch.setenv("NAPARI_CLN_MODELS", str(saved.parent))

    assert "small" in [card.name for card in list_models()]
    assert load_model("small").card.name == "small"


def test_a_damaged_card_does_not_hide_the_other_models(saved, small, card, monkeypatch):
    monkeypatch.setenv("NAPARI_CLN_MODELS", str(saved.parent))
    save_model(small, saved.with_name("other.safetensors"), replace(card, name="other"))
    saved.with_suffix(".json").write_text("{")

    names = [card.name for card in list_models()]

    assert "other" in names
    assert "small" not in names


def test_a_full_disk_leaves_the_former_model(small, saved, card, monkeypatch):
    before = saved.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_model(YNet(YNetConfig(width=0.125)), saved, card)

    assert saved.read_bytes() == before
    assert not list(saved.parent.glob(".*"))


def test_what_a_model_knows_of_its_training_data_comes_back(small, card, tmp_path):
    size = 2 * small.stem[0].out_channels
    rng = np.random.default_rng(0)
    mean, factor = (rng.normal(size=shape).astype(np.float32) for shape in ((2, size), (2, size, size)))
    small.novelty = Novelty(mean=mean, factor=factor)
    save_model(small, tmp_path / "small.safetensors", card)

    loaded = load_model(tmp_path / "small.safetensors")

    assert loaded.novelty is not None
    np.testing.assert_array_equal(loaded.novelty.mean, mean)
    np.testing.assert_array_equal(loaded.novelty.factor, factor)
    assert set(loaded.state_dict()) == set(small.state_dict())


@pytest.mark.parametrize("key", ["novelty.mean", "novelty.factor"])
@pytest.mark.parametrize("fault", ["gone", "cut", "flat"])
def test_damaged_knowledge_of_the_training_data_is_refused(small, card, tmp_path, key, fault):
    size = 2 * small.stem[0].out_channels
    small.novelty = Novelty(mean=np.zeros((1, size), np.float32), factor=np.eye(size, dtype=np.float32)[None])
    path = tmp_path / "small.safetensors"
    save_model(small, path, card)
    state = load_file(path)
    whole = state.pop(key)
    if fault != "gone":
        state[key] = whole[..., :-1].contiguous() if fault == "cut" else torch.tensor(1.0)
    rewrite(path, state)

    with pytest.raises(WeightsError, match=rf"small.safetensors .*{key}.*Copy the model file and its card"):
        load_model(path)
