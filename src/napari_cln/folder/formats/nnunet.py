"""nnU-Net datasets, in and out.

A training folder is one already; the export leaves out what is nobody else's (readers' names,
notes, revisions) and keeps records beside the pictures, so that another napari-cln reads the nodes
and truths that nnU-Net's two-valued labels can't say.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ...disk.atomic import read_json
from ...errors import DatasetError, SplitError
from ...io.sources import read_frame
from ...types import Annotation
from ..description import Description
from ..layout import Layout
from ..pictures import encode_png, masks_of
from ..record import Provenance, encode_record
from ..split.frozen import encode_splits, frozen_split
from .parcel import Incoming, Meaning, Parcel, inside, meaning_of, node_ids, read_mask, untouched
from .stored import StoredFrame

if TYPE_CHECKING:
    from ..dataset import TrainingFolder

__all__ = ["NnunetWriter", "find_nnunet", "is_nnunet"]


def is_nnunet(source: Path) -> bool:
    """Whether a folder is a raw nnU-Net dataset."""
    return (source / "dataset.json").is_file() and (source / "imagesTr").is_dir()


def find_nnunet(source: Path, mask_values: dict[int, Meaning] | None) -> list[Incoming]:
    """The training frames of a raw nnU-Net dataset, untouched.

    nnU-Net knows no patients and no truths; every frame counts as a patient of its own.

    Raises
    ------
    DatasetError
        If it has several channels, is not of pictures, or its labels are not known.
    """
    description = read_json(source / "dataset.json")
    ending = str(description.get("file_ending", ""))
    if ending.casefold() not in (".png", ".bmp", ".tif", ".tiff"):
        raise DatasetError(
            f"{source.name} has images of the kind {ending!r}. Only pictures (.png, .bmp, .tif) can be "
            "imported: volumes in .nii.gz have no frames."
        )
    meanings = mask_values or _meanings(description.get("labels"), source.name)
    images = sorted((source / "imagesTr").glob(f"*_0000{ending}"))
    if list((source / "imagesTr").glob(f"*_0001{ending}")):
        raise DatasetError(
            f"{source.name} has several channels. Only grey images of one channel can be imported."
        )
    if not images:
        raise DatasetError(
            f"{source.name}/imagesTr has no image that ends in _0000{ending}. Check dataset.json."
        )
    return [Incoming(name=path.name, read=partial(_read, source, path, ending, meanings)) for path in images]


def _meanings(labels: Any, name: str) -> dict[int, Meaning]:
    """What each value of the labels is, from their names; the only label of a dataset is the node."""
    if not isinstance(labels, dict) or not all(isinstance(value, int) for value in labels.values()):
        raise DatasetError(f"{name}/dataset.json has no plain list of labels. Give --mask-values 1=node.")
    foreground = {value: str(label) for label, value in labels.items() if value}
    if len(foreground) == 1:
        return dict.fromkeys(foreground, "node")
    meanings = {value: meaning_of(label) for value, label in foreground.items()}
    known = {v: m for v, m in meanings.items() if m in ("node", "benign", "metastatic", "background")}
    if len(known) < len(meanings):
        unknown = next(value for value in meanings if value not in known)
        raise DatasetError(
            f"{name}/dataset.json has the label {foreground[unknown]!r} for the value {unknown}. Say what it "
            f"is, for example --mask-values {unknown}=node (or background, benign, metastatic)."
        )
    return known  # type: ignore[return-value]


def _read(source: Path, path: Path, ending: str, meanings: dict[int, Meaning]) -> Parcel:
    frame = read_frame(inside(path, (source,)))
    label = source / "labelsTr" / (path.name.removesuffix(f"_0000{ending}") + ending)
    values = read_mask(inside(label, (source,)))
    if values.shape != frame.shape:
        raise DatasetError(f"{label.name} has another size than {path.name}. Correct the dataset.")
    instances, nodes = node_ids(values, label.name, "unknown", meanings)
    annotation = Annotation(
        frame=frame,
        instances=instances,
        nodes=nodes,
        status="accepted" if nodes else "no-node",
        annotator="import",
    )
    annotation, overlay = untouched(annotation)
    about = Provenance(who="import", kind="import", action="imported")
    return Parcel(annotation=annotation, about=about, overlay=overlay)


class NnunetWriter:
    """Writes a raw nnU-Net dataset; frames without a mask lie where nnU-Net does not look."""

    def __init__(self, study: TrainingFolder, dest: Path) -> None:
        self._study, self._layout = study, Layout(dest)
        self._masks = 0
        for folder in self._layout.shared:
            folder.mkdir()

    def add(self, frame: StoredFrame) -> None:
        """Add one frame: image, label, and its record with the nodes' ids."""
        layout, case_id = self._layout, frame.case.id
        nodes = tuple(entry.node for entry in frame.record.nodes)
        masks = masks_of(frame.instances, nodes, frame.record.status, frame.not_judged)
        pictures = {layout.image(case_id, masks.label is not None): frame.image}
        if masks.label is not None:
            pictures[layout.mask(case_id)] = masks.label
            self._masks += 1
        if masks.instances is not None:
            pictures[layout.instances(case_id)] = masks.instances
        for path, pixels in pictures.items():
            path.write_bytes(encode_png(pixels))
        layout.record(case_id).write_bytes(encode_record(frame.record))

    def close(self) -> str | None:
        """Write the description and the split by patient; say why there is no split, if there is none."""
        description = Description.new(self._study.salt)
        description = msgspec.structs.replace(
            description, n_masks=self._masks, has_unjudged=self._study.has_unjudged
        )
        self._layout.dataset.write_bytes(description.encode())
        try:
            folds = frozen_split(self._study, freeze=False)
        except SplitError as cause:
            return f"Without splits_final.json, so nnU-Net will split by frame: {cause}"
        data = encode_splits(folds, self._study.cases(), for_nnunet=True)
        self._layout.splits.write_bytes(data)
        return None
