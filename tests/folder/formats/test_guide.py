"""The page on one's own data: the folder that it shows comes in, and its words mean what it says."""

import re
import shutil
from pathlib import Path

import pytest

import napari_cln
from napari_cln.cli import main
from napari_cln.folder.formats.meaning import level_of, meaning_of, truth_of

PAGE = (Path(__file__).parents[3] / "docs" / "how-to" / "your-own-data.md").read_text()


@pytest.fixture
def hospital(data, tmp_path):
    """The folder of the page, with real frames under its names."""
    (table,) = re.findall(r"```\n(image,mask,.*?)```", PAGE, re.DOTALL)
    root = tmp_path / "hospital"
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    (root / "labels.csv").write_text(table)
    shutil.copy(data / "folder" / "images" / "neck_00.png", root / "images" / "0001.png")
    shutil.copy(data / "folder" / "masks" / "neck_00.png", root / "masks" / "0001.png")
    shutil.copy(data / "folder" / "images" / "neck_01.png", root / "images" / "0002.dcm")
    shutil.copy(data / "folder" / "masks" / "neck_01.png", root / "masks" / "0002.png")
    shutil.copy(data / "folder" / "images" / "neck_02.png", root / "images" / "0003.png")
    return root


def test_the_folder_of_the_page_comes_in_as_it_says(hospital, tmp_path, capsys):
    assert main(["import", str(hospital), "--out", str(tmp_path / "study")]) == 0
    said = capsys.readouterr().out

    assert "labels      benign 1, metastatic 1, no-node 1" in said
    assert "patients    2 known" in said
    cases = napari_cln.TrainingFolder.open(tmp_path / "study").cases()
    assert {(case.nodes[0].level, case.nodes[0].side) for case in cases if case.nodes} == {
        ("III", "left"),
        ("IV", "right"),
    }
    assert main(["check", str(tmp_path / "study"), "--pictures", str(tmp_path / "sheets")]) == 1
    assert main(["check", str(tmp_path / "study"), "--seen-by", "r1"]) == 0
    assert "labels      benign 1, metastatic 1, no-node 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        *((word, "benign") for word in ("benign", "reactive", "hyperplastic", "inflammatory")),
        *((word, "metastatic") for word in ("metastatic", "malignant", "metastasis", "cancer")),
        *((word, "no-node") for word in ("no node", "normal")),
        *((word, "unknown") for word in ("", "unknown")),
    ],
)
def test_labels_of_the_page_are_known(word, meaning):
    assert word in PAGE and truth_of(word) == meaning


def test_levels_of_the_page_are_known_and_words_that_it_does_not_name_are_not():
    assert (level_of("IIa"), level_of("2")) == ("II", "II")
    assert [meaning_of(word) for word in ("positive", "negative", "1", "0")] == [None] * 4
