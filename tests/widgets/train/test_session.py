"""A training run without a window: the session of the Train dock alone, on what a run writes."""

from __future__ import annotations

import json

import pytest
from napari.components import ViewerModel

from napari_cln.training.config import TrainConfig
from napari_cln.widgets.train.session import TrainSession


@pytest.fixture
def session(keep, models, tmp_path, monkeypatch) -> TrainSession:
    monkeypatch.setenv("NAPARI_CLN_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("NAPARI_CLN_MODELS", str(models))
    return keep(TrainSession(ViewerModel()))


@pytest.fixture
def told(session) -> list[str]:
    words: list[str] = []
    session.told.connect(lambda sentence, _mood: words.append(sentence))
    return words


def test_without_a_folder_it_says_what_to_choose(session, told):
    session.start(TrainConfig())

    assert told == ["Choose a training folder: the one that the Correct dock saves to. Then press Start."]
    assert session.state.process.folder is None


def test_a_run_that_was_started_elsewhere_is_followed(session, told, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    start = {"event": "start", "folds": 2, "frames": 30, "epochs": 4, "device": "cpu"}
    (run / "progress.jsonl").write_text(json.dumps(start) + "\n")

    session.process.choose_out(run)

    assert session.state.progress.n_folds == 2
    assert not session.state.process.is_busy
    assert told[-1].endswith("It was started outside of napari: stop it there.")


def test_a_new_run_is_proposed_beside_the_folder(session, tmp_path):
    (tmp_path / "neck").mkdir()
    (tmp_path / "neck-run-1").mkdir()

    session.process.choose_folder(tmp_path / "neck")

    assert session.state.process.out == tmp_path / "neck-run-2"


def test_before_a_run_has_ended_there_is_nothing_to_promote(session):
    session.promotion.promote()

    assert session.state.outcome.in_use == "default"
    assert not session.state.outcome.can_promote
