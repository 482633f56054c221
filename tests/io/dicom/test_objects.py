"""Segmentations and reports of real images: conforming, exact, and without a name that the image lacks."""

from __future__ import annotations

import shutil
import subprocess
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from napari_cln.annotation import Node
from napari_cln.errors import ExportError, FrameReadError
from napari_cln.imaging.measurement import measure
from napari_cln.io.dicom.objects.findings import (
    Algorithm,
    FrameFindings,
    ImageIdentity,
    capture_of,
    derived_uid,
    encode,
)
from napari_cln.io.dicom.objects.report import report_of
from napari_cln.io.dicom.objects.segmentation import read_segmentation, segmentation_of
from napari_cln.io.sources import find_sources, read_frame
from napari_cln.types import UNLIKE_TRAINING_DATA

MODEL = Algorithm(model_id="best@0123456789ab", mask_threshold=0.5, cutoff=0.41)
NODES = (
    Node(id=1, status="predicted", level="III", side="left", p_malignant=0.8213),
    Node(id=2, status="predicted", level="I", p_malignant=0.2),
)
LONG_AXIS, SHORT_AXIS, AREA, PROBABILITY = "103339001", "103340004", "42798000", "111047"
LEARNT, MOVED = "Artificial Intelligence", "Deformable Models"
INTERPOLATED = "napari-cln interpolation of masks"
STILL, CINE = "US1_J2KR.dcm", "examples_ybr_color.dcm"

needs_dciodvfy = pytest.mark.skipif(
    shutil.which("dciodvfy") is None, reason="dciodvfy (Debian's dicom3tools) is not installed"
)


def found(identity: ImageIdentity, *indices: int, spacing=(0.1, 0.2)) -> list[FrameFindings]:
    """Two nodes, the first not symmetric, so that a turned mask is another."""
    rows, columns = identity.shape
    frames = []
    for index in indices or (0,):
        mask = np.zeros((rows, columns), dtype=np.uint8)
        mask[rows // 4 : rows // 3, columns // 4 : columns // 2] = 1
        mask[rows // 4 : rows // 2, columns // 4 : columns // 4 + 5] = 1
        mask[rows // 2 + index % 3 : rows // 2 + 17, columns // 2 + 3 : columns // 2 + 26] = 2
        sizes = (measure(mask == 1, spacing), measure(mask == 2))
        frames.append(FrameFindings(index=index, instances=mask, nodes=NODES, sizes=sizes, algorithm=MODEL))
    return frames


def judged(frames, *ids, algorithm=MODEL) -> list[FrameFindings]:
    """Those frames after a reader has judged some of their nodes."""
    nodes = tuple(replace(node, status="accepted") if node.id in ids else node for node in NODES)
    return [replace(frame, nodes=nodes, algorithm=algorithm) for frame in frames]


def drawn(identity: ImageIdentity) -> list[FrameFindings]:
    return judged(found(identity), 1, 2, algorithm=None)


def empty(identity: ImageIdentity) -> list[FrameFindings]:
    blank = np.zeros(identity.shape, dtype=np.uint8)
    return [FrameFindings(instances=blank, nodes=(), sizes=(), frame_score=0.31, algorithm=MODEL)]


def errors_of(path: Path) -> list[str]:
    done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
    return [line for line in done.stderr.splitlines() if line.startswith("Error")]


def numbers_of(report: pydicom.Dataset) -> dict[str, list[float]]:
    """Measurements of a report by their code."""
    found: dict[str, list[float]] = {}

    def walk(item):
        if item.get("ValueType") == "NUM":
            value = float(item.MeasuredValueSequence[0].NumericValue)
            found.setdefault(item.ConceptNameCodeSequence[0].CodeValue, []).append(value)
        for inner in item.get("ContentSequence", ()):
            walk(inner)

    walk(report)
    return found


@needs_dciodvfy
def test_objects_of_every_real_image_conform(shared_data, tmp_path):
    wrong, refused = {}, []
    for path in sorted((shared_data / "us_dicom" / "files").glob("*.dcm")):
        try:
            identity = ImageIdentity.read(path)
        except ExportError as error:
            refused.append(str(error))
            continue
        frames = found(identity, *sorted({0, identity.n_frames - 1}))
        for name, made in (
            ("seg", segmentation_of(frames, identity)),
            ("sr", report_of(frames, identity)),
            ("none", report_of(empty(identity), identity)),
            ("doubt", report_of([replace(frames[0], caution="Look twice: dark.")], identity)),
        ):
            out = tmp_path / f"{path.stem}.{name}.dcm"
            out.write_bytes(encode(made))
            if errors := errors_of(out):
                wrong[out.name] = errors

    assert wrong == {}
    assert len(list(tmp_path.glob("*.dcm"))) == 100
    assert len(refused) == 2
    assert all("identifier 999.999.2." in sentence for sentence in refused)


@needs_dciodvfy
@pytest.mark.parametrize(
    ("origin", "made_by", "kind", "family", "name"),
    [
        ("predicted", "best@0123456789ab", "AUTOMATIC", LEARNT, "napari-cln best"),
        ("corrected", "best@0123456789ab", "SEMIAUTOMATIC", LEARNT, "napari-cln best"),
        ("predicted", "calipers@0123", "AUTOMATIC", LEARNT, "napari-cln calipers"),
        ("predicted", "carried from frame 3", "AUTOMATIC", MOVED, "napari-cln carrying of masks"),
        ("corrected", "interpolated between frames 2 and 9", "SEMIAUTOMATIC", MOVED, INTERPOLATED),
        ("predicted", None, "AUTOMATIC", "Unknown", "unknown"),
        ("drawn", None, "MANUAL", None, None),
    ],
)
def test_a_segmentation_says_by_whom_and_by_what_its_masks_were_made(
    data, tmp_path, origin, made_by, kind, family, name
):
    identity = ImageIdentity.read(data / "dicom" / STILL)
    algorithm = None if made_by is None else Algorithm(model_id=made_by)
    ids = () if origin == "predicted" else (1, 2)
    seg = segmentation_of(judged(found(identity), *ids, algorithm=algorithm), identity)
    out = tmp_path / "made.seg.dcm"
    out.write_bytes(encode(seg))

    assert errors_of(out) == []
    for segment in pydicom.dcmread(out).SegmentSequence:
        assert segment.SegmentAlgorithmType == kind
        assert segment.get("SegmentAlgorithmName") == name
        said = segment.get("SegmentationAlgorithmIdentificationSequence")
        assert (said is None) == (family is None)
        if said is not None:
            assert said[0].AlgorithmFamilyCodeSequence[0].CodeMeaning == family
            assert "frame" not in said[0].AlgorithmName


def kinds_of(seg: pydicom.Dataset) -> list[tuple[str, str]]:
    return [(item.SegmentLabel, item.SegmentAlgorithmType) for item in seg.SegmentSequence]


def origins_of(report: pydicom.Dataset) -> list[str]:
    return [
        item.ConceptCodeSequence[0].CodeMeaning
        for _, item in _contents(report)
        if item.get("ValueType") == "CODE" and item.ConceptNameCodeSequence[0].CodeValue == "origin"
    ]


@needs_dciodvfy
def test_a_node_that_nobody_has_seen_is_never_said_to_be_a_readers(data, tmp_path):
    identity = ImageIdentity.read(data / "dicom" / STILL)
    for algorithm, others in ((MODEL, "SEMIAUTOMATIC"), (None, "MANUAL")):
        frames = judged(found(identity), 1, algorithm=algorithm)
        seg, report = segmentation_of(frames, identity), report_of(frames, identity)
        for name, made in (("seg", seg), ("sr", report)):
            (tmp_path / f"{name}.dcm").write_bytes(encode(made))
            assert errors_of(tmp_path / f"{name}.dcm") == []

        assert [kind for _, kind in kinds_of(seg)] == [others, "AUTOMATIC"]
        assert origins_of(report)[1] == "Computed, seen by nobody"
        assert [segment.node.status for segment in read_segmentation(tmp_path / "seg.dcm").segments] == [
            "corrected",
            "predicted",
        ]


def test_masks_of_a_cine_whose_frames_are_not_said_land_on_none(data, tmp_path):
    identity = ImageIdentity.read(data / "dicom" / CINE)
    (tmp_path / "a.dcm").write_bytes(encode(without_frame_numbers(identity)))
    read = read_segmentation(tmp_path / "a.dcm")

    with pytest.raises(FrameReadError, match=r"on which of the 30 frames of its image a mask lies\. Export"):
        read.of(identity.instance, identity.n_frames)
    assert list(read.of(identity.instance)) == [0]


def without_frame_numbers(identity: ImageIdentity) -> pydicom.Dataset:
    """A segmentation of two frames of a cine, as some programs write it."""
    seg = segmentation_of(found(identity, 0, 7), identity)
    for group in seg.PerFrameFunctionalGroupsSequence:
        del group.FrameContentSequence[0].TemporalPositionIndex
        del group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber
    return seg


@needs_dciodvfy
def test_a_corrected_frame_of_a_cine_says_nothing_of_those_that_were_predicted(data, tmp_path):
    identity = ImageIdentity.read(data / "dicom" / CINE)
    predicted, corrected = found(identity, 0, 7)

    seg = segmentation_of([predicted, *judged([corrected], 1, 2)], identity)

    (tmp_path / "a.dcm").write_bytes(encode(seg))
    assert errors_of(tmp_path / "a.dcm") == []
    assert kinds_of(seg) == [
        ("Node 1, predicted", "AUTOMATIC"),
        ("Node 1, corrected", "SEMIAUTOMATIC"),
        ("Node 2, predicted", "AUTOMATIC"),
        ("Node 2, corrected", "SEMIAUTOMATIC"),
    ]
    masks = read_segmentation(tmp_path / "a.dcm").of(identity.instance, identity.n_frames)
    assert [np.unique(masks[index]).tolist() for index in (0, 7)] == [[0, 1, 3], [0, 2, 4]]


YAMADA = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B "
HONG = b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7 "
MUELLER = "Müller^Jörg ".encode("latin1")
RETIRED, RETIRED_CINE = "1.2.840.10008.5.1.4.1.1.6", "1.2.840.10008.5.1.4.1.1.3"


def with_values(source: Path, out: Path, values: dict[str, tuple[str, bytes]]) -> Path:
    """A copy of an image whose header has values as they stand in the files of some scanners."""
    image = pydicom.dcmread(source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for keyword, (vr, value) in values.items():
            tag = pydicom.tag.Tag(keyword)
            image[tag] = pydicom.dataelem.RawDataElement(tag, vr, len(value), value, 0, False, True)
        # as it was read: nothing is decoded and coded again
        image.set_original_encoding(*image.original_encoding, image._character_set)
        image.save_as(out)
    return out


@needs_dciodvfy
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            {"SpecificCharacterSet": ("CS", b"\\ISO 2022 IR 87 "), "PatientName": ("PN", YAMADA)},
            {"PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう"},
        ),
        (
            {"SpecificCharacterSet": ("CS", b"\\ISO 2022 IR 149"), "PatientName": ("PN", HONG)},
            {"PatientName": "Hong^Gildong=洪^吉洞"},
        ),
        (
            {"SpecificCharacterSet": ("CS", b"ISO-IR 100"), "PatientName": ("PN", MUELLER)},
            {"PatientName": "Müller^Jörg"},
        ),
        ({"SpecificCharacterSet": ("CS", b"LATIN1"), "PatientName": ("PN", b"Muster^Max")}, {}),
        ({"SpecificCharacterSet": ("CS", b""), "PatientName": ("PN", MUELLER)}, {}),
        ({"PatientName": ("PN", b"A^B\\C^D ")}, {"PatientName": "A^B"}),
        ({"ReferringPhysicianName": ("PN", b"A^B\\C^D ")}, {"ReferringPhysicianName": "A^B"}),
        ({"PatientName": ("PN", b"A" * 70)}, {"PatientName": "A" * 64}),
        ({"PatientBirthDate": ("DA", b"00000000")}, {"PatientBirthDate": ""}),
        ({"PatientBirthDate": ("DA", b"19500000")}, {"PatientBirthDate": ""}),
        ({"PatientBirthDate": ("DA", b"19500131")}, {"PatientBirthDate": "19500131"}),
        ({"StudyDate": ("DA", b"20201399")}, {"StudyDate": ""}),
        ({"StudyTime": ("TM", b"256199")}, {"StudyTime": ""}),
        ({"StudyTime": ("TM", b"101160")}, {"StudyTime": ""}),
        ({"StudyTime": ("TM", b"101159.5")}, {"StudyTime": "101159.5"}),
        ({"StudyID": ("SH", b"A\\B ")}, {"StudyID": ""}),
        ({"AccessionNumber": ("SH", b"A" * 20)}, {"AccessionNumber": ""}),
        ({"InstanceNumber": ("IS", b"abc ")}, {}),
        ({"SOPClassUID": ("UI", RETIRED.encode())}, {}),
        ({"SOPClassUID": ("UI", RETIRED_CINE.encode()), "NumberOfFrames": ("IS", b"1 ")}, {}),
        ({"SOPClassUID": ("UI", b"1.2.840.113543.6.6.1.3.10002")}, {}),
    ],
)
def test_an_odd_header_makes_objects_that_conform(data, tmp_path, values, expected):
    path = with_values(data / "dicom" / STILL, tmp_path / "odd.dcm", values)
    identity = ImageIdentity.read(path)

    made = {
        "seg": segmentation_of(found(identity), identity),
        "sr": report_of(found(identity), identity),
    }

    for name, dataset in made.items():
        (tmp_path / f"{name}.dcm").write_bytes(encode(dataset))
        # dicom3tools has forgotten that the retired class of cines has frames
        errors = [error for error in errors_of(tmp_path / f"{name}.dcm") if "not multi-frame" not in error]
        assert errors == []
        read = pydicom.dcmread(tmp_path / f"{name}.dcm")
        assert read.SpecificCharacterSet == "ISO_IR 192"
        assert {keyword: str(read[keyword].value or "") for keyword in expected} == expected
        if "SOPClassUID" in values:
            said = [item.value for item in read.iterall() if item.keyword == "ReferencedSOPClassUID"]
            assert set(said) == {values["SOPClassUID"][1].decode()}


@pytest.mark.parametrize("number", [b"A\\B ", b"A" * 70])
def test_an_image_whose_patient_number_is_none_is_refused(data, tmp_path, number):
    path = with_values(data / "dicom" / STILL, tmp_path / "odd.dcm", {"PatientID": ("LO", number)})

    with pytest.raises(ExportError, match=r"odd\.dcm has a patient number that DICOM does not allow.*Export"):
        ImageIdentity.read(path)


@needs_dciodvfy
@pytest.mark.parametrize(
    ("model_id", "name", "version"),
    [
        ("Größe-Modell@0123456789ab", "napari-cln Größe-Modell", "0123456789ab"),
        ("neck@v2@0123456789ab", "napari-cln neck@v2", "0123456789ab"),
        ("carried nodes@0123456789ab", "napari-cln carried nodes", "0123456789ab"),
        ("neck", "napari-cln neck", "unknown"),
    ],
)
def test_a_model_of_any_name_is_said_as_it_is_called(data, tmp_path, model_id, name, version):
    identity = ImageIdentity.read(data / "dicom" / STILL)
    frames = [replace(frame, algorithm=Algorithm(model_id=model_id)) for frame in found(identity)]

    for made in (segmentation_of(frames, identity), report_of(frames, identity)):
        (tmp_path / "a.dcm").write_bytes(encode(made))
        assert errors_of(tmp_path / "a.dcm") == []
    seg = segmentation_of(frames, identity)
    said = seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert (said.AlgorithmName, said.AlgorithmVersion) == (name, version)
    assert said.AlgorithmFamilyCodeSequence[0].CodeMeaning == LEARNT


@pytest.mark.slow
def test_masks_of_every_real_image_come_back_exactly(shared_data, tmp_path):
    import highdicom

    for path in sorted((shared_data / "us_dicom" / "files").glob("*.dcm")):
        if "color-p" in path.name:
            continue  # identifiers that are none
        identity = ImageIdentity.read(path)
        frames = found(identity, *sorted({0, identity.n_frames - 1}))
        out = tmp_path / "a.seg.dcm"
        out.write_bytes(encode(segmentation_of(frames, identity)))

        masks = read_segmentation(out).of(identity.instance, identity.n_frames)
        assert {index: mask.tolist() for index, mask in masks.items()} == {
            frame.index: frame.instances.tolist() for frame in frames
        }
        seg = highdicom.seg.segread(out)
        if identity.n_frames == 1:
            read = seg.get_pixels_by_source_instance(
                [identity.instance], combine_segments=True, relabel=False
            )
        elif identity.frame_numbers(0):
            numbers = [frame.index + 1 for frame in frames]
            read = seg.get_pixels_by_source_frame(identity.instance, numbers, combine_segments=True)
        else:
            continue  # several frames in the class of stills: highdicom has no way to ask for one
        assert np.array_equal(read, np.stack([frame.instances for frame in frames]))


@pytest.mark.slow
def test_a_cine_has_one_segmentation_and_pydicom_reads_its_planes(data, tmp_path):
    identity = ImageIdentity.read(data / "dicom" / CINE)
    frames = found(identity, 0, 7, 29)

    seg = segmentation_of(frames, identity)

    (tmp_path / "a.dcm").write_bytes(encode(seg))
    read = pydicom.dcmread(tmp_path / "a.dcm")
    assert read.NumberOfFrames == 6
    planes = read.pixel_array
    numbers = [
        (
            group.SegmentIdentificationSequence[0].ReferencedSegmentNumber,
            group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber,
        )
        for group in read.PerFrameFunctionalGroupsSequence
    ]
    assert numbers == [(1, 1), (1, 8), (1, 30), (2, 1), (2, 8), (2, 30)]
    by_index = {frame.index: frame.instances for frame in frames}
    for (segment, number), plane in zip(numbers, planes, strict=True):
        assert np.array_equal(plane, by_index[number - 1] == segment)


def test_a_report_says_sizes_in_millimetres_of_calibrated_nodes_alone(data):
    identity = ImageIdentity.read(data / "dicom" / STILL)
    frames = found(identity)

    said = numbers_of(report_of(frames, identity))

    size = frames[0].sizes[0]
    assert said[LONG_AXIS] == [round(size.long_axis_mm, 2)]
    assert said[SHORT_AXIS] == [round(size.short_axis_mm, 2)]
    assert said[AREA] == [round(size.area_mm2, 2)]
    assert said[PROBABILITY] == [82.13, 20.0]


def test_a_score_names_its_model_version_and_cutoff(data):
    identity = ImageIdentity.read(data / "dicom" / STILL)

    report = report_of(found(identity), identity)

    said = {item.TextValue for _, item in _contents(report) if item.get("ValueType") == "TEXT"}
    assert said >= {"napari-cln best", "0123456789ab", "cutoff: 0.41", "mask threshold: 0.5"}


def test_no_score_is_said_where_no_model_is_known(data):
    identity = ImageIdentity.read(data / "dicom" / STILL)

    assert PROBABILITY not in numbers_of(report_of(drawn(identity), identity))


@pytest.mark.parametrize(
    ("caution", "level"),
    [
        ("Look twice: the frame is dark.", "Look twice"),
        ("Do not rely on it: the frame is unlike others.", "Do not rely on it"),
        (UNLIKE_TRAINING_DATA, "Do not rely on it"),
    ],
)
def test_the_doubt_of_a_model_is_said_in_its_words(data, caution, level):
    identity = ImageIdentity.read(data / "dicom" / STILL)
    (frame,) = found(identity)

    report = report_of([replace(frame, caution=caution)], identity)

    contents = [item for _, item in _contents(report)]
    said = [item.TextValue for item in contents if item.get("ValueType") == "TEXT"]
    assert said.count(caution) == 2  # once a node
    codes = [item.ConceptCodeSequence[0].CodeMeaning for item in contents if item.get("ValueType") == "CODE"]
    assert codes.count(level) == 2


def test_no_doubt_is_said_where_there_is_none(data):
    identity = ImageIdentity.read(data / "dicom" / STILL)

    assert "Reliability" not in str(report_of(found(identity), identity))


def test_an_outline_lies_on_the_border_of_its_mask(data):
    from skimage.draw import polygon2mask

    identity = ImageIdentity.read(data / "dicom" / STILL)
    frames = drawn(identity)

    report = report_of(frames, identity)

    (first, *_) = [
        item.GraphicData
        for _, item in _contents(report)
        if item.get("ValueType") == "SCOORD" and len(item.GraphicData) > 8
    ]
    points = np.array(first, dtype=float).reshape(-1, 2)
    # Rows and columns of pixel centres; the polygon covers the centres of the mask's pixels and no other.
    covered = polygon2mask(identity.shape, points[:, ::-1] - 0.5)
    assert np.array_equal(covered, frames[0].instances == 1)


def _contents(item, depth=0):
    for inner in item.get("ContentSequence", ()):
        yield depth, inner
        yield from _contents(inner, depth + 1)


def test_level_and_side_are_read_back(data, tmp_path):
    identity = ImageIdentity.read(data / "dicom" / STILL)
    path = tmp_path / "a.dcm"
    path.write_bytes(encode(segmentation_of(drawn(identity), identity)))

    first, second = read_segmentation(path).segments

    assert (first.label, first.node.level, first.node.side) == ("Node 1, left III", "III", "left")
    assert (second.node.level, second.node.side, second.is_node) == ("I", None, True)


def test_side_and_site_of_one_node_do_not_pass_to_another(data):
    identity = ImageIdentity.read(data / "dicom" / STILL)

    seg = segmentation_of(drawn(identity), identity)

    sides = [
        "AnatomicRegionModifierSequence" in item.AnatomicRegionSequence[0] for item in seg.SegmentSequence
    ]
    assert sides == [True, False]


def test_a_node_has_one_tracking_identifier_in_both_objects(data):
    identity = ImageIdentity.read(data / "dicom" / STILL)
    frames = found(identity)

    seg, report = segmentation_of(frames, identity), report_of(frames, identity)

    tracked = {item.TrackingUID for item in seg.SegmentSequence}
    said = [item.UID for _, item in _contents(report) if item.get("ValueType") == "UIDREF"]
    assert tracked <= set(said)
    assert len(tracked) == 2


def test_no_private_or_other_element_of_the_image_comes_along(data):
    image = pydicom.dcmread(data / "dicom" / STILL)
    identity = ImageIdentity.read(data / "dicom" / STILL)

    seg = segmentation_of(drawn(identity), identity)

    assert "InstitutionName" in image or "StationName" in image
    assert seg.PatientID == image.PatientID
    assert "InstitutionName" not in seg
    assert "StationName" not in seg
    assert not [element for element in seg.iterall() if element.tag.is_private]


def test_no_node_makes_a_report_and_no_segmentation(data):
    identity = ImageIdentity.read(data / "dicom" / STILL)

    assert segmentation_of(empty(identity), identity) is None
    report = report_of(empty(identity), identity)
    said = numbers_of(report)
    assert said[PROBABILITY] == [31.0]
    assert not said.keys() & {LONG_AXIS, SHORT_AXIS, AREA}


def test_the_same_findings_have_the_same_identifiers_and_others_have_others(data):
    identity = ImageIdentity.read(data / "dicom" / STILL)
    frames = drawn(identity)

    one, again = (segmentation_of(frames, identity) for _ in range(2))
    changed = frames[0].instances.copy()
    changed[0, 0] = 1
    other = FrameFindings(instances=changed, nodes=NODES, sizes=frames[0].sizes)

    assert one.SOPInstanceUID == again.SOPInstanceUID
    assert segmentation_of([other], identity).SOPInstanceUID != one.SOPInstanceUID


def test_an_image_with_an_illegal_identifier_is_refused_with_it(data):
    with pytest.raises(ExportError, match=r"color-pl\.dcm has the identifier 999\.999\.2\.\d.*Export the"):
        ImageIdentity.read(data / "dicom" / "color-pl.dcm")


def test_a_mask_of_another_size_is_refused(data):
    identity = ImageIdentity.read(data / "dicom" / STILL)
    small = FrameFindings(instances=np.ones((9, 9), np.uint8), nodes=NODES, sizes=(None, None))

    with pytest.raises(ExportError, match="9×9 pixels, its image 480×640"):
        segmentation_of([small], identity)


@pytest.fixture
def written(data, tmp_path) -> dict[str, Path]:
    """A capture of a real frame, and what refers to it."""
    pixels = read_frame(data / "dicom" / STILL).grey
    capture = capture_of(
        pixels,
        patient="pt-0123456789abcdef",
        study=derived_uid("study"),
        series=derived_uid("series"),
        instance=derived_uid("image"),
        number=1,
        spacing_mm=(0.07, 0.08),
        cleaned=True,
    )
    identity = ImageIdentity.of_capture(capture)
    frames = drawn(identity)
    made = {
        "sc": capture,
        "seg": segmentation_of(frames, identity),
        "sr": report_of(frames, identity),
    }
    for name, dataset in made.items():
        (tmp_path / f"{name}.dcm").write_bytes(encode(dataset))
    return {name: tmp_path / f"{name}.dcm" for name in made}


def test_a_capture_is_the_frame_with_its_scale(written, data):
    frame = read_frame(written["sc"])

    assert np.array_equal(frame.pixels, read_frame(data / "dicom" / STILL).grey)
    assert frame.spacing_mm == (0.07, 0.08)
    assert frame.warnings == ()


@needs_dciodvfy
def test_a_capture_and_what_refers_to_it_conform(written):
    assert {name: errors_of(path) for name, path in written.items()} == {"sc": [], "seg": [], "sr": []}


def test_what_refers_to_images_is_never_taken_for_a_frame(written):
    with pytest.raises(FrameReadError, match=r"seg\.dcm is a DICOM segmentation of another image, not a"):
        read_frame(written["seg"])
    with pytest.raises(FrameReadError, match=r"sr\.dcm is a report on other images, without a picture"):
        read_frame(written["sr"])


@pytest.mark.parametrize(
    ("uid", "name"),
    [
        ("1.2.840.10008.5.1.4.1.1.88.59", "key objects"),
        ("1.2.840.10008.5.1.4.1.1.11.1", "presentation state"),
        ("1.2.840.10008.5.1.4.1.1.66.7", "segmentation"),
        ("1.2.840.10008.5.1.4.1.1.66.5", "surface or registration"),
    ],
)
def test_an_object_with_the_pixels_of_a_picture_is_known_by_its_class(written, tmp_path, uid, name):
    dataset = pydicom.dcmread(written["sc"])
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = uid
    dataset.save_as(tmp_path / "odd.dcm")

    with pytest.raises(FrameReadError, match=name):
        read_frame(tmp_path / "odd.dcm")
    assert tmp_path / "odd.dcm" not in find_sources(tmp_path)


def test_a_folder_of_an_archive_gives_its_images_alone(written):
    assert find_sources(written["sc"].parent) == [written["sc"]]


def test_a_segmentation_of_probabilities_is_read_from_one_half_up(written, tmp_path):
    import highdicom

    seg = highdicom.seg.segread(written["seg"])
    source = pydicom.dcmread(written["sc"])
    share = np.zeros((1, *read_frame(written["sc"]).shape), dtype=np.float32)
    share[0, 10:20, 30:60], share[0, 12:15, 40:50] = 0.45, 0.8
    fractional = highdicom.seg.Segmentation(
        [source],
        share[..., None],
        "FRACTIONAL",
        [seg.SegmentSequence[0]],
        series_instance_uid=derived_uid("f"),
        series_number=9,
        sop_instance_uid=derived_uid("g"),
        instance_number=1,
        manufacturer="m",
        manufacturer_model_name="m",
        software_versions="1",
        device_serial_number="1",
    )
    (tmp_path / "f.dcm").write_bytes(encode(fractional))

    (mask,) = read_segmentation(tmp_path / "f.dcm").of(source.SOPInstanceUID).values()

    assert np.array_equal(mask, (share[0] >= 0.5).astype(np.uint8))


def test_a_segmentation_that_is_cut_short_is_refused_with_its_name(written, tmp_path):
    whole = written["seg"].read_bytes()
    (tmp_path / "cut.dcm").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(FrameReadError, match=r"cut\.dcm"):
        read_segmentation(tmp_path / "cut.dcm")
