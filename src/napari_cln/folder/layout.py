"""Paths of a training folder: a raw nnU-Net dataset with records beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..errors import DatasetError

_ID = re.compile(r"[0-9a-f]{16}")
_LABEL = re.compile(r"[0-9a-f]{16}\.png")
_IMAGE = re.compile(r"([0-9a-f]{16})_0000\.png")
_ATTRIBUTES, _IGNORE = ".gitattributes", ".gitignore"
GIT_FILES = {
    # No program may turn line ends: a record carries a checksum of its bytes.
    _ATTRIBUTES: ("*.png binary", "*.json -text"),
    f"revisions/{_ATTRIBUTES}": ("*.reading -text",),
    # A lock that travels would be held for ever.
    _IGNORE: (".cln/", ".tmp-*"),
}
"""The lines that git needs in a training folder, by file."""
_SAME_TO_GIT = {
    "*.json -text": re.compile(r"(?:\*|\*\.json)\s(?:.*\s)?(?:-text|binary|eol=lf)(?:\s.*)?"),
    "*.reading -text": re.compile(r"\*(?:\.reading)?\s(?:.*\s)?(?:-text|binary|eol=lf)(?:\s.*)?"),
    ".cln/": re.compile(r"/?\.cln/?"),
}
"""Other lines that do as much; the rest of :data:`GIT_FILES` is for comfort."""


def checked_id(case_id: str) -> str:
    """Return the id of a case when it is one: 16 hexadecimal digits.

    Anything else could name a path (``../../x``) or a device (``CON``).

    Raises
    ------
    DatasetError
        If it is not an id.
    """
    if not isinstance(case_id, str) or not _ID.fullmatch(case_id):
        raise DatasetError(
            f"{str(case_id)[:40]!r} is not the id of a case. Give the 16 hexadecimal digits that name "
            "its record."
        )
    return case_id


@dataclass(frozen=True)
class Layout:
    """Paths in one training folder, from the ids of its cases."""

    root: Path

    @property
    def dataset(self) -> Path:
        """nnU-Net's description, with our schema under ``x_napari_cln``."""
        return self.root / "dataset.json"

    @cached_property
    def images(self) -> Path:
        """Images that have a mask; exactly the cases of ``labels``, as nnU-Net demands."""
        return self.root / "imagesTr"

    @cached_property
    def unmasked(self) -> Path:
        """Images without an accepted mask; nnU-Net does not look here."""
        return self.root / "imagesNoMask"

    @cached_property
    def labels(self) -> Path:
        """Label images, 0 background and 1 lymph node."""
        return self.root / "labelsTr"

    @cached_property
    def records(self) -> Path:
        """One JSON object per frame, and the ids of its nodes where the label can't say them."""
        return self.root / "records"

    @property
    def revisions(self) -> Path:
        """Former states, append-only."""
        return self.root / "revisions"

    @property
    def splits(self) -> Path:
        """The frozen folds, in nnU-Net's form."""
        return self.root / "splits_final.json"

    @property
    def private(self) -> Path:
        """Locks and autosave of this copy of the folder; git ignores it."""
        return self.root / ".cln"

    @property
    def locks(self) -> Path:
        return self.private / "locks"

    @property
    def autosave(self) -> Path:
        return self.private / "autosave"

    @property
    def description_copy(self) -> Path:
        """Our part of dataset.json, for when a power cut took that."""
        return self.private / "dataset.json"

    def image(self, case_id: str, masked: bool) -> Path:
        return (self.images if masked else self.unmasked) / f"{case_id}_0000.png"

    def id_of_image(self, path: Path | None) -> str | None:
        """Id of the case whose image a path names; None for a file elsewhere."""
        if path is None or (name := _IMAGE.fullmatch(path.name)) is None:
            return None
        places = (self.images.resolve(), self.unmasked.resolve())
        return name[1] if path.parent.resolve() in places else None

    def mask(self, case_id: str) -> Path:
        return self.labels / f"{case_id}.png"

    def record(self, case_id: str) -> Path:
        return self.records / f"{case_id}.json"

    def instances(self, case_id: str) -> Path:
        return self.records / f"{case_id}.nodes.png"

    def channel(self, case_id: str, name: str) -> Path:
        """A channel beside the grey image: 0 where nothing was measured, 1 to 255 the value."""
        return self.records / f"{case_id}.channel-{name}.png"

    def count_masks(self) -> int:
        """Number of label images, which is nnU-Net's ``numTraining``."""
        try:
            return sum(_LABEL.fullmatch(path.name) is not None for path in self.labels.iterdir())
        except FileNotFoundError:  # an empty folder, after a clone by git
            return 0

    def git_files(self) -> dict[Path, str]:
        """Files for git that lack a line without which a clone would be damaged, with it added.

        Returns
        -------
        dict of Path to str
            The whole text that each should have; empty where nothing is amiss.
        """
        wanted: dict[Path, str] = {}
        for name, lines in GIT_FILES.items():
            path = self.root / name
            try:
                text = path.read_text(encoding="utf-8", errors="surrogateescape")
            except FileNotFoundError:
                text = ""
            there = [line.strip() for line in text.splitlines()]
            needed = [line for line in lines if line in _SAME_TO_GIT]
            if not all(any(map(_SAME_TO_GIT[line].fullmatch, there)) for line in needed):
                start = text if not text or text.endswith("\n") else text + "\n"
                wanted[path] = start + "".join(f"{line}\n" for line in lines if line not in there)
        return wanted

    def make(self) -> None:
        """Make the folders that are not there: git, for one, keeps no empty folder."""
        for folder in (*self.shared, self.revisions):
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def shared(self) -> tuple[Path, ...]:
        """The folders that hold cases."""
        return self.images, self.unmasked, self.labels, self.records
