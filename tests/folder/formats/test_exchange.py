"""Studies in and out: nothing is lost, nothing is guessed, nothing names a patient."""

import csv
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, PngImagePlugin

from napari_cln.annotation import Node
from napari_cln.cli import main
from napari_cln.disk.rle import decode_rle, encode_rle
from napari_cln.errors import DatasetError, ExportError
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.formats.exchange import export_study, import_study
from napari_cln.folder.health.check import check_study
from napari_cln.folder.screens import confirm_screens, unseen_screens
from napari_cln.folder.split.frozen import frozen_split
from napari_cln.types import Frame


def run(steps):
    steps = list(steps)
    assert [step.index for step in steps] == list(range(1, steps[-1].total + 1))
    return steps


def contents(study):
    """What an exchange must keep of each frame."""
    return {
        case.id: (
            study.read_image(case).tobytes(),
            study.read_instances(case).tobytes(),
            study.read_instances(case).shape,
            case.nodes,
            case.truth,
            case.status,
            case.patient,
            case.cine,
            case.spacing_mm,
            case.split,
            case.mask is None,
        )
        for case in study.cases()
    }


@pytest.fixture
def rich(study, annotate, necks):
    """A study with two nodes that touch, a rejected one, a class without a mask, a waiting frame, a cine."""
    mask = necks[0][1].astype(np.uint8)
    rows = np.flatnonzero(mask.any(axis=1))
    mask[rows[len(rows) // 2] :] *= 2
    mask[:5, :5] = 3
    nodes = (
        Node(id=1, status="accepted", truth="metastatic", truth_source="fna", level="III", side="left"),
        Node(id=2, status="corrected", truth="benign", p_malignant=0.25),
        Node(id=3, status="rejected"),
    )
    study.save(annotate(0, instances=mask, nodes=nodes), cine="clip 7", who="r1")
    empty = np.zeros((224, 224), np.uint8)
    study.save(
        annotate(2, instances=empty, nodes=(Node(id=1, truth="metastatic"),), status="accepted"), who="r1"
    )
    study.save(annotate(3, status="predicted"), who="r1")
    return study


@pytest.mark.slow
@pytest.mark.parametrize("format", ["nnunet", "coco", "csv"])
def test_a_round_trip_keeps_every_pixel_node_truth_and_patient(rich, tmp_path, format):
    run(export_study(rich, format, tmp_path / "out"))

    steps = run(import_study(tmp_path / "out", tmp_path / "back"))

    assert not [step.problem for step in steps if step.problem]
    assert contents(TrainingFolder.open(tmp_path / "back")) == contents(rich)
    back = TrainingFolder.open(tmp_path / "back")
    confirm_screens(back, unseen_screens(back), "r1")
    assert check_study(back).faults == check_study(rich).faults


def test_another_training_folder_comes_in_whole(rich, tmp_path):
    run(import_study(rich.path, tmp_path / "back"))

    assert contents(TrainingFolder.open(tmp_path / "back")) == contents(rich)


def test_importing_twice_changes_nothing(rich, tmp_path):
    run(import_study(rich.path, tmp_path / "back"))
    before = {path: path.read_bytes() for path in (tmp_path / "back").rglob("*.*") if path.is_file()}

    run(import_study(rich.path, tmp_path / "back"))

    assert {path: path.read_bytes() for path in (tmp_path / "back").rglob("*.*") if path.is_file()} == before


def test_a_frame_with_another_mask_stays_and_the_new_one_is_kept_aside(study, tmp_path, annotate, necks):
    other = TrainingFolder.open(shutil.copytree(study.path, tmp_path / "other"))
    case = other.save(annotate(0, mask=np.roll(necks[0][1], 9)), who="r2")

    steps = run(import_study(other.path, study.path))

    (problem,) = [step.problem for step in steps if step.problem]
    assert f"{case.id} is in the folder already, with other masks" in problem
    assert np.array_equal(study.read_instances(study.case(case.id)) > 0, necks[0][1])
    assert list((study.layout.revisions / case.id).glob("*-import-1.json"))


def test_another_folder_tells_what_is_not_known_of_a_frame_and_nothing_against_it(folder, annotate, tmp_path):
    frame = replace(annotate(0).frame, spacing_mm=(0.1, 0.1), spacing_source="typed")
    told = TrainingFolder.create(tmp_path / "told")
    told.save(annotate(0, frame=frame), patient="P1", cine="c9", split="test")
    folder.save(annotate(0), who="r1")

    for _ in range(2):
        (step,) = run(import_study(told.path, folder.path))

    assert step.problem is None
    (case,), (other,) = folder.cases(), told.cases()
    assert (case.patient, case.cine, case.split) == (other.patient, other.cine, other.split)
    assert (case.spacing_mm, case.nodes, case.revision) == ((0.1, 0.1), other.nodes, 2)
    assert not list((folder.layout.revisions / case.id).glob("*-import-*"))


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        ({"patient": "P2"}, "another patient"),
        ({"patient": "P1", "cine": "c2"}, "another clip"),
        ({"patient": "P1", "split": "test"}, "on the side train"),
    ],
)
def test_what_another_folder_says_against_a_frame_is_refused(folder, annotate, tmp_path, facts, word):
    folder.save(annotate(0), patient="P1", cine="c1", split="train")
    other = TrainingFolder.create(tmp_path / "other")
    other.save(annotate(0), **facts)

    (step,) = run(import_study(other.path, folder.path))

    assert word in step.problem
    assert [case.revision for case in folder.cases()] == [1]


@pytest.fixture
def elsewhere(annotate, tmp_path, monkeypatch):
    """A study of one patient that was made on another computer, with another salt."""
    with monkeypatch.context() as there:
        there.setenv("NAPARI_CLN_CONFIG", str(tmp_path / "laptop"))
        other = TrainingFolder.create(tmp_path / "other")
        other.save(annotate(1), patient="P1", who="r2")
        confirm_screens(other, unseen_screens(other), "r2")
    return other


@pytest.mark.parametrize("format", [None, "nnunet", "csv", "coco"])
def test_a_folder_with_another_salt_is_not_mixed_in(folder, annotate, elsewhere, tmp_path, format, capsys):
    folder.save(annotate(0), patient="P1")
    source = elsewhere.path
    if format:
        source = tmp_path / "out"
        list(export_study(elsewhere, format, source))

    assert main(["import", str(source), "--out", str(folder.path)]) == 1

    said = capsys.readouterr().err
    assert f"The patient keys of {source.name} were made with another salt than those of study" in said
    assert len(folder.cases()) == 1

    assert main(["import", str(source), "--out", str(folder.path), "--other-patients"]) == 0
    assert "its patients count as others than the folder's" in capsys.readouterr().out
    assert len({case.patient for case in folder.cases()}) == 2


@pytest.mark.parametrize("format", [None, "csv", "coco"])
def test_a_new_folder_takes_the_salt_of_its_source_over(elsewhere, annotate, tmp_path, format):
    source = elsewhere.path
    if format:
        source = tmp_path / "out"
        list(export_study(elsewhere, format, source))

    run(import_study(source, tmp_path / "new"))

    new = TrainingFolder.open(tmp_path / "new")
    assert new.dataset.salt == elsewhere.dataset.salt
    with pytest.raises(DatasetError, match="made with another salt than yours"):
        new.save(annotate(0), patient="P1")


def test_a_folder_without_patients_has_no_salt_to_differ_in(folder, annotate, tmp_path, monkeypatch):
    with monkeypatch.context() as there:
        there.setenv("NAPARI_CLN_CONFIG", str(tmp_path / "laptop"))
        other = TrainingFolder.create(tmp_path / "other")
        other.save(annotate(1))

    work = import_study(other.path, folder.path)

    assert not [step.problem for step in work if step.problem]
    assert not work.report.remarks


def test_all_exports_in_a_folder_are_taken_with_all_that_each_knows(folder, annotate, tmp_path):
    folder.save(annotate(0))
    first = folder.save(annotate(1), patient="P1", split="train")
    confirm_screens(folder, unseen_screens(folder), "r1")
    run(export_study(folder, "coco", tmp_path / "both" / "a"))
    folder.save(annotate(0), patient="P2", split="test")
    second = folder.save(annotate(2), patient="P3", cine="clip")
    confirm_screens(folder, unseen_screens(folder), "r1")
    run(export_study(folder, "coco", tmp_path / "both" / "b"))

    work = import_study(tmp_path / "both", tmp_path / "new")
    steps = run(work)

    assert not [step.problem for step in steps if step.problem]
    assert not work.report.unused_files
    assert (work.report.taken, work.report.repeated) == (3, 2)
    new = TrainingFolder.open(tmp_path / "new")
    assert contents(new) == contents(folder)
    assert {case.split for case in new.cases()} == {"train", "test", None}
    assert new.case(second.id).cine == second.cine
    assert new.case(first.id).patient == first.patient


@pytest.mark.parametrize("is_told", [True, False])
def test_exports_with_different_salts_are_not_mixed_in_one_import(
    folder, annotate, elsewhere, tmp_path, is_told
):
    folder.save(annotate(0), patient="P1")
    confirm_screens(folder, unseen_screens(folder), "r1")
    run(export_study(folder, "coco", tmp_path / "both" / "a"))
    run(export_study(elsewhere, "coco", tmp_path / "both" / "b"))
    file = tmp_path / "both" / "b" / "annotations.json"
    content = json.loads(file.read_text())
    if not is_told:
        del content["info"]["salt"]
        file.write_text(json.dumps(content))

    with pytest.raises(DatasetError, match=r"keys of both were made with 2 different salts.*one after the"):
        import_study(tmp_path / "both", tmp_path / "new")

    assert not (tmp_path / "new").exists()


def test_what_a_second_export_says_against_a_frame_is_refused(folder, annotate, elsewhere, tmp_path):
    folder.save(annotate(1), patient="P1", split="test")
    confirm_screens(folder, unseen_screens(folder), "r1")
    run(export_study(folder, "coco", tmp_path / "both" / "a"))
    content = json.loads((tmp_path / "both" / "a" / "annotations.json").read_text())
    shutil.copytree(tmp_path / "both" / "a", tmp_path / "both" / "b")
    content["images"][0]["x_napari_cln"]["split"] = "train"
    (tmp_path / "both" / "b" / "annotations.json").write_text(json.dumps(content))

    _, second = run(import_study(tmp_path / "both", tmp_path / "new"))

    assert "on the side test, and is said to be on the side train" in second.problem


def test_an_export_that_does_not_tell_its_salt_is_told(elsewhere, tmp_path):
    run(export_study(elsewhere, "csv", tmp_path / "out"))
    table = tmp_path / "out" / "labels.csv"
    lines = [line.rpartition(",")[0] for line in table.read_text().splitlines()]
    table.write_text("\n".join(lines))

    work = import_study(tmp_path / "out", tmp_path / "new")
    run(work)

    (remark,) = work.report.remarks
    assert "the patient keys of 1 frame come without the fingerprint of their salt" in remark


def test_plain_images_masks_and_a_table_become_a_training_folder(data, tmp_path, necks):
    steps = run(import_study(data / "folder", tmp_path / "study"))

    study = TrainingFolder.open(tmp_path / "study")
    assert not [step.problem for step in steps if step.problem]
    assert Counter((case.truth, case.status) for case in study.cases()) == {
        ("benign", "accepted"): 5,
        ("metastatic", "accepted"): 5,
        ("unknown", "no-node"): 2,
    }
    assert len({case.patient for case in study.cases()}) == 6
    assert [fault.kind for fault in check_study(study).faults] == ["held"]
    assert all(step.case.id == study.identify(Frame(pixels=necks[i][0])) for i, step in enumerate(steps))


def test_imported_masks_have_the_pixels_of_their_files(data, tmp_path, necks):
    steps = run(import_study(data / "folder", tmp_path / "study", clean=False))

    study = TrainingFolder.open(tmp_path / "study")
    for (pixels, outline), step in zip(necks, steps, strict=True):
        assert study.read_image(step.case).shape == pixels.shape[:2]
        assert np.array_equal(study.read_instances(step.case) > 0, outline)
    assert len(steps[4].case.nodes) == 2  # two vessels apart


def test_cropped_masks_lie_where_they_lay(data, tmp_path, necks):
    steps = run(import_study(data / "folder", tmp_path / "study"))

    study = TrainingFolder.open(tmp_path / "study")
    for (_, outline), step in zip(necks, steps, strict=True):
        x0, y0, x1, y1 = study.record(step.case.id).source.crop
        assert np.array_equal(study.read_instances(step.case) > 0, outline[y0:y1, x0:x1])
        assert outline.sum() == outline[y0:y1, x0:x1].sum()


@pytest.fixture
def source(data, tmp_path):
    """A copy of the plain data set, to spoil."""
    return shutil.copytree(data / "folder", tmp_path / "source")


def problems(source, tmp_path, **options):
    return [step.problem for step in run(import_study(source, tmp_path / "study", **options)) if step.problem]


def read_rows(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def write_rows(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def rewrite(source, change):
    write_rows(source / "labels.csv", [change(row) for row in read_rows(source / "labels.csv")])


def take_few(source, rows, goal):
    """A copy of a few rows of a data set, in the set's own form."""
    for row in rows:
        for name in (row["image"], row["mask"]):
            (goal / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / name, goal / name)
    write_rows(goal / "labels.csv", rows)
    return goal


@pytest.mark.slow
def test_a_label_that_is_not_known_is_never_guessed(source, tmp_path):
    rewrite(
        source,
        lambda row: row | {"Diagnosis": {"benign": "0", "malignant": "1"}.get(row["Diagnosis"], "normal")},
    )

    with pytest.raises(DatasetError, match=r"'0' \(5 times\), '1' \(5 times\).*--label-values \"0=benign\""):
        import_study(source, tmp_path / "study")
    assert problems(source, tmp_path, label_values={"0": "benign", "1": "metastatic"}) == []


def test_a_mask_with_several_values_asks_what_they_are(source, tmp_path):
    path = source / "masks" / "neck_00.png"
    mask = np.array(Image.open(path)) // 255
    mask[100:110] *= 2
    Image.fromarray(mask).save(path)

    (found,) = problems(source, tmp_path)

    assert "neck_00.png has the values 1 (" in found and "--mask-values 1=node 2=background" in found
    assert problems(source, tmp_path, mask_values={1: "node", 2: "background", 255: "node"}) == []


def test_values_of_a_mask_can_say_the_truth_of_each_node(source, tmp_path):
    mask = np.zeros((224, 224), np.uint8)
    mask[10:30, 10:30], mask[50:60, 50:60] = 1, 2
    Image.fromarray(mask).save(source / "masks" / "neck_00.png")

    steps = run(
        import_study(
            source, tmp_path / "s", mask_values={1: "benign", 2: "metastatic", 255: "node"}, clean=False
        )
    )

    assert [(node.id, node.truth) for node in steps[0].case.nodes] == [(1, "benign"), (2, "metastatic")]
    assert steps[0].case.truth == "metastatic"


def test_a_mask_of_another_size_is_refused_and_the_others_come_in(source, tmp_path):
    Image.fromarray(np.zeros((100, 224), np.uint8)).save(source / "masks" / "neck_03.png")

    (found,) = problems(source, tmp_path)

    assert "neck_03.png has 100×224 pixels, its image 224×224" in found
    assert len(TrainingFolder.open(tmp_path / "study").cases()) == 11


def test_the_same_pixels_with_another_mask_or_patient_are_refused_by_name(source, tmp_path):
    shutil.copy(source / "images" / "neck_00.png", source / "images" / "neck_02.png")

    (found,) = problems(source, tmp_path)

    assert (
        "neck_02.png has the same pixels as images/neck_00.png, but another mask, label or patient" in found
    )
    study = TrainingFolder.open(tmp_path / "study")
    assert len(study.cases()) == 11
    assert all(case.revision == 1 for case in study.cases())


def test_the_same_frame_twice_is_kept_once_and_told(source, tmp_path):
    rows = read_rows(source / "labels.csv")
    shutil.copy(source / "images" / "neck_00.png", source / "images" / "again.png")
    again = {name: text.replace("images/neck_00", "images/again") for name, text in rows[0].items()}
    write_rows(source / "labels.csv", [*rows, again])

    work = import_study(source, tmp_path / "study")
    last = run(work)[-1]

    assert (last.case, last.problem) == (None, None)
    assert last.note == "it has the same pixels as images/neck_00.png, and is kept once"
    assert (work.report.taken, work.report.repeated) == (12, 1)


def test_two_rows_that_say_the_same_of_an_image_are_one_frame(source, tmp_path):
    rows = read_rows(source / "labels.csv")
    write_rows(source / "labels.csv", [*rows, rows[0]])

    assert problems(source, tmp_path) == []
    assert len(TrainingFolder.open(tmp_path / "study").cases()) == 12


@pytest.mark.slow
def test_a_second_import_under_another_patient_is_refused(source, tmp_path):
    assert problems(source, tmp_path) == []
    rewrite(source, lambda row: row | {"Patient ID": "someone else"})

    assert all(
        "is in the folder as a frame of another patient" in found for found in problems(source, tmp_path)
    )


def test_a_table_may_not_reach_outside_the_folders_of_the_import(source, tmp_path):
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "secret.png")
    rewrite(
        source, lambda row: row | {"Image": "../secret.png" if "neck_05" in row["Image"] else row["Image"]}
    )

    (found,) = problems(source, tmp_path)

    assert "secret.png lies outside the folders of the import" in found


def test_a_class_without_a_mask_trains_the_class_alone(source, tmp_path):
    rewrite(source, lambda row: row | {"Mask": ""})

    study = TrainingFolder.open(run(import_study(source, tmp_path / "s"))[0].case.image.parent.parent)

    assert all(case.mask is None for case in study.cases() if case.truth != "unknown")
    assert Counter(case.truth for case in study.cases()) == {"benign": 5, "metastatic": 5, "unknown": 2}


def test_without_a_table_folders_name_the_class_and_suffixes_the_masks(data, tmp_path):
    source = tmp_path / "source"
    for n, name in ((0, "benign"), (1, "malignant")):
        (source / name).mkdir(parents=True)
        for kind, ending in (("images", ""), ("masks", "_mask")):
            shutil.copy(data / "folder" / kind / f"neck_0{n}.png", source / name / f"{name} (1){ending}.png")

    steps = run(import_study(source, tmp_path / "s"))

    assert [(step.name, step.case.truth) for step in steps] == [
        ("benign/benign (1).png", "benign"),
        ("malignant/malignant (1).png", "metastatic"),
    ]
    assert all(step.case.mask for step in steps)


def test_the_authors_split_is_kept(source, tmp_path):
    side = {"P01": "Train", "P02": "val", "P03": "test"}
    rewrite(source, lambda row: row | {"Split": side.get(row["Patient ID"], "train")})

    run(import_study(source, tmp_path / "s"))

    study = TrainingFolder.open(tmp_path / "s")
    (fold,) = frozen_split(study, 1)
    assert Counter(case.split for case in study.cases()) == {"train": 8, "validation": 2, "test": 2}
    assert (len(fold.train), len(fold.validation)) == (8, 2)


def test_level_side_and_source_of_the_truth_come_in(source, tmp_path):
    rewrite(source, lambda row: row | {"Neck level": "IIA", "Side": "L", "Truth source": "Washout Tg"})

    run(import_study(source, tmp_path / "s"))

    nodes = [node for case in TrainingFolder.open(tmp_path / "s").cases() for node in case.nodes]
    assert nodes
    assert {(node.level, node.side, node.truth_source) for node in nodes} == {("II", "left", "tg")}


def test_a_level_that_is_not_known_is_refused_until_it_is_explained(source, tmp_path):
    rewrite(source, lambda row: row | {"level": "submental", "side": "right"})

    with pytest.raises(
        DatasetError, match=r"'submental' \(12 times\).*--column-values \"level:submental=II\""
    ):
        import_study(source, tmp_path / "s")
    steps = run(import_study(source, tmp_path / "s", column_values={"level:submental": "none"}))

    assert not any(step.problem for step in steps)
    nodes = [node for case in TrainingFolder.open(tmp_path / "s").cases() for node in case.nodes]
    assert {(node.level, node.side) for node in nodes} == {(None, "right")}


@pytest.mark.parametrize(
    ("facts", "option"),
    [
        ({"columns": {"label": "Befund"}}, "--columns"),
        ({"column_values": {"level:4b": "IV"}}, "--column-values"),
        ({"clinical": ["age"]}, "--clinical"),
    ],
)
def test_what_is_said_of_a_table_is_refused_where_none_is_read(source, tmp_path, facts, option):
    with pytest.raises(DatasetError, match=rf"{option} would say how a table .* none is read .*--labels"):
        import_study(source, tmp_path / "s", labels="none", **facts)
    assert not (tmp_path / "s").exists()


def test_tables_of_excel_are_read(source, tmp_path):
    text = (source / "labels.csv").read_text().replace(",", ";").replace("Patient ID", "case")
    (source / "labels.csv").write_bytes(text.replace("P01", "王芳").encode("gb18030"))

    assert problems(source, tmp_path) == []
    assert len({case.patient for case in TrainingFolder.open(tmp_path / "study").cases()}) == 6


def test_a_table_without_images_says_which_columns_it_has(source, tmp_path):
    (source / "labels.csv").write_text("a,b\n1,2\n")

    with pytest.raises(DatasetError, match=r"labels\.csv has the columns a, b.*Call that column image"):
        import_study(source, tmp_path / "study")


def test_no_patient_name_leaves_the_source(necks, tmp_path):
    name = "DOE^JANE"
    source = tmp_path / "source"
    (source / "images").mkdir(parents=True)
    (source / "masks").mkdir()
    meta = PngImagePlugin.PngInfo()
    for key in ("Title", "Author", "Comment"):
        meta.add_text(key, f"patient {name}")
    for n in range(4):
        Image.fromarray(necks[n][0]).save(source / "images" / f"{name} {n}.png", pnginfo=meta)
        Image.fromarray((necks[n][1] * 255).astype(np.uint8)).save(
            source / "masks" / f"{name} {n}.png", pnginfo=meta
        )
    rows = "".join(
        f"{name} {n}.png,{'malignant' if n % 2 else 'benign'},{name} {n // 2},{name}\n" for n in range(4)
    )
    (source / "labels.csv").write_text(f"image,label,patient,cine\n{rows}")

    run(import_study(source, tmp_path / "study"))
    main(["check", str(tmp_path / "study"), "--pictures", str(tmp_path / "sheets")])
    main(["check", str(tmp_path / "study"), "--seen-by", "r1"])
    for format in ("nnunet", "coco", "csv"):
        run(export_study(tmp_path / "study", format, tmp_path / format))

    for place in ("study", "nnunet", "coco", "csv"):
        for path in (tmp_path / place).rglob("*"):
            assert "JANE" not in path.name.upper()
            if path.is_file():
                assert b"JANE" not in path.read_bytes().upper()


def test_notes_and_readers_stay_in_the_folder(study, annotate, tmp_path):
    study.save(annotate(0, note="spoke to Dr Secret"), who="Dr Secret")

    for format in ("nnunet", "coco", "csv"):
        run(export_study(study, format, tmp_path / format))
        assert not [
            p for p in (tmp_path / format).rglob("*.*") if p.is_file() and b"Secret" in p.read_bytes()
        ]


def test_an_nnunet_dataset_of_another_program_comes_in_pixel_by_pixel(necks, tmp_path):
    source = tmp_path / "Dataset001"
    for place in ("imagesTr", "labelsTr"):
        (source / place).mkdir(parents=True)
    for n in range(3):
        grey = necks[n][0][..., 0] if necks[n][0].ndim == 3 else necks[n][0]
        Image.fromarray(grey).save(source / "imagesTr" / f"neck_{n}_0000.png")
        Image.fromarray(necks[n][1].astype(np.uint8) * (n > 0)).save(source / "labelsTr" / f"neck_{n}.png")
    labels = {"background": 0, "target": 1}
    description = {"channel_names": {"0": "US"}, "labels": labels, "numTraining": 3, "file_ending": ".png"}
    (source / "dataset.json").write_text(json.dumps(description))

    steps = run(import_study(source, tmp_path / "s"))

    study = TrainingFolder.open(tmp_path / "s")
    assert [step.case.status for step in steps] == ["no-node", "accepted", "accepted"]
    for n, step in enumerate(steps):
        assert study.read_image(step.case).shape == (224, 224)
        assert np.array_equal(study.read_instances(step.case) > 0, necks[n][1] & (n > 0))


def test_nnunet_labels_that_are_not_known_are_asked_for(tmp_path):
    source = tmp_path / "Dataset002"
    (source / "imagesTr").mkdir(parents=True)
    labels = {"background": 0, "lymph node": 1, "vessel": 2}
    (source / "dataset.json").write_text(json.dumps({"labels": labels, "file_ending": ".png"}))

    with pytest.raises(DatasetError, match=r"label 'vessel' for the value 2.*--mask-values 2=node"):
        import_study(source, tmp_path / "s")


def test_the_nnunet_export_is_split_by_patient_and_names_only_its_own_frames(rich, tmp_path):
    run(export_study(rich, "nnunet", tmp_path / "out"))

    splits = json.loads((tmp_path / "out" / "splits_final.json").read_text())
    images = {path.name[:16] for path in (tmp_path / "out" / "imagesTr").iterdir()}
    labels = {path.stem for path in (tmp_path / "out" / "labelsTr").iterdir()}
    description = json.loads((tmp_path / "out" / "dataset.json").read_text())
    patient = {case.id: case.patient for case in rich.cases()}
    assert images == labels
    assert description["numTraining"] == len(labels)
    assert len(splits) == 5
    for fold in splits:
        assert set(fold) == {"train", "val"}
        assert set(fold["train"]) | set(fold["val"]) == labels
        assert not {patient[i] for i in fold["train"]} & {patient[i] for i in fold["val"]}
    for path in (tmp_path / "out" / "labelsTr").iterdir():
        assert set(np.unique(np.array(Image.open(path)))) <= {0, 1}


@pytest.fixture
def measured(folder, annotate):
    """A study of a frame whose flow was measured, in a box, and of one without."""
    other = annotate(1)
    plane = np.zeros(other.frame.shape, np.uint8)
    plane[60:120, 50:130], plane[80:90, 70:90] = 1, 200
    folder.save(annotate(0), who="r1")
    folder.save(replace(other, frame=replace(other.frame, channels={"flow": plane})), who="r1")
    confirm_screens(folder, unseen_screens(folder), "r1")
    return folder


def channels_of(folder):
    study = TrainingFolder.open(folder)
    planes = {case.id: study.read_channels(case) for case in study.cases()}
    return {case_id: {name: p.tobytes() for name, p in found.items()} for case_id, found in planes.items()}


@pytest.mark.parametrize("own", [True, False], ids=["own", "another program's"])
def test_channels_go_out_and_in_as_those_of_nnunet(measured, tmp_path, own):
    out = tmp_path / "out"
    list(export_study(measured, "nnunet", out))
    said = json.loads((out / "dataset.json").read_text())
    assert said["channel_names"] == {"0": "ultrasound", "1": "flow", "2": "flow measured"}
    assert {path.name[17:21] for path in (out / "imagesTr").iterdir()} == {"0000", "0001", "0002"}
    assert len([*(out / "imagesTr").iterdir()]) == 3 * len(measured.ids())
    if not own:  # without what only napari-cln knows
        del said["x_napari_cln"], said["checksum"]
        (out / "dataset.json").write_text(json.dumps(said))
        shutil.rmtree(out / "records")

    steps = [*import_study(out, tmp_path / "back", clean=False)]

    assert not [step.problem for step in steps if step.problem]
    back, there = channels_of(tmp_path / "back"), channels_of(measured.path)
    assert sorted(map(str, back.values())) == sorted(map(str, there.values()))
    assert any(back.values())


def test_a_channel_without_its_place_is_refused_by_name(measured, tmp_path):
    out = tmp_path / "out"
    list(export_study(measured, "nnunet", out))
    said = {"channel_names": {"0": "T1", "1": "T2"}, "labels": {"node": 1}, "file_ending": ".png"}
    (out / "dataset.json").write_text(json.dumps(said))

    with pytest.raises(DatasetError, match=r"the channel 'T2'.*'flow' and 'flow measured'"):
        import_study(out, tmp_path / "back")


@pytest.mark.parametrize("format", ["coco", "csv", "nrrd"])
def test_an_export_says_that_channels_are_not_written(measured, tmp_path, format, capsys):
    assert main(["export", str(measured.path), "--format", format, "--out", str(tmp_path / "out")]) == 0

    assert "not written in this format (flow of 1 frame); nnunet has them" in "".join(capsys.readouterr())


def test_coco_polygons_and_categories_come_in(necks, tmp_path):
    source = tmp_path / "coco"
    source.mkdir()
    Image.fromarray(necks[0][0]).save(source / "a.png")
    square = [20, 10, 40, 10, 40, 30, 20, 30]
    content = {
        "images": [{"id": 5, "file_name": "a.png", "height": 224, "width": 224}],
        "annotations": [
            {"id": 1, "image_id": 5, "category_id": 2, "segmentation": [square]},
            {"id": 2, "image_id": 5, "category_id": 1, "segmentation": [[x + 100 for x in square]]},
        ],
        "categories": [{"id": 1, "name": "benign"}, {"id": 2, "name": "malignant"}],
    }
    (source / "instances.json").write_text(json.dumps(content))

    (step,) = run(import_study(source, tmp_path / "s"))

    study = TrainingFolder.open(tmp_path / "s")
    instances = study.read_instances(step.case)
    assert [(node.id, node.truth) for node in step.case.nodes] == [(1, "metastatic"), (2, "benign")]
    assert (instances == 1)[10:30, 20:40].all() and (instances == 1).sum() == 400


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own
def test_pycocotools_reads_the_export(rich, tmp_path):
    mask_api = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    run(export_study(rich, "coco", tmp_path / "out"))

    content = json.loads((tmp_path / "out" / "annotations.json").read_text())
    ids = {image["id"]: image["x_napari_cln"]["id"] for image in content["images"]}
    assert content["annotations"]
    for entry in content["annotations"]:
        instances = rich.read_instances(rich.case(ids[entry["image_id"]]))
        decoded = mask_api.decode(entry["segmentation"]).astype(bool)
        assert np.array_equal(decoded, instances == entry["attributes"]["node"])
        assert mask_api.area(entry["segmentation"]) == entry["area"]
        assert list(mask_api.toBbox(entry["segmentation"])) == entry["bbox"]
        code = mask_api.encode(np.asfortranarray(decoded.astype(np.uint8)))["counts"].decode("ascii")
        assert code == entry["segmentation"]["counts"]


@given(arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_run_length_codes_give_back_every_mask(mask):
    assert np.array_equal(decode_rle(encode_rle(mask), mask.shape), mask)


def test_run_lengths_that_do_not_fill_the_mask_are_refused():
    with pytest.raises(ValueError, match="add up to 5 pixels, the mask has 6"):
        decode_rle([2, 3], (2, 3))


def test_an_export_of_a_damaged_frame_writes_nothing(study, tmp_path):
    study.cases()[3].mask.write_bytes(b"")

    with pytest.raises(ExportError, match=r"Nothing was exported: .*\.png is not a whole PNG"):
        list(export_study(study, "coco", tmp_path / "out"))
    assert not list(tmp_path.glob("*out*"))


def test_an_export_does_not_follow_a_link(study, tmp_path):
    case = study.cases()[0]
    elsewhere = tmp_path / "elsewhere.png"
    case.image.rename(elsewhere)
    case.image.symlink_to(elsewhere)

    with pytest.raises(ExportError, match="symbolic link"):
        list(export_study(study, "nnunet", tmp_path / "out"))


def test_an_export_goes_into_the_folder_where_one_is(study, tmp_path, monkeypatch, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".tmp-out").mkdir()  # of one that was killed
    monkeypatch.chdir(tmp_path / "out")

    assert main(["export", str(study.path), "--format", "coco", "--out", "."]) == 0

    # A shell stands in the same folder still.
    assert sorted(path.name for path in Path().iterdir()) == ["annotations.json", "images"]
    assert Path().samefile(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == ["out"]
    assert "should not have happened" not in capsys.readouterr().err


def test_an_export_that_fails_leaves_the_folder_where_one_is_empty(study, tmp_path):
    (tmp_path / "out").mkdir()
    study.cases()[0].image.write_bytes(b"\x89PNG")

    with pytest.raises(ExportError, match="Nothing was exported"):
        list(export_study(study, "csv", tmp_path / "out"))

    assert not list((tmp_path / "out").iterdir())


def test_an_export_into_a_full_folder_is_refused(study, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")

    with pytest.raises(ExportError, match="out exists and is not empty"):
        export_study(study, "csv", tmp_path / "out")
    with pytest.raises(ExportError, match=r"'zip' is not known\. Use one of nnunet, coco, csv"):
        export_study(study, "zip", tmp_path / "new")


@pytest.mark.slow
def test_busi_comes_in(shared_data, tmp_path):
    rows = read_rows(shared_data / "busi_384" / "labels.csv")[::25]
    source = take_few(shared_data / "busi_384", rows, tmp_path / "busi")

    steps = run(import_study(source, tmp_path / "s"))

    truths = {"benign": "benign", "malignant": "metastatic", "normal": "unknown"}
    assert [step.case.truth for step in steps] == [truths[row["label"]] for row in rows]
    assert [step.case.status == "no-node" for step in steps] == [row["label"] == "normal" for row in rows]
    assert {fault.kind for fault in check_study(tmp_path / "s").faults} <= {"patient-unknown", "held"}


def test_nerves_and_vessels_come_in_as_frames_without_a_node(shared_data, tmp_path):
    rows = read_rows(shared_data / "usgra" / "labels.csv")[:3]
    source = take_few(shared_data / "usgra", rows, tmp_path / "usgra")

    assert all("has the values 1" in problem for problem in problems(source, tmp_path))
    assert all(
        "is labelled as showing no node, but its mask shows" in problem
        for problem in problems(source, tmp_path, mask_values={1: "node", 2: "node"})
    )
    steps = run(import_study(source, tmp_path / "s", mask_values={1: "background", 2: "background"}))

    assert {step.case.status for step in steps} == {"no-node"}


def test_mapped_vessels_can_stand_for_nodes(shared_data, tmp_path):
    rows = [row | {"label": "benign"} for row in read_rows(shared_data / "usgra" / "labels.csv")[:2]]
    source = take_few(shared_data / "usgra", rows, tmp_path / "usgra")

    steps = run(import_study(source, tmp_path / "s", mask_values={1: "background", 2: "node"}, clean=False))

    study = TrainingFolder.open(tmp_path / "s")
    for step, row in zip(steps, rows, strict=True):
        vessels = np.array(Image.open(source / row["mask"])) == 2
        assert np.array_equal(study.read_instances(step.case) > 0, vessels)
