"""Items of the three reporting guidelines, under the numbers of each.

The numbers were compared with published transcriptions of the lists (for CLAIM with two that agree on
all 44 items), not with the journals' own forms.

References
----------
.. [1] Sounderajah et al. (STARD-AI), Nat Med 31, 2025. :doi:`10.1038/s41591-025-03953-8`
.. [2] Collins et al. (TRIPOD+AI), BMJ 385:e078378, 2024. :doi:`10.1136/bmj-2023-078378`
.. [3] Tejani et al. (CLAIM, 2024 update), Radiol Artif Intell 6, 2024. :doi:`10.1148/ryai.240300`
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["TOPICS", "Topic"]


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
