"""How Sphinx builds these pages: Markdown by MyST, the API from the docstrings, nothing from the network.

The source folder is the repository's root, so that README, CHANGELOG and the results of the benchmarks are
pages too, and a link between two files works in the built pages as it does in the files themselves.
"""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

import napari_cln

project = "napari-cln"
author = "napari-cln contributors"
release = version = napari_cln.__version__

root_doc = "docs/index"
include_patterns = ["*.md", "docs/**", "benchmarks/results/**"]
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.extlinks",
    "sphinx.ext.napoleon",
]

myst_heading_anchors = 3
myst_links_external_new_tab = False

autosummary_generate = False
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = False
napoleon_use_rtype = False
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"
maximum_signature_line_length = 88

extlinks = {
    "doi": ("https://doi.org/%s", "doi:%s"),
    "arxiv": ("https://arxiv.org/abs/%s", "arXiv:%s"),
}

html_theme = "furo"
html_title = "napari-cln"
html_copy_source = False
html_show_sourcelink = False

ROOMS = {
    "workflow": "Whole tasks",
    "server": "Serve",
    "io": "Read files",
    "imaging": "Prepare and measure",
    "network": "Networks and models",
    "models": "Model files",
    "batch": "Many files",
    "folder": "Training folders",
    "training": "Train",
    "study": "Evaluate",
    "phantom": "Simulate",
    "types": "Types",
    "settings": "Settings",
    "errors": "Errors",
}
"""Rooms of the package in the order of the pages, with their headings; one that is not here comes last."""


def public_names() -> dict[str, list[str]]:
    """Return the public names by the room that they live in."""
    rooms: dict[str, list[str]] = {room: [] for room in ROOMS}
    for name in napari_cln.__all__:
        room = getattr(napari_cln, name).__module__.split(".")[1]
        rooms.setdefault(room, []).append(f"napari_cln.{name}")
    try:
        workflow = importlib.import_module("napari_cln.workflow")
    except ModuleNotFoundError:
        workflow = None
    for name in getattr(workflow, "__all__", ()):
        if name not in napari_cln.__all__:
            rooms["workflow"].append(f"napari_cln.workflow.{name}")
    return {room: names for room, names in rooms.items() if names}


def kind_of(name: str) -> str:
    """Return the word by which Sphinx calls a public name: class, exception or function."""
    home, _, last = name.rpartition(".")
    found = getattr(importlib.import_module(home), last)
    if not inspect.isclass(found):
        return "function"
    return "exception" if issubclass(found, Exception) else "class"


def api_page(room: str, names: list[str]) -> str:
    """Return the page of a room: what it is for, its names at a glance, then each of them whole."""
    heading = ROOMS.get(room, room)
    about = inspect.getdoc(importlib.import_module(f"napari_cln.{room}")) or ""
    glance = [".. autosummary::", "", *(f"   {name}" for name in names)]
    whole = [f".. auto{kind_of(name)}:: {name}" for name in names]
    return "\n".join([heading, "=" * len(heading), "", about, "", *glance, "", *whole, ""])


def write_api_pages(app: Sphinx) -> None:
    """Write a page for each room that has public names, so that no list is kept by hand."""
    folder = Path(app.srcdir) / "docs" / "reference" / "api"
    folder.mkdir(exist_ok=True)
    rooms = enumerate(public_names().items())
    pages = {f"{n:02}-{room}.rst": api_page(room, names) for n, (room, names) in rooms}
    for path in folder.iterdir():
        if path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        path = folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def link_public_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, text: nodes.TextElement
) -> nodes.reference | None:
    """Link a type by its public name, wherever its module is."""
    name = node.get("reftarget", "").rpartition(".")[2]
    if node.get("refdomain") != "py" or name not in napari_cln.__all__:
        return None
    domain = env.domains.python_domain
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", f"napari_cln.{name}", node, text)


def tell_references_apart(
    app: Sphinx, what: str, name: str, found: object, options: object, lines: list[str]
) -> None:
    """Number the references of a page through: each docstring begins at 1, and a page holds many."""
    label = name.replace(".", "-")
    lines[:] = [re.sub(r"\[(\d+)\](?=_)|(?<=^\.\. )\[(\d+)\]", rf"[#{label}-\1\2]", line) for line in lines]


def setup(app: Sphinx) -> None:
    """Hook all three into the build."""
    app.connect("autodoc-process-docstring", tell_references_apart)
    app.connect("builder-inited", write_api_pages)
    app.connect("missing-reference", link_public_name)
