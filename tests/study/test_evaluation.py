"""All figures from one table: the paper's own row, cutoffs with provenance, fair comparisons."""

import math
from dataclasses import replace

import numpy as np
import pytest
from drawn_frames import LEFT, annotation, drawn, prediction, random_rows, rows_from_counts

from napari_cln import Case, Node
from napari_cln.errors import DatasetError, FrameReadError, PredictionError
from napari_cln.folder.pictures import encode_png
from napari_cln.study.cases import CaseRow, read_rows, write_rows
from napari_cln.study.evaluation import EvaluationConfig, evaluate, evaluate_rows
from napari_cln.study.report.overview import overview

FAST = EvaluationConfig(resamples=200)


def test_the_papers_counts_give_the_papers_row():
    evaluation = evaluate_rows(rows_from_counts(158, 118, 236, 35), FAST)

    shares = {m.name: m for m in evaluation.nodes.measures}
    printed = [
        round(100 * shares[name].estimate.value, 2)
        for name in ("sensitivity", "specificity", "accuracy", "ppv", "npv")
    ]
    assert printed == [57.25, 87.08, 72.03, 81.87, 66.67]
    assert (shares["sensitivity"].k, shares["sensitivity"].estimate.n) == (158, 276)
    assert round(100 * shares["sensitivity"].exact.high, 2) == 63.16


def test_the_figures_can_be_repeated_from_the_file(tmp_path):
    rows = random_rows()
    write_rows(rows, tmp_path / "cases.csv")

    one, again = (evaluate_rows(r, FAST) for r in (rows, read_rows(tmp_path / "cases.csv")))

    assert one.nodes.measures == again.nodes.measures
    assert one.segmentation.dice.median_clustered == again.segmentation.dice.median_clustered
    assert one.subgroups == again.subgroups


def test_a_name_that_a_spreadsheet_would_run_is_defused_in_the_file_and_read_back(tmp_path):
    rows = [replace(row, vendor="=HYPERLINK(1)", model="@m;-1") for row in random_rows()]
    write_rows(rows, tmp_path / "cases.csv")

    text = (tmp_path / "cases.csv").read_text(encoding="utf-8")
    assert ",'=HYPERLINK(1)," in text
    assert "'@m;'-1" in text
    assert read_rows(tmp_path / "cases.csv") == rows


def test_the_order_of_rows_changes_nothing():
    rows = random_rows()
    shuffled = [rows[i] for i in np.random.default_rng(1).permutation(len(rows))]

    one, other = (evaluate_rows(r, FAST) for r in (rows, shuffled))

    assert one.flow == other.flow
    assert [m.estimate for m in one.nodes.measures] == [m.estimate for m in other.nodes.measures]
    assert one.nodes.auc.low == pytest.approx(other.nodes.auc.low)
    assert one.detection.average_precision == pytest.approx(other.detection.average_precision)


def test_only_the_split_asked_for_is_reported():
    evaluation = evaluate_rows(random_rows(), FAST)

    assert evaluation.nodes.counts.n == sum(r.split == "test" and r.kind == "node" for r in random_rows())


def test_an_unknown_split_names_those_that_are_there():
    with pytest.raises(DatasetError, match=r"'holdout' \(there: test, validation\)"):
        evaluate_rows(random_rows(), replace(FAST, split="holdout"))


def test_misses_and_wrong_nodes_are_counted_apart_and_not_dropped():
    rows = [r for r in random_rows() if r.split == "test"]
    nodes = [r for r in rows if r.kind == "node"]

    masks = evaluate_rows(rows, FAST).segmentation

    n = len(nodes)
    assert masks.dice.median.n == n
    assert masks.missed.value == sum(r.missed for r in nodes) / n
    assert masks.wrong_node.value == sum(r.wrong_node for r in nodes) / n
    assert (
        masks.found.value + masks.loose.value + masks.missed.value + masks.wrong_node.value
        == pytest.approx(1)
    )
    assert masks.hd95_mm.median.n == n - sum(r.missed or r.wrong_node for r in nodes)
    assert masks.dice.least == 0


def test_detection_counts_strays_against_precision():
    rows = [r for r in random_rows() if r.split == "test"]

    found = evaluate_rows(rows, FAST).detection

    hits = sum((r.iou or 0) >= 0.5 for r in rows)
    finds = sum(r.predicted_node > 0 for r in rows)
    assert (found.hits, found.finds, found.nodes) == (hits, finds, sum(r.kind == "node" for r in rows))
    assert found.precision.value == hits / finds
    assert found.f1.low < found.f1.value < found.f1.high


def test_the_cutoff_comes_from_the_card_unless_told():
    rows = [replace(row, cutoff=0.37) for row in random_rows()]

    cutoff = evaluate_rows(rows, FAST).cutoff

    assert (cutoff.value, cutoff.taken_on, cutoff.for_card()) == (0.37, "card", 0.37)
    assert str(cutoff) == "0.37, from the model's card"


def test_a_validation_cutoff_ignores_the_test_cases():
    rows = random_rows()
    changed = [replace(r, score=1 - r.score) if r.split == "test" else r for r in rows]
    config = replace(FAST, cutoff_from="validation")

    one, other = (evaluate_rows(r, config).cutoff for r in (rows, changed))

    assert one == other
    assert not one.optimistic
    assert "taken on the validation set by Youden's index" in str(one)


def test_a_cutoff_taken_on_test_is_optimistic_and_barred_from_cards():
    cutoff = evaluate_rows(random_rows(), replace(FAST, cutoff_from="test")).cutoff

    assert cutoff.optimistic
    assert "Optimistic" in str(cutoff)
    with pytest.raises(DatasetError, match=r"can't enter a model's card\. Take it from validation"):
        cutoff.for_card()


def test_validation_judged_by_its_own_cutoff_is_optimistic():
    config = replace(FAST, cutoff_from="validation", split="validation")

    assert evaluate_rows(random_rows(), config).cutoff.optimistic


def test_a_cutoff_for_sensitivity_reaches_it_with_the_best_specificity():
    config = replace(FAST, cutoff_from="validation", rule="sensitivity", sensitivity=0.9)
    rows = [r for r in random_rows() if r.split == "validation" and r.kind == "node"]
    metastatic = sorted(r.score for r in rows if r.truth == "metastatic")

    cutoff = evaluate_rows(random_rows(), config).cutoff

    assert np.mean([s >= cutoff.value for s in metastatic]) >= 0.9
    assert np.mean([s > cutoff.value for s in metastatic]) < 0.9


def test_a_cutoff_needs_both_classes():
    rows = [replace(r, truth="benign") if r.split == "validation" else r for r in random_rows()]

    with pytest.raises(DatasetError, match=r"validation set has 0 metastatic .* cutoff of the model"):
        evaluate_rows(rows, replace(FAST, cutoff_from="validation"))


def worse_than_chance(rows):
    """The rows with scores that rank every metastatic node below every benign one."""
    return [
        row if row.kind == "stray" else replace(row, score=0.3 if row.truth == "metastatic" else 0.6)
        for row in rows
    ]


@pytest.mark.parametrize("where", ["validation", "test"])
def test_scores_that_rank_no_better_than_chance_give_no_cutoff_but_a_sentence(where):
    rows = worse_than_chance(random_rows())

    with pytest.raises(
        DatasetError, match=rf"no cutoff on the score of the model parts .* {where} set .* or give one"
    ):
        evaluate_rows(rows, replace(FAST, cutoff_from=where))


def test_another_model_without_a_cutoff_is_named():
    rows = random_rows()

    with pytest.raises(DatasetError, match="the score of second@1 parts"):
        evaluate_rows(
            rows, replace(FAST, cutoff_from="validation"), others={"second@1": worse_than_chance(rows)}
        )


def test_two_models_in_one_table_are_refused():
    rows = random_rows()

    with pytest.raises(DatasetError, match="2 different cutoffs"):
        evaluate_rows([*rows, replace(rows[0], cutoff=0.9)], FAST)


def test_a_patient_is_metastatic_if_any_node_is_and_has_the_highest_score():
    row = CaseRow(id="a", patient="p1", truth="benign", score=0.2, frame_score=0.9)
    rows = [
        row,
        replace(row, id="b", truth="metastatic", frame_score=0.3),
        replace(row, id="c", patient="p2", frame_score=0.4),
        replace(row, id="d", patient="p3", frame_score=0.4),
        replace(row, id="e", patient="p3", truth="unknown"),
    ]

    patients = evaluate_rows(rows, FAST).patients

    assert patients.counts == (1, 0, 1, 0)


def test_unknown_truths_are_counted_and_left_out_of_the_diagnosis():
    rows = [replace(r, truth="unknown") if i % 2 else r for i, r in enumerate(rows_from_counts(5, 5, 5, 5))]

    evaluation = evaluate_rows(rows, FAST)

    assert (evaluation.flow.unknown, evaluation.nodes.counts.n) == (10, 10)


def test_without_truths_there_is_no_diagnosis_but_there_are_masks():
    rows = [replace(r, truth="unknown") for r in random_rows()]

    evaluation = evaluate_rows(rows, FAST)

    assert evaluation.nodes is evaluation.patients is None
    assert evaluation.segmentation.nodes > 0


def test_subgroups_hold_every_node_once_for_each_variable():
    evaluation = evaluate_rows(random_rows(), FAST)
    nodes = sum(r.kind == "node" and r.split == "test" for r in evaluation.rows)

    for variable in ("scanner", "level", "side", "short axis"):
        assert sum(g.nodes for g in evaluation.subgroups if g.variable == variable) == nodes
    assert [g.value for g in evaluation.subgroups if g.variable == "short axis"] == [
        "under 5 mm",
        "5 to under 10 mm",
        "10 mm and over",
    ]


def test_frames_without_a_node_are_no_nodes_of_a_subgroup():
    rows = [replace(row, vendor="A") for row in rows_from_counts(3, 2, 4, 1)]
    empty = replace(rows[0], id="empty", kind="frame", node=0, truth="unknown", compared=True)

    (scanner,) = evaluate_rows([*rows, empty], FAST).subgroups

    assert (scanner.nodes, scanner.metastatic, scanner.benign) == (10, 5, 5)


def test_one_patient_does_not_make_a_subgroup_sure():
    rows = [replace(r, patient="only") for r in rows_from_counts(9, 0, 9, 0)]

    sensitivity = evaluate_rows([replace(r, vendor="A") for r in rows], FAST).subgroups[0].sensitivity

    assert (sensitivity.value, sensitivity.high) == (1, 1)
    assert sensitivity.low < 0.75


def test_a_reader_is_compared_on_the_nodes_that_both_judged():
    rows = rows_from_counts(30, 10, 40, 20)
    calls = {row.id: row.truth for row in rows[:60]} | {rows[60].id: "undetermined"}

    (comparison,) = evaluate_rows(rows, FAST, readers={"reader 1": calls}).comparisons

    assert (comparison.nodes, comparison.undetermined, comparison.without) == (60, 1, 39)
    assert comparison.other.fn == comparison.other.fp == 0
    wrong = comparison.model.fn + comparison.model.fp
    assert (comparison.mcnemar.only_first, comparison.mcnemar.only_second) == (0, wrong)
    assert comparison.differences["sensitivity"].value == pytest.approx(
        comparison.model.tp / (comparison.model.tp + comparison.model.fn) - 1
    )


def test_a_call_in_other_words_is_refused():
    rows = rows_from_counts(3, 3, 3, 3)

    with pytest.raises(DatasetError, match=r"reader 1 says 'maybe' of f0000"):
        evaluate_rows(rows, FAST, readers={"reader 1": {"f0000": "maybe"}})


def test_two_models_are_compared_on_the_same_nodes():
    rows = random_rows()
    better = [replace(r, score=min(r.score + 0.2 * (r.truth == "metastatic"), 1), dice=r.dice) for r in rows]

    (comparison,) = evaluate_rows(rows, FAST, others={"new": better}).comparisons

    assert comparison.gap.auc.difference.value < 0
    assert comparison.gap.auc.p < 0.05
    assert comparison.gap.dice.value == 0
    assert comparison.without == 0


def test_another_model_has_its_cutoff_by_the_same_rule():
    rows = random_rows()
    halved = [replace(row, score=row.score / 2, cutoff=0.9) for row in rows]

    (comparison,) = evaluate_rows(
        rows, replace(FAST, cutoff_from="validation"), others={"halved": halved}
    ).comparisons

    assert comparison.gap.cutoffs[1] == pytest.approx(comparison.gap.cutoffs[0] / 2)
    assert comparison.model == comparison.other
    assert comparison.gap.areas[0] == comparison.gap.areas[1]


def test_all_tests_stand_side_by_side_on_the_nodes_that_every_one_judged():
    rows = rows_from_counts(30, 10, 40, 20)
    right = {row.id: row.truth for row in rows[:60]} | {rows[0].id: "undetermined"}
    benign = {row.id: "benign" for row in rows[:50]}
    second = [replace(row, score=1 - row.score) for row in rows[5:]]

    panel = evaluate_rows(
        rows, FAST, readers={"Dr A": right, "original reports": benign}, others={"second": second}
    ).panel

    assert (panel.nodes, panel.of) == (45, 100)
    tests = {name: {m.name: (m.k, m.estimate.n) for m in measures} for name, measures in panel.tests}
    assert list(tests) == ["model", "second", "Dr A", "original reports"]
    assert tests["model"]["sensitivity"] == (25, 35)
    assert tests["second"]["sensitivity"] == (10, 35)
    assert tests["Dr A"]["sensitivity"] == (35, 35)
    assert tests["original reports"]["specificity"] == (10, 10)


@pytest.mark.slow
def test_a_reader_who_is_called_like_another_test_is_refused():
    rows = random_rows()
    calls = {row.id: "malignant" for row in rows}

    with pytest.raises(DatasetError, match=r"'model' is the name of the model itself.*Head the column"):
        evaluate_rows(rows, FAST, readers={"Li": calls, "model": calls})
    with pytest.raises(DatasetError, match="'second@1' is the name of two tests"):
        evaluate_rows(rows, FAST, readers={"second@1": calls}, others={"second@1": rows})


def test_the_difference_of_two_aucs_knows_the_patients():
    rows = [replace(row, patient=f"p{i % 6}") for i, row in enumerate(random_rows())]
    rng = np.random.default_rng(2)
    noisy = [replace(row, score=float(np.clip(row.score + rng.normal(0, 0.2), 0, 1))) for row in rows]
    alone = [replace(row, patient=row.id) for row in rows]

    clustered, single = (
        evaluate_rows(mine, FAST, others={"noisy": noisy}).comparisons[0].gap.auc.difference
        for mine in (rows, alone)
    )

    assert clustered.value == single.value
    assert clustered.low <= single.low or clustered.high >= single.high


def test_every_case_can_be_reported_whichever_its_set():
    evaluation = evaluate_rows(random_rows(), replace(FAST, split="all"))

    assert evaluation.nodes.counts.n == sum(row.kind == "node" for row in random_rows())
    assert evaluation.cutoff.optimistic


def test_frames_that_nobody_has_judged_are_counted_and_in_no_figure():
    rows = rows_from_counts(5, 5, 5, 5)
    unjudged = [
        replace(row, id=f"u{i}", kind="frame", node=0, truth="unknown") for i, row in enumerate(rows[:3])
    ]

    flow = evaluate_rows([*rows, *unjudged], FAST).flow

    assert (flow.frames, flow.unjudged, flow.nodes, flow.unknown, flow.without_mask) == (23, 3, 20, 0, 20)


def test_frames_that_nobody_has_judged_change_nothing_per_patient():
    rows = rows_from_counts(0, 1, 2, 0)
    unjudged = [
        replace(row, id=f"u{row.id}", kind="frame", node=0, truth="unknown", score=0.9, frame_score=0.9)
        for row in rows[:2]
    ]

    patients = evaluate_rows([*rows, *unjudged], FAST).patients

    assert patients.counts == evaluate_rows(rows, FAST).patients.counts == (0, 1, 2, 0)


@pytest.mark.parametrize("masks", [True, False], ids=["segments", "classifies alone"])
def test_a_frame_that_a_reader_saved_as_no_node_is_judged_whatever_the_model_gives(masks):
    places = [(LEFT,), (), (LEFT,), ()]
    truths = []
    for i, place in enumerate(places):  # a node and a frame without one of each of two patients
        one = annotation(*place, truth="benign")
        pixels = np.full((100, 120), i, np.uint8)
        truths.append(replace(one, frame=replace(one.frame, pixels=pixels, patient_id=f"p{i // 2}")))
    given = {} if masks else {"mask_threshold": None}
    predictions = [prediction(*(place if masks else ()), **given) for place in places]

    evaluation = evaluate(truths, predictions, FAST)

    flow = evaluation.flow
    assert (flow.negative, flow.unjudged, flow.nodes, flow.unknown) == (2, 0, 2, 0)
    assert evaluation.patients.counts.n == 2
    assert not any("left out" in note for note in overview(evaluation).notes)


def test_axes_agree_with_the_reader_in_millimetres():
    long_axis, short_axis = evaluate_rows(random_rows(), FAST).segmentation.axes

    assert (long_axis.unit, short_axis.name) == ("mm", "short axis")
    assert abs(long_axis.limits.bias.value) < 0.3
    assert long_axis.icc.value > 0.95
    assert long_axis.limits.bias.n < long_axis.of


def test_a_prevalence_gives_predictive_values_at_it():
    nodes = evaluate_rows(random_rows(), replace(FAST, prevalence=0.1)).nodes

    assert nodes.at_prevalence[0].value < nodes["ppv"].estimate.value
    assert nodes.at_prevalence[1].value > nodes["npv"].estimate.value


def test_frames_that_could_not_be_read_are_counted():
    evaluation = evaluate(
        [annotation(LEFT), annotation(LEFT)], [prediction(LEFT), FrameReadError("b.dcm is empty.")], FAST
    )

    assert (evaluation.flow.frames, evaluation.flow.unreadable, evaluation.flow.compared) == (2, 1, 1)


def test_frames_of_another_set_that_gave_no_number_are_not_counted_in_the_reported_one(tmp_path):
    image = tmp_path / "image.png"
    image.write_bytes(encode_png(annotation(LEFT).frame.pixels))

    def case(i):
        truth = "metastatic" if i % 2 else "benign"
        return Case(
            id=f"{i:016x}",
            image=image,
            mask=tmp_path / "mask.png",
            instances=None,
            nodes=(Node(id=1, truth=truth, truth_source="fna"),),
            patient=f"p{i}",
            status="accepted",
            split="validation" if i < 4 else "test",
        )

    predictions = [prediction(LEFT, scores=(0.9 if i % 2 else 0.1,)) for i in range(8)]
    predictions[0] = PredictionError("The model gave no finite number.")
    predictions[7] = FrameReadError("frame is empty.")
    config = replace(FAST, cutoff_from="validation")

    flow = evaluate(map(case, range(8)), predictions, config, read=lambda case: drawn(LEFT)).flow

    assert (flow.frames, flow.failed, flow.unreadable) == (4, 0, 1)


def test_cases_and_predictions_must_be_as_many():
    with pytest.raises(DatasetError, match="more cases than predictions"):
        evaluate([annotation(LEFT), annotation(LEFT)], [prediction(LEFT)], FAST)
    with pytest.raises(DatasetError, match="more predictions than cases"):
        evaluate([annotation(LEFT)], [prediction(LEFT)] * 2, FAST)


def test_the_gallery_shows_best_median_and_worst():
    shifted = [(slice(20, 40), slice(10 + i, 50 + i)) for i in (0, 4, 8, 12, 16, 20)]
    truths = [annotation(LEFT) for _ in shifted]
    for i, truth in enumerate(truths):
        truth.frame.pixels[0, 0] = i  # another frame, another id

    pictures = evaluate(truths, [prediction(place) for place in shifted], FAST).pictures

    assert [p.place for p in pictures] == ["best"] * 2 + ["median"] * 2 + ["worst"] * 2
    assert pictures[0].dice == 1
    assert sorted((p.dice for p in pictures), reverse=True) == [p.dice for p in pictures]
    assert pictures[0].image.shape == pictures[0].reference.shape == pictures[0].predicted.shape


def test_the_gallery_says_where_the_reader_saw_no_node():
    (picture,) = evaluate([annotation()], [prediction(LEFT)], FAST).pictures

    assert (picture.truth, picture.dice) == ("no node", 0)


def test_measures_stand_by_name():
    nodes = evaluate_rows(rows_from_counts(5, 0, 5, 0), FAST).nodes

    assert nodes["positive_lr"].estimate.value == math.inf
    assert nodes["accuracy"].estimate.value == 1


def test_claims_on_frames_without_a_node_are_counted_with_their_interval():
    rows = random_rows(40)
    bare = {"truth": "unknown", "score": 0.2, "frame_score": 0.2, "compared": True}
    empty = [CaseRow(id=f"e{i}", patient=f"e{i}", kind="frame", **bare) for i in range(10)]
    claims = [
        CaseRow(id=f"e{i}", patient=f"e{i}", kind="stray", predicted_node=n, **bare)
        for i, n in ((2, 1), (2, 2), (7, 1))
    ]

    with_empty = evaluate_rows(rows + empty + claims, FAST)
    claimed = with_empty.claimed

    assert (claimed.value, claimed.n) == (0.2, 10)
    assert claimed.low < 0.2 < claimed.high
    assert evaluate_rows(rows, FAST).claimed is None
    page = overview(with_empty)
    assert "On 2 of 10 frames without a node it outlines one all the same." in page.sentences
    assert "Claims without a node" in [tile.name for tile in page.tiles]
