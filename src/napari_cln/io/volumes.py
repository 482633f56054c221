"""NRRD and NIfTI volumes of one slice: a picture or a mask as 3D Slicer, ITK-SNAP and nnU-Net keep it.

The first axis of a volume runs along a picture's rows, the second down its columns. Voxels are taken in the
order in which they are stored, as by every program that paints on them, and never resampled; a file that says
of its axes that they run otherwise than a picture's is told of. Written volumes lie in the patient's
left-posterior plane, in which Slicer shows them upright.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..annotation import Node
from ..errors import ExportError, FrameReadError, TooLargeError
from ..types import Frame, Spacing, Status
from .depth import colour_of, scale_of, to_uint8
from .frame_source import FrameSource
from .limits import MAX_FRAME_BYTES, Unreadable, check_size, is_plausible, reading
from .placement import NIFTI_LENGTHS, place_of_nrrd
from .signatures import HEAD_BYTES, is_nifti
from .terms import LYMPH_NODE, Segment, coded_level, segment_label, side_of, side_term, site_term

VOLUME_ENDINGS = (".seg.nrrd", ".nrrd", ".nii.gz", ".nii")
"""Endings of what is read and written, the longer ones first."""
MAX_HEADER_BYTES = 2**20
MAX_SEGMENTS = 255
TURNED = (
    "The file says that its axes run otherwise than those of a picture. Its rows and columns were taken as "
    "they are stored."
)
NO_SCALE = "No millimetres: the file's spacing is the one that converters write where they know none."
MICRO = re.compile(rb'"(\xc2?\xb5|\xce\xbc)m"')
CONVERTERS = (1.0, 25.4 / 72, 25.4 / 96)
"""Spacings that stand for nothing: one, and those of 72 and 96 dots an inch."""
TYPES = {
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "<u1"),
    **dict.fromkeys(("signed char", "int8", "int8_t"), "<i1"),
    **dict.fromkeys(("short", "short int", "signed short", "int16", "int16_t"), "<i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "<u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "<i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "<u4"),
    **dict.fromkeys(("longlong", "long long", "long long int", "int64", "int64_t"), "<i8"),
    **dict.fromkeys(("ulonglong", "unsigned long long", "uint64", "uint64_t"), "<u8"),
    "float": "<f4",
    "double": "<f8",
}
"""NRRD's names of types of voxels."""
CATEGORY = "Segmentation category and type - DICOM master list"
ANATOMY = "Anatomic codes - DICOM master list"
STATUSES: dict[Status, str] = {"predicted": "inprogress", "rejected": "flagged"}
"""Slicer's words for nodes that no reader stands for; any other is completed."""
OWN_STATUS = "napari-cln.status"
COLOURS = ("0.94 0.89 0.26", "0.34 0.71 0.91", "0.80 0.47 0.65", "0 0.62 0.45", "0.90 0.62 0")


@dataclass(frozen=True, kw_only=True, eq=False)
class Volume:
    """A volume of one slice.

    Parameters
    ----------
    values : ndarray, shape (H, W) or (H, W, 3 or 4)
        As they are stored.
    place : ndarray of float64, shape (4, 3)
        Where a step along a row, along a column and to the next slice leads, and where the first voxel lies,
        in millimetres to the patient's left, back and head.
    segments : tuple of Segment
        Of a segmentation by 3D Slicer; empty for any other volume.
    unit : str, optional
        What the file counts its steps in, where that is no length that is known; it has no millimetres then.
    """

    values: NDArray[Any]
    place: NDArray[np.float64]
    segments: tuple[Segment, ...] = ()
    unit: str | None = None

    @property
    def axes(self) -> NDArray[np.float64]:
        """The steps along a row and along a column, shape (2, 3)."""
        return self.place[:2]

    @property
    def is_upright(self) -> bool:
        """Tell whether the axes run as those of a picture do: to the patient's left, and back."""
        steps = np.abs(self.axes)
        along = [int(np.argmax(step)) for step in steps]
        return along == [0, 1] and self.axes[0, 0] > 0 and self.axes[1, 1] > 0

    @property
    def spacing_mm(self) -> Spacing | None:
        """Millimetres per pixel along rows and columns; None where they stand for nothing."""
        return self._steps_mm if self.spacing_note is None else None

    @property
    def spacing_note(self) -> str | None:
        """Sentence on why there are no millimetres; None where there are."""
        row_mm, column_mm = self._steps_mm
        if self.unit is not None:
            return f"No millimetres: the file counts its steps in {self.unit!r}, which is no known length."
        if row_mm == column_mm and any(abs(row_mm - known) < 1e-4 for known in CONVERTERS):
            return NO_SCALE
        if not is_plausible((row_mm, column_mm)):
            return (
                f"No millimetres: the file says that a pixel is {row_mm:g} by {column_mm:g} mm, which is no "
                "scale of an ultrasound picture."
            )
        return None

    @property
    def _steps_mm(self) -> Spacing:
        # NIfTI keeps 7 digits.
        column_mm, row_mm = (float(f"{np.linalg.norm(step):.6g}") for step in self.axes)
        return row_mm, column_mm


def volume_ending(path: Path) -> str:
    """Ending of a volume's name; empty for a name that is no volume's."""
    name = path.name.casefold()
    return next((ending for ending in VOLUME_ENDINGS if name.endswith(ending)), "")


def is_volume(path: Path) -> bool:
    """Tell whether a file is called like a volume."""
    return bool(volume_ending(path))


# ------------------------------------------------------------ reading


def read_volume(path: Path) -> Volume:
    """Read a volume of one slice.

    Parameters
    ----------
    path : Path
        NRRD (raw or gzip, data in the same file) or NIfTI (packed with gzip or not).

    Raises
    ------
    FrameReadError
        If it has several slices, keeps its data elsewhere, or is damaged or too large.
    """
    with reading(path, "a whole volume"), path.open("rb") as file:
        return _read(file, path)


def decode_volume(data: bytes, name: str) -> Volume:
    """Read a volume of one slice from the bytes of its file.

    Parameters
    ----------
    data : bytes
    name : str
        For messages.

    Raises
    ------
    FrameReadError
        As :func:`read_volume`; a :class:`~napari_cln.errors.TooLargeError` where it unpacks to more than a
        picture holds.
    """
    with reading(Path(name), "a whole volume"):
        return _read(io.BytesIO(data), Path(name))


def _read(file: BinaryIO, path: Path) -> Volume:
    head = file.read(HEAD_BYTES)
    file.seek(0)
    if head.startswith(b"NRRD"):
        return _read_nrrd(file, path)
    if is_nifti(head):
        return _read_nifti(file.read(), path)
    raise Unreadable("it is neither NRRD nor NIfTI")


def _read_nrrd(file: BinaryIO, path: Path) -> Volume:
    import nrrd

    head = file.read(MAX_HEADER_BYTES)
    ends = [(at, mark) for mark in (b"\n\n", b"\r\n\r\n") if (at := head.find(mark)) >= 0]
    if not ends:
        raise Unreadable("its header has no end")
    end, mark = min(ends)
    # the reader drops what is not ASCII, and a micrometre is no metre
    text = MICRO.sub(b'"um"', head[:end])
    header = nrrd.read_header(io.BytesIO(text + b"\n\n"))
    if "data file" in header or "datafile" in header:
        raise FrameReadError(
            f"{path.name} keeps its voxels in another file, which is not read. Save it as one file."
        )
    if any(int(header.get(key, 0)) for key in ("byte skip", "line skip", "byteskip", "lineskip")):
        raise Unreadable("its voxels do not follow its header")
    sizes = [int(size) for size in header["sizes"]]
    kind = np.dtype(TYPES[str(header["type"])])
    if str(header.get("endian", "little")) == "big":
        kind = kind.newbyteorder(">")
    n_bytes = _check_bytes(path, sizes, kind.itemsize)
    file.seek(end + len(mark))
    data = _unpack(file.read(), str(header["encoding"]), n_bytes)
    values = np.frombuffer(data, dtype=kind).reshape(sizes, order="F")
    kinds = [str(name).casefold() for name in header.get("kinds", ())]
    if len(kinds) != len(sizes):
        kinds = ["domain"] * len(sizes)
    others = [axis for axis, name in enumerate(kinds) if name not in ("domain", "space", "???", "none")]
    if len(others) > 1:
        raise Unreadable("it has more than one axis that is none of space")
    values = np.moveaxis(values, others, [-1] * len(others))
    fields = {key: str(value) for key, value in header.items() if key.startswith("Segment")}
    flat = _one_slice(path, values, n_layers=bool(others))
    place, unit = place_of_nrrd(header, others)
    volume = _segmentation(flat, place, fields) if fields else Volume(values=flat, place=place)
    return replace(volume, unit=unit)


def _unpack(data: bytes, encoding: str, n_bytes: int) -> bytes:
    """The voxels, and never more of them than the header announces.

    Raises
    ------
    Unreadable
        If there are fewer, or they are packed in another way.
    """
    if encoding in ("gzip", "gz"):
        data = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(data, n_bytes)
    elif encoding != "raw":
        raise Unreadable(f"its encoding is {encoding!r}; raw and gzip are read")
    if len(data) < n_bytes:
        raise Unreadable("it is cut short")
    return data[:n_bytes]


def _check_bytes(path: Path, sizes: Sequence[int], item: int) -> int:
    """Bytes of the voxels; refused where they are more than a picture's."""
    if not sizes or min(sizes) < 1:
        raise Unreadable("it has no voxels")
    n_bytes = item
    for size in sizes:
        n_bytes *= size
        if n_bytes > MAX_FRAME_BYTES:
            raise TooLargeError(
                f"{path.name} is a volume of {'×'.join(map(str, sizes))} voxels. Volumes of one slice are "
                "read: save the slice that you want."
            )
    return n_bytes


def _one_slice(path: Path, values: NDArray[Any], n_layers: bool) -> NDArray[Any]:
    """The slice (H, W) or (H, W, n) of a volume whose axes of space come first.

    Raises
    ------
    FrameReadError
        If there are several slices.
    """
    n_space = values.ndim - n_layers
    shape = values.shape[:n_space]
    if n_space < 2 or any(size > 1 for size in shape[2:]):
        slices = "×".join(map(str, shape[2:])) or "no"
        raise FrameReadError(
            f"{path.name} is a volume of {slices} slices of {shape[0]} columns"
            + (f" and {shape[1]} rows" if n_space > 1 else "")
            + ". Volumes of one slice are read: save the slice that you want."
        )
    flat = values.reshape(shape[:2] + values.shape[n_space:])
    check_size(path, shape[1], shape[0])
    return np.ascontiguousarray(np.swapaxes(flat, 0, 1))


def _read_nifti(data: bytes, path: Path) -> Volume:
    import nibabel
    from nibabel.imageglobals import LoggingOutputSuppressor

    if data.startswith(b"\x1f\x8b"):
        unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)
        limit = MAX_FRAME_BYTES + MAX_HEADER_BYTES
        data = unpacker.decompress(data, limit + 1)
        if len(data) > limit:
            raise TooLargeError(
                f"{path.name} unpacks to more than a picture holds. Volumes of one slice are read: save the "
                "slice that you want."
            )
    kind = nibabel.Nifti2Image if data[4:8] == b"n+2\0" else nibabel.Nifti1Image
    with LoggingOutputSuppressor():  # what is wrong becomes a sentence
        image = kind.from_bytes(data)
    shape = list(image.shape)
    _check_bytes(path, shape, max(image.get_data_dtype().itemsize, 1))
    stored = np.asanyarray(image.dataobj)
    if stored.dtype.names:  # RGB24: a triple for each voxel
        stored = np.stack([stored[name] for name in stored.dtype.names], axis=-1)
    has_vector = stored.ndim == 5 and stored.shape[4] in (3, 4) and shape[3:4] == [1]
    if has_vector:
        stored = stored[:, :, :, 0]
    elif stored.ndim > 3 and not image.get_data_dtype().names:
        stored = stored.reshape(stored.shape[:3] + tuple(size for size in stored.shape[3:] if size > 1))
        if stored.ndim > 3:
            raise FrameReadError(
                f"{path.name} is a volume of {'×'.join(map(str, shape))} voxels. Volumes of one slice are "
                "read: save the slice that you want."
            )
    layered = has_vector or bool(image.get_data_dtype().names)
    # Its axes run to the patient's right and front.
    place = np.asarray(image.affine, dtype=np.float64)[:3].T * np.array([-1, -1, 1])
    place *= NIFTI_LENGTHS.get(int(image.header["xyzt_units"]) & 7, 1.0)
    return Volume(values=_one_slice(path, stored, n_layers=layered), place=place)


def _segmentation(layers: NDArray[Any], place: NDArray[np.float64], fields: Mapping[str, str]) -> Volume:
    """Segments of 3D Slicer; those of several layers may lie over each other, the later one above."""
    layers = layers if layers.ndim == 3 else layers[..., np.newaxis]
    count = sum(key.endswith("_ID") for key in fields)
    if count > MAX_SEGMENTS:
        raise Unreadable(f"it has {count} segments, and {MAX_SEGMENTS} can be shown")
    places = [
        tuple(
            int(fields.get(f"Segment{i}_{key}", default))
            for key, default in (("Layer", 0), ("LabelValue", i + 1))
        )
        for i in range(count)
    ]
    own = [value for _, value in places]
    are_unique = len(set(own)) == count and all(1 <= value <= MAX_SEGMENTS for value in own)
    values = np.zeros(layers.shape[:2], dtype=np.uint8)
    segments: list[Segment] = []
    for i, (layer, value) in enumerate(places):
        number = value if are_unique else i + 1
        if not 0 <= layer < layers.shape[2]:
            raise Unreadable(f"segment {number} lies in a layer that is not there")
        values[layers[..., layer] == value] = number
        name, tags = (fields.get(f"Segment{i}_{key}", "") for key in ("Name", "Tags"))
        segments.append(_segment(number, name, tags))
    return Volume(values=values, place=place, segments=tuple(segments))


def _segment(number: int, label: str, tags: str) -> Segment:
    said = dict(tag.split(":", 1) for tag in tags.split("|") if ":" in tag)
    terms = said.get("TerminologyEntry", "").split("~")
    codes = [term.split("^")[1] if term.count("^") >= 1 else "" for term in terms]
    codes += [""] * (7 - len(codes))
    score = said.get("napari-cln.malignancy", "")
    # Slicer calls whatever somebody has painted in progress: only beside our own word nobody has decided.
    stands = said.get(OWN_STATUS), said.get("Segmentation.Status")
    status: Status = next((own for own, word in STATUSES.items() if stands == (own, word)), "corrected")
    return Segment(
        number=number,
        label=label,
        is_node=codes[2] == LYMPH_NODE[0],
        node=Node(
            id=number,
            status=status,
            level=coded_level(codes[5], label),
            side=side_of(codes[6], label),
            p_malignant=float(score) if score.replace(".", "", 1).isdigit() and float(score) <= 1 else None,
        ),
    )


def frame_of_volume(volume: Volume, path: Path | None = None) -> Frame:
    """A volume of one slice as a frame.

    Parameters
    ----------
    volume : Volume
    path : Path, optional
        Its file, where it has one.
    """
    scale = scale_of(volume.values)
    spacing = volume.spacing_mm
    turned = () if volume.is_upright else (TURNED,)
    return Frame(
        pixels=colour_of(to_uint8(volume.values, scale)),
        spacing_mm=spacing,
        spacing_source="volume" if spacing else None,
        spacing_note=volume.spacing_note,
        source=path,
        warnings=(*turned, *((scale.note,) if scale.note else ())),
    )


class VolumeSource(FrameSource):
    """A volume of one slice as a frame."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._volume = read_volume(path)
        if self._volume.segments:
            raise FrameReadError(
                f"{path.name} is a segmentation of another image, not a picture. Open the image first, then "
                "this file."
            )
        self.n_frames = 1
        self.shape = self._volume.values.shape[:2]
        self.is_rgb = self._volume.values.ndim == 3
        if not self._volume.is_upright:
            self.warnings = (TURNED,)

    def _read(self, index: int) -> Frame:
        return frame_of_volume(self._volume, self.path)

    def close(self) -> None:
        """Do nothing: the file is read when it is opened."""


def check_same_place(image: Path, mask: Path) -> None:
    """Refuse a mask that does not lie where its image does.

    Where the image is no volume, only its size can be compared; a square mask whose axes run otherwise
    than a picture's may then lie on its side.

    Raises
    ------
    FrameReadError
        If the two differ, or one can't be read.
    """
    there = read_volume(mask)
    if is_volume(image):
        here = read_volume(image)
        if not np.allclose(here.axes, there.axes, rtol=1e-3, atol=1e-6):
            raise FrameReadError(
                f"{mask.name} and {image.name} say of their axes that they run differently, so one may lie "
                "turned or mirrored on the other. Save both from one program."
            )
    elif not there.is_upright and there.values.shape[0] == there.values.shape[1]:
        raise FrameReadError(
            f"{mask.name} is square and says of its axes that they run otherwise than a picture's, so rows "
            "and columns can't be told apart. Save it as PNG, or from 3D Slicer with its image."
        )


# ------------------------------------------------------------ writing


def encode_volume(
    values: NDArray[np.uint8],
    ending: str,
    *,
    nodes: Sequence[Node] = (),
    spacing_mm: Spacing | None = None,
    place: NDArray[np.float64] | None = None,
) -> bytes:
    """Bytes of a volume of one slice.

    Parameters
    ----------
    values : ndarray of uint8, shape (H, W) or (H, W, 3)
        A mask of node ids, or a picture.
    ending : str
        One of `VOLUME_ENDINGS`; ``.seg.nrrd`` names each of ``nodes``.
    nodes : sequence of Node
        What is known of ids in the mask; of others only that they are nodes.
    spacing_mm : (float, float), optional
        Millimetres per pixel along rows and columns; 1 where they are not known.
    place : ndarray of float64, shape (4, 3), optional
        Of the volume on which this one is to lie (:attr:`Volume.place`); only NRRD can say it.

    Raises
    ------
    ExportError
        If the ending is no volume's.
    """
    row_mm, column_mm = spacing_mm or (1.0, 1.0)
    if ending in (".nii", ".nii.gz"):
        data = _nifti(values, (column_mm, row_mm))
        return gzip.compress(data, mtime=0) if ending.endswith("gz") else data
    if ending not in VOLUME_ENDINGS:
        raise ExportError(f"{ending} is no ending of a volume.", f"Use one of {', '.join(VOLUME_ENDINGS)}.")
    import nrrd

    columns_first = np.swapaxes(values, 0, 1)[:, :, np.newaxis]
    if place is None:
        place = np.vstack([np.diag([column_mm, row_mm, 1.0]), np.zeros(3)])
    directions = place[:3].tolist()
    header: OrderedDict[str, Any] = OrderedDict(
        space="left-posterior-superior",
        kinds=["domain"] * 3,
        encoding="gzip",
    )
    if values.ndim == 3:
        columns_first = np.moveaxis(columns_first, -1, 0)
        header["kinds"] = ["RGB-color", "domain", "domain", "domain"]
        directions = [[np.nan] * 3, *directions]
    header["space directions"] = np.array(directions, dtype=float)
    header["space origin"] = place[3]
    if ending == ".seg.nrrd":
        header |= _segment_fields(values, nodes)
    buffer = io.BytesIO()
    nrrd.write(buffer, np.asfortranarray(columns_first), header, index_order="F")
    head, rest = buffer.getvalue().split(b"\n\n", 1)
    # The writer notes the time in a comment.
    lines = [line for line in head.split(b"\n") if not line.startswith(b"#")]
    return b"\n".join(lines) + b"\n\n" + rest


def _segment_fields(values: NDArray[np.uint8], nodes: Sequence[Node]) -> dict[str, str]:
    known = {node.id: node for node in nodes}
    ids = sorted({*known, *(int(value) for value in np.unique(values) if value)})
    rows, columns = values.shape
    fields = {
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }
    for place, number in enumerate(ids):
        node = known.get(number, Node(id=number))
        prefix = f"Segment{place}_"
        fields |= {
            f"{prefix}ID": f"Node_{number}",
            f"{prefix}Name": segment_label(node),
            f"{prefix}NameAutoGenerated": "0",
            f"{prefix}Color": COLOURS[place % len(COLOURS)],
            f"{prefix}ColorAutoGenerated": "0",
            f"{prefix}Extent": f"0 {columns - 1} 0 {rows - 1} 0 0",
            f"{prefix}LabelValue": str(number),
            f"{prefix}Layer": "0",
            f"{prefix}Tags": _tags(node),
        }
    return fields


def _tags(node: Node) -> str:
    site, side = "SCT^{}^{}".format(*site_term(node.level)), side_term(node.side)
    terms = [
        CATEGORY,
        "SCT^91723000^Anatomical structure",
        "SCT^{}^{}".format(*LYMPH_NODE),
        "^^",
        ANATOMY,
        site,
        "^^" if side is None else "SCT^{}^{}".format(*side),
    ]
    tags = [f"Segmentation.Status:{STATUSES.get(node.status, 'completed')}"]
    if node.status in STATUSES:
        tags.append(f"{OWN_STATUS}:{node.status}")
    if node.p_malignant is not None:
        tags.append(f"napari-cln.malignancy:{node.p_malignant:.4f}")
    return "|".join(["TerminologyEntry:" + "~".join(terms), *tags]) + "|"


def _nifti(values: NDArray[np.uint8], steps: tuple[float, float]) -> bytes:
    import nibabel

    stored: NDArray[Any] = np.swapaxes(values, 0, 1)[:, :, np.newaxis]
    if values.ndim == 3:
        triple = np.dtype([(name, np.uint8) for name in "RGB"])
        stored = np.ascontiguousarray(stored).view(triple)[..., 0]
    # NIfTI's axes run to the right and front, a picture's to the left and back.
    affine = np.diag([-steps[0], -steps[1], 1.0, 1.0])
    image = nibabel.Nifti1Image(stored, affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    data: bytes = image.to_bytes()
    return data
