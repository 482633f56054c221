"""``dataset.json``: nnU-Net's description of a training folder, and ours under ``x_napari_cln``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from ..disk.atomic import read_json, write_atomically
from ..errors import DatasetError
from .record import SCHEMA, Name, Time, now

__all__ = ["Description", "Ours", "Seen"]

OURS = "x_napari_cln"


class Seen(Struct, frozen=True):
    """Who has looked at the pictures of a kind of screen, and when."""

    who: Name
    t: Time


class Ours(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What napari-cln keeps of a folder: schema, time, fingerprint of the patients' salt, screens seen."""

    schema: Annotated[int, Meta(ge=1, le=10**6)]
    created: Name = ""
    salt: Annotated[str, Meta(pattern="^[0-9a-f]{8}$")] | None = None
    screens: dict[str, Seen] = {}


class Description(Struct, frozen=True, kw_only=True):
    """Content of ``dataset.json``; keys of others stay as they are.

    Parameters
    ----------
    ours : Ours
    n_masks : int
        nnU-Net's ``numTraining``.
    has_unjudged : bool
        Whether label images may hold nnU-Net's ``ignore``.
    others : dict
        Every other key, as it was read.
    """

    ours: Ours
    n_masks: int = 0
    has_unjudged: bool = False
    others: dict[str, Any] = {}

    @classmethod
    def new(cls, salt: str | None) -> Description:
        """Description of an empty folder."""
        created = now().strftime("%Y-%m-%dT%H:%M:%SZ")
        return cls(ours=Ours(schema=SCHEMA, created=created, salt=salt))

    @classmethod
    def read(cls, path: Path) -> Description:
        """Read a ``dataset.json``.

        Raises
        ------
        DatasetError
            If it is missing, damaged, or of an nnU-Net dataset that is no training folder.
        """
        raw = read_json(path)
        if not isinstance(raw.get(OURS), dict):
            raise DatasetError(
                f"{path.parent.name} is an nnU-Net dataset, but not a training folder. Import it with "
                "`napari-cln import`."
            )
        try:
            ours = msgspec.convert(raw.pop(OURS), Ours)
        except msgspec.ValidationError as cause:
            raise DatasetError(
                f"{path.name} has a value under {OURS!r} that no training folder has ({cause}). Restore it "
                "from git or a backup, or run `napari-cln check --repair` to make it anew."
            ) from cause
        n_masks, labels = raw.get("numTraining"), raw.get("labels")
        return cls(
            ours=ours,
            n_masks=n_masks if isinstance(n_masks, int) else -1,
            has_unjudged=isinstance(labels, dict) and "ignore" in labels,
            others=raw,
        )

    def encode(self) -> bytes:
        """Write it as JSON."""
        labels = {"background": 0, "lymph node": 1} | ({"ignore": 2} if self.has_unjudged else {})
        content = self.others | {
            "channel_names": {"0": "ultrasound"},
            "labels": labels,
            "numTraining": self.n_masks,
            "file_ending": ".png",
            OURS: msgspec.to_builtins(self.ours),
        }
        return (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()

    def write(self, path: Path) -> None:
        """Write ``dataset.json`` whole or not at all."""
        write_atomically(path, self.encode())
