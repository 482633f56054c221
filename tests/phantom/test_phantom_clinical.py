"""Clinical records of simulated nodes: their best score is known."""

import numpy as np
import pytest

from napari_cln.phantom.signs import BENIGN_AT, METASTATIC_AT, clinical_log_ratio, draw_record
from napari_cln.study.statistics.metrics import auc


def records(n, missing=0.0):
    rng = np.random.default_rng(4)
    truth = rng.random(n) < 0.5
    return truth, [draw_record(rng, bool(t), missing) for t in truth]


def test_places_are_those_of_the_papers_table():
    assert BENIGN_AT.sum() == pytest.approx(1) and METASTATIC_AT.sum() == pytest.approx(1)


def test_the_place_alone_tells_little():
    rng = np.random.default_rng(0)
    truth = rng.random(6000) < 0.5
    places = [{"place": draw_record(rng, bool(t), 0.0)["place"]} for t in truth]

    assert auc(truth, [clinical_log_ratio(record) for record in places]) == pytest.approx(0.63, abs=0.02)


def test_records_tell_of_the_class_as_much_as_their_densities_say():
    truth, drawn = records(4000)

    assert auc(truth, [clinical_log_ratio(record) for record in drawn]) == pytest.approx(0.85, abs=0.03)


def test_an_empty_record_tells_nothing():
    assert clinical_log_ratio({}) == 0


def test_missing_values_are_missing_at_random():
    truth, drawn = records(4000, missing=0.15)
    missing = np.array([record["age"] is None for record in drawn])

    assert missing.mean() == pytest.approx(0.15, abs=0.02)
    assert missing[truth].mean() == pytest.approx(missing[~truth].mean(), abs=0.03)
