"""Where each file of a training folder lies: a raw nnU-Net dataset with records beside it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

__all__ = ["Layout"]


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

    def image(self, case_id: str, masked: bool) -> Path:
        return (self.images if masked else self.unmasked) / f"{case_id}_0000.png"

    def mask(self, case_id: str) -> Path:
        return self.labels / f"{case_id}.png"

    def record(self, case_id: str) -> Path:
        return self.records / f"{case_id}.json"

    def instances(self, case_id: str) -> Path:
        return self.records / f"{case_id}.nodes.png"

    def make(self) -> None:
        """Make the folders that are not there: git, for one, keeps no empty folder."""
        for folder in (*self.shared, self.revisions):
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def shared(self) -> tuple[Path, ...]:
        """The folders that hold cases."""
        return self.images, self.unmasked, self.labels, self.records
