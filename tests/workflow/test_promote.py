"""Promotion of models: what is in use, and the way back."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from napari_cln.errors import WeightsError
from napari_cln.models.card import ModelCard, ModelComparison
from napari_cln.models.library import find_model, list_models, model_in_use, promotions, read_card
from napari_cln.types import Estimate
from napari_cln.workflow.promote import promote, undo_promotion


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

    card = promote(path, confirmed=True)

    assert (card.name, model_in_use()) == ("neck", "neck")
    assert known()["neck"].sha256 == read_card(path).sha256


def test_in_use_is_a_name_for_the_model_promoted_last(trained):
    assert find_model("in-use") == find_model("default")
    promote(trained("neck"), confirmed=True)

    assert find_model("in-use") == find_model("neck")
    assert find_model("default") != find_model("neck")


def test_a_promoted_model_outlives_its_run_and_loads(trained, models):
    from napari_cln.network.weights import load_model

    path = trained("neck")
    promote(path, confirmed=True)
    shutil.rmtree(path.parent)

    model = load_model(model_in_use())

    assert model.model_id == f"neck@{sha256((models / 'small.safetensors').read_bytes()).hexdigest()[:12]}"


def test_each_undo_goes_one_promotion_back_and_loses_no_model(trained):
    promote(trained("first"), confirmed=True)
    promote(trained("second", b" "), confirmed=True)

    assert [undo_promotion(), undo_promotion()] == ["first", "default"]
    assert {"first", "second"} <= known().keys()
    with pytest.raises(WeightsError, match="No model was promoted"):
        undo_promotion()


def test_a_name_that_another_model_has_gets_a_number(trained, folder):
    promote(trained("run"), confirmed=True)
    before = (folder / "run.safetensors").read_bytes()

    card = promote(trained("run", b" "), confirmed=True)

    assert (card.name, model_in_use()) == ("run-2", "run-2")
    assert (folder / "run.safetensors").read_bytes() == before


def test_a_bundled_name_is_not_taken(trained):
    assert promote(trained("default"), confirmed=True).name == "default-2"


def test_a_model_can_come_back_into_use_without_a_second_copy(trained, folder):
    path = trained("neck")
    promote(path, confirmed=True)
    undo_promotion()

    promote(path, confirmed=True)

    assert model_in_use() == "neck"
    assert len(list(folder.glob("*.safetensors"))) == 1


def test_a_known_model_can_be_promoted_by_name(trained):
    promote(trained("first"), confirmed=True)
    promote(trained("second", b" "), confirmed=True)

    promote("first", confirmed=True)

    assert promotions() == ("first", "second", "first")


def test_the_model_in_use_is_not_promoted_again(trained):
    path = trained("neck")
    promote(path, confirmed=True)

    with pytest.raises(WeightsError, match=r"neck@\w{12} is in use already"):
        promote(path, confirmed=True)


@pytest.mark.parametrize("name", ["../../outside", "a/b", "..", "   ", r"C:\\neck", r"neck\u0000"])
def test_a_name_that_no_file_may_have_is_refused(trained, folder, name):
    path = trained("plain")
    card = path.with_suffix(".json")
    card.write_text(card.read_text().replace('"plain"', f'"{name}"'))

    with pytest.raises(
        WeightsError, match=r"model\.json is not a model card.*: name is .*a name that a file may"
    ):
        promote(path, confirmed=True)
    assert not folder.exists()


@pytest.mark.parametrize("name", ["läufe (2)", "a:b*c?", "in-use", "promoted", "CON", "- . -"])
def test_an_odd_name_becomes_one_that_a_file_may_have_anywhere(trained, folder, name):
    promoted = promote(trained(name), confirmed=True)

    assert re.fullmatch(r"[\w.-]+", promoted.name)
    assert promoted.name not in ("in-use", "promoted", "CON")
    assert (folder / f"{promoted.name}.safetensors").is_file()
    assert model_in_use() == promoted.name


def test_damaged_weights_are_not_promoted(trained):
    path = trained("neck")
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(WeightsError, match=r"model\.safetensors is damaged"):
        promote(path, confirmed=True)
    assert model_in_use() == "default"


def test_where_nothing_can_be_written_the_former_stays_in_use(trained, folder):
    promote(trained("first"), confirmed=True)
    (folder / "second.safetensors").mkdir()

    with pytest.raises(WeightsError, match="has not changed"):
        promote(trained("second", b" "), confirmed=True)
    assert model_in_use() == "first"


@pytest.mark.parametrize("damage", ["{", '"neck"', "[1, null]", "[" * 100_000])
def test_a_damaged_list_means_the_default(trained, folder, damage):
    promote(trained("neck"), confirmed=True)
    (folder / "promoted.json").write_text(damage)

    assert model_in_use() == "default"
    promote(trained("other", b" "), confirmed=True)
    assert model_in_use() == "other"


def test_a_model_that_was_removed_is_no_longer_in_use(trained, folder):
    promote(trained("neck"), confirmed=True)
    (folder / "neck.safetensors").unlink()

    assert model_in_use() == "default"


def test_a_kill_between_any_two_writes_leaves_a_model_that_is_whole(trained, folder):
    """The process dies at each of its renames in turn."""
    path = trained("neck")
    code = (
        "import os, sys; from pathlib import Path\n"
        "from napari_cln.workflow.promote import promote\n"
        "left, rename = [int(sys.argv[2])], Path.replace\n"
        "def replace(self, target):\n"
        "    if not left[0]: os._exit(9)\n"
        "    left[0] -= 1; return rename(self, target)\n"
        "Path.replace = replace; promote(sys.argv[1], confirmed=True)"
    )
    for n_renames in range(4):
        done = subprocess.run([sys.executable, "-c", code, str(path), str(n_renames)], timeout=120)

        assert done.returncode == (9 if n_renames < 3 else 0)
        assert model_in_use() == ("default" if n_renames < 3 else "neck")
        for name in folder.glob("*.safetensors"):
            assert sha256(name.read_bytes()).hexdigest() == read_card(name).sha256
    assert json.loads((folder / "promoted.json").read_text()) == ["neck"]


# ------------------------------------------------------------ names


def test_a_promotion_overwrites_no_file_of_the_user_whatever_its_stem_and_card_say(trained, folder, models):
    """A file of the wanted stem whose card says another name, one with a damaged card, a card alone."""
    folder.mkdir()
    for stem in ("Neck", "neck-2"):
        shutil.copy(models / "small.safetensors", folder / f"{stem}.safetensors")
        shutil.copy(models / "small.json", folder / f"{stem}.json")
    (folder / "neck-2.json").write_text("{")
    (folder / "neck-3.json").write_text('{"somebody": "copies a model here"}')
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    promoted = promote(trained("neck", b" "), confirmed=True)

    assert promoted.name == model_in_use() == "neck-4"
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_a_model_goes_by_its_files_name_everywhere(trained, folder):
    promote(trained("neck"), confirmed=True)
    for ending in (".safetensors", ".json"):
        (folder / f"neck{ending}").rename(folder / f"thyroid{ending}")
    from napari_cln.network.weights import load_model

    assert model_in_use() == "thyroid"  # the file was renamed by hand, and is in use still
    assert "thyroid" in known()
    assert "neck" not in known()
    by_name, by_path = load_model("thyroid"), load_model(folder / "thyroid.safetensors")
    assert by_name.model_id == by_path.model_id == load_model("in-use").model_id
    assert by_name.model_id.startswith("thyroid@")
    assert read_card("thyroid").name == "thyroid"


def test_two_files_whose_cards_claim_one_name_are_both_found(trained, folder, models):
    folder.mkdir()
    for stem, mark in (("one", b""), ("two", b" ")):
        path = trained("same", mark)
        shutil.copy(path, folder / f"{stem}.safetensors")
        shutil.copy(path.with_suffix(".json"), folder / f"{stem}.json")

    assert {"one", "two"} <= known().keys()
    assert find_model("one") == folder / "one.safetensors"
    assert read_card("one").sha256 != read_card("two").sha256


@pytest.mark.parametrize("stem", ["default", "Default"])
def test_a_bundled_name_is_not_hidden_and_a_file_that_claims_it_is_found_too(folder, models, stem):
    bundled = read_card("default").sha256
    folder.mkdir()
    for ending in (".safetensors", ".json"):
        shutil.copy(models / f"small{ending}", folder / f"{stem}{ending}")

    assert read_card("default").sha256 == read_card("DEFAULT").sha256 == bundled
    assert known()[f"own/{stem}"].sha256 == read_card(f"own/{stem}").sha256 != bundled
    assert find_model(f"own/{stem}") == folder / f"{stem}.safetensors"
    assert promote(f"own/{stem}", confirmed=True).name == model_in_use() == f"own/{stem}"


def test_a_name_is_found_in_small_and_capital_letters_where_one_file_has_it(folder, models):
    folder.mkdir()
    for ending in (".safetensors", ".json"):
        shutil.copy(models / f"small{ending}", folder / f"Neck{ending}")

    assert find_model("neck") == find_model("NECK") == folder / "Neck.safetensors"
    shutil.copy(models / "small.safetensors", folder / "nECK.safetensors")
    if len(list(folder.glob("*.safetensors"))) == 2:  # on a disk that tells them apart
        with pytest.raises(WeightsError, match="'neck' may be Neck or nECK"):
            find_model("neck")
        assert find_model("nECK") == folder / "nECK.safetensors"


def test_a_model_named_like_the_list_of_promotions_keeps_its_card(trained, folder, models):
    folder.mkdir()
    for ending in (".safetensors", ".json"):
        shutil.copy(models / f"small{ending}", folder / f"promoted{ending}")
    before = (folder / "promoted.json").read_bytes()

    with pytest.raises(
        WeightsError, match=r"promoted\.safetensors in the models folder has the name of the list"
    ):
        promote(trained("neck", b" "), confirmed=True)
    assert (folder / "promoted.json").read_bytes() == before


# ------------------------------------------------------------ doubts


def gap(low: float, high: float) -> Estimate:
    return Estimate(value=(low + high) / 2, low=low, high=high, n=12)


@pytest.fixture
def compared(trained):
    """Make the model file of a run that was compared with a model, by default the one in use."""

    def compared(dice=None, auc=None, *, with_model="", message="") -> Path:
        path = trained("neck")
        model = with_model or read_card(model_in_use()).model_id
        comparison = ModelComparison(model=model, dice=dice, auc=auc, message=message)
        path.with_suffix(".json").write_text(replace(read_card(path), compared=comparison).to_json())
        return path

    return compared


def test_a_model_that_is_no_worse_is_promoted_unasked(compared):
    assert promote(compared(dice=gap(-0.1, 0.2), auc=gap(0.01, 0.2))).name == "neck"


@pytest.mark.parametrize(
    "figures", [{"dice": gap(-0.98, -0.94)}, {"dice": gap(0.1, 0.2), "auc": gap(-0.2, -0.1)}]
)
def test_a_model_that_is_worse_in_a_figure_is_promoted_only_when_confirmed(compared, figures):
    path = compared(**figures)

    with pytest.raises(
        WeightsError,
        match=r"neck does worse than default@\w{12} .*: mean Dice .* n = 12\).*Confirm to promote",
    ):
        promote(path)
    assert model_in_use() == "default"
    assert promote(path, confirmed=True).name == model_in_use() == "neck"
    assert undo_promotion() == "default"


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (
            {"message": "There is no model 'gone'."},
            "was not compared with default@.*There is no model 'gone'",
        ),
        ({}, "on too few frames to tell"),
        (
            {"dice": gap(0.1, 0.2), "with_model": "old@0123456789ab"},
            "with old@0123456789ab, and default@.* is in use",
        ),
    ],
)
def test_a_model_of_which_nothing_is_known_is_promoted_only_when_confirmed(compared, made, said):
    with pytest.raises(WeightsError, match=said):
        promote(compared(**made))


def test_a_model_without_a_comparison_is_promoted_only_when_confirmed(trained):
    with pytest.raises(WeightsError, match="neck was not compared with the model in use"):
        promote(trained("neck"))
    assert model_in_use() == "default"
