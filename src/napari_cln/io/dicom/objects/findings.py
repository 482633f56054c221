"""Findings in an image, that image itself, and its identity, for objects that refer to it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as Items
from pydicom.uid import UID

from .... import __version__
from ....annotation import Node
from ....errors import ClnError, ExportError
from ....imaging.measurement import Measurement
from ....types import Level, Side, Spacing, Status
from ...terms import side_term, site_term
from ..file import read_header
from ..source import quiet

if TYPE_CHECKING:
    from highdicom.sr import CodedConcept

MANUFACTURER = "napari-cln"
EQUIPMENT = {
    "manufacturer": MANUFACTURER,
    "manufacturer_model_name": MANUFACTURER,
    "software_versions": __version__,
    "device_serial_number": "0",
}
"""Names the program where DICOM asks for the device."""

Origin: TypeAlias = Literal["predicted", "corrected", "drawn"]
"""Who made a mask: a computer, a reader from a computer's, or a reader alone."""

MOVED = {"carried from ": "carrying of masks", "interpolated between ": "interpolation of masks"}
"""What makes masks from those of other frames, by the first words that records have of it."""

NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
PATIENT_AND_STUDY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
)
NAMES = ("PatientName", "ReferringPhysicianName")
TAGS = [*NEEDED, *PATIENT_AND_STUDY, "Rows", "Columns"]
DATE, TIME = re.compile(r"\d{8}"), re.compile(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?")
UTF_8 = "ISO_IR 192"
"""The character set of all that is written, whatever that of the image: it can say every name."""
LIMITS = {"PatientID": 64, "StudyID": 16, "AccessionNumber": 16}
MULTI_FRAME = (
    uid.UltrasoundMultiFrameImageStorage,
    UID("1.2.840.10008.5.1.4.1.1.3"),  # its retired form
    uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
)
"""Classes of which DICOM allows to name a frame."""


def code(value: str, meaning: str, scheme: str = "SCT") -> CodedConcept:
    """A coded concept, made anew: highdicom's are mutable, and one in two places carries changes over."""
    from highdicom.sr import CodedConcept

    return CodedConcept(value, scheme, meaning)


def site_code(level: Level | None) -> CodedConcept:
    """Code of the group of lymph nodes at a neck level."""
    return code(*site_term(level))


def side_code(side: Side | None) -> CodedConcept | None:
    """Code of a side; None for the midline and where it is not known."""
    term = side_term(side)
    return None if term is None else code(*term)


@dataclass(frozen=True, kw_only=True)
class Algorithm:
    """The model that found a node or scored it, or the way in which a mask was made from another frame's.

    Parameters
    ----------
    model_id : str
        ``name@`` and the first digits of the weights' SHA-256; or ``carried from …``, ``interpolated between
        …``, as records keep it. Empty where it is not known.
    mask_threshold, cutoff : float, optional
        Its operating points.
    """

    model_id: str
    mask_threshold: float | None = None
    cutoff: float | None = None

    @property
    def moves_masks(self) -> bool:
        """True where no model drew the mask: it is that of other frames of the clip, moved here."""
        return self.model_id.startswith(tuple(MOVED))

    @property
    def name(self) -> str:
        if not self.model_id:
            return "unknown"
        model, _, _ = self.model_id.rpartition("@")
        moved = (way for words, way in MOVED.items() if self.model_id.startswith(words))
        return f"napari-cln {next(moved, model or self.model_id)}"[:64]

    @property
    def version(self) -> str:
        _, said, version = self.model_id.rpartition("@")
        known = __version__ if self.moves_masks else version if said else ""
        return (known or "unknown")[:64]

    @property
    def family(self) -> CodedConcept:
        """What kind of algorithm it is, of DICOM's context group 7162."""
        if self.moves_masks:
            return code("123111", "Deformable Models", "DCM")
        if not self.model_id:
            return code("261665006", "Unknown")
        return code("123110", "Artificial Intelligence", "DCM")

    @property
    def parameters(self) -> dict[str, str]:
        """Operating points, or the frames that a mask comes from, as DICOM lists them."""
        if self.moves_masks:
            return {"masks": f"{self.model_id} (the first is frame 0)"}
        points = {"mask threshold": self.mask_threshold, "cutoff": self.cutoff}
        return {name: f"{value:g}" for name, value in points.items() if value is not None}


UNKNOWN_ALGORITHM = Algorithm(model_id="")
"""Stands for what made a mask that came from elsewhere: no reader has, and that is all that is known."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameFindings:
    """Findings in one frame of an image.

    Parameters
    ----------
    index : int
        Position in the image file, from 0.
    instances : ndarray of uint8, shape (H, W)
        0 background; the ids of ``nodes``, and of others that are left out.
    nodes : tuple of Node
    sizes : tuple of Measurement or None
        Of each node, in their order.
    frame_score : float, optional
        Malignancy in [0, 1] of the whole frame, for one without a node.
    caution : str
        The model's own doubt about the frame, as a sentence; empty for none.
    status : str
        Of the frame, as in records: whether a reader has seen that it shows no node. Nodes have their own.
    algorithm : Algorithm, optional
        What made the masks and scores, or the masks from which a reader started.
    """

    index: int = 0
    instances: NDArray[np.uint8]
    nodes: tuple[Node, ...]
    sizes: tuple[Measurement | None, ...]
    frame_score: float | None = None
    caution: str = ""
    status: Status = "predicted"
    algorithm: Algorithm | None = None

    def origin(self, node: Node | None = None) -> Origin:
        """Who made the mask of a node, or found the frame to have none.

        Each node answers for itself: a reader who has judged one need not have seen the others.
        """
        if (self.status if node is None else node.status) == "predicted":
            return "predicted"
        return "drawn" if self.algorithm is None else "corrected"

    def digest(self) -> bytes:
        """Content of all that is written of the frame."""
        scored = self.index, self.nodes, self.sizes, self.frame_score, self.caution
        said = repr((*scored, self.status, self.algorithm))
        return hashlib.sha256(said.encode() + np.ascontiguousarray(self.instances).tobytes()).digest()


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageIdentity:
    """The image that objects refer to: its identifiers, patient and study, and no more of its header.

    Parameters
    ----------
    header : Dataset
        Stands in for the image where highdicom asks for it. It is an ultrasound image of one frame
        without a frame of reference, the only kind of which highdicom makes a segmentation.
    sop_class : UID
        The class that the image really is of.
    n_frames : int
    """

    header: Dataset
    sop_class: UID
    n_frames: int = 1

    @classmethod
    def read(cls, path: Path) -> ImageIdentity:
        """Take the identity from a DICOM file; its pixels are not read.

        Parameters
        ----------
        path : Path

        Raises
        ------
        FrameReadError
            If the header can't be read.
        ExportError
            If an identifier is missing, or one that DICOM does not allow.
        """
        with quiet():
            found = read_header(path, [*TAGS, "SpecificCharacterSet", "NumberOfFrames"])
        for keyword in NEEDED:
            value = str(found.get(keyword) or "")
            if not value:
                raise ExportError(
                    f"{path.name} has no {keyword}, so no SEG or report can refer to it.",
                    "Export the image again.",
                )
            if not _is_allowed(value):
                raise ExportError(
                    f"{path.name} has the identifier {value}, which DICOM does not allow, so no SEG or "
                    "report can refer to it.",
                    "Export the image again.",
                )
        header = Dataset()
        with building():
            for keyword in TAGS:
                said = _value(found, keyword)
                if keyword in PATIENT_AND_STUDY or said != "":
                    setattr(header, keyword, said)
            if found.get("PatientID") and not header.PatientID:
                raise ExportError(
                    f"{path.name} has a patient number that DICOM does not allow (over 64 characters, or "
                    "several), so no SEG or report can be filed under it.",
                    "Export the image again.",
                )
            return cls(
                header=_stand_in(header),
                sop_class=UID(str(found.SOPClassUID)),
                n_frames=int(found.get("NumberOfFrames") or 1),
            )

    @classmethod
    def of_capture(cls, capture: Dataset) -> ImageIdentity:
        """The identity of a capture that was made here."""
        header = Dataset()
        for keyword in TAGS:
            if keyword in capture:
                setattr(header, keyword, capture[keyword].value)
        return cls(header=_stand_in(header), sop_class=capture.SOPClassUID)

    @property
    def instance(self) -> str:
        """SOP Instance UID of the image."""
        return str(self.header.SOPInstanceUID)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self.header.Rows), int(self.header.Columns)

    def frame_numbers(self, index: int) -> list[int] | None:
        """The frame's number as DICOM counts, where the image's class has frames to be named."""
        return [index + 1] if self.sop_class in MULTI_FRAME else None


def _stand_in(header: Dataset) -> Dataset:
    header.SOPClassUID = uid.UltrasoundImageStorage
    header.Modality = "US"
    header.SpecificCharacterSet = UTF_8
    return header


@contextmanager
def building() -> Iterator[None]:
    """Turn whatever a library makes of an odd header into one sentence.

    Raises
    ------
    ExportError
        Where it raises anything: one image that nobody foresaw must not stop the others.
    """
    try:
        with quiet():
            yield
    except ClnError:
        raise
    except Exception as cause:
        raise ExportError(
            f"No SEG or report of the image can be made: something in it is unforeseen "
            f"({type(cause).__name__}).",
            "Export the image again; if it is right, please open an issue in the repository of napari-cln.",
        ) from cause


def _value(found: Dataset, keyword: str) -> object:
    """An element's value; empty where it is missing, or one that DICOM does not allow."""
    value = found.get(keyword)
    if value is None:
        return ""
    if keyword in NAMES:
        return _name(value)
    is_fit = {
        "StudyTime": _is_time,
        "StudyDate": _is_date,
        "PatientBirthDate": _is_date,
        "PatientSex": ("M", "F", "O").__contains__,
    }.get(keyword)
    if is_fit is not None and not is_fit(str(value)):
        return ""
    if keyword in LIMITS and (
        isinstance(value, MultiValue) or len(value) > LIMITS[keyword] or not value.isprintable()
    ):
        return ""
    return value


def _name(value: object) -> str:
    """The first of several names, each way in which it is written at its greatest length."""
    first = str(value[0] if isinstance(value, MultiValue) else value)
    ways = "".join(letter for letter in first if letter.isprintable() and letter != "\\").split("=")
    return "=".join(way[:64] for way in ways[:3])


def _is_date(text: str) -> bool:
    return bool(DATE.fullmatch(text)) and _is_read(text, "%Y%m%d")


def _is_time(text: str) -> bool:
    digits = text.partition(".")[0]
    return bool(TIME.fullmatch(text)) and _is_read(digits, "%H%M%S"[: len(digits)])


def _is_read(text: str, form: str) -> bool:
    try:
        datetime.strptime(text, form)
    except ValueError:
        return False
    return True


def _is_allowed(value: str) -> bool:
    """Tell whether an identifier is one of PS3.5, chapter 9, under a root that exists."""
    match = re.fullmatch(r"([012])\.(0|[1-9]\d*)(\.(0|[1-9]\d*))*", value)
    return bool(match) and len(value) <= 64 and (match[1] == "2" or int(match[2]) < 40)  # type: ignore[index]


def rename(dataset: Dataset, identity: ImageIdentity) -> None:
    """Put the class of the image back wherever the stand-in's was written."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                rename(item, identity)
    if str(dataset.get("ReferencedSOPInstanceUID") or "") == identity.instance:
        dataset.ReferencedSOPClassUID = identity.sop_class


def derived_uid(*parts: str | bytes) -> str:
    """A unique identifier that is the same whenever it is made of the same parts (PS3.5, B.2)."""
    content = hashlib.sha256(MANUFACTURER.encode())
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        content.update(len(data).to_bytes(8, "big") + data)
    return f"2.25.{int.from_bytes(content.digest()[:16], 'big')}"


def check_findings(findings: Sequence[FrameFindings], identity: ImageIdentity) -> None:
    """Refuse masks that are not of the image.

    Raises
    ------
    ExportError
        If a frame is not there, or a mask has another size.
    """
    for frame in findings:
        if not 0 <= frame.index < identity.n_frames:
            raise ExportError(
                f"The image has {identity.n_frames} frames, and a mask is of frame {frame.index + 1}.",
                "Segment it again.",
            )
        if frame.instances.shape != identity.shape:
            raise ExportError(
                f"The mask has {frame.instances.shape[0]}×{frame.instances.shape[1]} pixels, its image "
                f"{identity.shape[0]}×{identity.shape[1]}.",
                "Segment it again.",
            )


def encode(dataset: Dataset) -> bytes:
    """The bytes of a DICOM file."""
    buffer = BytesIO()
    with building():
        dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


# ------------------------------------------------------------ captures of images that are not DICOM


CLEANED_HEADER = ("113100", "Basic Application Confidentiality Profile")
CLEANED_PIXELS = ("113101", "Clean Pixel Data Option")
SERIES_NUMBER = 500


def capture_of(
    image: NDArray[np.uint8],
    *,
    patient: str,
    study: str,
    series: str,
    instance: str,
    number: int,
    spacing_mm: Spacing | None = None,
    cleaned: bool,
) -> Dataset:
    """Make a Secondary Capture of an image, under a pseudonym.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W)
    patient : str
        Pseudonym.
    study, series, instance : str
        Identifiers.
    number : int
        Instance number in the series.
    spacing_mm : (float, float), optional
        Millimetres per pixel along rows and columns, where they hold for the whole image.
    cleaned : bool
        Whether a person has looked at such images for burned-in names. Only then does the capture say
        that the patient's identity is removed.

    Returns
    -------
    Dataset
    """
    from highdicom.sc import SCImage

    with quiet():
        capture: Dataset = SCImage(
            image,
            photometric_interpretation="MONOCHROME2",
            bits_allocated=8,
            coordinate_system="PATIENT",
            study_instance_uid=study,
            series_instance_uid=series,
            series_number=SERIES_NUMBER,
            sop_instance_uid=instance,
            instance_number=number,
            manufacturer=EQUIPMENT["manufacturer"],
            patient_id=patient,
            patient_name=f"{patient}^",
            patient_orientation=("L", "F"),  # asked for; unknown, and taken back below
            pixel_spacing=spacing_mm,
        )
        capture.PatientOrientation = None
        capture.Laterality = None
        capture.Modality = "US"
        capture.StudyDate = capture.StudyTime = capture.StudyID = capture.AccessionNumber = ""
        capture.SeriesDescription = "Ultrasound frame (napari-cln)"
        if cleaned:
            capture.BurnedInAnnotation = "NO"
            capture.PatientIdentityRemoved = "YES"
            capture.DeidentificationMethodCodeSequence = Items(
                [code(*CLEANED_HEADER, scheme="DCM"), code(*CLEANED_PIXELS, scheme="DCM")]
            )
    return capture
