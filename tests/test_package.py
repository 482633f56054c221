"""What users install: the wheel that is built from the source archive holds all that is needed."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import npe2
import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_wheel_holds_manifest_weights_card_and_samples(built):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}

    for name in (
        "napari.yaml",
        "__init__.pyi",
        "py.typed",
        "models/default.safetensors",
        "models/default.json",
        "models/outline/calipers.safetensors",
        "models/outline/calipers.json",
    ):
        assert f"napari_cln/{name}" in sizes
    assert sizes["napari_cln/models/default.safetensors"] <= 20e6
    assert sizes["napari_cln/models/outline/calipers.safetensors"] <= 3e6
    assert any(name.startswith("napari_cln/samples/") and name.endswith((".png", ".dcm")) for name in sizes)
    assert not [name for name in sizes if "tests" in name or name.endswith(".pyc")]


def test_the_wheel_holds_nothing_that_nobody_uses(built):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}

    code = {name for name in names if name.endswith((".py", ".pyi"))}
    assert {name.partition("napari_cln/")[2] for name in names - code} == {
        "py.typed",
        "napari.yaml",
        "models/default.json",
        "models/default.safetensors",
        "models/outline/calipers.json",
        "models/outline/calipers.safetensors",
        "samples/CREDITS.txt",
        "samples/simulated-cine.dcm",
        "samples/simulated-frame.dcm",
        "samples/usgra-vessels.png",
        "study/reports/dictionary.toml",
    }


def test_the_wheel_registers_plugin_and_command(built):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (entry_points,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        text = archive.read(entry_points).decode()

    assert "[napari.manifest]\nnapari-cln = napari_cln:napari.yaml" in text
    assert "napari-cln = napari_cln.cli:main" in text


def test_the_source_archive_holds_tests_and_the_two_commands(built):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}

    assert {"tools/tox", "tox.ini", "constraints.txt", "tests/conftest.py", "README.md", "LICENSE"} <= names


def test_the_manifest_is_valid_and_named_like_the_distribution():
    assert (ROOT / "napari.yaml").read_bytes() == (ROOT / "src" / "napari_cln" / "napari.yaml").read_bytes()
    manifest = npe2.PluginManifest.from_file(ROOT / "src" / "napari_cln" / "napari.yaml")

    manifest.validate_imports()
    assert manifest.name == "napari-cln"


def test_layers_hold_their_import_rule():
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout
