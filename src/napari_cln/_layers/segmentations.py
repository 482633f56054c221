"""Labels layers ⇄ files that other programs read masks from: DICOM SEG, .seg.nrrd, NRRD, NIfTI."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..annotation import Annotation
from ..errors import DatasetError, ExportError, FrameReadError
from ..io.sources import open_source, refers_to_images
from ..io.terms import Segment
from ..io.volumes import VOLUME_ENDINGS, encode_volume, read_volume
from ..study.reading import digest
from ..types import Frame, Prediction
from .annotations import DRAWN_KEY, DrawnFrame, annotation_from_layer
from .frames import source_to_layer
from .predictions import labels_options
from .space import FRAME_KEY, KEY, SOURCE_KEY, LayerTuple, space_of

if TYPE_CHECKING:
    from napari.layers import Labels

SEGMENTATION_ENDINGS = (".seg.dcm", *VOLUME_ENDINGS)
MAX_NEIGHBOURS = 1000
"""Files beside a segmentation that are looked at for its image."""


@dataclass(frozen=True)
class _Saved:
    """Stand-in for a layer, as napari hands it to a writer."""

    data: Any
    metadata: Mapping[str, Any]
    name: str

    @property
    def ndim(self) -> int:
        return int(self.data.ndim)


def is_segmentation_file(path: Path) -> bool:
    """Tell whether a file holds masks of another image, by its content."""
    if not refers_to_images(path):
        return False
    with path.open("rb") as file:
        if file.read(4) == b"NRRD":
            return True
    from ..io.dicom.objects.segmentation import is_segmentation

    return is_segmentation(path)


def segmentation_to_layers(path: Path, opened: Iterable[Path] = ()) -> list[LayerTuple]:
    """Labels layers of a segmentation, over the frames that it lies on.

    Parameters
    ----------
    path : Path
        DICOM SEG or .seg.nrrd.
    opened : iterable of Path
        Files that are open: a SEG on one of them is Labels alone. An image that lies beside its SEG is opened
        with it.

    Returns
    -------
    list of tuple

    Raises
    ------
    FrameReadError
        If it can't be read, or its image is neither open nor beside it.
    """
    with path.open("rb") as file:
        is_nrrd = file.read(4) == b"NRRD"
    if is_nrrd:
        volume = read_volume(path)
        frame = Frame(pixels=volume.values, spacing_mm=volume.spacing_mm, source=path)
        options = labels_options(frame, {KEY: {}}) | {"name": path.name}
        options["metadata"][SOURCE_KEY] = None
        options["metadata"][DRAWN_KEY] = _unseen({0: volume.values}, volume.segments)
        return [(volume.values.copy(), options, "labels")]
    from ..io.dicom.objects.segmentation import read_segmentation

    read = read_segmentation(path)
    wanted = {instance for instance, _ in read.masks}
    known = dict(_find_images(wanted, opened))
    layers: list[LayerTuple] = []
    beside = dict(_find_images(wanted - known.keys(), islice(sorted(path.parent.iterdir()), MAX_NEIGHBOURS)))
    for instance, image in (known | beside).items():
        source = open_source(image)
        masks = read.of(instance, source.n_frames)
        if read.shape != source.shape:
            raise FrameReadError(
                f"{path.name} holds masks of {read.shape[0]}×{read.shape[1]} pixels, {image.name} has "
                f"{source.shape[0]}×{source.shape[1]}. Export both again."
            )
        if instance in beside:
            layers.append(source_to_layer(source))
        layer = _labels(path, source[0], masks, source.n_frames)
        layer[1]["metadata"][DRAWN_KEY] = _unseen(masks, read.segments)
        layers.append(layer)
    if not layers:
        raise FrameReadError(
            f"{path.name} is a DICOM segmentation of another image, not a picture. Open the image first, "
            "then this file; or put both into one folder."
        )
    return layers


def _labels(path: Path, first: Frame, masks: Mapping[int, NDArray[np.uint8]], n_frames: int) -> LayerTuple:
    options = labels_options(first, {KEY: {}}) | {"name": path.name}
    if n_frames == 1:
        options["metadata"][FRAME_KEY] = digest(first.pixels)
        return masks.get(0, np.zeros(first.shape, np.uint8)).copy(), options, "labels"
    stack = np.zeros((n_frames, *first.shape), dtype=np.uint8)
    for index, mask in masks.items():
        stack[index] = mask
    return stack, options | space_of(first, 3), "labels"


def _unseen(masks: Mapping[int, NDArray[np.uint8]], segments: Iterable[Segment]) -> dict[int, DrawnFrame]:
    """Frames with nodes that nobody has judged, so that they leave again as what they came as."""
    predicted = [segment.number for segment in segments if segment.node.status == "predicted"]
    return {
        index: DrawnFrame(digest=digest(mask.astype(np.uint8)), words="")
        for index, mask in masks.items()
        if np.isin(mask, predicted).any()
    }


def _find_images(wanted: set[str], paths: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    """Images of some identifiers among files, whatever those are."""
    from ..io.dicom.file import read_header
    from ..io.sources import is_dicom_image

    missing = set(wanted)
    for path in paths:
        if not missing:
            return
        if not path.is_file() or not is_dicom_image(path):
            continue
        try:
            instance = str(read_header(path, ["SOPInstanceUID"]).get("SOPInstanceUID") or "")
        except FrameReadError:
            continue
        if instance in missing:
            missing.remove(instance)
            yield instance, path


# ------------------------------------------------------------ out


def encode_labels(name: str, data: Any, meta: Mapping[str, Any]) -> bytes:
    """Bytes of a file with the masks of a Labels layer.

    Parameters
    ----------
    name : str
        Of the file; its ending is one of `SEGMENTATION_ENDINGS`.
    data : array, shape (H, W), or (T, H, W) of a cine
        Node ids.
    meta : mapping
        Attributes of the layer, as napari gives them to writers.

    Raises
    ------
    ExportError
        If a volume is asked of a cine; if a SEG is asked of masks whose image is no DICOM, or of none at all;
        or the ids are none from 1 to 255.
    """
    labels = _Saved(data, dict(meta.get("metadata") or {}), str(meta.get("name", name)))
    ending = next((end for end in SEGMENTATION_ENDINGS if name.casefold().endswith(end)), "")
    if not ending:
        raise ExportError(
            f"{name} has no ending of a segmentation.", f"Use one of {', '.join(SEGMENTATION_ENDINGS)}."
        )
    try:
        if ending == ".seg.dcm":
            return _encode_dicom(labels, name)
        return _encode_volume(labels, ending, meta)
    except DatasetError as cause:
        raise ExportError(str(cause)) from cause


def _encode_volume(labels: _Saved, ending: str, meta: Mapping[str, Any]) -> bytes:
    if labels.ndim != 2:
        raise ExportError(
            f"{ending[1:]} holds one frame, the layer {len(labels.data)}.",
            "Save it as .seg.dcm where the cine is DICOM, else as .tif.",
        )
    scale, units = meta.get("scale", (1, 1)), [str(unit) for unit in meta.get("units") or ()]
    in_mm = bool(units) and all(unit in ("mm", "millimeter") for unit in units[-2:])
    spacing = (float(scale[-2]), float(scale[-1])) if in_mm else None
    values = np.asarray(labels.data)
    frame = Frame(pixels=np.zeros(values.shape, np.uint8))
    known = labels.metadata.get(KEY)
    annotation = _annotation(labels, known.frame if isinstance(known, Prediction) else frame, 0)
    return encode_volume(annotation.instances, ending, nodes=annotation.nodes, spacing_mm=spacing)


def _encode_dicom(labels: _Saved, name: str) -> bytes:
    from ..io.dicom.objects.findings import Algorithm, FrameFindings, ImageIdentity, encode
    from ..io.dicom.objects.segmentation import segmentation_of
    from ..io.sources import is_dicom_image

    path = labels.metadata.get(SOURCE_KEY)
    if not isinstance(path, Path) or not path.is_file() or not is_dicom_image(path):
        image = path.name if isinstance(path, Path) else f"The image of layer '{labels.name}'"
        raise ExportError(
            f"{image} has no DICOM identity, so no segmentation can refer to it.",
            "Save the layer as .seg.nrrd; or export its training folder: `napari-cln export FOLDER --format "
            "dicom` writes image, mask and report together.",
        )
    identity = ImageIdentity.read(path)
    annotations: dict[int, Annotation] = {}
    with open_source(path) as source:
        n_masks = 1 if labels.ndim == 2 else len(labels.data)
        if n_masks != source.n_frames:
            raise ExportError(
                f"{path.name} has {source.n_frames} frames, the layer {n_masks}.",
                "Save its own Labels layer.",
            )
        for index in range(n_masks):
            masks = np.asarray(labels.data if labels.ndim == 2 else labels.data[index])
            if masks.any():
                annotations[index] = _annotation(labels, source[index], index)
    findings = [
        FrameFindings(
            index=index,
            instances=annotation.instances,
            nodes=annotation.nodes,
            sizes=(None,) * len(annotation.nodes),
            status=annotation.status,
            algorithm=None if annotation.based_on is None else Algorithm(model_id=annotation.based_on),
        )
        for index, annotation in annotations.items()
    ]
    seg = segmentation_of(findings, identity)
    if seg is None:
        raise ExportError(
            f"Layer '{labels.name}' shows no node, and DICOM knows no segmentation without one.",
            "Draw one first. A frame without a node is said by a report: napari-cln segment --dicom.",
        )
    return encode(seg)


def _annotation(labels: _Saved, frame: Frame, index: int) -> Annotation:
    layer: Labels = labels  # it has all that is asked of a layer
    return annotation_from_layer(layer, frame, index=index)
