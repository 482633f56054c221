"""A run's folder says what it holds, names what is damaged, and mends it at the next start."""

from __future__ import annotations

import json
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_cln.errors import RunError
from napari_cln.folder.split.deal import Fold
from napari_cln.training.config import TrainConfig
from napari_cln.training.run_folder import (
    Compared,
    End,
    Epoch,
    EventReader,
    Failed,
    JobRecord,
    RunFolder,
    Start,
    Step,
    Stopped,
    TrainingRecord,
)


@pytest.fixture
def run(data, tmp_path) -> RunFolder:
    """A copy of a run that an earlier version left."""
    shutil.copytree(data / "runs" / "neck-run-1", tmp_path / "neck-run-1")
    return RunFolder(tmp_path / "neck-run-1")


def test_a_run_of_an_earlier_version_is_read(run):
    record = run.record()

    assert (record.config.epochs, record.config.folds, len(record.folds)) == (2, 2, 2)
    assert record.weights == ""
    assert [type(event) for event in run.events()] == [Start, *[Epoch] * 4, Compared, End]
    start, *_, compared, end = run.events()
    assert (start.frames, start.settings, start.weights) == (8, None, "")
    assert compared.comparison.model == "tiny@7135c28e4d79"
    assert end.fold == 0
    assert run.faults() == []


def test_what_is_written_is_read(tmp_path):
    run = RunFolder(tmp_path)
    record = TrainingRecord(
        config=TrainConfig(epochs=3, learning_rate=1e-5),
        folds=(Fold(train=("a", "b"), validation=("c",)),),
        weights="default@0123",
    )
    events = [
        Start(folds=1, frames=3, epochs=3, device="cpu", weights="x", settings=record.config),
        Step(fold=1, step=10, of=30, seconds=1.5, loss={"total": 0.5}),
        Stopped(fold=1, step=12, of=30),
        Failed(message="läuft nicht"),
    ]

    run.write_record(record)
    for event in events:
        run.note(event)
    run.write_job(JobRecord(pid=7, token="x", host="here", command="train"))

    assert run.record() == record
    assert list(run.events()) == events
    assert run.job() == JobRecord(pid=7, token="x", host="here", command="train")


DAMAGE = {
    "zeros": bytes(500),
    "empty": b"",
    "cut": b'{"config": {"epo',
    "another kind": b'{"config": {"epochs": "many"}}',
    "out of range": b'{"config": {"patience": -1}}',
    "infinite": b'{"config": {"learning_rate": 1e999}}',
    "not an object": b"[]",
    "unknown key": b'{"config": {}, "surprise": 1}',
    "deep": b"[" * 100_000,
    "not UTF-8": b'{"config": {"start_from": "\xff"}}',
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_record_is_named_and_its_settings_come_from_the_log(tmp_path, damage):
    run = RunFolder(tmp_path)
    config = TrainConfig(epochs=7)
    run.note(Start(folds=1, frames=3, epochs=7, device="cpu", settings=config))
    (tmp_path / "run.json").write_bytes(DAMAGE[damage])

    with pytest.raises(RunError, match=rf"^run\.json in {tmp_path.name} can't be read: "):
        run.record()
    (fault,) = run.faults()
    assert fault.startswith("run.json in ")
    assert fault.endswith("It is written anew, with the settings in progress.jsonl.")
    assert run.record_to_resume() == TrainingRecord(config=config)


def test_settings_that_stand_nowhere_are_lost(run):
    (run.path / "run.json").write_bytes(bytes(100))

    with pytest.raises(RunError, match="settings are lost: start a new run in another folder"):
        run.record_to_resume()


@pytest.mark.parametrize("damage", [bytes(90), b'{"pid": -3}', b'{"pid": "1"}', b"{}", b"x" * 10**6])
def test_a_damaged_note_of_the_process_is_named_and_removed_at_the_next_start(run, damage):
    (run.path / "job.json").write_bytes(damage)

    with pytest.raises(RunError, match=r"^job\.json in neck-run-1 can't be read: "):
        run.job()
    assert [fault.partition(" ")[0] for fault in run.faults()] == ["job.json"]
    run.mend()

    assert run.job() is None
    assert run.faults() == []


def test_damaged_lines_are_counted_and_taken_out_at_the_next_start(run):
    whole = list(run.events())
    lines = run.progress.read_bytes().split(b"\n")
    later = b'{"event": "of a later version"}'
    lines[2:2] = [bytes(4096), b'{"event": "epoch", "epoch": -1}', b"null", later]
    run.progress.write_bytes(b"\n".join(lines) + b'{"event": "st')

    assert list(run.events()) == whole
    assert run.faults() == ["4 lines of progress.jsonl in neck-run-1 can't be read: taken out."]
    run.mend()

    assert list(run.events()) == whole
    assert run.faults() == []
    assert later in run.progress.read_bytes()  # it is no fault, and stays


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1), junk=st.binary(max_size=200), length=st.integers(0, 400))
def test_no_damage_of_the_log_raises_or_costs_a_line_beside_it(run, data, where, junk, length):
    text = (data / "runs" / "neck-run-1" / "progress.jsonl").read_bytes()
    at = int(where * len(text))
    run.progress.write_bytes(text[:at] + junk + text[at + length :])

    before = text[:at].count(b"\n")
    read = list(run.events())
    faults = run.faults()
    run.mend()

    assert len(read) >= before
    assert len(faults) <= 1
    assert run.faults() == []
    mended = list(run.events())
    assert mended[: len(read)] == read  # a last line that lacks its end alone is one more


texts = st.text(st.characters(exclude_categories=()), max_size=20)  # with half surrogate pairs


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key=st.sampled_from(["config", "folds", "weights", *TrainConfig.__dataclass_fields__]),
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | texts,
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    ),
)
def test_any_value_in_a_record_is_named_or_can_be_written_again(run, data, key, value):
    record = json.loads((data / "runs" / "neck-run-1" / "run.json").read_text())
    (record if key in record or key == "weights" else record["config"])[key] = value
    (run.path / "run.json").write_text(json.dumps(record))

    try:
        found = run.record()
    except RunError as error:
        assert str(error).startswith("run.json in neck-run-1 can't be read: ")
    else:
        run.write_record(found)
        assert run.record() == found


def test_a_reader_goes_on_where_it_stopped_and_begins_anew_with_another_file(run, tmp_path):
    reader = EventReader(run)
    first, there_was = reader.read()
    assert len(first) == 7
    assert there_was
    assert reader.read() == ([], False)

    run.note(Stopped(step=3, of=4))
    assert reader.read()[0] == [Stopped(step=3, of=4)]

    other = tmp_path / "other.jsonl"
    other.write_bytes(run.progress.read_bytes() * 2)
    other.replace(run.progress)
    assert len(reader.read()[0]) == 16
    assert reader.restarts == 1


def test_a_line_without_an_end_does_not_fill_the_memory(tmp_path):
    run = RunFolder(tmp_path)
    with run.progress.open("wb") as log:
        log.truncate(40 * 2**20)  # zeros, as a power cut leaves them
    with run.progress.open("ab") as log:
        log.write(b'\n{"event": "failed", "message": "x"}\n')
    reader = EventReader(run)

    events = []
    while (piece := reader.read())[1]:
        events += piece[0]
        assert len(reader._rest) <= 2 * 2**20

    assert events == [Failed(message="x")]
