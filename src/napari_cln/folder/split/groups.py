"""Groups that a split keeps together: the frames of a patient, of a cine, and equal pixels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from ...annotation import Case
from ...errors import SplitError, counted
from ...types import Truth
from ..record import is_unknown


@dataclass(frozen=True, kw_only=True)
class Group:
    """Cases that share a patient or a cine."""

    cases: tuple[Case, ...]

    @property
    def name(self) -> str:
        """The first of its patients; stands for the group."""
        return min(self.patients)

    @property
    def patients(self) -> frozenset[str]:
        return frozenset(case.patient for case in self.cases)

    @property
    def sides(self) -> frozenset[str]:
        """Sides on which a data set's authors put its frames."""
        return frozenset(side for case in self.cases if (side := case.split))

    @property
    def truth(self) -> Truth:
        """Metastatic if any frame is, else benign if any is, else unknown."""
        truths = {case.truth for case in self.cases}
        if "metastatic" in truths:
            return "metastatic"
        return "benign" if "benign" in truths else "unknown"


def is_trainable(case: Case) -> bool:
    """Tell whether a frame teaches anything: it has a mask that a reader stands for, or a known class."""
    return case.mask is not None or (case.truth != "unknown" and case.status != "rejected")


def name_frames(cases: Iterable[Case]) -> str:
    """Ids for a message; the first eight where there are many."""
    ids = sorted(case.id for case in cases)
    return ", ".join(ids[:8]) + (f" and {len(ids) - 8} more" if len(ids) > 8 else "")


def group_cases(cases: Iterable[Case]) -> list[Group]:
    """Join cases that share a patient or a cine, in the order of their first patient.

    A cine of two patients joins both: that is a mistake in the data, and the safe reading of it.
    """
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    cases = list(cases)
    for case in cases:
        patient = root(f"patient {case.patient}")
        if case.cine is not None:
            parent[root(f"cine {case.cine}")] = patient
    together: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        together[root(f"patient {case.patient}")].append(case)
    return sorted(
        (Group(cases=tuple(members)) for members in together.values()), key=lambda group: group.name
    )


def find_duplicates(cases: Iterable[Case]) -> list[tuple[Case, ...]]:
    """Cases that have the same stored pixels."""
    same: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        if case.checksums.image:
            same[case.checksums.image].append(case)
    return [tuple(members) for members in same.values() if len(members) > 1]


def check_groups(cases: Iterable[Case]) -> list[Group]:
    """The groups from which folds can be made, without those put aside for testing.

    Raises
    ------
    SplitError
        If no split can be made of them without a leak, or none that teaches anything.
    """
    cases = list(cases)
    if duplicates := find_duplicates(cases):
        pairs = "; ".join(name_frames(members) for members in duplicates[:8])
        raise SplitError(
            f"{counted(len(duplicates), 'frame is', 'frames are')} in the folder twice with the same pixels: "
            f"{pairs}.",
            "Keep one of each: `napari-cln check --repair` removes the later.",
        )
    groups: list[Group] = []
    for group in group_cases(cases):
        if "test" in group.sides:
            if inside := [case for case in group.cases if case.split != "test"]:
                raise SplitError(
                    f"Patient {group.name} has frames put aside for testing and others for training: "
                    f"{name_frames(inside)}.",
                    "Put all of a patient's frames on one side and import them again.",
                )
            continue
        groups.append(group)
    if not groups:
        where = f"all {len(cases)} are put aside for testing" if cases else "none has a mask or a class"
        raise SplitError(f"There is no frame to train on: {where}.", "Add frames that are not for testing.")
    if len(groups) == 1:
        (group,) = groups
        whose = "of one cine of an unknown patient" if is_unknown(group.name) else "from one patient"
        n = len(group.cases)
        said = f"All {n} frames are {whose}" if n > 1 else "There is one frame"
        raise SplitError(
            f"{said}, so none is left to validate on.",
            "Add frames of a second patient, or correct the patients of the import.",
        )
    classes = {case.truth for group in groups for case in group.cases} - {"unknown"}
    if len(classes) == 1:
        raise SplitError(
            f"Every labelled frame is {classes.pop()}, so there is nothing to tell apart.",
            "Add frames of the other class, or set the truth of all nodes to unknown to train masks alone.",
        )
    return groups
