"""Reporting items: what the software can fill of STARD-AI, TRIPOD+AI and CLAIM 2024, and named blanks."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from ...errors import counted
from ..evaluation import Evaluation
from .overview import shared_patients
from .pages import ReportTable, Section, percentage, with_interval

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
        f"Frames that could not be read: {flow.unreadable}; without a finite number of the model: "
        f"{flow.failed}; judged by nobody: {flow.unjudged}. Nodes of unknown truth, left out of the "
        f"diagnosis: {flow.unknown}; not found, and so with the score of their frame: {flow.scored_by_frame}."
    )


def _subgroups(evaluation: Evaluation) -> str:
    names = sorted({group.variable for group in evaluation.subgroups})
    return f"By {', '.join(names)}, with intervals over patients." if names else ""


def _partitions(evaluation: Evaluation) -> str:
    sizes = ", ".join(f"{name} {len(who)}" for name, who in sorted(evaluation.partitions.items()))
    shared = shared_patients(evaluation)
    tail = f" {counted(shared, 'patient')} of the reported cases in more than one." if shared else ""
    learnt = "; ".join(evaluation.flow.trained_on) or "see the model's card"
    return f"By patient. Patients per split: {sizes}.{tail} Training cases: {learnt}."


def _flow(evaluation: Evaluation) -> str:
    flow = evaluation.flow
    return (
        f"{counted(flow.frames, 'frame')} of {counted(flow.patients, 'patient')}; "
        f"{counted(flow.nodes, 'reference node')}: {flow.metastatic} "
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


# ------------------------------------------------------------ topics


class Topic(NamedTuple):
    """A topic in the order of a manuscript, and the items of each list; empty where it asks for none."""

    name: str
    stard_ai: str
    tripod_ai: str
    claim: str


TOPICS = {
    "title": Topic("Title and abstract name a study of diagnostic accuracy with AI", "1–2", "1–2", "1–2"),
    "background": Topic("Clinical background, intended use and place in the pathway", "3", "3a–b", "3"),
    "inequalities": Topic("Known inequalities between groups of patients", "35", "3c", ""),
    "objectives": Topic("Objectives, hypotheses and goal of the study", "4", "4", "4, 6"),
    "design": Topic("Design: prospective or retrospective", "5", "", "5"),
    "ethics": Topic("Ethics approval, consent or its waiver", "6", "17", ""),
    "eligibility": Topic("Eligibility, setting, dates, consecutive or not", "7–10", "5b–6b", "8, 10"),
    "source": Topic("Source of the data and who may use it", "11", "5a", "7"),
    "scanners": Topic("Scanners and how images were acquired", "13–14", "", "13"),
    "preparation": Topic("Preparation of images", "14", "7", "9"),
    "privacy": Topic("De-identification", "", "", "11"),
    "model": Topic("Index test: name, version, settings", "15a", "12g, 22", "22–23"),
    "development": Topic("How the model was developed and chosen", "15b", "12b–c", "24–27"),
    "users": Topic("Who is to use it, and what they must be able to do", "15d", "27b", ""),
    "reference": Topic("Reference standard and its rationale", "16a–c", "8a", "14–15"),
    "annotators": Topic("Who annotated, with what training and tools", "12", "8b", "16–17"),
    "variability": Topic("Variability between and within readers", "", "", "18"),
    "cutoff": Topic("Cutoff, and whether it was set beforehand", "15c", "15", ""),
    "blinding": Topic("Blinding of readers and of the index test", "17a–b", "8c", ""),
    "measures": Topic("Measures and how they are computed", "18", "12e", "28–29"),
    "missing": Topic("Indeterminate results and missing data", "19–20", "11", "12"),
    "subgroups": Topic("Variability and subgroups", "21", "23a", "30, 37"),
    "fairness": Topic("Assessment of bias and fairness", "23", "14", ""),
    "size": Topic("Intended sample size", "22", "10", "21"),
    "partitions": Topic("Partitions and their unit", "15b", "12a, 21", "19–20"),
    "external": Topic(
        "Internal or external test, and how it differs from training", "29", "16, 20c", "32–33"
    ),
    "flow": Topic("Flow of participants", "24", "20a", "35"),
    "patients": Topic("Demographic, clinical and technical characteristics", "25–26b", "20b", "36"),
    "represents": Topic("Whether the test set represents the intended patients", "28", "5a", ""),
    "time": Topic("Time and treatment between the tests", "27", "6c", ""),
    "table": Topic("Cross tabulation", "30", "", "38"),
    "accuracy": Topic("Accuracy with its precision", "31", "23a", "37–38"),
    "calibration": Topic("Calibration", "", "12e, 23a", ""),
    "failures": Topic("Failures", "23", "", "39"),
    "explanation": Topic("Explainability, where a method was used", "", "", "31"),
    "harm": Topic("Adverse events", "32", "", ""),
    "limits": Topic("Limitations, bias, generalisability", "33", "26", "40"),
    "practice": Topic("Implications for practice, and next steps", "34", "25, 27a, 27c", "41"),
    "registration": Topic("Registration and protocol", "36–37", "18c–d", "34, 42"),
    "funding": Topic("Funding and interests", "38–39", "18a–b", "44"),
    "availability": Topic("Code, model and data", "40a–b", "18e–f", "43"),
    "public": Topic("Involvement of patients and the public", "", "19", ""),
}
