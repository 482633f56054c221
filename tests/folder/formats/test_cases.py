"""Studies as other tools write them: each comes in right, or says why not and what to do."""

import json
import shutil

import numpy as np
import pytest

from napari_cln.cli import main
from napari_cln.errors import DatasetError
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.formats.exchange import import_study


@pytest.fixture
def take(data, tmp_path):
    """Import one of the small studies and return the work and the folder."""

    def take(name, **options):
        source = tmp_path / name
        shutil.copytree(data / "cases" / name, source, dirs_exist_ok=True)
        work = import_study(source, tmp_path / "study", **options)
        steps = list(work)
        return work.report, steps, TrainingFolder.open(tmp_path / "study")

    return take


def painted(study):
    return sorted(int((study.read_instances(case) > 0).sum()) for case in study.cases())


@pytest.mark.parametrize(
    ("name", "frames", "pixels"),
    [
        ("03_one_folder_per_patient", 2, 4219),
        ("04_masks_one_folder_deeper", 2, 4219),
        ("05_mask_grey_alpha", 1, 4219),
        ("08_mask_float_probability", 1, 4219),
        ("10_cvat_coco_layout", 2, 4000),
        ("11_labelme", 2, 4000),
        ("12_coco_other_size", 2, 16000),
        ("13_mask_name_nfd", 1, 4219),
        ("21_cellpose_names", 2, 4219),
        ("24_stack_of_frames_and_masks", 6, 1200),
    ],
)
def test_each_frame_gets_its_own_mask(take, name, frames, pixels):
    report, steps, study = take(name)

    assert [step.problem for step in steps] == [None] * frames
    assert painted(study) == [pixels] * frames
    assert (report.taken, report.study.with_mask, report.unused_files) == (frames, frames, {})


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("06_mask_two_colours", "#00ff00=node #ff0000=background"),
        ("07_mask_20_nodes", "where each is a node of its own, --mask-values ids"),
    ],
)
def test_a_mask_of_several_kinds_asks_what_they_are(take, name, words):
    _, (step,), study = take(name)

    assert words in step.problem
    assert study.cases() == []


def test_a_colour_can_be_named_as_the_node(take):
    _, steps, study = take("06_mask_two_colours", mask_values={"#FF0000": "node", "#00ff00": "background"})

    assert [step.problem for step in steps] == [None]
    assert painted(study) == [4219]


def test_ids_are_nodes_of_their_own_where_the_user_says_so(take):
    _, _, study = take("07_mask_20_nodes", mask_values={"ids": "node"})

    (case,) = study.cases()
    assert len(case.nodes) == len(np.unique(study.read_instances(case))) - 1 == 20


@pytest.mark.parametrize(
    "name", ["09_labels_tsv", "09b_labels_xlsx", "22_csv_windows1252", "27_macos_sidecar_csv"]
)
def test_tables_of_every_dialect_give_labels_and_patients(take, name):
    report, _, study = take(name)

    assert report.study.labels == {"benign": 2, "metastatic": 1}
    assert len({case.patient for case in study.cases()}) == report.study.patients == 2
    assert len(report.tables) == 1


def test_spellings_of_one_number_are_one_patient_and_told(take):
    report, _, study = take("23_patient_12_and_12.0")

    assert len({case.patient for case in study.cases()}) == 1
    assert "'12', '0012', '12.0'" in report.remarks[0]


def test_words_that_are_not_known_are_refused_before_anything_is_taken(take, tmp_path):
    with pytest.raises(DatasetError, match=r"'positive' \(1 time\), '1' \(1 time\).*--label-values"):
        take("25_words_of_the_guide")
    assert not (tmp_path / "study").exists()

    values = {"positive": "metastatic", "1": "metastatic"}
    _, steps, study = take("25_words_of_the_guide", label_values=values, mask_values={"ids": "node"})

    assert [step.problem for step in steps] == [None] * 4
    assert sorted(len(case.nodes) for case in study.cases()) == [1, 1, 1, 2]


def test_a_mask_drawn_on_the_stored_pixels_of_a_turned_picture_can_be_turned_too(take):
    _, (step,), study = take("29_exif_180_mask")
    upright = study.read_instances(study.cases()[0])

    assert "--turn-masks" in step.note
    shutil.rmtree(study.path)
    _, (step,), study = take("29_exif_180_mask", turn_masks=True)
    turned = study.read_instances(study.cases()[0])

    assert "its mask with it" in step.note
    assert turned.any() and not np.array_equal(turned, upright)


def test_the_command_says_what_it_made_of_what_and_what_it_did_not_use(data, tmp_path, capsys):
    source = tmp_path / "hospital"
    shutil.copytree(data / "cases" / "09_labels_tsv", source)
    text = (source / "labels.tsv").read_text().splitlines()
    head = [text[0] + "\tprobe", *(line + "\tGE" for line in text[1:])]
    (source / "labels.tsv").write_text("\n".join(head))
    (source / "seg").mkdir()
    (source / "seg" / "0001.mha").write_bytes(b"x")
    (source / ".DS_Store").write_bytes(b"x")

    assert main(["import", str(source), "--out", str(tmp_path / "study")]) == 0
    said = capsys.readouterr().out

    for line in (
        "source      a folder of pictures with masks and the table labels.tsv: 3 images, 3 masks or outlines",
        "not used    columns of labels.tsv: probe",
        "frames      3: 3 with a mask, 0 with an empty one (no node), 0 without",
        "labels      benign 2, metastatic 1",
        "patients    2 known",
        "splits      none 3",
        "not used    1 file: seg/0001.mha (volumes and label maps of this kind are not read: save them "
        "as NRRD, NIfTI or PNG)",
        "3 frames imported:",
    ):
        assert line in said
    assert ".DS_Store" not in said

    main(["import", str(source), "--out", str(tmp_path / "again"), "--json"])
    report = json.loads(capsys.readouterr().out)
    assert report["study"]["labels"] == {"benign": 2, "metastatic": 1}
    assert list(report["unused_files"]) == ["seg/0001.mha"]
    assert report["tables"][0]["unused"] == ["probe"]
