"""Training folders to an archive and back: captures, segmentations and reports under pseudonyms."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from dataclasses import replace

import numpy as np
import pydicom
import pytest

from napari_cln.annotation import Node
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.formats.exchange import export_study, import_study
from napari_cln.folder.screens import confirm_screens, unseen_screens
from napari_cln.imaging.measurement import measure
from napari_cln.io.dicom.objects.findings import FrameFindings, ImageIdentity, encode
from napari_cln.io.dicom.objects.segmentation import read_segmentation, segmentation_of
from napari_cln.io.sources import read_frame
from napari_cln.types import Frame

pytestmark = pytest.mark.slow  # its frames take seconds to make

PATIENT = "Mustermann^Erika"


@pytest.fixture
def looked_at(folder, annotate) -> TrainingFolder:
    """Three frames of two patients: corrected from a model, drawn, and without a node."""
    first = annotate(0).frame
    calibrated = Frame(
        pixels=first.pixels, scan_area=first.scan_area, spacing_mm=(0.05, 0.06), spacing_source="typed"
    )
    node = Node(id=1, level="IV", side="right", p_malignant=0.75, truth="metastatic", truth_source="fna")
    folder.save(
        annotate(0, frame=calibrated, nodes=(node,), based_on="best@0123456789ab"),
        patient=PATIENT,
        who="Dr. A",
    )
    folder.save(annotate(1), patient=PATIENT, who="Dr. A")
    folder.save(annotate(11), patient="Other", who="Dr. A")
    confirm_screens(folder, unseen_screens(folder), "Dr. A")
    return folder


@pytest.fixture
def exported(looked_at, tmp_path):
    for _ in export_study(looked_at, "dicom", tmp_path / "out"):
        pass
    return tmp_path / "out"


@pytest.mark.slow
def test_each_frame_has_a_capture_with_its_pixels_and_scale(looked_at, exported):
    for case in looked_at.cases():
        frame = read_frame(exported / case.patient / f"{case.id}.dcm")
        assert np.array_equal(frame.pixels, looked_at.read_image(case))
        assert frame.spacing_mm == case.spacing_mm


def test_each_frame_with_a_node_has_a_segmentation_on_its_capture(looked_at, exported):
    assert len(list(exported.rglob("*.seg.dcm"))) == 2
    for case in looked_at.cases():
        if case.mask is None or case.status == "no-node":
            continue
        capture = pydicom.dcmread(exported / case.patient / f"{case.id}.dcm", stop_before_pixels=True)
        read = read_segmentation(exported / case.patient / f"{case.id}.seg.dcm")
        assert np.array_equal(read.of(capture.SOPInstanceUID)[0], looked_at.read_instances(case))


def test_every_frame_that_was_judged_has_a_report(exported):
    assert len(list(exported.rglob("*.sr.dcm"))) == 3


def test_no_name_of_a_patient_or_reader_and_no_truth_leaves(exported):
    for path in exported.rglob("*.dcm"):
        data = path.read_bytes()
        for word in (b"Mustermann", b"Erika", b"Dr. A", b"etastatic", b"alignant"):
            assert word not in data, path.name
    names = {str(pydicom.dcmread(path).PatientName) for path in exported.rglob("*.dcm")}
    assert names == {f"{path.name}^" for path in exported.iterdir()}


def test_a_score_leaves_with_the_model_that_gave_it_and_origin_is_said(looked_at, exported):
    texts = {path.name: str(pydicom.dcmread(path)) for path in exported.rglob("*.sr.dcm")}
    (scored,) = [text for text in texts.values() if "Probability of cancer" in text]
    assert "napari-cln best" in scored
    assert "Corrected or accepted by a reader" in scored
    assert sum("Drawn by a reader" in text for text in texts.values()) == 2


@pytest.mark.slow
def test_a_second_export_has_the_same_identifiers(looked_at, exported, tmp_path):
    for _ in export_study(looked_at, "dicom", tmp_path / "again"):
        pass

    def identifiers(folder):
        return {
            path.relative_to(folder): pydicom.dcmread(path).SOPInstanceUID for path in folder.rglob("*.dcm")
        }

    assert identifiers(exported) == identifiers(tmp_path / "again")


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy is not installed")
def test_all_that_is_exported_conforms(exported):
    errors = []
    for path in exported.rglob("*.dcm"):
        done = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True, check=False)
        errors += [line for line in done.stderr.splitlines() if line.startswith("Error")]
    assert errors == []


@pytest.fixture
def archive(tmp_path):
    """Address of an Orthanc of our own: on this computer, with a folder of its own."""
    program = shutil.which("Orthanc", path=os.environ["PATH"] + os.pathsep + "/usr/sbin")
    if program is None:
        pytest.skip("Orthanc is not installed")
    with socket.socket() as first, socket.socket() as second:
        for door in (first, second):
            door.bind(("127.0.0.1", 0))
        http, dicom = first.getsockname()[1], second.getsockname()[1]
    place = tmp_path / "orthanc"
    place.mkdir()
    settings = {
        "StorageDirectory": str(place),
        "IndexDirectory": str(place),
        "HttpPort": http,
        "DicomPort": dicom,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [],
    }
    (place / "settings.json").write_text(json.dumps(settings))
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([program, str(place / "settings.json")], **quiet)
    address = f"http://127.0.0.1:{http}"
    for _ in range(300):
        try:
            urllib.request.urlopen(f"{address}/system", timeout=2).close()
            break
        except OSError:
            time.sleep(0.1)
    yield address
    process.terminate()
    process.wait(30)


def test_an_archive_takes_all_and_gives_it_back_equal(exported, archive):
    files = sorted(exported.rglob("*.dcm"))
    for path in files:
        data = path.read_bytes()
        with urllib.request.urlopen(f"{archive}/instances", data, timeout=30) as answer:
            stored = json.load(answer)
        assert stored["Status"] == "Success"
        with urllib.request.urlopen(f"{archive}/instances/{stored['ID']}/file", timeout=30) as answer:
            assert answer.read() == data

    with urllib.request.urlopen(f"{archive}/statistics", timeout=30) as answer:
        statistics = json.load(answer)
    assert (len(files), statistics["CountInstances"], statistics["CountPatients"]) == (8, 8, 2)


def test_an_export_comes_back_with_masks_level_and_side(looked_at, exported, tmp_path):
    work = import_study(exported, tmp_path / "back", clean=False)
    for step in work:
        assert step.problem is None

    back = TrainingFolder.open(tmp_path / "back")
    assert work.report.kind == "DICOM images with segmentations"
    masked = {case.id: case for case in looked_at.cases() if case.nodes}
    for case_id, case in masked.items():
        found = back.case(case_id)
        assert np.array_equal(back.read_instances(found), looked_at.read_instances(case))
        assert [(n.level, n.side) for n in found.nodes] == [(n.level, n.side) for n in case.nodes]


def origins(folder) -> list[str]:
    """What the segmentations of an export say of the makers of their segments."""
    paths = sorted(folder.rglob("*.seg.dcm"))
    return [item.SegmentAlgorithmType for path in paths for item in pydicom.dcmread(path).SegmentSequence]


@pytest.mark.parametrize("form", ["dicom", "nrrd"])
@pytest.mark.parametrize("status", ["accepted", "predicted"])
def test_a_node_that_nobody_has_seen_stays_so_from_one_export_to_the_next(
    folder, annotate, tmp_path, form, status
):
    mask = np.zeros((224, 224), np.uint8)
    mask[20:50, 20:60], mask[70:100, 20:60] = 1, 2
    nodes = (Node(id=1, status=status), Node(id=2, status="predicted"))
    whole = "corrected" if status == "accepted" else "predicted"
    folder.save(annotate(0, mask=mask, nodes=nodes, status=whole, based_on="best@0123456789ab"), patient="P")
    confirm_screens(folder, unseen_screens(folder), "r1")
    list(export_study(folder, form, tmp_path / "first"))
    list(import_study(tmp_path / "first", tmp_path / "back", clean=False))
    back = TrainingFolder.open(tmp_path / "back")
    confirm_screens(back, unseen_screens(back), "r1")

    list(export_study(back, "dicom", tmp_path / "second"))

    (case,) = back.cases()
    assert [node.status for node in case.nodes] == [status, "predicted"]
    kinds = {"accepted": ["SEMIAUTOMATIC", "MANUAL"], "predicted": ["AUTOMATIC", "AUTOMATIC"]}[status]
    assert origins(tmp_path / "second") == [kinds[1], "AUTOMATIC"]
    if form == "dicom":
        assert origins(tmp_path / "first") == [kinds[0], "AUTOMATIC"]
        report = next((tmp_path / "first").rglob("*.sr.dcm")).read_bytes()
        assert report.count(b"Computed, seen by nobody") == (1 if status == "accepted" else 2)


def export_of(study, out):
    """Export a folder whose screens were looked at, and return the capture and the report of its frame."""
    confirm_screens(study, unseen_screens(study), "r1")
    list(export_study(study, "dicom", out))
    paths = sorted(out.rglob("*.dcm"))
    return pydicom.dcmread(paths[0]), pydicom.dcmread(paths[-1])


def long_axes(report) -> list[float]:
    found = []
    for item in report.iterall():
        if item.tag == 0x0040A300:  # Measured Value Sequence
            unit = item.value[0].MeasurementUnitsCodeSequence[0].CodeValue
            found += [float(item.value[0].NumericValue)] if unit == "mm" else []
    return found[::2]


@pytest.mark.parametrize("first", [1, 2])
def test_a_report_has_the_sizes_of_the_record_where_a_screen_has_two_scales(folder, zoomed, tmp_path, first):
    folder.save(zoomed(first), patient="P")
    case = folder.save(zoomed(1, 2), patient="P")

    capture, report = export_of(folder, tmp_path / "out")

    assert "PixelSpacing" not in capture
    recorded = [entry.long_mm for entry in folder.record(case.id).nodes]
    assert long_axes(report) == pytest.approx(recorded, abs=0.006)
    assert recorded == pytest.approx([14.2, 7.1], abs=0.1)


@pytest.mark.parametrize(("ids", "spacing"), [((2,), [0.1, 0.1]), ((1, 2), None)])
def test_a_capture_has_the_scale_of_its_only_part_where_no_node_lies_outside(
    folder, zoomed, tmp_path, ids, spacing
):
    frame = zoomed(1).frame
    folder.save(zoomed(*ids, frame=replace(frame, regions=frame.regions[1:], spacing_mm=(0.1, 0.1))))

    capture, report = export_of(folder, tmp_path / "out")

    assert capture.get("PixelSpacing") == spacing
    assert long_axes(report) == pytest.approx([7.1], abs=0.01)


def test_sizes_that_the_record_does_not_have_are_in_no_report(folder, zoomed, tmp_path):
    frame = zoomed(1).frame
    case = folder.save(zoomed(1, 2, frame=replace(frame, regions=())), patient="P")
    path = folder.layout.record(case.id)
    record = json.loads(path.read_text())  # as a version wrote it that kept one scale for all
    del record["checksum"]
    record["spacing_mm"], record["spacing_source"] = [0.2, 0.2], "dicom-region"
    record["nodes"][0]["long_mm"], record["nodes"][0]["short_mm"] = 14.204, 13.07
    path.write_text(json.dumps(record))

    capture, report = export_of(folder, tmp_path / "out")

    assert "PixelSpacing" not in capture
    assert long_axes(report) == pytest.approx([14.2], abs=0.01)


def test_another_scale_makes_another_image(folder, annotate, tmp_path):
    identifiers = []
    for n, mm in enumerate((0.5, 0.05, 0.05)):
        frame = replace(annotate(0).frame, spacing_mm=(mm, mm), spacing_source="typed")
        folder.save(annotate(0, frame=frame), patient="P")
        capture, report = export_of(folder, tmp_path / str(n))
        assert capture.PixelSpacing == [mm, mm]
        identifiers.append((capture.SOPInstanceUID, report.SOPInstanceUID))

    assert identifiers[1] == identifiers[2]
    assert not set(identifiers[0]) & set(identifiers[1])


def cine_with_segmentation(data, folder, label=None):
    """A real cine, and masks of three of its thirty frames under a name that tells nothing."""
    folder.mkdir()
    shutil.copy(data / "dicom" / "examples_ybr_color.dcm", folder / "IM0001.dcm")
    identity = ImageIdentity.read(folder / "IM0001.dcm")
    frames = []
    for index in (2, 11, 29):
        mask = np.zeros(identity.shape, np.uint8)
        mask[100:130, 120 + index : 160 + index] = 1
        frames.append(
            FrameFindings(index=index, instances=mask, nodes=(Node(id=1),), sizes=(measure(mask > 0),))
        )
    seg = segmentation_of(frames, identity)
    if label:
        seg.SegmentSequence[0].SegmentLabel = label
        seg.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeValue = "69748006"
    (folder / "XY17.dcm").write_bytes(encode(seg))
    return {frame.index: frame.instances for frame in frames}


def test_the_frames_of_a_cine_that_have_masks_are_imported_with_them(data, tmp_path):
    masks = cine_with_segmentation(data, tmp_path / "in")

    work = import_study(tmp_path / "in", tmp_path / "study", clean=False)
    steps = list(work)

    assert [step.name for step in steps] == [f"IM0001.dcm, frame {index + 1}" for index in masks]
    study = TrainingFolder.open(tmp_path / "study")
    assert work.report.unused_files == {}
    for step, mask in zip(steps, masks.values(), strict=True):
        assert np.array_equal(study.read_instances(step.case), mask)


def test_masks_of_a_cine_whose_frames_are_not_said_are_refused_once(data, tmp_path):
    cine_with_segmentation(data, tmp_path / "in")
    seg = pydicom.dcmread(tmp_path / "in" / "XY17.dcm")
    for group in seg.PerFrameFunctionalGroupsSequence:
        del group.FrameContentSequence[0].TemporalPositionIndex
        del group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber
    seg.save_as(tmp_path / "in" / "XY17.dcm")

    (step,) = import_study(tmp_path / "in", tmp_path / "study")

    assert "XY17.dcm: The segmentation does not say on which of the 30 frames" in step.problem


def test_a_segment_that_is_no_lymph_node_is_refused_until_it_is_explained(data, tmp_path):
    cine_with_segmentation(data, tmp_path / "in", label="Thyroid")

    steps = list(import_study(tmp_path / "in", tmp_path / "one"))
    assert all("'Thyroid', whose code is no lymph node's" in step.problem for step in steps)

    explained = list(import_study(tmp_path / "in", tmp_path / "two", mask_values={"1": "node"}))
    assert [step.problem for step in explained] == [None] * 3


def test_a_segmentation_of_an_image_that_is_not_there_is_named(data, tmp_path):
    cine_with_segmentation(data, tmp_path / "in")
    shutil.copy(data / "dicom" / "US1_J2KR.dcm", tmp_path / "in" / "IM0001.dcm")

    work = import_study(tmp_path / "in", tmp_path / "study")

    assert [step.problem for step in work if step.problem] == [
        "XY17.dcm: is a segmentation of an image that is not in the folder"
    ]


def test_a_report_beside_an_image_is_no_frame(data, exported, tmp_path):
    (tmp_path / "in").mkdir()
    report = next(exported.rglob("*.sr.dcm"))
    shutil.copy(report, tmp_path / "in" / "a.dcm")
    shutil.copy(data / "dicom" / "US1_J2KR.dcm", tmp_path / "in" / "b.dcm")

    steps = list(import_study(tmp_path / "in", tmp_path / "study"))

    assert [step.name for step in steps if step.problem is None] == ["b.dcm"]
