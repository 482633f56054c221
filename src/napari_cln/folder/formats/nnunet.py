"""nnU-Net datasets, in and out.

A training folder is one already; the export leaves out what is nobody else's (readers' names,
notes, revisions) and keeps records beside the pictures, so that another napari-cln reads the nodes
and truths that nnU-Net's two-valued labels can't say. What was measured beside the grey image are further
channels, two each: the values, and where they were measured.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ...disk.atomic import read_json
from ...errors import DatasetError, SplitError, listed
from ...io.sources import read_frame
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

WHERE = " measured"
"""After a channel's name: the picture that is above 0 where it was measured."""

if TYPE_CHECKING:
    from ..dataset import TrainingFolder


def is_nnunet(source: Path) -> bool:
    """Tell whether a folder is a raw nnU-Net dataset."""
    return (source / "dataset.json").is_file() and (source / "imagesTr").is_dir()


def find_nnunet(source: Path, options: ImportOptions) -> Outlines:
    """Outlines of a raw nnU-Net dataset; the frames of ``imagesTs`` that have labels are test frames.

    nnU-Net knows no patients and no truths; without a table, every frame counts as a patient of its own.
    Its ``ignore`` label is kept as not judged, and a label without it and without a node says that there is
    none.

    Parameters
    ----------
    source : Path
        The dataset.
    options : ImportOptions

    Raises
    ------
    DatasetError
        If it has channels that are not known, is not of pictures, or its labels are not known.
    """
    description = read_json(source / "dataset.json")
    ending = str(description.get("file_ending", ""))
    if ending.casefold() not in (".png", ".bmp", ".tif", ".tiff", *VOLUME_ENDINGS):
        raise DatasetError(
            f"{source.name} has images of the kind {ending[:20]!r}.",
            "Pictures (.png, .bmp, .tif) and volumes of one slice (.nii.gz, .nrrd) can be imported.",
        )
    meanings = mask_meanings(options) or _meanings(description.get("labels"), source.name)
    further = _further(description, source.name)
    draw: dict[Path, Callable[[Frame], Drawn]] = {}
    splits: dict[Path, Split] = {}
    used = {source / "dataset.json"}
    for images, labels in (("imagesTr", "labelsTr"), ("imagesTs", "labelsTs")):
        for path in sorted((source / images).glob(f"*_0000{ending}")):
            name = path.name.removesuffix(f"_0000{ending}")
            label = source / labels / (name + ending)
            planes = {
                channel: tuple(path.with_name(f"{name}_{number:04}{ending}") for number in numbers)
                for channel, numbers in further.items()
            }
            if images == "imagesTs":
                if not label.is_file():
                    continue  # a frame to predict: nothing is known of it
                splits[path] = "test"
            draw[path] = partial(_draw, source, path, label, meanings, planes)
            used.update((label, *(plane for pair in planes.values() for plane in pair)))
        if not further and list((source / images).glob(f"*_0001{ending}")):
            raise DatasetError(
                f"{source.name} has several channels, and dataset.json does not name them.",
                "Correct its channel_names.",
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


def _further(description: Mapping[str, Any], source: str) -> dict[str, tuple[int, int]]:
    """Numbers of each channel beside the grey image: of its values, and of where it was measured."""
    names = description.get("channel_names", {})
    if not isinstance(names, dict) or not all(re.fullmatch(r"\d{1,4}", str(key)) for key in names):
        raise DatasetError(f"{source}/dataset.json has no plain list of channel_names.", "Correct it.")
    numbers = {str(name): int(key) for key, name in names.items() if int(key)}
    further = {
        name: (number, numbers[name + WHERE]) for name, number in numbers.items() if name + WHERE in numbers
    }
    known = {*further, *(name + WHERE for name in further)}
    if unknown := [name for name in numbers if name not in known]:
        raise DatasetError(
            f"{source} has the channel {unknown[0][:40]!r}, and none that says where it was measured.",
            f"Beside the grey image a channel is read with a second one, such as 'flow' and 'flow{WHERE}', "
            "which is 0 where nothing was measured.",
        )
    return further


def _draw(
    source: Path,
    path: Path,
    label: Path,
    meanings: Mapping[str, Meaning],
    planes: Mapping[str, tuple[Path, ...]],
    frame: Frame,
) -> Drawn:
    picture = read_mask(path_inside(label, (source,)))
    channels: dict[str, NDArray[np.uint8]] = {}
    for name, places in planes.items():
        value, where = (read_frame(path_inside(place, (source,))).grey for place in places)
        channels[name] = np.where(where > 0, np.maximum(value, 1), 0).astype(np.uint8)
    if {picture.values.shape, *(plane.shape for plane in channels.values())} != {frame.shape}:
        raise DatasetError(
            f"The label or a channel of {path.name} has another size than it. Correct the dataset."
        )
    measured = {name: plane for name, plane in channels.items() if plane.any()}
    made = drawn(picture, label.name, "unknown", meanings)
    # Where part of it is ignored, a node may lie there.
    return replace(made, judged=made.not_judged is None, channels=measured)


class NnunetWriter:
    """Writes a raw nnU-Net dataset; frames without a mask lie where nnU-Net does not look."""

    def __init__(self, study: TrainingFolder, dest: Path) -> None:
        self._study, self._layout = study, Layout(dest)
        self._channels = sorted({name for case in study.cases() for name in case.checksums.channels})
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
            nothing = np.zeros_like(frame.image)
            values = [frame.channels.get(name, nothing) for name in self._channels]
            planes = [plane for value in values for plane in (value, (value > 0) * np.uint8(255))]
            for number, plane in enumerate(planes, start=1):
                pictures[layout.images / f"{case_id}_{number:04}.png"] = plane
        pictures |= {layout.channel(case_id, name): plane for name, plane in frame.channels.items()}
        if masks.instances is not None:
            pictures[layout.instances(case_id)] = masks.instances
        for path, pixels in pictures.items():
            path.write_bytes(encode_png(pixels))
        layout.record(case_id).write_bytes(encode_record(frame.record))

    def close(self) -> str | None:
        """Write the description and the split by patient; say why there is no split, if there is none."""
        names = ["ultrasound", *(name + part for name in self._channels for part in ("", WHERE))]
        description = msgspec.structs.replace(
            Description.new(self._study.dataset.salt),
            n_masks=self._masks,
            has_unjudged=self._study.dataset.has_unjudged,
            others={"channel_names": {str(number): name for number, name in enumerate(names)}},
        )
        self._layout.dataset.write_bytes(description.encode())
        try:
            folds = frozen_split(self._study, freeze=False)
        except SplitError as cause:
            return f"Without splits_final.json, so nnU-Net will split by frame: {cause}"
        data = encode_splits(folds, self._study.cases(), for_nnunet=True)
        self._layout.splits.write_bytes(data)
        return None
