"""``napari-cln fuse``: a clinical record beside the image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from msgspec import Meta

from .options import Existing, command

Names = Annotated[Sequence[str], Parameter(consume_multiple=True)]


@command()
def fuse_record(
    folder: Existing,
    /,
    *,
    scores: Annotated[Path, Meta(title="CSV", extra={"exists": True})],
    out: Annotated[Path, Meta(title="JSON")],
    variables: Annotated[Names, Meta(title="NAME…")] = (),
    table: Annotated[Path | None, Meta(title="CSV", extra={"exists": True})] = None,
) -> int:
    """Fit a clinical record beside a model's scores, for `napari-cln evaluate --fusion`.

    Parameters
    ----------
    folder : path
        Training folder, imported with --clinical.
    scores : path
        The cases.csv of a report on cases that the model had not learned from.
    out : path
        File to write.
    variables : str
        Variables to take; level, side, predicted_short_mm and predicted_long_mm of the scores too. By default
        all of the records.
    table : path
        More variables by id, or by id and node.
    """
    from ..workflow.fuse import fuse_study

    fusion = fuse_study(folder, scores, out, variables=list(variables) or None, table=table)
    names = ", ".join(variable.name for variable in fusion.variables)
    slope = "" if fusion.slope is None else f", slope of calibration {fusion.slope:.2f}"
    print(
        f"{names}: AUC {fusion.auc_fused:.3f} with the record (held out in turn), {fusion.auc_image:.3f} "
        f"without, of {fusion.nodes} nodes{slope}"
    )
    print(f"fusion: {out}")
    return 0
