"""DICOM reports of measurements (SR, template TID 1500): outlines, sizes and scores of the nodes of an image.

Each node has two groups under one tracking identifier, as the template allows no lines in the group of
a region: its outline with score and area, and its axes with their lines. Lengths are in millimetres
or not there. A report is preliminary and unverified, and says a probability, never "malignant".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from ....annotation import Node
from ....errors import ExportError
from ....imaging.measurement import Measurement
from ...terms import LYMPH_NODE
from .findings import (
    EQUIPMENT,
    MANUFACTURER,
    FrameFindings,
    ImageIdentity,
    Origin,
    building,
    check_findings,
    code,
    derived_uid,
    rename,
    side_code,
    site_code,
)
from .segmentation import tracking_uid

SERIES_NUMBER = 502
OWN = "99NAPARICLN"
"""Scheme of the codes that the standard lacks."""
ORIGINS: dict[Origin, tuple[str, str]] = {
    "predicted": ("predicted", "Computed, seen by nobody"),
    "corrected": ("corrected", "Corrected or accepted by a reader"),
    "drawn": ("drawn", "Drawn by a reader"),
}
LOOK_TWICE, DO_NOT_RELY = ("look-twice", "Look twice"), ("do-not-rely", "Do not rely on it")
TOLERANCE = 0.25
"""Pixels by which a straight piece of an outline may leave the mask's border."""


def report_of(
    findings: Sequence[FrameFindings],
    identity: ImageIdentity,
    *,
    made_of: str = "",
) -> Dataset:
    """Make the report on an image.

    Parameters
    ----------
    findings : sequence of FrameFindings
        Of the frames that were looked at; one without a node says so, with its own score.
        A score is said where the algorithm that gave it is known.
    identity : ImageIdentity
    made_of : str
        What the identifiers depend on beside image and findings.

    Returns
    -------
    Dataset

    Raises
    ------
    ExportError
        If there is no frame, or a mask is not of the image.
    """
    from highdicom.sr import ComprehensiveSR, MeasurementReport

    check_findings(findings, identity)
    if not findings:
        raise ExportError("There is no frame to report on.", "Segment the image first.")
    instance = derived_uid("sr", identity.instance, made_of, *(frame.digest() for frame in findings))
    nodes_of = derived_uid("seg", identity.instance, made_of, *(frame.digest() for frame in findings))
    with building():
        groups = []
        for frame in findings:
            groups += _Frame(frame, identity, nodes_of).groups()
        content = MeasurementReport(
            observation_context=_observer(),
            procedure_reported=code("16310003", "Diagnostic ultrasonography"),
            imaging_measurements=groups,
            title=code("126000", "Imaging Measurement Report", "DCM"),
            referenced_images=[identity.header],
        )
        report: Dataset = ComprehensiveSR(
            evidence=[identity.header],
            content=content,
            series_instance_uid=derived_uid("sr-series", instance),
            series_number=SERIES_NUMBER,
            sop_instance_uid=instance,
            instance_number=1,
            manufacturer=MANUFACTURER,
            is_complete=True,
            is_final=False,
            is_verified=False,
        )
        report.ManufacturerModelName = MANUFACTURER
        report.SoftwareVersions = EQUIPMENT["software_versions"]
        report.DeviceSerialNumber = EQUIPMENT["device_serial_number"]
        report.SeriesDescription = "Lymph node measurements (napari-cln)"
        rename(report, identity)
    return report


def _observer() -> Any:
    from highdicom.sr import DeviceObserverIdentifyingAttributes, ObservationContext, ObserverContext

    device = DeviceObserverIdentifyingAttributes(
        uid=derived_uid("device", EQUIPMENT["software_versions"]),
        name=MANUFACTURER,
        manufacturer_name=MANUFACTURER,
        model_name=MANUFACTURER,
    )
    return ObservationContext(
        observer_device_context=ObserverContext(
            observer_type=code("121007", "Device", "DCM"), observer_identifying_attributes=device
        )
    )


class _Frame:
    """Writes the groups of one frame."""

    def __init__(self, frame: FrameFindings, identity: ImageIdentity, nodes_of: str) -> None:
        self._frame, self._identity, self._nodes_of = frame, identity, nodes_of
        self._algorithm = frame.algorithm

    def groups(self) -> list[Any]:
        """One group for a frame without a node; two for each node."""
        if not self._frame.nodes:
            return [self._commented(self._whole())]
        made = []
        for node, size in zip(self._frame.nodes, self._frame.sizes, strict=True):
            first, *others = self._node(node, size)
            made += [self._commented(first), *others]
        return made

    def _commented(self, group: Any) -> Any:
        """The group, with the model's doubt in its own words."""
        from highdicom.sr import RelationshipTypeValues, TextContentItem

        if self._frame.caution:
            comment = TextContentItem(
                code("121106", "Comment", "DCM"), self._frame.caution, RelationshipTypeValues.CONTAINS
            )
            group[0].ContentSequence.append(comment)
        return group

    def _where(self) -> Mapping[str, Any]:
        return {
            # The stand-in's, until `rename`: highdicom refuses classes that it has no list of elements of.
            "referenced_sop_class_uid": self._identity.header.SOPClassUID,
            "referenced_sop_instance_uid": self._identity.instance,
            "referenced_frame_numbers": self._identity.frame_numbers(self._frame.index),
        }

    def _source(self) -> Any:
        from highdicom.sr import SourceImageForRegion

        return SourceImageForRegion(**self._where())

    def _whole(self) -> Any:
        from highdicom.sr import (
            MeasurementsAndQualitativeEvaluations,
            SourceImageForMeasurementGroup,
            TrackingIdentifier,
        )

        name = self._name()
        return MeasurementsAndQualitativeEvaluations(
            tracking_identifier=TrackingIdentifier(
                uid=tracking_uid(self._nodes_of, 0, self._frame.index), identifier=f"{name}no node found"
            ),
            measurements=self._score(self._frame.frame_score) or None,
            qualitative_evaluations=self._remarks(),
            source_images=[SourceImageForMeasurementGroup(**self._where())],
        )

    def _node(self, node: Node, size: Measurement | None) -> list[Any]:
        from highdicom.sr import (
            FindingSite,
            ImageRegion,
            MeasurementsAndQualitativeEvaluations,
            PlanarROIMeasurementsAndQualitativeEvaluations,
            SourceImageForMeasurementGroup,
            TrackingIdentifier,
        )

        is_still = self._identity.n_frames == 1

        def common() -> Mapping[str, Any]:
            uid = tracking_uid(self._nodes_of, node.id, 0 if is_still else self._frame.index)
            return {
                "tracking_identifier": TrackingIdentifier(
                    uid=uid, identifier=f"{self._name()}Node {node.id}"
                ),
                "finding_type": code(*LYMPH_NODE),
                "finding_sites": [FindingSite(site_code(node.level), laterality=side_code(node.side))],
            }

        outline = _outline(self._frame.instances == node.id)
        measured = self._score(node.p_malignant) + _area(size)
        if outline is None:
            return [
                MeasurementsAndQualitativeEvaluations(
                    **common(),
                    measurements=measured or None,
                    qualitative_evaluations=self._remarks(node),
                    source_images=[SourceImageForMeasurementGroup(**self._where())],
                )
            ]
        groups: list[Any] = [
            PlanarROIMeasurementsAndQualitativeEvaluations(
                **common(),
                referenced_region=ImageRegion("POLYLINE", outline, self._source()),
                measurements=measured or None,
                qualitative_evaluations=self._remarks(node),
            )
        ]
        if axes := self._axes(size):
            groups.append(MeasurementsAndQualitativeEvaluations(**common(), measurements=axes))
        return groups

    def _name(self) -> str:
        return "" if self._identity.n_frames == 1 else f"Frame {self._frame.index + 1}, "

    def _remarks(self, node: Node | None = None) -> list[Any]:
        """Maker of the mask, and the model's own word on its reliability."""
        from highdicom.sr import QualitativeEvaluation

        said = [
            QualitativeEvaluation(
                code("origin", "Origin of the outline", OWN),
                code(*ORIGINS[self._frame.origin(node)], scheme=OWN),
            )
        ]
        if caution := self._frame.caution:
            level = LOOK_TWICE if caution.casefold().startswith(LOOK_TWICE[1].casefold()) else DO_NOT_RELY
            name = code("reliability", "Reliability of the model", OWN)
            said.append(QualitativeEvaluation(name, code(*level, scheme=OWN)))
        return said

    def _score(self, score: float | None) -> list[Any]:
        from highdicom.sr import AlgorithmIdentification
        from highdicom.sr import Measurement as Numeric

        if score is None or self._algorithm is None:
            return []
        parameters = [f"{name}: {value}" for name, value in self._algorithm.parameters.items()]
        return [
            Numeric(
                name=code("111047", "Probability of cancer", "DCM"),
                value=round(100 * score, 2),
                unit=code("%", "percent", "UCUM"),
                algorithm_id=AlgorithmIdentification(
                    name=self._algorithm.name,
                    version=self._algorithm.version,
                    parameters=parameters or None,
                ),
            )
        ]

    def _axes(self, size: Measurement | None) -> list[Any]:
        from highdicom.sr import CoordinatesForMeasurement
        from highdicom.sr import Measurement as Numeric

        if size is None:
            return []
        lines = (
            ("103339001", "Long Axis", size.long_axis_mm, size.long_axis_ends),
            ("103340004", "Short Axis", size.short_axis_mm, size.short_axis_ends),
        )
        return [
            Numeric(
                name=code(value, name),
                value=round(length, 2),
                unit=code("mm", "millimeter", "UCUM"),
                referenced_coordinates=[
                    CoordinatesForMeasurement("POLYLINE", _in_image(np.array(ends)), self._source())
                ],
            )
            for value, name, length, ends in lines
            if length is not None and ends is not None
        ]


def _area(size: Measurement | None) -> list[Any]:
    from highdicom.sr import Measurement as Numeric

    if size is None or size.area_mm2 is None:
        return []
    return [
        Numeric(
            name=code("42798000", "Area"),
            value=round(size.area_mm2, 2),
            unit=code("mm2", "square millimeter", "UCUM"),
        )
    ]


def _in_image(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points ``(row, column)``, pixel centres at whole numbers, as DICOM writes them: ``(column, row)`` from
    the upper left corner of the first pixel."""
    return np.round(points[:, ::-1] + 0.5, 2)


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    """Closed outer border of the largest piece of a mask, (n, 2); None for an empty one."""
    from skimage.measure import approximate_polygon, find_contours

    if not mask.any():
        return None
    borders = find_contours(np.pad(mask, 1).astype(float), 0.5)
    largest = max(borders, key=_enclosed) - 1
    outline: NDArray[np.float64] = _in_image(approximate_polygon(largest, TOLERANCE))
    return outline


def _enclosed(border: NDArray[np.float64]) -> float:
    rows, columns = border[:, 0], border[:, 1]
    return float(abs(rows[:-1] @ columns[1:] - rows[1:] @ columns[:-1]))
