"""Folds by hospital: each is validated on one hospital, and trained on the others."""

from __future__ import annotations

from collections.abc import Iterable

from ...errors import SplitError
from ...types import Case
from .deal import Fold
from .groups import check_groups, name_frames


def hospital_folds(cases: Iterable[Case]) -> list[Fold]:
    """Divide cases so that each hospital is left out once.

    Parameters
    ----------
    cases : iterable of Case
        Frames that a data set's authors put aside for testing are in no fold.

    Returns
    -------
    list of Fold
        One a hospital, in the order of their names; the validation side holds all of its frames.

    Raises
    ------
    SplitError
        If a frame has no hospital, there is one hospital, or a patient was examined in two; and as
        :func:`napari_cln.folder.split.deal.split`.
    """
    groups = check_groups(cases)
    without = [case for group in groups for case in group.cases if case.hospital is None]
    if without:
        raise SplitError(
            f"{len(without)} frames have no hospital: {name_frames(without)}.",
            "Import them with a column hospital, or split by patient.",
        )
    places: dict[str, list[str]] = {}
    for group in groups:
        hospitals = sorted({case.hospital or "" for case in group.cases})
        if len(hospitals) > 1:
            raise SplitError(
                f"Patient {group.name} has frames of the hospitals {' and '.join(hospitals)}: "
                f"{name_frames(group.cases)}.",
                "A patient on both sides would be known already: give all frames one hospital, or leave "
                "them out.",
            )
        places.setdefault(hospitals[0], []).extend(case.id for case in group.cases)
    if len(places) < 2:
        raise SplitError(
            f"All frames are of one hospital ({', '.join(places)}).",
            "Split by patient, or add another hospital.",
        )
    everything = {case_id for ids in places.values() for case_id in ids}
    return [
        Fold(train=tuple(sorted(everything - set(ids))), validation=tuple(sorted(ids)))
        for _, ids in sorted(places.items())
    ]
