"""Reporting items: what the software can fill of STARD-AI, TRIPOD+AI and CLAIM, and named blanks.

References
----------
.. [1] Sounderajah et al. (STARD-AI), Nat Med, 2025; Bossuyt et al. (STARD 2015), BMJ 351:h5527.
.. [2] Collins et al. (TRIPOD+AI), BMJ 385:e078378, 2024. :doi:`10.1136/bmj-2023-078378`
.. [3] Tejani et al. (CLAIM, 2024 update), Radiol Artif Intell 6, 2024. :doi:`10.1148/ryai.240300`
"""

from __future__ import annotations

from typing import NamedTuple

from ..evaluation import Evaluation
from .overview import shared_patients
from .pages import Section, Table
from .wording import share, with_interval

__all__ = ["Item", "checklist_section", "reporting_items"]

BLANK = "[authors: "


class Item(NamedTuple):
    """A topic, where the guidelines ask for it, and its text or a named blank."""

    topic: str
    asked_by: str
    text: str

    @property
    def filled(self) -> bool:
        """Whether the software could fill it."""
        return not self.text.startswith(BLANK)


def reporting_items(evaluation: Evaluation) -> tuple[Item, ...]:
    """The items in the order of a manuscript.

    STARD numbers are those of STARD 2015, which STARD-AI extends; CLAIM is named without
    numbers. Check the list against the journal's form.
    """

    def blank(what: str) -> str:
        return f"{BLANK}{what}]"

    rows = (
        (
            "Title and abstract name a study of diagnostic accuracy with AI",
            "STARD 1–2, TRIPOD+AI 1–2, CLAIM",
            "",
        ),
        ("Clinical background, intended use and place in the pathway", "STARD 3, TRIPOD+AI 3a–b, CLAIM", ""),
        ("Known inequalities between groups of patients", "TRIPOD+AI 3c, STARD-AI", ""),
        ("Objectives and hypotheses", "STARD 4, TRIPOD+AI 4, CLAIM", ""),
        ("Design: prospective or retrospective", "STARD 5, CLAIM", ""),
        ("Eligibility, setting, dates, consecutive or not", "STARD 6–9, TRIPOD+AI 5–6, CLAIM", ""),
        ("Source of the data and who may use it", "STARD-AI, TRIPOD+AI 5a, CLAIM", evaluation.config.data),
        ("Preparation of images", "STARD-AI, TRIPOD+AI 7, CLAIM", _preparation(evaluation)),
        ("De-identification", "CLAIM", _privacy()),
        ("Index test: name, version, settings", "STARD 10a, TRIPOD+AI 22, CLAIM", _model(evaluation)),
        ("Reference standard and its rationale", "STARD 10b–11, TRIPOD+AI 8, CLAIM", _reference(evaluation)),
        ("Who annotated, with what training and tools", "STARD-AI, CLAIM", ""),
        (
            "Cutoff, and whether it was set beforehand",
            "STARD 12a, TRIPOD+AI 15, CLAIM",
            f"{evaluation.cutoff}.",
        ),
        ("Blinding of readers and of the index test", "STARD 13a–b, TRIPOD+AI 8c", ""),
        ("Measures and how they are computed", "STARD 14, TRIPOD+AI 12e, CLAIM", _measures()),
        ("Indeterminate results and missing data", "STARD 15–16, TRIPOD+AI 11, CLAIM", _missing(evaluation)),
        ("Variability and subgroups", "STARD 17, TRIPOD+AI 14 and 23a, STARD-AI", _subgroups(evaluation)),
        ("Intended sample size", "STARD 18, TRIPOD+AI 10, CLAIM", ""),
        ("Partitions and their unit", "STARD-AI, TRIPOD+AI 12a, CLAIM", _partitions(evaluation)),
        ("Flow of participants", "STARD 19, TRIPOD+AI 20a, CLAIM", _flow(evaluation)),
        ("Demographic and clinical characteristics", "STARD 20–21, TRIPOD+AI 20b, CLAIM", ""),
        ("Time and treatment between the tests", "STARD 22, TRIPOD+AI 6c", ""),
        ("Cross tabulation", "STARD 23, CLAIM", _table(evaluation)),
        ("Accuracy with its precision", "STARD 24, TRIPOD+AI 23a, CLAIM", _accuracy(evaluation)),
        ("Calibration", "TRIPOD+AI 12e and 23a", _calibration(evaluation)),
        ("Failures", "CLAIM, STARD-AI", _failures(evaluation)),
        ("Adverse events", "STARD 25", ""),
        ("Limitations, bias, generalisability", "STARD 26, TRIPOD+AI 26, CLAIM", ""),
        (
            "Implications for practice, and what a user must be able to do",
            "STARD 27, TRIPOD+AI 25 and 27, CLAIM",
            "",
        ),
        ("Registration, protocol, funding, ethics", "STARD 28–30, TRIPOD+AI 17–18, CLAIM", ""),
        ("Code, model and data", "TRIPOD+AI 18, STARD-AI, CLAIM", _availability(evaluation)),
        ("Involvement of patients and the public", "TRIPOD+AI 19, STARD-AI", ""),
    )
    return tuple(
        Item(topic, asked, text or blank(topic[0].lower() + topic[1:])) for topic, asked, text in rows
    )


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
        if row.split == evaluation.config.split and row.kind != "stray" and row.truth != "unknown":
            sources[row.truth_source] = sources.get(row.truth_source, 0) + 1
    counts = ", ".join(f"{name} {n}" for name, n in sorted(sources.items()))
    return f"Source of the truth per node: {counts}." if counts else ""


def _measures() -> str:
    return (
        "Wilson and Clopper–Pearson intervals; AUC with DeLong's interval; likelihood ratios on the log "
        "scale; "
        "bootstrap over patients. Dice 2|A∩B|/(|A|+|B|); HD95 the greater directed 95th percentile; "
        "ASSD the mean "
        "over both borders."
    )


def _missing(evaluation: Evaluation) -> str:
    flow = evaluation.flow
    return (
        f"{flow.unreadable} frames could not be read; {flow.unknown} nodes of unknown truth are left "
        "out of the "
        f"diagnosis; {flow.scored_by_frame} nodes that were not found have the score of their frame."
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
        f"Sensitivity {share(found['sensitivity'].estimate)}, specificity "
        f"{share(found['specificity'].estimate)}, AUC {with_interval(found.auc_clustered, 3)}; "
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
        f"Missed {share(masks.missed)}; another structure outlined {share(masks.wrong_node)}. The "
        "gallery shows "
        "the worst frames."
    )


def _availability(evaluation: Evaluation) -> str:
    return "The software is open source; every figure follows from cases.csv."


def checklist_section(evaluation: Evaluation) -> Section:
    """The items as a section of the report."""
    items = reporting_items(evaluation)
    filled = sum(item.filled for item in items)
    return Section(
        title="Reporting items",
        text=f"{filled} of {len(items)} topics of STARD-AI, TRIPOD+AI and CLAIM 2024 are filled by the "
        "software; the "
        "rest are blanks for the authors. STARD numbers are those of STARD 2015. Check against the "
        "journal's form.",
        tables=(Table(caption="Reporting items", header=("Topic", "Asked by", "Text"), rows=items),),
    )
