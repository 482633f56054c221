"""nnU-Net datasets, in and out.

A training folder is one already; the export leaves out what is nobody else's (readers' names,
notes, revisions) and keeps records beside the pictures, so that another napari-cln reads the nodes
and truths that nnU-Net's two-valued labels can't say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ...disk.atomic import read_json
from ...errors import DatasetError, SplitError, listed
from ...io.volumes import VOLUME_ENDINGS
from ...types import Frame, Split
from ..description import Description
from ..layout import Layout
from ..pictures import encode_png
from ..record import encode_record
from ..split.frozen import encode_splits, frozen_split
from ..state import masks_of
from .imported import Drawn, ImportOptions, Outlines, path_inside
from .masks import drawn, mask_meanings, read_mask
from .meaning import Meaning, meaning_of
from .stored import ExportedFrame

if TYPE_CHECKING:
    from ..dataset import TrainingFolder


def is_nnunet(source: Path) -> bool:
    """Tell whether a folder is a raw nnU-Net dataset."""
    return (source / "dataset.json").is_file() and (source / "imagesTr").is_dir()


def find_nnunet(source: Path, options: ImportOptions) -> Outlines:
    """Outlines of a raw nnU-Net dataset; the frames of ``imagesTs`` that have labels are test frames.

    nnU-Net knows no patients and no truths; without a table, every frame counts as a patient of its own.
    Its ``ignore`` label is kept as not judged, and a label without a node says that there is none.

    Parameters
    ----------
    source : Path
        The dataset.
    options : ImportOptions

    Raises
    ------
    DatasetError
        If it has several channels, is not of pictures, or its labels are not known.
    """
    description = read_json(source / "dataset.json")
    ending = str(description.get("file_ending", ""))
    if ending.casefold() not in (".png", ".bmp", ".tif", ".tiff", *VOLUME_ENDINGS):
        raise DatasetError(
            f"{source.name} has images of the kind {ending[:20]!r}.",
            "Pictures (.png, .bmp, .tif) and volumes of one slice (.nii.gz, .nrrd) can be imported.",
        )
    meanings = mask_meanings(options) or _meanings(description.get("labels"), source.name)
    draw: dict[Path, Callable[[Frame], Drawn]] = {}
    splits: dict[Path, Split] = {}
    used = {source / "dataset.json"}
    for images, labels in (("imagesTr", "labelsTr"), ("imagesTs", "labelsTs")):
        for path in sorted((source / images).glob(f"*_0000{ending}")):
            label = source / labels / (path.name.removesuffix(f"_0000{ending}") + ending)
            if images == "imagesTs":
                if not label.is_file():
                    continue  # a frame to predict: nothing is known of it
                splits[path] = "test"
            draw[path] = partial(_draw, source, path, label, meanings)
            used.add(label)
        if list((source / images).glob(f"*_0001{ending}")):
            raise DatasetError(
                f"{source.name} has several channels.", "Only grey images of one can be imported."
            )
    if not draw:
        raise DatasetError(
            f"{source.name}/imagesTr has no image that ends in _0000{ending}.", "Check dataset.json."
        )
    return Outlines(
        kind="an nnU-Net dataset",
        draw=draw,
        images=tuple(draw),
        splits=splits,
        used=frozenset(used),
        n_masks=len(draw),
        untouched=True,
    )


def _meanings(labels: Any, name: str) -> dict[str, Meaning]:
    """Meaning of each value of the labels, from their names; the only label of a dataset is the node."""
    if not isinstance(labels, dict) or not all(type(value) is int for value in labels.values()):
        raise DatasetError(f"{name}/dataset.json has no plain list of labels.", "Give --mask-values 1=node.")
    foreground = {value: str(label) for label, value in labels.items() if value}
    kinds = {value: label for value, label in foreground.items() if meaning_of(label) != "not-judged"}
    meanings: dict[str, Meaning] = {str(value): "not-judged" for value in foreground if value not in kinds}
    if len(kinds) == 1:
        return meanings | {str(value): "node" for value in kinds}
    unknown = []
    for value, label in kinds.items():
        meaning = meaning_of(label)
        if meaning in ("node", "benign", "metastatic", "background"):
            meanings[str(value)] = meaning
        else:
            unknown.append(value)
    if unknown:
        named = listed((f"{kinds[value]!r} for the value {value}" for value in unknown), 8)
        raise DatasetError(
            f"{name}/dataset.json has the label {named}.",
            f"Say what it is, for example --mask-values {unknown[0]}=node (or background, benign, "
            "metastatic, not-judged).",
        )
    return meanings


def _draw(source: Path, path: Path, label: Path, meanings: Mapping[str, Meaning], frame: Frame) -> Drawn:
    picture = read_mask(path_inside(label, (source,)))
    if picture.values.shape != frame.shape:
        raise DatasetError(f"{label.name} has another size than {path.name}. Correct the dataset.")
    return replace(drawn(picture, label.name, "unknown", meanings), judged=True)


class NnunetWriter:
    """Writes a raw nnU-Net dataset; frames without a mask lie where nnU-Net does not look."""

    def __init__(self, study: TrainingFolder, dest: Path) -> None:
        self._study, self._layout = study, Layout(dest)
        self._masks = 0
        for folder in self._layout.shared:
            folder.mkdir()

    def add(self, frame: ExportedFrame) -> None:
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
        description = Description.new(self._study.dataset.salt)
        description = msgspec.structs.replace(
            description, n_masks=self._masks, has_unjudged=self._study.dataset.has_unjudged
        )
        self._layout.dataset.write_bytes(description.encode())
        try:
            folds = frozen_split(self._study, freeze=False)
        except SplitError as cause:
            return f"Without splits_final.json, so nnU-Net will split by frame: {cause}"
        data = encode_splits(folds, self._study.cases(), for_nnunet=True)
        self._layout.splits.write_bytes(data)
        return None
