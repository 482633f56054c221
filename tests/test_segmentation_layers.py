"""Labels layers to other programs' files and back, by napari's own way of saving and opening."""

from __future__ import annotations

import shutil

import numpy as np
import pydicom
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels
from PIL import Image as Pillow

from napari_cln import _napari
from napari_cln._layers import image_of
from napari_cln.annotation import Node
from napari_cln.errors import ExportError, FrameReadError
from napari_cln.io.dicom.objects.findings import FrameFindings, ImageIdentity, encode
from napari_cln.io.dicom.objects.segmentation import read_segmentation, segmentation_of
from napari_cln.io.sources import open_source
from napari_cln.io.volumes import encode_volume, read_volume

STILL, CINE = "US1_J2KR.dcm", "examples_ybr_color.dcm"


@pytest.fixture
def viewer(models, monkeypatch) -> ViewerModel:
    monkeypatch.setenv("NAPARI_CLN_MODELS", str(models))
    _napari._opened.clear()
    return ViewerModel()


def show(viewer, path):
    """Open a file as napari does, and return its layers by their type."""
    made = [viewer._add_layer_from_data(*layer) for layer in _napari.read_layers(str(path))]
    return {type(layer): layer for (layer,) in made}


def paint(viewer, image) -> Labels:
    from napari_cln._layers import cine_to_layer, link

    data, options, _ = cine_to_layer(image)
    labels = viewer.add_labels(data, **options)
    link(labels, image)
    return labels


def save(labels, path):
    data, meta, _ = labels.as_layer_data_tuple()
    assert _napari.write_segmentation(str(path), data, meta) == [str(path)]
    return path


@pytest.fixture
def archive(data, tmp_path):
    """A folder with a still and a cine."""
    (tmp_path / "archive").mkdir()
    for name in (STILL, CINE):
        shutil.copy(data / "dicom" / name, tmp_path / "archive" / name)
    return tmp_path / "archive"


@pytest.mark.slow
def test_a_painted_still_is_saved_for_an_archive_and_opens_over_its_frame(viewer, archive, tmp_path):
    image = show(viewer, archive / STILL)[Image]
    labels = paint(viewer, image)
    labels.data[100:130, 200:260] = 1
    labels.data[100:110, 200:300] = 1
    path = save(labels, tmp_path / "a.seg.dcm")

    (opened,) = show(viewer, path).values()

    assert type(opened) is Labels
    assert np.array_equal(opened.data, labels.data)
    assert np.array_equal(opened.scale, image.scale)
    assert image_of(opened, viewer.layers) is image
    assert pydicom.dcmread(path).SegmentSequence[0].SegmentAlgorithmType == "MANUAL"


def test_a_prediction_is_saved_as_one_and_a_correction_of_it_as_one(viewer, archive, tmp_path):
    labels = show(viewer, archive / STILL)[Labels]
    if not labels.data.any():
        pytest.skip("the small network found nothing")
    kinds = []
    for value in (None, 3):
        if value:
            labels.data[5:30, 5:30] = value
        seg = pydicom.dcmread(save(labels, tmp_path / "a.seg.dcm"))
        kinds.append({item.SegmentAlgorithmType for item in seg.SegmentSequence})
        identification = seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
        assert (
            identification.AlgorithmName == "napari-cln best" or "napari-cln" in identification.AlgorithmName
        )
    assert kinds == [{"AUTOMATIC"}, {"SEMIAUTOMATIC"}]


@pytest.mark.parametrize("ending", [".seg.dcm", ".seg.nrrd"])
def test_nodes_that_nobody_has_judged_are_saved_again_as_such_until_they_are_painted(
    viewer, archive, tmp_path, ending
):
    mask = np.zeros((480, 640), np.uint8)
    mask[100:130, 200:260] = 1
    nodes = (Node(id=1, status="predicted"),)
    if ending == ".seg.dcm":
        frame = FrameFindings(instances=mask, nodes=nodes, sizes=(None,))
        data = encode(segmentation_of([frame], ImageIdentity.read(archive / STILL)))
    else:
        data = encode_volume(mask, ending, nodes=nodes)
    (archive / f"came{ending}").write_bytes(data)
    labels = show(viewer, archive / f"came{ending}")[Labels]

    def status(name):
        path = save(labels, tmp_path / f"{name}{ending}")
        read = read_segmentation(path) if ending == ".seg.dcm" else read_volume(path)
        return read.segments[0].node.status

    assert status("same") == "predicted"
    labels.data[131, 200:260] = 1
    assert status("painted") == "corrected"


def test_a_painted_cine_is_one_file_and_opens_on_its_frames(viewer, archive, tmp_path):
    image = show(viewer, archive / CINE)[Image]
    labels = paint(viewer, image)
    masks = np.zeros(labels.data.shape, np.uint8)
    masks[4, 50:70, 60:90], masks[29, 80:99, 100:111] = 1, 2
    labels.data = masks
    path = save(labels, tmp_path / "a.seg.dcm")

    (opened,) = show(viewer, path).values()

    assert np.array_equal(opened.data, masks)
    assert np.array_equal(opened.scale, image.scale)
    assert sorted(frame for _, frame in read_segmentation(path).masks) == [4, 29]


@pytest.mark.slow
def test_an_image_beside_its_segmentation_opens_with_it(viewer, archive):
    other = ViewerModel()
    labels = paint(other, show(other, archive / STILL)[Image])
    labels.data[100:130, 200:260] = 1
    path = save(labels, archive / "z.seg.dcm")
    _napari._opened.clear()

    layers = show(viewer, path)

    assert set(layers) == {Image, Labels}
    assert layers[Image].data.shape[:2] == (480, 640)


@pytest.mark.slow
def test_a_segmentation_without_its_image_says_to_open_that_first(viewer, archive, tmp_path):
    labels = paint(viewer, show(viewer, archive / STILL)[Image])
    labels.data[100:130, 200:260] = 1
    path = save(labels, tmp_path / "alone.seg.dcm")
    _napari._opened.clear()

    with pytest.raises(
        FrameReadError, match=r"alone\.seg\.dcm is a DICOM segmentation.*Open the image first"
    ):
        _napari.read_layers(str(path))


def test_masks_on_a_picture_without_identity_are_refused_with_a_way_out(viewer, tmp_path):
    Pillow.fromarray(np.full((80, 90), 99, np.uint8)).save(tmp_path / "x.png")
    labels = paint(viewer, show(viewer, tmp_path / "x.png")[Image])
    labels.data[10:20, 10:30] = 1

    with pytest.raises(ExportError, match=r"x\.png has no DICOM identity.*--format dicom"):
        save(labels, tmp_path / "a.seg.dcm")
    assert not (tmp_path / "a.seg.dcm").exists()


@pytest.mark.parametrize("ending", [".seg.nrrd", ".nrrd", ".nii.gz", ".nii"])
def test_masks_are_saved_as_volumes_in_millimetres(viewer, tmp_path, ending):
    image = show(viewer, _napari.SAMPLES / "simulated-frame.dcm")[Image]
    labels = paint(viewer, image)
    labels.data[10:20, 10:30] = 1
    labels.data[40:44, 50:90] = 7

    volume = read_volume(save(labels, tmp_path / f"a{ending}"))

    assert np.array_equal(volume.values, labels.data)
    assert volume.spacing_mm == pytest.approx(tuple(image.scale), rel=1e-5)


@pytest.mark.slow
def test_a_segmentation_of_slicer_opens_as_labels_where_it_was_drawn(viewer, tmp_path):
    image = show(viewer, _napari.SAMPLES / "simulated-frame.dcm")[Image]
    labels = paint(viewer, image)
    labels.data[10:20, 10:30] = 1
    labels.data[40:44, 50:90] = 7

    (opened,) = show(viewer, save(labels, tmp_path / "a.seg.nrrd")).values()

    assert np.array_equal(opened.data, labels.data)
    assert opened.scale == pytest.approx(image.scale)
    assert image_of(opened, viewer.layers) is image


def test_a_cine_is_no_volume_of_one_slice(viewer, archive, tmp_path):
    labels = paint(viewer, show(viewer, archive / CINE)[Image])

    with pytest.raises(ExportError, match=r"seg\.nrrd holds one frame, the layer 30"):
        save(labels, tmp_path / "a.seg.nrrd")


def test_napari_finds_the_writer_by_the_whole_ending():
    import npe2

    manager = npe2.PluginManager.instance()
    manager.discover()
    for ending in (".seg.dcm", ".seg.nrrd", ".nrrd", ".nii.gz", ".nii"):
        writer, path = manager.get_writer(f"a{ending}", ["labels"], "napari-cln")
        assert writer.command == "napari-cln.write_segmentation"
        assert path == f"a{ending}"


def test_a_folder_with_a_segmentation_opens_its_images(viewer, archive):
    other = ViewerModel()
    labels = paint(other, show(other, archive / STILL)[Image])
    labels.data[100:130, 200:260] = 1
    save(labels, archive / "z.seg.dcm")

    layers = _napari.read_layers(str(archive))

    assert [kind for _, _, kind in layers] == ["image", "image"]
    with open_source(archive / STILL) as source:
        assert source.n_frames == 1
