"""One-slice NRRD and NIfTI: exact in both directions, beside the libraries that others read them with."""

from __future__ import annotations

import gzip
import zlib

import nibabel
import numpy as np
import pytest

from napari_cln.annotation import Node
from napari_cln.errors import ExportError, FrameReadError
from napari_cln.io.sources import find_sources, read_frame
from napari_cln.io.volumes import VOLUME_ENDINGS, encode_volume, read_volume

pytestmark = pytest.mark.slow  # its frames take seconds to make

sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")

NODES = (
    Node(id=1, level="III", side="left", p_malignant=0.7811, status="corrected"),
    Node(id=3, level="VII", side="midline", status="predicted"),
)


@pytest.fixture(scope="module")
def mask() -> np.ndarray:
    """Two nodes, one of them an L: turned or mirrored it is another."""
    mask = np.zeros((48, 64), np.uint8)
    mask[5:20, 7:9] = mask[17:20, 7:30] = 1
    mask[30:40, 50:60] = 3
    return mask


@pytest.fixture(scope="module")
def colours(data) -> np.ndarray:
    return read_frame(data / "dicom" / "US1_J2KR.dcm").pixels


def write(path, values, **options):
    path.write_bytes(encode_volume(values, "".join(path.name.partition(".")[1:]), **options))
    return path


def nrrd(folder, said):
    """A picture of two axes with these lines in its header."""
    head = f"NRRD0004\ntype: uint8\ndimension: 2\nsizes: 20 15\n{said}\nencoding: raw\n\n"
    (folder / "a.nrrd").write_bytes(head.encode() + bytes(300))
    return folder / "a.nrrd"


def in_byte_order(path, grey, order):
    """A picture of 16 bits, stored in this byte order."""
    kind = {"little": "<u2", "big": ">u2"}[order]
    if path.suffix == ".nrrd":
        sizes = f"{grey.shape[1]} {grey.shape[0]}"
        head = f"NRRD0004\ntype: uint16\ndimension: 2\nsizes: {sizes}\nendian: {order}\nencoding: raw\n\n"
        path.write_bytes(head.encode() + grey.astype(kind).tobytes())
    else:
        header = nibabel.Nifti1Header(endianness=kind[0])
        header.set_data_dtype(np.uint16)
        header.set_xyzt_units("mm")
        affine = np.diag([-0.1, -0.1, 1, 1])  # runs as a picture does
        nibabel.save(nibabel.Nifti1Image(grey.T[..., np.newaxis], affine, header), path)
    return path


@pytest.mark.parametrize("ending", VOLUME_ENDINGS)
def test_simpleitk_reads_a_mask_where_it_was_drawn(tmp_path, mask, ending):
    path = write(tmp_path / f"a{ending}", mask, nodes=NODES, spacing_mm=(0.1, 0.2))

    image = sitk.ReadImage(str(path))

    assert np.array_equal(sitk.GetArrayFromImage(image)[0], mask)
    assert image.GetSpacing() == pytest.approx((0.2, 0.1, 1.0))
    assert image.GetDirection() == pytest.approx((1, 0, 0, 0, 1, 0, 0, 0, 1))


@pytest.mark.parametrize("ending", VOLUME_ENDINGS[1:])
def test_simpleitk_reads_the_colours_of_a_frame(tmp_path, colours, ending):
    path = write(tmp_path / f"a{ending}", colours)

    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[0], colours)


@pytest.mark.parametrize("ending", VOLUME_ENDINGS)
@pytest.mark.parametrize("n_axes", [2, 3])
def test_what_simpleitk_writes_is_read_as_it_was(tmp_path, mask, ending, n_axes):
    image = sitk.GetImageFromArray(mask if n_axes == 2 else mask[None])
    image.SetSpacing((0.2, 0.1, 1)[:n_axes])
    path = tmp_path / f"a{ending}"
    sitk.WriteImage(image, str(path))

    volume = read_volume(path)

    assert np.array_equal(volume.values, mask)
    assert volume.spacing_mm == (0.1, 0.2)
    assert volume.is_upright


@pytest.mark.parametrize("ending", VOLUME_ENDINGS[1:])
def test_a_colour_picture_of_simpleitk_is_read_as_it_was(tmp_path, colours, ending):
    path = tmp_path / f"a{ending}"
    sitk.WriteImage(sitk.GetImageFromArray(colours[None], isVector=True), str(path))

    assert np.array_equal(read_frame(path).pixels, colours)


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("ending", [".nrrd", ".nii.gz"])
def test_masks_of_every_type_of_number_are_read(tmp_path, mask, ending, dtype):
    path = tmp_path / f"a{ending}"
    sitk.WriteImage(sitk.GetImageFromArray(mask[None].astype(dtype)), str(path))

    assert np.array_equal(read_volume(path).values, mask)


@pytest.mark.parametrize("ending", [".nrrd", ".nii"])
def test_a_picture_of_16_bits_is_the_same_in_either_byte_order(tmp_path, colours, ending):
    grey = colours[..., 0].astype(np.uint16) * 40 + 500

    little, big = (
        read_frame(in_byte_order(tmp_path / f"{order}{ending}", grey, order)) for order in ("little", "big")
    )

    np.testing.assert_array_equal(little.pixels, grey >> 8)
    np.testing.assert_array_equal(big.pixels, little.pixels)
    assert big.warnings == little.warnings == ()


def test_slicerio_reads_names_places_state_and_score(tmp_path, mask):
    slicerio = pytest.importorskip("slicerio", reason="slicerio is not installed")
    path = write(tmp_path / "a.seg.nrrd", mask, nodes=NODES)

    first, second = slicerio.read_segmentation(str(path))["segments"]

    assert (first["name"], first["labelValue"], first["status"]) == ("Node 1, left III", 1, "completed")
    assert first["terminology"]["type"] == ["SCT", "59441001", "Lymph node"]
    assert first["terminology"]["anatomicRegion"][1] == "245322001"
    assert first["terminology"]["anatomicRegionModifier"][2] == "Left"
    assert first["tags"] == {"napari-cln.malignancy": "0.7811"}
    assert (second["name"], second["labelValue"], second["status"]) == (
        "Node 3, midline VII",
        3,
        "inprogress",
    )


def test_a_segmentation_comes_back_with_levels_sides_and_scores(tmp_path, mask):
    volume = read_volume(write(tmp_path / "a.seg.nrrd", mask, nodes=NODES))

    assert np.array_equal(volume.values, mask)
    assert [segment.number for segment in volume.segments] == [1, 3]
    first, second = (segment.node for segment in volume.segments)
    assert (first.level, first.side, first.p_malignant) == ("III", "left", 0.7811)
    assert (second.level, second.side, second.p_malignant) == ("VII", "midline", None)
    assert all(segment.is_node for segment in volume.segments)


def test_segments_in_several_layers_are_read_as_slicerio_writes_them(tmp_path, mask):
    slicerio = pytest.importorskip("slicerio", reason="slicerio is not installed")
    other = np.zeros_like(mask)
    other[2:9, 2:9] = 1
    path = tmp_path / "a.seg.nrrd"
    segmentation = {
        "voxels": np.stack([(mask == 1).T[..., None].astype(np.uint8), other.T[..., None]]),
        "ijkToLPS": np.eye(4),
        "encoding": "gzip",
        "containedRepresentationNames": ["Binary labelmap"],
        "segments": [
            {"id": "A", "name": "one", "labelValue": 1, "layer": 0, "color": [1, 0, 0]},
            {"id": "B", "name": "two", "labelValue": 1, "layer": 1, "color": [0, 1, 0]},
        ],
    }
    slicerio.write_segmentation(str(path), segmentation)

    volume = read_volume(path)

    expected = (mask == 1).astype(np.uint8)
    expected[other > 0] = 2
    assert np.array_equal(volume.values, expected)
    assert [segment.label for segment in volume.segments] == ["one", "two"]


def test_nothing_but_the_mask_is_in_a_written_file(tmp_path, mask):
    path = write(tmp_path / "a.seg.nrrd", mask, nodes=NODES)

    assert b"#" not in path.read_bytes().split(b"\n\n")[0]
    assert path.read_bytes() == encode_volume(mask, ".seg.nrrd", nodes=NODES)
    data = encode_volume(mask, ".nii.gz")
    assert data == encode_volume(mask, ".nii.gz")
    assert data[4:8] == bytes(4)  # gzip's time


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [((1.0, 1.0), None), ((25.4 / 72, 25.4 / 72), None), ((0.07, 0.07), (0.07, 0.07))],
)
def test_a_spacing_that_converters_invent_is_no_scale(tmp_path, mask, spacing, expected):
    frame = read_frame(write(tmp_path / "a.nrrd", mask, spacing_mm=spacing))

    assert frame.spacing_mm == expected
    assert (frame.spacing_note is None) == (expected is not None)


@pytest.mark.parametrize(
    "said",
    [
        'spacings: 0.012 0.03\nunits: "cm" "mm"',
        "spacings: 0.12 0.03",
        'spacings: 120 30\nunits: "µm" "micron"',
        'space dimension: 2\nspace directions: (0.012,0) (0,0.003)\nspace units: "cm" "cm"',
    ],
)
def test_steps_of_a_nrrd_are_in_the_unit_that_it_names(tmp_path, said):
    frame = read_frame(nrrd(tmp_path, said))

    assert frame.spacing_mm == pytest.approx((0.03, 0.12))
    assert frame.spacing_note is None


@pytest.mark.parametrize(
    ("said", "note"),
    [
        (
            'spacings: 0.5 0.5\nunits: "pixel" "pixel"',
            "its steps in 'pixel', which is no known length",
        ),
        ('spacings: 0.5 0.5\nunits: "cm" "cm"', "a pixel is 5 by 5 mm, which is no scale of an ultrasound"),
        ('spacings: 1 1\nunits: "mm" "mm"', "that converters write where they know none"),
    ],
)
def test_a_volume_says_why_it_has_no_millimetres(tmp_path, said, note):
    frame = read_frame(nrrd(tmp_path, said))

    assert frame.spacing_mm is None
    assert note in frame.spacing_note


@pytest.mark.parametrize(
    ("unit", "step"), [("mm", 0.1), ("micron", 100.0), ("meter", 1e-4), ("unknown", 0.1)]
)
def test_steps_of_a_nifti_are_in_the_unit_that_it_names(tmp_path, mask, unit, step):
    image = nibabel.Nifti1Image(mask.T[..., None], np.diag([-step, -step, step, 1]))
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "a.nii")

    assert read_frame(tmp_path / "a.nii").spacing_mm == pytest.approx((0.1, 0.1))


def test_a_frame_whose_axes_run_otherwise_says_so(tmp_path, mask):
    nibabel.save(nibabel.Nifti1Image(mask.T[..., None], np.eye(4)), tmp_path / "a.nii.gz")

    frame = read_frame(tmp_path / "a.nii.gz")

    assert np.array_equal(frame.pixels, mask)
    assert any("axes run otherwise" in warning for warning in frame.warnings)


def test_a_volume_of_several_slices_is_refused_with_their_number(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((5, 48, 64), np.uint8)), str(tmp_path / "a.nrrd"))
    nibabel.save(nibabel.Nifti1Image(np.zeros((64, 48, 5), np.uint8), np.eye(4)), tmp_path / "b.nii.gz")

    for name in ("a.nrrd", "b.nii.gz"):
        with pytest.raises(
            FrameReadError, match=rf"{name} is a volume of 5 slices of 64 columns and 48 rows"
        ):
            read_frame(tmp_path / name)


def test_a_segmentation_is_no_frame_and_not_found_as_one(tmp_path, mask, colours):
    write(tmp_path / "a.seg.nrrd", mask, nodes=NODES)
    write(tmp_path / "a.nrrd", colours)

    with pytest.raises(FrameReadError, match=r"a\.seg\.nrrd is a segmentation of another image"):
        read_frame(tmp_path / "a.seg.nrrd")
    assert find_sources(tmp_path) == [tmp_path / "a.nrrd"]


def test_voxels_in_another_file_are_never_read(tmp_path):
    (tmp_path / "secret.raw").write_bytes(bytes(64))
    header = b"NRRD0004\ntype: uchar\ndimension: 2\nsizes: 8 8\nencoding: raw\ndata file: secret.raw\n\n"
    (tmp_path / "a.nrrd").write_bytes(header)

    with pytest.raises(FrameReadError, match="keeps its voxels in another file, which is not read"):
        read_volume(tmp_path / "a.nrrd")


def test_a_packed_volume_that_unpacks_without_end_is_refused(tmp_path):
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    zeros = bytes(2**24)
    head = encode_volume(np.zeros((9, 9), np.uint8), ".nii")[:352]
    bomb = packer.compress(head) + b"".join(packer.compress(zeros) for _ in range(17)) + packer.flush()
    (tmp_path / "a.nii.gz").write_bytes(bomb)

    with pytest.raises(FrameReadError, match="unpacks to more than a picture holds"):
        read_volume(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("ending", [".nrrd", ".nii", ".nii.gz"])
def test_a_file_that_is_cut_or_garbled_is_refused_with_its_name(tmp_path, mask, ending):
    whole = encode_volume(mask, ending)
    rng = np.random.default_rng(0)
    path = tmp_path / f"a{ending}"
    for n in range(60):
        damaged = bytearray(whole)
        if n % 2:
            del damaged[int(rng.integers(1, len(damaged))) :]
        else:
            damaged[int(rng.integers(0, min(400, len(damaged))))] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            read_volume(path)
        except FrameReadError as error:
            assert path.name in str(error)


def test_a_header_that_asks_for_terabytes_is_refused(tmp_path):
    (tmp_path / "a.nrrd").write_bytes(
        b"NRRD0004\ntype: double\ndimension: 3\nsizes: 100000 100000 1\nencoding: gzip\n\n"
        + gzip.compress(b"0")
    )

    with pytest.raises(FrameReadError, match="a volume of 100000×100000×1 voxels"):
        read_volume(tmp_path / "a.nrrd")


def test_another_ending_is_refused(mask):
    with pytest.raises(ExportError, match=r"\.mha is no ending of a volume"):
        encode_volume(mask, ".mha")
