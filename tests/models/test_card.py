"""A card is read value by value, each in its range: what does not fit is named, with its value."""

from __future__ import annotations

import copy
import json
import shutil
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_cln import doctor
from napari_cln.disk.schema import SchemaError, read
from napari_cln.errors import WeightsError
from napari_cln.models.card import ModelCard, plain_name
from napari_cln.models.config import YNetConfig
from napari_cln.models.library import known_models, list_models, read_card

SHIPPED = Path(str(files("napari_cln"))) / "models"


@pytest.fixture(scope="module")
def shipped() -> dict:
    return json.loads((SHIPPED / "default.json").read_text())


def changed(card: dict, key: str, value: object) -> str:
    """The card with another value under ``a.b``; without it where the value is ``...``."""
    card = copy.deepcopy(card)
    *path, last = key.split(".")
    inner = card
    for step in path:
        inner = inner[step]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return json.dumps(card)


def test_the_shipped_card_comes_back_as_it_is(shipped):
    card = ModelCard.from_json((SHIPPED / "default.json").read_bytes())

    later = {"compared": None, "members": 1, "doubt": None, "min_node_chance": 0.0}
    later |= {"clip_temperature": None, "clip_cutoff": None}
    trunk = {"config": {"trunk": "pyramid"} | shipped["config"]}
    assert json.loads(card.to_json()) == later | shipped | trunk


@pytest.mark.parametrize("name", ["model.safetensors", "fold-0/model.safetensors"])
def test_a_card_of_an_earlier_version_is_read_and_its_model_loads(data, name):
    from napari_cln.network.weights import load_model

    network = load_model(data / "runs" / "neck-run-1" / name)

    assert network.card.name == ("neck-run-1-fold-0" if "fold" in name else "neck-run-1")
    assert network.card.compared is None
    assert ModelCard.from_json(network.card.to_json()) == network.card


def test_a_card_that_lacks_what_came_later_is_read(shipped):
    """The first version knew neither several networks nor a least peak."""
    text = changed(shipped, "min_peak", ...)

    assert ModelCard.from_json(text).min_peak == 0.0


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("cut_nan", "cutoff is NaN, and must be a number from 0 to 1"),
        ("thr_neg", "mask_threshold is -1, and must be a number above 0 and below 1"),
        ("cfg_widthnan", r"config\.width is NaN, and must be a number from 0\.01 to 4"),
        ("cfg_decoder_width", r"config\.decoder_width is 1000000000, and must be .* from 1 to 256"),
        ("name_surr2", r'name is "x\\ud800", and must be of whole characters'),
    ],
)
def test_a_hostile_card_is_named_with_its_key_and_value(data, tmp_path, file, said):
    shutil.copy(SHIPPED / "default.safetensors", tmp_path / "m.safetensors")
    shutil.copy(data / "cases" / "hostile_cards" / f"card_{file}.json", tmp_path / "m.json")

    with pytest.raises(WeightsError, match=rf"m\.json is not a model card of this version: {said}"):
        read_card(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("cutoff", 1.01, "from 0 to 1"),
        ("cutoff", -1e-9, "from 0 to 1"),
        ("cutoff", "0.5", 'is "0.5"'),
        ("cutoff", True, "is true"),
        ("cutoff", ..., "is missing"),
        ("temperature", 1e-320, "is 1e-320"),
        ("temperature", 0, "from 0.01 to 100"),
        ("temperature", 1e300, "from 0.01 to 100"),
        ("mask_threshold", 0, "above 0 and below 1"),
        ("mask_threshold", 1, "above 0 and below 1"),
        ("mask_threshold", None, "since the network draws masks"),
        ("min_node_area", -1, "from 0 to 65536"),
        ("min_node_area", 1.5, "whole number"),
        ("min_peak", 2, "from 0 to 1"),
        ("members", 0, "at least 1"),
        ("members", 1.0, "whole number"),
        ("classes", ["malignant", "benign"], r'classes\[0\] is "malignant"'),
        ("classes", ["benign", "malignant", "other"], r'must be \["benign", "malignant"\]'),
        ("classes", [], r"is \[\]"),
        ("config.block", "vgg", '"esp" or "psa" or "rcb"'),
        ("config.bins", [3, 0], r"config\.bins\[1\] is 0"),
        ("config.bins", [3] * 9, "a list of 1 to 8"),
        ("config.bins", [], "a list of 1 to 8"),
        ("config.bins", 3, "a list of 1 to 8"),
        ("config.size", 512, "must be 256"),
        ("config.size", 100, "not a multiple of 32"),
        ("config.width", 1e9, "from 0.01 to 4"),
        ("config.width", 0.3, "channels where block 'esp' divides them by 4"),
        ("config.guided", "yes", "true or false"),
        ("config.segmentation", False, "guided classifier needs the mask"),
        ("config.depth", 3, r"config\.depth is not known here"),
        ("prepare.enhance", 1, "true or false"),
        ("prepare", [], "an object"),
        ("trained_on", [{"name": "x"}], r"trained_on\[0\]\.n is missing"),
        ("trained_on", [1], r"trained_on\[0\] is 1"),
        ("figures", [{"name": "Dice", "data": "d", "estimate": {"value": "1"}}], r"estimate\.value is"),
        ("compared", {"model": "m", "dice": 3}, r"compared\.dice is 3"),
        ("recipe", [], "an object"),
        ("recipe", {"epochs": [1, float("inf")]}, r"recipe\.epochs\[1\] is Infinity"),
        ("recipe", {"\ud800": 1}, r"recipe\.\\ud800 is not named in whole characters"),
        ("sha256", "xyz", "64 hexadecimal digits"),
        ("name", "../neck", "a name that a file may have"),
        ("name", "..", "a name that a file may have"),
        ("name", "", "a name that a file may have"),
        ("name", "neck\n", "a name that a file may have"),
        ("name", "n" * 256, "1 to 255"),
        ("limits", " ", "must say what the model can't do"),
        ("limits", "\x1b[2J", "printable"),
        ("surprise", 1, "is not known here"),
    ],
)
def test_a_value_that_is_out_of_its_range_or_of_another_kind_is_refused(shipped, key, value, said):
    with pytest.raises(SchemaError, match=said) as refused:
        ModelCard.from_json(changed(shipped, key, value))

    assert key.partition(".")[0] in str(refused.value)


leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**300)
    | st.floats()  # with NaN and the infinities
    | st.text(st.characters(exclude_categories=()), max_size=8)  # with half surrogate pairs
    | st.sampled_from([1e-320, -0.0, "\ud800", "\x00", "default", 0.5, 1, "a" * 5000])
)
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner))


def places_in(value: object, at: tuple = ()) -> list[tuple]:
    """Every key and place of a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, part in inner for place in [(*at, key), *places_in(part, (*at, key))]]


@pytest.mark.slow
@given(data=st.data(), value=values, deed=st.sampled_from(["put", "take", "add"]))
def test_any_change_of_a_card_is_named_with_its_key_or_can_be_written_again(shipped, data, value, deed):
    card = copy.deepcopy(shipped)
    *path, last = data.draw(st.sampled_from(places_in(card)))
    inner = card
    for step in path:
        inner = inner[step]
    if deed == "put":
        inner[last] = value
    elif deed == "take":
        del inner[last]
    elif isinstance(inner, dict):
        inner["key of later"] = value

    try:
        read_back = ModelCard.from_json(json.dumps(card))
    except SchemaError as refused:
        assert refused.key
        assert refused.key.partition(".")[0].partition("[")[0].rstrip(":") in {*shipped, "key of later", "It"}
        assert len(str(refused)) < 300
        str(refused).encode()
    else:
        assert ModelCard.from_json(read_back.to_json()) == read_back
        assert 0 <= read_back.cutoff <= 1
        assert read_back.classes == ("benign", "malignant")


def test_what_could_not_be_read_again_is_not_saved(models, tmp_path):
    from dataclasses import replace

    from napari_cln.network.weights import load_model, save_model

    network = load_model(models / "small.safetensors")

    with pytest.raises(WeightsError, match=r"card of m\.safetensors can't be saved: cutoff is NaN"):
        save_model(network, tmp_path / "m.safetensors", replace(network.card, cutoff=float("nan")))
    assert not list(tmp_path.iterdir())


def test_one_bad_card_is_named_and_hides_no_other(models, tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_CLN_MODELS", str(tmp_path))
    for stem, text in (("bad", '{"name": 3}'), ("good", None)):
        shutil.copy(models / "small.safetensors", tmp_path / f"{stem}.safetensors")
        (tmp_path / f"{stem}.json").write_text(text or (models / "small.json").read_text())

    cards, (fault,) = known_models()

    assert "good" in [card.name for card in cards] == [card.name for card in list_models()]
    assert str(fault).startswith("bad.json is not a model card of this version: name is 3")
    assert any(line.startswith("bad.json is not a model card") for line in doctor._models())


@pytest.mark.parametrize(
    "config",
    [
        {"width": 1e9},
        {"width": float("nan")},
        {"decoder_width": 10**9},
        {"bins": (3,) * 100},
        {"size": 10**6},
    ],
)
def test_a_network_that_no_computer_holds_is_refused_before_memory_is_taken(config):
    with pytest.raises(ValueError, match=rf"{next(iter(config))} is .*, and must be"):
        YNetConfig(**config)


@pytest.mark.parametrize("config", [{"width": 4.0}, {"width": 4.0, "decoder_width": 256, "bins": (32,) * 8}])
def test_the_largest_network_that_a_card_may_ask_for_takes_less_than_a_file_may_have(config):
    import torch

    from napari_cln.network.model import YNet
    from napari_cln.network.weights import MAX_WEIGHT_BYTES

    with torch.device("meta"):
        network = YNet(YNetConfig(**config))

    assert sum(4 * value.numel() for value in network.state_dict().values()) < MAX_WEIGHT_BYTES


@given(name=st.text(st.characters(exclude_categories=()), max_size=300))
def test_every_text_has_a_name_that_a_card_takes(name):
    card = ModelCard(name=plain_name(name))

    assert ModelCard.from_json(card.to_json()).name == card.name


@pytest.mark.parametrize("text", ["\ufeff", ""])
def test_a_mark_of_byte_order_is_no_fault(shipped, text):
    assert ModelCard.from_json((text + json.dumps(shipped)).encode()).name == "default"


def test_a_fault_in_a_list_of_objects_is_named_by_its_place():
    with pytest.raises(SchemaError, match=r"^trained_on\[1\]\.n is -3, and must be a whole number from 0"):
        source = {"name": "x", "n": 1, "licence": "", "citation": ""}
        read(json.dumps({"name": "m", "trained_on": [source, source | {"n": -3}]}), ModelCard)


def test_a_save_that_was_cut_off_between_its_two_files_is_made_up_for(models, tmp_path):
    """The new weights are there, and their card lies beside them under the name that it waits with."""
    from napari_cln.network.weights import load_model

    path = Path(shutil.copy(models / "small.safetensors", tmp_path / "m.safetensors"))
    whole = (models / "small.json").read_text()
    former = json.dumps(json.loads(whole) | {"sha256": "0" * 64})
    for card in (former, None):
        (tmp_path / "m.json.next").write_text(whole)
        (tmp_path / "m.json").write_text(card) if card else (tmp_path / "m.json").unlink()

        assert load_model(path).card.sha256 == sha256(path.read_bytes()).hexdigest()
        assert (tmp_path / "m.json").read_text() == whole
        assert not (tmp_path / "m.json.next").exists()
