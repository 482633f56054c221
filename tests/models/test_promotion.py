"""Promotion of models: what is in use, and the way back."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from napari_cln.errors import WeightsError
from napari_cln.models.card import ModelCard
from napari_cln.models.library import find_model, list_models, model_in_use, promotions, read_card
from napari_cln.models.promotion import promote, undo_promotion


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """The user's models folder, not made yet."""
    monkeypatch.setenv("NAPARI_CLN_MODELS", str(tmp_path / "known"))
    return tmp_path / "known"


@pytest.fixture
def trained(models, tmp_path):
    """Make the model file of a run: real weights, with a byte of metadata of their own."""

    def trained(name: str, mark: bytes = b"") -> Path:
        run = tmp_path / f"run-{name}-{len(mark)}"
        run.mkdir()
        weights = (models / "small.safetensors").read_bytes() + mark
        card = replace(read_card(models / "small.safetensors"), name=name, sha256=sha256(weights).hexdigest())
        (run / "model.safetensors").write_bytes(weights)
        (run / "model.json").write_text(card.to_json())
        return run / "model.safetensors"

    return trained


def known() -> dict[str, ModelCard]:
    return {card.name: card for card in list_models()}


def test_without_a_promotion_the_default_is_in_use():
    assert model_in_use() == "default"


def test_a_promoted_model_is_known_and_in_use(trained):
    path = trained("neck")

    card = promote(path)

    assert (card.name, model_in_use()) == ("neck", "neck")
    assert known()["neck"].sha256 == read_card(path).sha256


def test_in_use_is_a_name_for_the_model_promoted_last(trained):
    assert find_model("in-use") == find_model("default")
    promote(trained("neck"))

    assert find_model("in-use") == find_model("neck")
    assert find_model("default") != find_model("neck")


def test_a_promoted_model_outlives_its_run_and_loads(trained, models):
    from napari_cln.network.weights import load_model

    path = trained("neck")
    promote(path)
    shutil.rmtree(path.parent)

    model = load_model(model_in_use())

    assert model.model_id == f"neck@{sha256((models / 'small.safetensors').read_bytes()).hexdigest()[:12]}"


def test_each_undo_goes_one_promotion_back_and_loses_no_model(trained):
    promote(trained("first"))
    promote(trained("second", b" "))

    assert [undo_promotion(), undo_promotion()] == ["first", "default"]
    assert {"first", "second"} <= known().keys()
    with pytest.raises(WeightsError, match="No model was promoted"):
        undo_promotion()


def test_a_name_that_another_model_has_gets_a_number(trained, folder):
    promote(trained("run"))
    before = (folder / "run.safetensors").read_bytes()

    card = promote(trained("run", b" "))

    assert (card.name, model_in_use()) == ("run-2", "run-2")
    assert (folder / "run.safetensors").read_bytes() == before


def test_a_bundled_name_is_not_taken(trained):
    assert promote(trained("default")).name == "default-2"


def test_a_model_can_come_back_into_use_without_a_second_copy(trained, folder):
    path = trained("neck")
    promote(path)
    undo_promotion()

    promote(path)

    assert model_in_use() == "neck"
    assert len(list(folder.glob("*.safetensors"))) == 1


def test_a_known_model_can_be_promoted_by_name(trained):
    promote(trained("first"))
    promote(trained("second", b" "))

    promote("first")

    assert promotions() == ("first", "second", "first")


def test_the_model_in_use_is_not_promoted_again(trained):
    path = trained("neck")
    promote(path)

    with pytest.raises(WeightsError, match=r"neck@\w{12} is in use already"):
        promote(path)


@pytest.mark.parametrize("name", ["../../outside", "a/b", "..", "   "])
def test_a_name_never_leaves_the_models_folder(trained, folder, name):
    path = trained("plain")
    card = replace(read_card(path), name=name)
    path.with_suffix(".json").write_text(card.to_json())

    promoted = promote(path)

    assert (folder / f"{promoted.name}.safetensors").parent == folder
    assert model_in_use() in known()


def test_damaged_weights_are_not_promoted(trained):
    path = trained("neck")
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(WeightsError, match=r"model\.safetensors is damaged"):
        promote(path)
    assert model_in_use() == "default"


def test_where_nothing_can_be_written_the_former_stays_in_use(trained, folder):
    promote(trained("first"))
    (folder / "second.safetensors").mkdir()

    with pytest.raises(WeightsError, match="has not changed"):
        promote(trained("second", b" "))
    assert model_in_use() == "first"


@pytest.mark.parametrize("damage", ["{", '"neck"', "[1, null]", "[" * 100_000])
def test_a_damaged_list_means_the_default(trained, folder, damage):
    promote(trained("neck"))
    (folder / "promoted.json").write_text(damage)

    assert model_in_use() == "default"
    promote(trained("other", b" "))
    assert model_in_use() == "other"


def test_a_model_that_was_removed_is_no_longer_in_use(trained, folder):
    promote(trained("neck"))
    (folder / "neck.safetensors").unlink()

    assert model_in_use() == "default"


def test_a_kill_between_any_two_writes_leaves_a_model_that_is_whole(trained, folder):
    """The process dies at each of its renames in turn."""
    path = trained("neck")
    code = (
        "import os, sys; from pathlib import Path\n"
        "from napari_cln.models.promotion import promote\n"
        "left, rename = [int(sys.argv[2])], Path.replace\n"
        "def replace(self, target):\n"
        "    if not left[0]: os._exit(9)\n"
        "    left[0] -= 1; return rename(self, target)\n"
        "Path.replace = replace; promote(sys.argv[1])"
    )
    for n_renames in range(4):
        done = subprocess.run([sys.executable, "-c", code, str(path), str(n_renames)], timeout=120)

        assert done.returncode == (9 if n_renames < 3 else 0)
        assert model_in_use() == ("default" if n_renames < 3 else "neck")
        for name in folder.glob("*.safetensors"):
            assert sha256(name.read_bytes()).hexdigest() == read_card(name).sha256
    assert json.loads((folder / "promoted.json").read_text()) == ["neck"]
