"""``napari-cln evaluate | fuse | reports``: numbers for a publication."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from msgspec import Meta

from ..study.config import EvaluationSettings
from .options import Existing, command, settings_from

if TYPE_CHECKING:
    from ..workflow.evaluate import EvaluationStep


@command(settings=EvaluationSettings)
def evaluate_model(
    folder: Existing,
    /,
    *,
    out: Annotated[Path, Meta(title="REPORT")],
    settings: Annotated[Path | None, Meta(title="JSON", extra={"exists": True})] = None,
    **given: Any,
) -> int:
    """Compare a model with the truths of a training folder, and write a report with intervals.

    Parameters
    ----------
    folder : path
        Training folder.
    out : path
        Folder of the report; one that holds a report already is refused.
    settings : path
        File of JSON with the settings below, by their names; options that are given replace them.
    """
    from ..workflow.evaluate import evaluate_folder

    with _Progress(out) as progress:
        for step in evaluate_folder(folder, out, settings_from(EvaluationSettings(), settings, given)):
            progress.show(step)
    print(f"report: {step.report}")
    return 0


class _Progress:
    """A bar in a terminal; in a log, a line a second, and an event in the folder of the report."""

    def __init__(self, out: Path) -> None:
        from tqdm import tqdm

        from ..training.run_folder import RunFolder

        run = RunFolder(out)
        self._run = None if run.is_begun else run  # the events of a training stay what they are
        self._noted = False
        self._bar = tqdm(unit="frame", disable=None)
        self._said = 0.0

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, step: EvaluationStep) -> None:
        """Show how far the work is, and what there is to say."""
        self._bar.total = step.total
        self._bar.update(step.done - self._bar.n)
        due = time.monotonic() - self._said > 1 or step.done == step.total
        if due and step.report is None:
            self._said = time.monotonic()
            self._note(step)
            if self._bar.disable:
                print(f"frame {step.done} of {step.total}", file=sys.stderr)
        for note in step.notes:
            self._bar.write(f"napari-cln: {note}", file=sys.stderr)

    def _note(self, step: EvaluationStep) -> None:
        from ..training.run_folder import Judged

        with suppress(OSError):  # a full disk ends the evaluation where a result is written
            if self._run is not None:
                self._run.path.mkdir(parents=True, exist_ok=True)
                if not self._noted:  # the events of an evaluation that was stopped
                    self._run.progress.unlink(missing_ok=True)
                    self._noted = True
                self._run.note(Judged(done=step.done, of=step.total))


@command()
def read_reports(
    reports: Annotated[Path, Meta(title="CSV", extra={"exists": True})],
    /,
    *,
    out: Annotated[Path, Meta(title="CSV")],
    dictionary: Annotated[Path | None, Meta(title="TOML", extra={"exists": True})] = None,
) -> int:
    """Take verdicts from the texts of original reports, by a dictionary.

    Parameters
    ----------
    reports : path
        Table with the columns id and text.
    out : path
        Table of verdicts to write.
    dictionary : path
        A dictionary of your own.
    """
    from ..study.reports.text import classify_reports, load_dictionary

    words = load_dictionary(dictionary) if dictionary else None
    counts = classify_reports(reports, out, words)
    print(", ".join(f"{label} {n}" for label, n in sorted(counts.items())) + f": {out}")
    return 0


# ------------------------------------------------------------ clinical record


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
