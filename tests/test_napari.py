"""What napari's manifest points at, and the commands that a user types."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import av
import npe2
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels, Points
from PIL import Image as Pillow

import napari_cln
from napari_cln import _napari
from napari_cln.batch.masks import MaskLines
from napari_cln.batch.rows import FrameKey
from napari_cln.errors import ExportError, FrameReadError
from napari_cln.io.sources import ENDINGS
from napari_cln.workflow.promote import promote

SAMPLES = Path(_napari.__file__).parent / "samples"
FRAME = SAMPLES / "simulated-frame.dcm"


@pytest.fixture
def manifest() -> npe2.PluginManifest:
    return npe2.PluginManifest.from_file(Path(_napari.__file__).parent / "napari.yaml")


@pytest.fixture
def viewer() -> ViewerModel:
    npe2.PluginManager.instance().discover()
    return ViewerModel()


def of_kind(viewer: ViewerModel, kind: type):
    (found,) = (layer for layer in viewer.layers if type(layer) is kind)
    return found


def run(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_manifest_is_valid_and_every_target_is_there(manifest):
    done = subprocess.run(
        [sys.executable, "-m", "npe2", "validate", "napari-cln"], capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert manifest.name == distribution("napari-cln").name
    manifest.validate_imports()


def test_the_first_widget_is_the_segment_dock(manifest):
    assert [widget.display_name for widget in manifest.contributions.widgets][:2] == ["Segment", "Frames"]


def test_one_reader_claims_what_the_command_line_takes(manifest):
    (reader,) = manifest.contributions.readers

    assert reader.accepts_directories
    assert {f"*{ending}" for ending in ENDINGS} <= set(reader.filename_patterns)


def claims(name: str) -> bool:
    manager = npe2.PluginManager.instance()
    manager.discover()
    return any(reader.plugin_name == "napari-cln" for reader in manager.iter_compatible_readers([name]))


@pytest.mark.parametrize(
    "name",
    ["IM0001", "I0000001", "00000001", "im_0001", "a/b/IMG00012", "1.2.840.113619.2.55.3", "US.1.2.840.1"],
)
def test_names_of_dicom_files_without_an_ending_are_claimed(name):
    assert claims(name)


@pytest.mark.parametrize(
    "name",
    [
        "README",
        "Makefile",
        "notes.txt",
        "a.h5",
        "b.npy",
        "c.csv",
        "d.zarr",
        "e.mp3",
        "core.1234",
        "f.tar.gz.1",
    ],
)
def test_names_of_other_files_are_not_claimed(name):
    assert not claims(name)


def test_every_menu_entry_is_a_command(manifest):
    commands = {command.id for command in manifest.contributions.commands}
    menus = manifest.contributions.menus

    assert {"napari/layers/segment", "napari/layers/measure"} <= set(menus)
    assert all(entry.command in commands for entries in menus.values() for entry in entries)


@pytest.mark.slow
def test_a_frame_opens_with_its_nodes_and_its_score_on_the_canvas(viewer):
    viewer.open(FRAME, plugin="napari-cln")

    expected = napari_cln.segment(FRAME)
    image, labels, texts = (of_kind(viewer, kind) for kind in (Image, Labels, Points))
    assert tuple(image.scale) == pytest.approx(expected.frame.spacing_mm)
    assert np.array_equal(labels.data, expected.instances)
    assert labels.features["malignancy"][0] == pytest.approx(expected.malignancy, abs=1e-6)
    assert f"{expected.malignancy:.2f}" in texts.text.values[0]
    assert "not for diagnosis" in texts.text.values[0]
    assert tuple(labels.scale) == tuple(texts.scale) == tuple(image.scale)
    # the layer that one paints on is at hand
    assert viewer.layers.selection.active is labels


@pytest.mark.slow
def test_a_frame_opens_with_the_model_in_use(viewer, models, tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_CLN_MODELS", str(tmp_path / "known"))
    card = promote(models / "small.safetensors", confirmed=True)

    viewer.open(FRAME, plugin="napari-cln")

    labels = of_kind(viewer, Labels)
    assert labels.metadata["napari-cln"].model_id == card.model_id


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".PNG", ".tiff", ".jpg", ".bmp", ".WebP", ".gif", ".jp2", ".avif"])
def test_endings_of_images_are_claimed_in_any_case(viewer, tmp_path, suffix):
    path = tmp_path / f"neck{suffix}"
    Pillow.open(SAMPLES / "usgra-vessels.png").convert("L").save(path)

    viewer.open(path, plugin="napari-cln")

    assert of_kind(viewer, Image).name == "neck"


@pytest.mark.parametrize("ending", ["webm", "wmv", "mpg", "mpeg", "m4v"])
def test_endings_of_clips_are_claimed(viewer, tmp_path, ending):
    kind = {"webm": ("libvpx-vp9", "webm"), "wmv": ("wmv2", "asf"), "m4v": ("libx264", "mp4")}
    codec, container = kind.get(ending, ("mpeg2video", "mpeg"))
    with av.open(str(tmp_path / f"a.{ending}"), "w", format=container) as file:
        stream = file.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(5):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), 99, np.uint8))))
        file.mux(stream.encode(None))

    viewer.open(tmp_path / f"a.{ending}", plugin="napari-cln")

    assert of_kind(viewer, Image).data.shape == (5, 48, 64, 3)


# ------------------------------------------------------------ folders


def test_a_dicom_without_an_ending_opens_with_its_nodes(viewer, data):
    viewer.open(data / "cases" / "20_folder_without_endings" / "study" / "IM0001", plugin="napari-cln")

    assert [type(layer) for layer in viewer.layers] == [Image, Points, Labels]


def test_a_folder_opens_all_its_files_the_first_one_in_view(viewer, data):
    viewer.open(data / "cases" / "20_folder_without_endings" / "study", plugin="napari-cln")

    assert [layer.name for layer in viewer.layers] == ["IM0002", "IM0001"]
    assert [layer.visible for layer in viewer.layers] == [False, True]
    assert viewer.layers.selection.active.name == "IM0001"
    assert tuple(viewer.layers[1].scale) == pytest.approx((0.2, 0.2))


def test_a_folder_of_one_file_opens_as_that_file(viewer, tmp_path):
    shutil.copy(FRAME, tmp_path / "IM1")

    viewer.open(tmp_path, plugin="napari-cln")

    assert [type(layer) for layer in viewer.layers] == [Image, Points, Labels]


def test_a_folder_of_stills_and_cines_opens_in_one_space(viewer, tmp_path):
    for name in ("simulated-frame.dcm", "simulated-cine.dcm", "usgra-vessels.png"):
        shutil.copy(SAMPLES / name, tmp_path)

    viewer.open(tmp_path, plugin="napari-cln")

    assert sorted(layer.ndim for layer in viewer.layers) == [2, 2, 3]
    assert {str(unit) for layer in viewer.layers for unit in layer.units} == {"pixel"}
    # what is measured is the frame's own
    (frame,) = (layer.metadata["napari-cln"] for layer in viewer.layers if layer.name == "simulated-frame")
    assert frame.spacing_mm is not None


def test_what_can_not_be_read_in_a_folder_is_said_and_the_rest_opens(viewer, data, tmp_path):
    shutil.copytree(data / "cases" / "20_folder_without_endings" / "study", tmp_path / "study")
    shutil.copy(data / "cases" / "02_heic_of_a_phone" / "screen.heic", tmp_path / "study")

    with pytest.warns(
        UserWarning, match=r"1 of 3 files in study can't be read. screen.heic is a HEIC picture"
    ):
        viewer.open(tmp_path / "study", plugin="napari-cln")

    assert len(viewer.layers) == 2


def test_a_folder_of_very_many_files_says_which_are_open(viewer, tmp_path, monkeypatch):
    monkeypatch.setattr(_napari, "MAX_FILES", 3)
    for number in range(5):
        shutil.copy(SAMPLES / "usgra-vessels.png", tmp_path / f"{number}.png")

    with pytest.warns(UserWarning, match="more than 3 files; the first 3 are open.*Frames dock"):
        viewer.open(tmp_path, plugin="napari-cln")

    assert [layer.name for layer in viewer.layers] == ["2", "1", "0"]


@pytest.mark.parametrize(
    ("files", "folders", "sentence"),
    [
        ([], [], "holds no image, DICOM or video"),
        (["notes.txt"], ["empty"], "holds no image, DICOM or video"),
        (["dataset.json"], ["records", "imagesTr"], "is a training folder. Choose it in the Correct dock"),
        (
            ["results.csv", "run.jsonl"],
            ["masks"],
            "is what napari-cln segment wrote. Open one of the pictures",
        ),
    ],
)
def test_a_folder_that_holds_no_study_says_what_it_is(viewer, tmp_path, files, folders, sentence):
    folder = tmp_path / "folder"
    for name in ("", *folders):
        (folder / name).mkdir()
    for name in files:
        (folder / name).write_text("{}")

    with pytest.raises(FrameReadError, match=f"folder {sentence}"):
        viewer.open(folder, plugin="napari-cln")


def test_a_folder_of_damaged_files_says_what_is_wrong_with_the_first(viewer, tmp_path):
    for name in ("1.png", "2.png"):
        (tmp_path / name).write_bytes(b"")

    with pytest.raises(FrameReadError, match=r"1\.png is empty"):
        viewer.open(tmp_path, plugin="napari-cln")


def test_a_cine_opens_lazily_and_is_not_segmented_unasked(viewer):
    viewer.open(SAMPLES / "simulated-cine.dcm", plugin="napari-cln")

    (image,) = viewer.layers
    assert image.data.shape[0] == 12
    assert not isinstance(image.data, np.ndarray)


def test_a_frame_opens_although_the_model_does_not(viewer, monkeypatch):
    real = _napari.get_segmenter
    monkeypatch.setattr(_napari, "get_segmenter", lambda: real("no such model"))

    with pytest.warns(UserWarning, match="opened without a prediction.*no model 'no such model'"):
        viewer.open(FRAME, plugin="napari-cln")

    assert isinstance(viewer.layers[0], Image)
    assert "not segmented: There is no model" in of_kind(viewer, Points).text.values[0]


def test_the_masks_of_a_batch_open_as_one_lazy_layer(viewer, tmp_path):
    lines = MaskLines(tmp_path / "masks.jsonl")
    lines.add(FrameKey("left/b.png", 0), np.full((6, 9), 2, np.uint8))
    lines.add(FrameKey("a.png", 0), np.eye(8, dtype=np.uint8))
    lines.close()

    viewer.open(tmp_path / "masks.jsonl", plugin="napari-cln")

    labels = of_kind(viewer, Labels)
    assert type(labels.data).__module__.startswith("dask")
    assert labels.data.shape == (2, 8, 9)
    np.testing.assert_array_equal(labels.data[0, :, :8], np.eye(8))
    assert (np.asarray(labels.data[1]) == 2).sum() == 6 * 9
    assert labels.metadata["sources"] == ["a.png 0", "left/b.png 0"]


def test_what_is_odd_about_a_frame_is_said_as_it_opens(viewer, data):
    path = data / "cases" / "15_jpeg2000_says_422" / "05_2_j2k_mct1_YBR_FULL_422.dcm"

    with pytest.warns(UserWarning, match="says its colours are YBR_FULL_422, but its JPEG 2000 data is RGB"):
        viewer.open(path, plugin="napari-cln")


def test_a_text_file_named_png_says_what_to_do(viewer, tmp_path):
    path = tmp_path / "scan.png"
    path.write_bytes(b"not an image at all, only words")

    with pytest.raises(FrameReadError, match=r"scan\.png.*(Open it in an image viewer|export it again)"):
        viewer.open(path, plugin="napari-cln")


@pytest.mark.parametrize("key", ["simulated-frame", "simulated-cine", "real-frame"])
def test_every_sample_opens(viewer, key):
    layers = viewer.open_sample("napari-cln", key)

    assert isinstance(layers[0], Image)


def test_masks_are_saved_in_the_frames_own_size(viewer, tmp_path):
    viewer.open(FRAME, plugin="napari-cln")
    labels = of_kind(viewer, Labels)

    (path,) = labels.save(str(tmp_path / "masks.png"), plugin="napari-cln")

    assert np.array_equal(np.array(Pillow.open(path)), labels.data)


@pytest.mark.parametrize(
    ("masks", "reason"),
    [(np.zeros((3, 8, 8), np.uint8), "holds one frame"), (np.full((8, 8), 300), "ids up to 255")],
)
def test_what_a_png_cannot_hold_is_refused(tmp_path, masks, reason):
    with pytest.raises(ExportError, match=f"{reason}.*Save it as .tif"):
        _napari.write_masks(str(tmp_path / "masks.png"), masks, {})


def test_a_script_opens_a_frame_without_qt():
    printed = run(f"""
import sys, npe2
from napari.components import ViewerModel
npe2.PluginManager.instance().discover()
viewer = ViewerModel()
viewer.open({str(FRAME)!r}, plugin="napari-cln")
print(*(type(layer).__name__ for layer in viewer.layers))
print(*{{"PySide6", "PyQt5", "PyQt6"}} & set(sys.modules))
""")

    assert printed.splitlines() == ["Image Points Labels", ""]
