"""What the pages promise is so: their Python runs, their links lead somewhere, no option is left out."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from napari_cln.batch.rows import COLUMNS
from napari_cln.cli import COMMANDS
from napari_cln.network.weights import load_model
from napari_cln.types import SpacingSource
from napari_cln.workflow.segment import CLIP_COLUMNS

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md")])
# A block that needs a study of the reader's own is marked "python no-run".
PYTHON = re.compile(r"^( *)```python\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)")


def page_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", [page for page in PAGES if PYTHON.search(page.read_text())], ids=page_name)
def test_the_python_of_a_page_runs(page, tmp_path):
    code = "\n".join(block for _, block in PYTHON.findall(page.read_text()))

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_between_pages_lead_somewhere(page):
    missing = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]

    assert not missing


def test_the_page_of_the_command_line_names_every_command_and_option():
    page = (ROOT / "docs" / "reference" / "cli.md").read_text()
    for name, (place, _) in COMMANDS.items():
        assert f"`napari-cln {name} " in page or f"`napari-cln {name}`" in page
        module, _, function = place.partition(":")
        command = getattr(importlib.import_module(f"napari_cln.cli.{module}"), function)
        parameters = inspect.signature(command).parameters.values()
        options = {
            f"--{each.name.replace('_', '-')}" for each in parameters if each.kind is each.KEYWORD_ONLY
        }
        assert not {option for option in options if option not in page}


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("docs/reference/cli.md", COLUMNS),
        ("docs/how-to/cines.md", CLIP_COLUMNS),
        ("docs/how-to/scanner-exports.md", get_args(SpacingSource)),
    ],
)
def test_a_page_tells_of_every_column_and_source(page, names):
    told = re.findall(
        r"`([\w-]+)`", "\n".join(re.findall(r"^\|([^|]*)\|", (ROOT / page).read_text(), re.MULTILINE))
    )

    assert not set(names) - set(told)


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_figures_of_the_model_that_ships_are_of_that_model(page):
    shipped = load_model().card.model_id

    told = re.findall(r"ships now \(`(default@[0-9a-f]{12})`\)", page.read_text())

    assert set(told) <= {shipped}


def test_the_readme_opens_with_a_picture_and_the_two_commands():
    text = (ROOT / "README.md").read_text()
    first_screen = text[:1500]

    assert "](docs/images/segment.png)" in first_screen
    assert "bash tools/tox -e demo" in first_screen
    assert "bash tools/tox -e test" in first_screen
    assert "Not for diagnosis" in first_screen
