"""Results of a batch go back to the archive: a segmentation and a report of each DICOM file."""

from __future__ import annotations

import csv
import shutil
from io import BytesIO

import numpy as np
import pydicom
import pytest
from batch_runs import picture, run
from PIL import Image

from napari_cln.batch.dicom import archive_results
from napari_cln.batch.names import name_sources
from napari_cln.cli import main
from napari_cln.io.dicom.objects.segmentation import read_segmentation

STILL, CINE, ILLEGAL = "US1_J2KR.dcm", "OBXXXX1A_rle_2frame.dcm", "color-pl.dcm"


@pytest.fixture(scope="module")
def results(data, networks, tmp_path_factory):
    """A still, a cine, a file with an identifier that is none, and a PNG, segmented."""
    root = tmp_path_factory.mktemp("archive")
    for name in (STILL, CINE, ILLEGAL):
        (root / "in" / "neck").mkdir(parents=True, exist_ok=True)
        shutil.copy(data / "dicom" / name, root / "in" / "neck" / name)
    Image.fromarray(np.full((90, 90), 9, np.uint8)).save(root / "in" / "a.png")
    run(root / "in", root / "out", networks["first"])
    return root


@pytest.fixture
def archived(results, tmp_path):
    shutil.copytree(results, tmp_path / "run")
    root = tmp_path / "run"
    made = archive_results(root / "out", name_sources([root / "in"]), mask_threshold=0.25)
    return root, {file.source: file for file in made}


def rows_of(out, source):
    with (out / "results.csv").open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["source"] == source]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "n_frames"), [(STILL, 1), (CINE, 2)])
def test_a_segmentation_holds_the_masks_of_the_results(archived, name, n_frames):
    root, made = archived
    source = f"neck/{name}"

    seg, report = made[source].written

    assert (seg.name, report.name) == (f"{name}.seg.dcm", f"{name}.sr.dcm")
    uid = pydicom.dcmread(root / "in" / source, stop_before_pixels=True).SOPInstanceUID
    masks = read_segmentation(seg).of(uid, n_frames)
    for index in range(n_frames):
        number = f"_frame{index:04d}" if n_frames > 1 else ""
        _, expected = picture(root / "out" / "masks" / "neck" / f"{name}{number}.png")
        assert expected.any()
        assert np.array_equal(masks[index], expected)


@pytest.mark.slow
def test_a_report_says_the_scores_and_sizes_of_the_table(archived):
    root, made = archived
    rows = rows_of(root / "out", f"neck/{CINE}")
    assert any(row["short_axis_mm"] for row in rows)

    said = {"111047": [], "103340004": []}

    def walk(item):
        if item.get("ValueType") == "NUM" and item.ConceptNameCodeSequence[0].CodeValue in said:
            value = float(item.MeasuredValueSequence[0].NumericValue)
            said[item.ConceptNameCodeSequence[0].CodeValue].append(value)
        for inner in item.get("ContentSequence", ()):
            walk(inner)

    walk(pydicom.dcmread(made[f"neck/{CINE}"].written[1]))
    assert said["111047"] == pytest.approx([100 * float(row["malignancy"]) for row in rows])
    assert said["103340004"] == [float(row["short_axis_mm"]) for row in rows if row["short_axis_mm"]]


@pytest.mark.slow
def test_what_can_not_be_referred_to_is_refused_with_a_way_out(archived):
    root, made = archived

    assert "identifier 999.999.2." in made[f"neck/{ILLEGAL}"].problem
    assert "a.png has no DICOM identity" in made["a.png"].problem
    assert not made["a.png"].is_dicom
    assert len(list((root / "out" / "dicom").rglob("*.dcm"))) == 4


@pytest.mark.slow
def test_a_file_that_nobody_foresaw_does_not_stop_those_after_it(archived):
    root, made = archived
    for source in (f"neck/{CINE}", f"neck/{STILL}"):
        made[source].written[1].unlink()
    table = root / "out" / "results.csv"
    with table.open(encoding="utf-8", newline="") as file:
        heading, *rows = csv.reader(file)
    for row in rows:
        if row[heading.index("source")] == f"neck/{CINE}":
            row[heading.index("cutoff")] = "about a half"
    with table.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([heading, *rows])

    again = {file.source: file for file in archive_results(root / "out", name_sources([root / "in"]))}

    assert "something in it is unforeseen (ValueError)" in again[f"neck/{CINE}"].problem
    assert len(again[f"neck/{STILL}"].written) == 2


@pytest.mark.slow
def test_a_second_run_writes_what_is_missing_alone(archived):
    root, made = archived
    seg, report = made[f"neck/{STILL}"].written
    kept = made[f"neck/{CINE}"].written[1].stat().st_mtime_ns
    report.unlink()

    again = [
        file.source for file in archive_results(root / "out", name_sources([root / "in"])) if file.written
    ]

    assert again == [f"neck/{STILL}"]
    assert seg.exists()
    assert report.exists()
    assert made[f"neck/{CINE}"].written[1].stat().st_mtime_ns == kept


@pytest.mark.slow
def test_what_was_made_of_a_models_results_goes_with_them(archived, networks):
    root, _ = archived
    (root / "out" / "radiomics.csv").write_text("source,frame,node\n")

    run(root / "in", root / "out", networks["second"], redo=True)

    assert not list((root / "out" / "dicom").rglob("*.dcm"))
    assert not (root / "out" / "radiomics.csv").exists()


@pytest.mark.slow
def test_what_was_made_of_a_file_goes_when_the_file_has_become_another(archived, networks):
    root, made = archived
    (root / "out" / "radiomics.csv").write_text("source,frame,node\n")
    shutil.copy(root / "in" / "neck" / CINE, root / "in" / "neck" / STILL)

    run(root / "in", root / "out", networks["first"])

    assert not any(path.exists() for path in made[f"neck/{STILL}"].written)
    assert all(path.exists() for path in made[f"neck/{CINE}"].written)
    assert not (root / "out" / "radiomics.csv").exists()


@pytest.mark.slow
def test_a_report_of_other_results_is_made_again(archived, networks):
    root, made = archived
    seg, report = made[f"neck/{STILL}"].written
    former = {path: path.read_bytes() for path in (seg, report)}
    run(root / "in", root / "out", networks["second"], redo=True)
    for path, data in former.items():  # as a stopped run of an earlier version left them
        path.write_bytes(data)

    again = [file.source for file in archive_results(root / "out", name_sources([root / "in"]))]

    assert f"neck/{STILL}" in again
    assert b"napari-cln second" in report.read_bytes()
    assert b"napari-cln first" not in report.read_bytes()
    assert pydicom.dcmread(report).SOPInstanceUID != pydicom.dcmread(BytesIO(former[report])).SOPInstanceUID


@pytest.mark.slow
@pytest.mark.parametrize("damaged", [b"", b"no DICOM", bytes(200)])
def test_a_damaged_report_is_made_again(archived, damaged):
    root, made = archived
    _, report = made[f"neck/{STILL}"].written
    whole = pydicom.dcmread(report)
    report.write_bytes(damaged)

    list(archive_results(root / "out", name_sources([root / "in"]), mask_threshold=0.25))

    assert pydicom.dcmread(report).SOPInstanceUID == whole.SOPInstanceUID


@pytest.mark.slow
def test_a_segmentation_does_not_outlive_its_result(archived):
    root, made = archived
    table = root / "out" / "results.csv"
    lines = table.read_text(encoding="utf-8").splitlines(keepends=True)
    gone = [line for line in lines if not line.startswith(f"neck/{STILL}")]
    row = f"neck/{STILL},0,,0.3,no node found,0.5,first@0123456789ab,,,,,,,,ok,,\n"
    table.write_text("".join([*gone, row]), encoding="utf-8")

    sources = name_sources([root / "in"])
    (again,) = [f for f in archive_results(root / "out", sources) if f.written]

    assert [path.name for path in again.written] == [f"{STILL}.sr.dcm"]
    assert not made[f"neck/{STILL}"].written[0].exists()


@pytest.mark.slow
def test_a_mask_that_was_removed_is_missed(archived):
    root, made = archived
    made[f"neck/{STILL}"].written[1].unlink()
    (root / "out" / "masks" / "neck" / f"{STILL}.png").unlink()

    sources = name_sources([root / "in"])
    made = {file.source: file for file in archive_results(root / "out", sources)}

    assert f"{STILL}.png is missing or damaged" in made[f"neck/{STILL}"].problem


@pytest.mark.slow
def test_the_command_writes_objects_and_names_what_it_can_not(results, networks, tmp_path, capsys):
    out = tmp_path / "out"

    study, model = str(results / "in"), networks["first"]
    code = main(["segment", study, "--out", str(out), "--model", model, "--dicom", "--device", "cpu"])

    said = capsys.readouterr()
    assert code == 1
    assert "4 DICOM objects written, 1 file refused" in said.out
    assert "not archived: neck/color-pl.dcm: color-pl.dcm has the identifier 999.999.2." in said.err
    assert "note: 1 file is no DICOM" in said.err
    assert len(list((out / "dicom" / "neck").glob("*.dcm"))) == 4


@pytest.mark.parametrize("other", [["--masks", "rle"], ["--names", "hash"]])
def test_settings_that_contradict_each_other_are_refused(results, tmp_path, capsys, other):
    code = main(["segment", str(results / "in"), "--out", str(tmp_path / "out"), "--dicom", *other])

    assert code == 1
    assert "Leave out one" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
