"""Reporting items: what the software can fill of STARD-AI, TRIPOD+AI and CLAIM 2024, and named blanks."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from ..evaluation import Evaluation
from .overview import shared_patients
from .pages import ReportTable, Section
from .topics import TOPICS
from .wording import percentage, with_interval

__all__ = ["Item", "checklist_section", "reporting_items"]

BLANK = "[authors: "


class Item(NamedTuple):
    """A topic, the items of the three lists that ask for it, and its text or a named blank."""

    topic: str
    stard_ai: str
    tripod_ai: str
    claim: str
    text: str

    @property
    def filled(self) -> bool:
        """True where the software could fill it."""
        return not self.text.startswith(BLANK)


def reporting_items(evaluation: Evaluation) -> tuple[Item, ...]:
    """The topics in the order of a manuscript, with the software's text or a blank for the authors."""
    texts = {
        "source": evaluation.config.data,
        "scanners": _scanners(evaluation),
        "preparation": _preparation(evaluation),
        "privacy": _privacy(),
        "model": _model(evaluation),
        "reference": _reference(evaluation),
        "cutoff": f"{evaluation.cutoff}.",
        "measures": _measures(),
        "missing": _missing(evaluation),
        "subgroups": _subgroups(evaluation),
        "partitions": _partitions(evaluation),
        "flow": _flow(evaluation),
        "table": _table(evaluation),
        "accuracy": _accuracy(evaluation),
        "calibration": _calibration(evaluation),
        "failures": _failures(evaluation),
        "availability": _availability(evaluation),
    }
    return tuple(
        Item(*topic, texts.get(key) or f"{BLANK}{topic.name[0].lower() + topic.name[1:]}]")
        for key, topic in TOPICS.items()
    )


def _scanners(evaluation: Evaluation) -> str:
    split = evaluation.config.split
    vendors = {row.id: row.vendor for row in evaluation.rows if split in (row.split, "all")}
    known = Counter(vendor for vendor in vendors.values() if vendor)
    if not known:
        return ""
    counts = ", ".join(f"{name} {n}" for name, n in sorted(known.items()))
    rest = len(vendors) - known.total()
    return f"Frames by scanner: {counts}" + (f"; {rest} do not say." if rest else ".")


def _preparation(evaluation: Evaluation) -> str:
    return (
        "Scan area found, burned-in marks painted over, resized to 256 × 256 pixels; masks compared in the "
        "pixels of the original frame. The model's card states its own settings."
    )


def _privacy() -> str:
    return "Frames are named by a hash of their pixels, patients by a salted hash; no name, date or path."


def _model(evaluation: Evaluation) -> str:
    from ... import __version__

    model = evaluation.model or "not named"
    return f"napari-cln {__version__}; model {model} (name and start of the weights' SHA-256)."


def _reference(evaluation: Evaluation) -> str:
    sources: dict[str, int] = {}
    for row in evaluation.rows:
        reported = evaluation.config.split in (row.split, "all")
        if reported and row.kind != "stray" and row.truth != "unknown":
            sources[row.truth_source] = sources.get(row.truth_source, 0) + 1
    counts = ", ".join(f"{name} {n}" for name, n in sorted(sources.items()))
    return f"Source of the truth per node: {counts}." if counts else ""


def _measures() -> str:
    return (
        "Wilson and Clopper–Pearson intervals; AUC with DeLong's interval; likelihood ratios on the log "
        "scale; bootstrap over patients. Dice 2|A∩B|/(|A|+|B|); HD95 the greater directed 95th percentile; "
        "ASSD the mean over both borders."
    )


def _missing(evaluation: Evaluation) -> str:
    flow = evaluation.flow
    return (
        f"{flow.unreadable} frames could not be read; for {flow.failed} the model gave no finite number; "
        f"{flow.unjudged} were judged by nobody; {flow.unknown} "
        f"nodes of unknown truth are left out of the diagnosis; {flow.scored_by_frame} nodes that were not "
        "found have the score of their frame."
    )


def _subgroups(evaluation: Evaluation) -> str:
    names = sorted({group.variable for group in evaluation.subgroups})
    return f"By {', '.join(names)}, with intervals over patients." if names else ""


def _partitions(evaluation: Evaluation) -> str:
    sizes = ", ".join(f"{name} {len(who)}" for name, who in sorted(evaluation.partitions.items()))
    shared = shared_patients(evaluation)
    tail = f" {shared} patients of the reported cases are in more than one." if shared else ""
    return f"By patient. Patients per split: {sizes}.{tail} Training cases: see the model's card."


def _flow(evaluation: Evaluation) -> str:
    flow = evaluation.flow
    return (
        f"{flow.frames} frames of {flow.patients} patients; {flow.nodes} reference nodes: {flow.metastatic} "
        f"metastatic, {flow.benign} benign, {flow.unknown} unknown."
    )


def _table(evaluation: Evaluation) -> str:
    if evaluation.nodes is None:
        return ""
    return "TP {}, FN {}, TN {}, FP {} (nodes).".format(*evaluation.nodes.counts)


def _accuracy(evaluation: Evaluation) -> str:
    if evaluation.nodes is None:
        return ""
    found = evaluation.nodes
    return (
        f"Sensitivity {percentage(found['sensitivity'].estimate)}, specificity "
        f"{percentage(found['specificity'].estimate)}, AUC {with_interval(found.auc_clustered, 3)}; "
        "intervals in the tables."
    )


def _calibration(evaluation: Evaluation) -> str:
    found = evaluation.nodes
    if found is None or found.line is None:
        return ""
    return f"Slope {with_interval(found.line.slope)}, Brier {with_interval(found.brier, 3)}."


def _failures(evaluation: Evaluation) -> str:
    masks = evaluation.segmentation
    if masks is None:
        return ""
    return (
        f"Missed {percentage(masks.missed)}; another structure outlined {percentage(masks.wrong_node)}. "
        "The gallery shows the worst frames."
    )


def _availability(evaluation: Evaluation) -> str:
    return "The software is open source; every figure follows from cases.csv."


def checklist_section(evaluation: Evaluation) -> Section:
    """The items as a section of the report."""
    items = reporting_items(evaluation)
    filled = sum(item.filled for item in items)
    return Section(
        title="Reporting items",
        text=f"{filled} of {len(items)} topics of STARD-AI (2025), TRIPOD+AI (2024) and CLAIM (2024 update) "
        "are filled by the software; the rest are blanks for the authors. The item numbers were taken from "
        "published transcriptions of the three lists, not from the journals' forms: check them there.",
        tables=(
            ReportTable(
                caption="Reporting items",
                header=("Topic", "STARD-AI", "TRIPOD+AI", "CLAIM", "Text"),
                rows=items,
            ),
        ),
    )
