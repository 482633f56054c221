"""An evaluation without a window: the session of the Evaluate dock alone, on a report."""

from __future__ import annotations

import pytest
from napari.components import ViewerModel

from napari_cln.study.cases import CaseRow
from napari_cln.study.config import EvaluationSettings
from napari_cln.study.evaluation import evaluate_rows
from napari_cln.study.report import write_report
from napari_cln.widgets.evaluate.session import EvaluateSession


@pytest.fixture
def session(keep) -> EvaluateSession:
    return keep(EvaluateSession(ViewerModel()))


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    row = CaseRow(
        id="a", patient="a", truth="benign", score=0.3, frame_score=0.3, compared=True, dice=0.5, iou=1 / 3,
        frame_dice=0.5,
    )  # fmt: skip
    place = tmp_path_factory.mktemp("reports") / "report"
    write_report(evaluate_rows([row]), place)
    return place


def test_a_finished_report_is_shown_with_its_worst_frames(session, report, qtbot):
    session.process.choose_out(report)
    qtbot.waitUntil(lambda: bool(session.state.report.worst), timeout=20_000)

    assert session.state.report.path == report
    assert [frame.id for frame in session.state.report.worst] == ["a"]
    assert not session.state.process.is_busy


def test_another_folder_takes_the_report_away(session, report, tmp_path):
    session.process.choose_out(report)
    session.process.choose_out(tmp_path / "another")

    assert session.state.report.path is None


def test_a_report_is_not_written_over(session, report, tmp_path):
    told: list[str] = []
    session.told.connect(lambda sentence, _mood, _about: told.append(sentence))
    session.process.choose_folder(tmp_path)
    session.process.choose_out(report)

    session.start(EvaluationSettings())

    assert told[-1].startswith("report already holds a report.")
