"""What napari's manifest points at, and the commands that a user types."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

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
from napari_cln.models.promotion import promote

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


def test_one_reader_claims_precise_patterns_only(manifest):
    (reader,) = manifest.contributions.readers

    assert {"*.png", "*.dcm", "*.mp4"} <= set(reader.filename_patterns)
    assert all(re.fullmatch(r"\*(masks)?\.\w{3,}", pattern) for pattern in reader.filename_patterns)


def test_every_menu_entry_is_a_command(manifest):
    commands = {command.id for command in manifest.contributions.commands}
    menus = manifest.contributions.menus

    assert {"napari/layers/segment", "napari/layers/measure"} <= set(menus)
    assert all(entry.command in commands for entries in menus.values() for entry in entries)


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


def test_a_frame_opens_with_the_model_in_use(viewer, models, tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_CLN_MODELS", str(tmp_path / "known"))
    card = promote(models / "small.safetensors", confirmed=True)

    viewer.open(FRAME, plugin="napari-cln")

    labels = of_kind(viewer, Labels)
    assert labels.metadata["napari-cln"].model_id == card.model_id


@pytest.mark.parametrize("suffix", [".PNG", ".tiff", ".jpg", ".bmp"])
def test_endings_of_images_are_claimed_in_any_case(viewer, tmp_path, suffix):
    path = tmp_path / f"neck{suffix}"
    Pillow.open(SAMPLES / "usgra-vessels.png").convert("L").save(path)

    viewer.open(path, plugin="napari-cln")

    assert of_kind(viewer, Image).name == "neck"


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
