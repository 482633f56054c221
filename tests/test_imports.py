"""What importing costs, and that every public name is there."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

import pytest

import napari_cln

HEAVY = ("torch", "napari", "qtpy", "PySide6", "magicgui", "scipy", "skimage", "pydicom", "PIL", "numpy")


def loaded_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_loads_nothing_heavy():
    assert loaded_by("import napari_cln").isdisjoint(HEAVY)


@pytest.mark.parametrize(
    "room", ["io.sources", "imaging.preprocessing", "folder.dataset", "study.statistics.metrics", "_layers"]
)
def test_reading_imaging_folder_and_study_work_without_torch_and_qt(room):
    loaded = loaded_by(f"import napari_cln.{room}")

    assert loaded.isdisjoint({"torch", "napari", "qtpy", "PySide6", "magicgui"})


def test_the_batch_job_and_the_network_need_no_napari():
    loaded = loaded_by("import napari_cln.batch, napari_cln.network.inference, napari_cln.cli")

    assert loaded.isdisjoint({"napari", "qtpy", "PySide6", "magicgui"})


def test_asking_the_command_for_help_loads_nothing_heavy():
    statement = """
import contextlib, napari_cln.cli
with contextlib.suppress(SystemExit):
    napari_cln.cli.main(["--version"])
"""

    assert loaded_by(statement).isdisjoint(set(HEAVY) - {"numpy"})


@pytest.mark.parametrize("name", sorted(napari_cln.__all__))
def test_every_public_name_is_there_and_documented(name):
    assert (getattr(napari_cln, name).__doc__ or "").strip()


def test_every_module_names_what_it_offers():
    for name in napari_cln.__all__:
        home = importlib.import_module(getattr(napari_cln, name).__module__)
        assert name in home.__all__


@pytest.mark.parametrize(
    ("set_by_user", "expected"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "PASSIVE"}, "None")],
)
def test_threads_that_wait_leave_the_processor_to_others_unless_the_user_says_how(set_by_user, expected):
    code = "import os, napari_cln; print(os.environ.get('GOMP_SPINCOUNT'))"
    own = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    environment = {name: value for name, value in os.environ.items() if name not in own} | set_by_user
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)

    assert done.stdout.strip() == expected


@pytest.mark.parametrize(("set_by_user", "expected"), [({}, "4"), ({"OPENBLAS_THREAD_TIMEOUT": "9"}, "9")])
def test_numpys_threads_do_not_spin_unless_the_user_says_so(set_by_user, expected):
    name = "OPENBLAS_THREAD_TIMEOUT"
    code = f"import os, napari_cln; print(os.environ.get('{name}'))"
    environment = {key: value for key, value in os.environ.items() if key != name} | set_by_user
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)

    assert done.stdout.strip() == expected
