"""What an import says: sides, classes, odd masks, contradictions; and what it leaves alone."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from msgspec import to_builtins
from PIL import Image

from napari_cln.annotation import Annotation, Node
from napari_cln.cli import main
from napari_cln.errors import DatasetError
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.formats.exchange import import_study
from napari_cln.folder.health.check import check_study
from napari_cln.folder.health.summary import odd_signs
from napari_cln.folder.readers import read_annotation
from napari_cln.folder.split.frozen import frozen_split
from napari_cln.io.sources import read_frame


@pytest.fixture
def put(data, tmp_path):
    """Put a real frame and its mask under names of one's own."""
    root = tmp_path / "source"

    def put(number, image, mask=None):
        for kind, name in (("images", image), ("masks", mask)):
            if name is not None:
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(data / "folder" / kind / f"neck_{number:02d}.png", root / name)
        return root

    return put


def take(root, tmp_path, **options):
    work = import_study(root, tmp_path / "study", **options)
    steps = {step.name: step for step in work}
    return work.report, steps, TrainingFolder.open(tmp_path / "study")


def test_class_folders_give_the_class_and_a_normal_frame_has_no_node(put, tmp_path):
    put(0, "benign/a (1).png", "benign/a (1)_mask.png")
    put(1, "malignant/b (1).png", "malignant/b (1)_mask.png")
    root = put(2, "normal/c (1).png")
    Image.fromarray(np.zeros((224, 224), np.uint8)).save(root / "normal" / "c (1)_mask.png")

    report, _, _ = take(root, tmp_path)

    assert report.study.labels == {"benign": 1, "metastatic": 1, "no-node": 1}


def test_folders_called_train_and_test_are_sides(put, tmp_path):
    put(0, "train/images/1.png", "train/masks/1.png")
    root = put(1, "test/images/1.png", "test/masks/1.png")

    report, steps, _ = take(root, tmp_path)

    assert report.study.splits == {"train": 1, "test": 1}
    assert steps["test/images/1.png"].case.split == "test"


def test_a_frame_in_folders_of_two_sides_is_refused(put, tmp_path):
    root = put(0, "train2017/images/test/1.png")

    _, steps, _ = take(root, tmp_path)

    assert "is on the sides test and train at once" in steps["train2017/images/test/1.png"].problem


@pytest.mark.parametrize("name", ["hidden_test", "test2", "Test-Hospital-B"])
def test_a_folder_that_only_resembles_a_side_is_asked_about(put, tmp_path, name):
    root = put(0, f"{name}/1.png")

    with pytest.raises(DatasetError, match=rf"'{name}' \(1 time\).*--split-values \"{name}=test\""):
        take(root, tmp_path)
    report, _, _ = take(root, tmp_path, split_values={name: "test"})

    assert report.study.splits == {"test": 1}


def test_a_side_in_a_table_that_is_not_understood_never_joins_a_training(put, tmp_path):
    root = put(0, "a.png", "a_mask.png")
    (root / "labels.csv").write_text("image,split\na.png,hidden_test\n")

    with pytest.raises(DatasetError, match=r"'hidden_test' \(1 time\).*--split-values \"hidden_test=test\""):
        take(root, tmp_path)


def test_folder_and_table_that_contradict_each_other_refuse_the_frame(put, tmp_path):
    put(0, "benign/a.png", "benign/a_mask.png")
    root = put(1, "test/b.png", "test/b_mask.png")
    (root / "labels.csv").write_text("image,label,split\nbenign/a.png,malignant,\ntest/b.png,benign,train\n")

    report, steps, _ = take(root, tmp_path)

    assert "folder of the class benign, but the table says metastatic" in steps["benign/a.png"].problem
    assert "is on the sides test and train at once" in steps["test/b.png"].problem
    assert report.taken == 0


def test_a_patient_whose_number_a_spreadsheet_shortened_is_refused(put, tmp_path):
    root = put(0, "a.png")
    (root / "labels.csv").write_text("image,patient\na.png,2.02E+11\n")

    with pytest.raises(DatasetError, match=r"the patient '2\.02E\+11' in line 2: a spreadsheet shortened"):
        take(root, tmp_path)


def test_folders_can_be_named_after_patients(put, tmp_path):
    put(0, "P01/images/1.png", "P01/masks/1.png")
    put(1, "P01/images/2.png", "P01/masks/2.png")
    root = put(2, "P02/images/1.png", "P02/masks/1.png")

    report, _, study = take(root, tmp_path, patient_folders=True)

    assert (report.study.patients, report.study.unknown_patients) == (2, 0)
    assert len({case.patient for case in study.cases()}) == 2


@pytest.mark.parametrize("side", ["test2017", "test2"])
def test_the_folder_of_a_side_is_no_patient(put, tmp_path, side):
    root = put(0, f"P01/{side}/1.png")

    report, _, _ = take(root, tmp_path, patient_folders=True, split_values={"test2": "test"})

    study = TrainingFolder.open(tmp_path / "study")
    assert study.cases()[0].patient == study.dataset.hash_key("patient", "P01")
    assert report.study.splits == {"test": 1}


def test_rows_of_nodes_with_masks_of_their_own_make_one_frame(put, tmp_path):
    root = put(0, "a.png")
    for name, corner in (("n1", 20), ("n2", 120)):
        mask = np.zeros((224, 224), np.uint8)
        mask[corner : corner + 20, corner : corner + 30] = 255
        Image.fromarray(mask).save(root / f"{name}.png")
    (root / "labels.csv").write_text("image,mask,label\na.png,n1.png,benign\na.png,n2.png,malignant\n")

    report, steps, _ = take(root, tmp_path)

    assert [node.truth for node in steps["a.png"].case.nodes] == ["benign", "metastatic"]
    assert report.unused_files == {}


def batches(put, image="1.png"):
    """Two batches of frames that are called alike; the table lies in the second, and names its own."""
    put(0, "1.png")
    put(1, "batch1/2.png")
    root = put(2, "batch2/1.png", "batch2/masks/1.png")
    (root / "batch2" / "labels.csv").write_text(
        f"image,mask,label,patient\n{image},masks/1.png,malignant,P2\n"
    )
    return root


@pytest.mark.parametrize("image", ["1.png", "batch2/1.png"])
def test_a_table_speaks_of_the_pictures_beside_it(put, tmp_path, image):
    root = batches(put, image)

    report, steps, _ = take(root, tmp_path)

    assert steps["batch2/1.png"].case.truth == "metastatic"
    assert sorted(report.unused_files) == ["1.png", "batch1/2.png"]


@pytest.mark.parametrize("image", ["2.png", "batch2/2.png"])
def test_a_row_whose_picture_is_missing_never_takes_one_of_another_folder(put, tmp_path, image):
    report, _, _ = take(batches(put, image), tmp_path)

    assert (
        "2.png was found 0 times in batch2, only elsewhere: source/batch1/2.png"
        in (report.problems["labels.csv, line 2"])
    )


@pytest.mark.parametrize("image", ["1.png", "images/1.png", "../images/1.png", "D:\\export\\images\\1.png"])
def test_a_table_beside_the_masks_finds_the_images(put, tmp_path, image):
    root = put(0, "images/1.png", "masks/1_mask.png")
    (root / "masks" / "labels.csv").write_text(f"image,mask,label\n{image},1_mask.png,benign\n")

    report, steps, _ = take(root, tmp_path)

    assert (steps["images/1.png"].case.truth, report.study.with_mask) == ("benign", 1)


def test_outlines_beside_the_images_are_found_from_a_table_elsewhere(put, tmp_path):
    root = put(0, "images/1.png", "images/1_mask.png")
    (root / "tables").mkdir()
    (root / "tables" / "labels.csv").write_text("image,label\n../images/1.png,benign\n")

    report, _, _ = take(root, tmp_path)

    assert (report.study.with_mask, report.unused_files) == (1, {})


def test_a_picture_that_no_row_names_is_told(put, tmp_path):
    put(0, "a.png", "a_mask.png")
    root = put(1, "b.png", "b_mask.png")
    (root / "labels.csv").write_text("image,label\na.png,benign\n")

    report, _, _ = take(root, tmp_path)

    assert list(report.unused_files) == ["b.png", "b_mask.png"]


def test_the_mask_of_an_image_is_never_a_frame(put, tmp_path):
    put(0, "scan0.png")
    root = put(0, "rest.png", "scan0mask.png")

    _, steps, _ = take(root, tmp_path)

    assert "has two values alone, as a mask has" in steps["scan0mask.png"].problem


def test_odd_masks_are_named_with_the_reason(put, tmp_path, capsys):
    for number, name in enumerate(("whole", "thin", "good")):
        root = put(number, f"{name}.png", f"{name}_mask.png")
    mask = np.zeros((224, 224), np.uint8)
    mask[20:200] = 255
    Image.fromarray(mask).save(root / "whole_mask.png")
    mask[:] = 0
    mask[100:102, 50:150] = 255
    Image.fromarray(mask).save(root / "thin_mask.png")

    main(["import", str(root), "--out", str(tmp_path / "s")])
    said = capsys.readouterr().out

    assert "look at     whole.png: its mask covers 80 % of the frame" in said
    assert "look at     thin.png: its mask has a node (id 1) thinner than 3 pixels" in said
    assert "good.png" not in said
    main(["check", str(tmp_path / "s"), "--json"])
    summary = json.loads(capsys.readouterr().out)["summary"]
    assert len(summary["odd_masks"]) == 2


def test_a_picture_that_was_thresholded_looks_odd(data):
    picture = np.asarray(Image.open(data / "folder" / "images" / "neck_00.png").convert("L"))

    (sign,) = odd_signs((picture > 110).astype(np.uint8))

    assert "as a picture that was thresholded" in sign


def test_a_strip_of_three_pixels_is_no_odd_mask():
    strip = np.zeros((40, 40), np.uint8)
    strip[10:13, 5:30] = 1

    assert odd_signs(strip) == ()
    strip[12] = 0
    assert odd_signs(strip) == ("has a node (id 1) thinner than 3 pixels",)


@pytest.mark.slow
def test_a_check_counts_what_the_import_counted(data, tmp_path):
    report, steps, study = take(data / "folder", tmp_path)

    counted, checked = to_builtins(report.study), to_builtins(check_study(study).summary)
    odd = {steps[each["name"]].case.id for each in counted.pop("odd_masks")}
    assert odd == {each["name"] for each in checked.pop("odd_masks")}
    assert counted == checked


def test_a_second_import_does_not_overwrite_what_a_reader_corrected(put, tmp_path):
    root = put(0, "a.png", "a_mask.png")
    _, steps, study = take(root, tmp_path, clean=False)
    case = steps["a.png"].case
    moved = np.roll(study.read_instances(case), 5, axis=1)
    frame = Annotation(frame=_frame(study, case), instances=moved, status="corrected", annotator="r1")
    study.save(frame, who="r1", expected_revision=1)

    report, steps, study = take(root, tmp_path, clean=False)

    assert "was changed by r1" in steps["a.png"].problem
    assert np.array_equal(study.read_instances(study.case(case.id)), moved)
    assert report.refused == 1


def _frame(study, case):
    assert study.layout.image(case.id, True).exists()
    return read_frame(case.image)


def test_an_import_that_is_repeated_changes_nothing(put, tmp_path):
    root = put(0, "a.png", "a_mask.png")
    _, steps, _ = take(root, tmp_path)

    report, again, study = take(root, tmp_path)

    assert (again["a.png"].case, report.taken) == (steps["a.png"].case, 1)
    assert study.case(steps["a.png"].case.id).revision == 1


def test_check_counts_what_is_much_and_says_the_one_line_that_matters_last(put, tmp_path, capsys):
    root = put(0, "a.png", "a_mask.png")
    _, _, study = take(root, tmp_path)
    for number in range(156):
        (study.layout.images / f"note-{number}.txt").write_text("x")

    assert main(["check", str(study.path)]) == 1
    said = capsys.readouterr().out.splitlines()

    assert said[0] == "frames      1: 1 with a mask, 0 with an empty one (no node), 0 without"
    assert len(said) < 20
    assert any("153 more of the kind foreign-file; --all lists them" in line for line in said)
    assert said[-1].startswith("errors: 15")


def test_a_folder_of_test_frames_alone_has_no_error(put, tmp_path):
    root = put(0, "test/a.png", "test/a_mask.png")
    _, _, study = take(root, tmp_path)

    faults = check_study(study).faults

    assert [fault.severity for fault in faults if fault.kind == "no-split"] == ["warning"]
    assert {fault.kind for fault in faults if fault.severity == "error"} == {"held"}


def with_table(root, text, name="labels.csv"):
    (root / name).write_text(text)
    return root


def test_each_node_has_the_level_of_its_own_row(put, tmp_path):
    put(0, "1.png", "a.png")
    root = put(1, "2.png", "b.png")
    first = np.array(Image.open(root / "a.png"))
    first[:, 112:] = 0
    second = np.zeros_like(first)
    second[150:190, 150:200] = 255
    Image.fromarray(np.where(first > 0, 255, 0).astype(np.uint8)).save(root / "a.png")
    Image.fromarray(second).save(root / "b.png")
    with_table(root, "image,mask,label,level,side\n1.png,b.png,benign,IV,right\n1.png,a.png,benign,II,left\n")

    _, steps, study = take(root, tmp_path)

    case = steps["1.png"].case
    ids = study.read_instances(case)
    by_level = {node.level: node for node in case.nodes}
    assert ids[170, 170] == by_level["IV"].id
    assert {(node.level, node.side) for node in case.nodes} == {("IV", "right"), ("II", "left")}


def test_rows_of_one_image_that_contradict_each_other_are_refused(put, tmp_path):
    root = with_table(put(0, "1.png"), "image,label,level\n1.png,benign,II\n1.png,benign,IV\n")

    _, steps, _ = take(root, tmp_path)

    assert "levels II and IV in 2 rows" in steps["1.png"].problem


def test_a_column_that_is_not_used_is_not_said_to_be(put, tmp_path):
    root = with_table(put(0, "1.png"), "image,node,label\n1.png,1,benign\n")

    report, _, _ = take(root, tmp_path)

    assert report.tables[0].unused == ("node",)


@pytest.mark.parametrize("word", ["n/a", "#N/A", "nan", "unknown", "-"])
def test_a_patient_that_is_not_known_is_no_patient(put, tmp_path, word):
    put(0, "1.png")
    root = with_table(put(1, "2.png"), f"image,patient\n1.png,{word}\n2.png,{word}\n")

    report, _, _ = take(root, tmp_path)

    assert report.study.patients == 0
    assert any("taken as not known" in remark for remark in report.remarks)


@pytest.mark.parametrize("word", ["#REF!", "#NAME?", "#DIV/0!"])
def test_a_formula_that_failed_is_refused(put, tmp_path, word):
    root = with_table(put(0, "1.png"), f"image,patient\n1.png,{word}\n")

    with pytest.raises(DatasetError, match="line 2, column 'patient': a formula"):
        take(root, tmp_path)


def test_dates_in_the_place_of_patients_are_told(put, tmp_path):
    root = with_table(put(0, "1.png"), "image,patient\n1.png,03-Dec\n")

    report, _, _ = take(root, tmp_path)

    assert any("dates in the place of patients: '03-Dec'" in remark for remark in report.remarks)


def test_two_columns_of_labels_that_differ_are_refused(put, tmp_path):
    root = with_table(put(0, "1.png"), "image,class,pathology\n1.png,benign,malignant\n")

    with pytest.raises(DatasetError, match='--columns "label=pathology"'):
        take(root, tmp_path)


def test_a_name_that_no_disk_takes_refuses_its_row_alone(put, tmp_path):
    root = with_table(put(0, "1.png"), f"image,label\n{'x' * 5000}.png,benign\n1.png,benign\n")

    report, _, _ = take(root, tmp_path)

    assert report.taken == 1
    assert "is no name that a file can have" in report.problems["labels.csv, line 2"]


@pytest.mark.parametrize("name", ["benign_cases", "Malignant nodes"])
def test_a_folder_that_only_resembles_a_class_is_asked_about(put, tmp_path, name):
    with pytest.raises(DatasetError, match=rf"'{name}' \(1 time\).*--label-values"):
        take(put(0, f"{name}/1.png"), tmp_path)


@pytest.mark.parametrize("name", ["images_benign", "2_malignant"])
def test_a_class_beside_a_role_or_a_number_is_the_class(put, tmp_path, name):
    report, _, _ = take(put(0, f"{name}/1.png"), tmp_path)

    assert sum(report.study.labels.get(label, 0) for label in ("benign", "metastatic")) == 1


def test_an_empty_mask_that_says_nothing_is_told(put, tmp_path):
    root = put(0, "images/1.png")
    (root / "masks").mkdir()
    Image.fromarray(np.zeros((224, 224), np.uint8)).save(root / "masks" / "1.png")

    _, steps, _ = take(root, tmp_path)

    assert "its mask is empty" in steps["images/1.png"].note


def test_dicom_files_without_an_ending_are_images(data, tmp_path):
    root = tmp_path / "source"
    root.mkdir()
    shutil.copy(data / "cases" / "20_folder_without_endings" / "study" / "IM0001", root / "IM0001")

    report, _, _ = take(root, tmp_path)

    assert report.taken == 1


def test_a_training_folder_without_its_records_is_not_taken_for_an_empty_one(put, tmp_path):
    take(put(0, "images/1.png", "masks/1.png"), tmp_path)
    shutil.rmtree(tmp_path / "study" / "records")

    with pytest.raises(DatasetError, match="without their records"):
        import_study(tmp_path / "study", tmp_path / "other")


def pairs(put, number):
    """So many images with masks, 0.png with masks/0.png and so on."""
    roots = [put(n, f"{n}.png", f"masks/{n}.png") for n in range(number)]
    return roots[-1]


def test_a_side_and_a_clip_that_a_later_table_names_are_taken_once(put, tmp_path):
    rows = [f"{n}.png,masks/{n}.png,{label},P{n}" for n, label in enumerate(("benign", "malignant") * 3)]
    root = with_table(pairs(put, 6), "\n".join(["image,mask,label,patient", *rows]))
    _, steps, study = take(root, tmp_path)
    frozen_split(study, 2)

    sides = ["test", "test", "train", "train", "train", "train"]
    told = [f"{row},{side},1" for row, side in zip(rows, sides, strict=True)]
    with_table(root, "\n".join(["image,mask,label,patient,split,clip", *told]))
    take(root, tmp_path)
    report, again, study = take(root, tmp_path)

    cases = [study.case(steps[f"{n}.png"].case.id) for n in range(6)]
    assert [case.split for case in cases] == sides
    assert len({case.cine for case in cases} - {None}) == 6  # each patient has a clip 1
    assert {case.revision for case in cases} == {2}
    assert [again[f"{n}.png"].case for n in range(6)] == cases
    assert report.study.splits["test"] == 2
    dealt = {id_ for fold in frozen_split(study) for id_ in (*fold.train, *fold.validation)}
    assert dealt == {case.id for case in cases[2:]}


@pytest.mark.parametrize(("column", "values"), [("split", ("test", "train")), ("clip", ("1", "2"))])
def test_another_side_or_clip_than_the_folder_has_is_refused_by_name(put, tmp_path, column, values):
    root = pairs(put, 1)
    tables = [f"image,mask,patient,{column}\n0.png,masks/0.png,P1,{value}\n" for value in values]
    take(with_table(root, tables[0]), tmp_path)

    _, steps, study = take(with_table(root, tables[1]), tmp_path)

    word = {"split": "on the side test, and is said to be on the side train", "clip": "another clip"}[column]
    assert word in steps["0.png"].problem
    assert [case.revision for case in study.cases()] == [1]


def test_a_table_without_the_column_of_sides_changes_nothing(put, tmp_path):
    root = with_table(pairs(put, 1), "image,mask,split,patient,clip\n0.png,masks/0.png,test,P1,1\n")
    take(root, tmp_path)

    for heading, row in (("image,mask", "0.png,masks/0.png"), ("image,mask,clip", "0.png,masks/0.png,1")):
        _, steps, study = take(with_table(root, f"{heading}\n{row}\n"), tmp_path)

        assert steps["0.png"].problem is None
        (case,) = study.cases()
        assert (case.split, case.revision) == ("test", 1)


def test_a_clip_keeps_its_frames_together_when_it_and_its_patient_are_told_one_after_the_other(put, tmp_path):
    root = pairs(put, 2)
    _, _, study = take(root, tmp_path)
    assert len({case.patient for case in study.cases()}) == 2

    _, _, study = take(with_table(root, "image,clip\n0.png,1\n1.png,1\n"), tmp_path)
    (unknown,) = {case.patient for case in study.cases()}
    assert unknown == f"unknown-{study.cases()[0].cine}"

    report, _, study = take(with_table(root, "image,clip,patient\n0.png,1,P1\n1.png,1,P1\n"), tmp_path)
    assert not report.problems
    assert {case.patient for case in study.cases()} == {study.dataset.hash_key("patient", "P1")}
    assert len({case.cine for case in study.cases()}) == 1


def accept_all(study):
    """A reader outlines and accepts every frame."""
    for case in study.cases():
        annotation = read_annotation(study, case)
        mask = np.zeros(case.shape, np.uint8)
        mask[30:60, 40:90] = 1
        changes = {"instances": mask, "nodes": (Node(id=1, status="accepted", truth="benign"),)}
        study.save(replace(annotation, status="accepted", **changes), who="r1")


def test_facts_about_a_frame_that_a_reader_accepted_are_taken_and_the_reading_stays(put, tmp_path):
    root = put(0, "0.png")
    _, _, study = take(root, tmp_path)
    accept_all(study)
    (before,) = study.cases()
    masks = study.read_instances(before)

    with_table(root, "image,patient,split,hospital\n0.png,P1,test,B\n")
    report, _, _ = take(root, tmp_path)
    report, _, study = take(root, tmp_path)

    assert not report.problems
    (case,) = study.cases()
    assert (case.split, case.hospital, case.revision) == ("test", "B", before.revision + 1)
    assert case.patient == study.dataset.hash_key("patient", "P1")
    assert (case.status, case.nodes) == (before.status, before.nodes)
    assert np.array_equal(study.read_instances(case), masks)
    assert read_annotation(study, case).annotator == "r1"
    last = study.record(case.id).last
    assert (last.who, last.action, last.status, last.judged_by) == ("import", "noted", "accepted", "r1")


def test_a_table_alone_takes_no_mask_away(put, tmp_path):
    root = pairs(put, 1)
    _, steps, _ = take(root, tmp_path)

    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(root / "0.png", alone)
    _, _, study = take(with_table(alone, "image,patient\n0.png,P1\n"), tmp_path)

    (case,) = study.cases()
    assert case.nodes == steps["0.png"].case.nodes
    assert study.read_instances(case).any()
    assert not case.patient.startswith("unknown-")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("12", "12.0"),
        ("12.0", "12"),
        ("12", "0012"),
        ("P-017", "p17"),
        ("P 17", "P-0017"),
        ("A-1-2", "a1/02"),
    ],
)
def test_a_patient_whom_two_tables_spell_in_two_ways_is_one(put, tmp_path, first, second):
    root = put(0, "0.png")
    take(with_table(root, f"image,patient\n0.png,{first}\n"), tmp_path)
    put(1, "1.png")

    report, _, study = take(with_table(root, f"image,patient\n0.png,{second}\n1.png,{second}\n"), tmp_path)

    assert not report.problems
    assert len({case.patient for case in study.cases()}) == 1
    assert len(study.cases()) == 2
    if "12.0" in (first, second):
        said = [remark for remark in report.remarks if "'12.0' is '12'" in remark]
        assert len(said) == (second == "12.0")
    else:
        assert f"1 patient in another spelling than before: {second!r} as" in report.remarks[-1]


def test_patients_whose_names_differ_by_more_than_zeros_and_signs_stay_two(put, tmp_path):
    put(0, "0.png")
    root = with_table(put(1, "1.png"), "image,patient\n0.png,12\n")
    take(root, tmp_path)

    report, _, study = take(with_table(root, "image,patient\n0.png,12\n1.png,120\n"), tmp_path)

    assert len({case.patient for case in study.cases()}) == 2
    assert not [remark for remark in report.remarks if "spelling" in remark]


def test_a_folder_that_was_made_of_12_0_knows_the_patient_12(put, tmp_path):
    root = put(0, "0.png")
    study = TrainingFolder.create(tmp_path / "study")
    frame = read_frame(root / "0.png")
    case = study.save(Annotation(frame=frame, instances=np.zeros(frame.shape, np.uint8)), patient="12.0")

    report, _, study = take(with_table(root, "image,patient\n0.png,12\n"), tmp_path)

    assert not report.problems
    assert [each.patient for each in study.cases()] == [case.patient]
    assert "'12' as '12.0'" in report.remarks[-1]
