"""Files of a run that a power cut or a bad disk damaged: named, and the run goes on to the same end."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from napari_cln.errors import RunError
from napari_cln.network.weights import load_model
from napari_cln.training import loop
from napari_cln.training.loop import fit
from napari_cln.training.run import TrainConfig, train
from napari_cln.training.run_folder import End, Epoch, Note, RunFolder


def zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    """One bit, in the middle of the weights: PyTorch alone would load it."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    torch.load(path, weights_only=True)


def empty(path: Path) -> None:
    path.write_bytes(b"")


DAMAGES = [zeros, cut, flip, empty]


@pytest.fixture
def often(monkeypatch) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 3)


@pytest.fixture
def begun(draw, samples, recipe, tmp_path, often) -> tuple[Path, Path, Callable[[], list]]:
    """A fold that ended, the same fold stopped in its second epoch, and how it goes on."""

    def run(folder: Path, **options: object) -> list:
        folder.mkdir(exist_ok=True)
        return list(fit(samples, draw(5, 2), recipe, folder, epochs=2, seed=3, **options))

    whole, broken = tmp_path / "whole", tmp_path / "fold-0"
    asked = iter([False] * 9 + [True])
    run(whole)
    run(broken, stop=lambda: next(asked))
    return whole, broken, lambda: run(broken, resume=True)


def assert_same_end(one: Path, other: Path) -> None:
    for name in ("checkpoint.pt", "best.pt"):
        a, b = (torch.load(place / name, weights_only=True) for place in (one, other))
        for part in ("network", "average") if name == "checkpoint.pt" else (None,):
            x, y = (state[part] if part else state for state in (a, b))
            assert all(torch.equal(x[key], y[key]) for key in x)


def notes(events: list) -> list[str]:
    return [event.message for event in events if isinstance(event, Note)]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_means_the_one_before(begun, damage):
    whole, broken, go_on = begun
    damage(broken / "checkpoint.pt")

    events = go_on()

    assert notes(events) == ["fold-0/checkpoint.pt is damaged. The fold goes on from step 6."]
    assert_same_end(broken, whole)


def test_a_checkpoint_that_is_gone_means_the_one_before(begun):
    whole, broken, go_on = begun
    (broken / "checkpoint.pt").unlink()

    assert notes(go_on()) == ["fold-0/checkpoint.pt is missing. The fold goes on from step 6."]
    assert_same_end(broken, whole)


def test_two_damaged_checkpoints_mean_a_new_start(begun):
    whole, broken, go_on = begun
    zeros(broken / "checkpoint.pt")
    cut(broken / "former.pt")

    assert notes(go_on()) == [
        "fold-0/checkpoint.pt is damaged.",
        "fold-0/former.pt is damaged. The fold starts again.",
    ]
    assert_same_end(broken, whole)


@pytest.mark.parametrize("damage", [*DAMAGES, Path.unlink])
def test_damaged_best_weights_mean_a_new_start(begun, damage):
    whole, broken, go_on = begun
    damage(broken / "best.pt")

    (said,) = notes(go_on())

    assert said.startswith("fold-0/best.pt is ")
    assert said.endswith(" The fold starts again.")
    assert_same_end(broken, whole)


def test_a_file_of_something_else_is_no_checkpoint(begun):
    whole, broken, go_on = begun
    torch.save({"plan": 3}, broken / "checkpoint.pt")

    assert notes(go_on())[0].startswith("fold-0/checkpoint.pt is no checkpoint of this version.")
    assert_same_end(broken, whole)


# ------------------------------------------------------------ a whole run


@pytest.fixture(scope="module")
def config(small) -> TrainConfig:
    return TrainConfig(epochs=2, folds=2, batch_size=2, start_from=str(small), compare_with="")


@pytest.fixture(scope="module")
def finished(study, config, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    list(train(study, out, config))
    return out


@pytest.fixture
def stopped(study, config, tmp_path) -> Path:
    """The same run, ended in its second fold as if by a power cut."""
    out = tmp_path / "run"
    for event in train(study, out, config):
        if isinstance(event, Epoch) and event.fold == 1:
            break
    return out


def resumed(study, out: Path, config: TrainConfig | None) -> list[str]:
    """What the run noted as it went on to its end."""
    events = list(train(study, out, config, resume=True))
    assert isinstance(events[-1], End)
    return notes(events)


def card_of(out: Path) -> object:
    return load_model(out / "model.safetensors").card


def test_damaged_files_are_named_mended_and_the_run_ends_the_same(study, stopped, config, finished):
    (stopped / "run.json").write_bytes(bytes(300))
    (stopped / "job.json").write_text('{"pid": "many"}')
    with (stopped / "progress.jsonl").open("ab") as log:
        log.write(bytes(4096))

    said = resumed(study, stopped, None)

    assert [sentence.partition(" in ")[0] for sentence in said] == [
        "run.json",
        "1 line of progress.jsonl",
        "job.json",
    ]
    run = RunFolder(stopped)
    assert run.faults() == []
    assert run.record() == RunFolder(finished).record()
    assert card_of(stopped) == card_of(finished)


def test_without_settings_a_resumed_run_keeps_its_own(study, stopped, finished):
    assert resumed(study, stopped, None) == []
    assert card_of(stopped) == card_of(finished)


@pytest.mark.parametrize("ending", [".safetensors", ".json"])
def test_the_model_of_a_fold_that_is_damaged_is_made_again(study, stopped, config, finished, ending):
    cut(stopped / "fold-0" / f"model{ending}")

    (said,) = resumed(study, stopped, config)

    assert said.startswith("In fold-0: model")
    assert said.endswith("It is made again from the fold's best weights.")
    assert card_of(stopped / "fold-0") == card_of(finished / "fold-0")
    assert card_of(stopped) == card_of(finished)


def test_a_fold_whose_card_was_never_written_gets_it(study, stopped, config, finished):
    """Killed between weights and card: the card waits under its other name, or the fold is made again."""
    (stopped / "fold-0" / "model.json").rename(stopped / "fold-0" / "model.json.next")

    assert resumed(study, stopped, config) == []
    assert card_of(stopped / "fold-0") == card_of(finished / "fold-0")


def test_frames_that_were_removed_meanwhile_are_named(study, stopped, config, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(study.path, copy)
    gone = sorted((copy / "records").glob("*.json"))[0]
    gone.unlink()

    with pytest.raises(RunError, match=f"1 frame of the run in run can't be found .* such as {gone.stem}"):
        list(train(copy, stopped, config, resume=True))


def test_frames_that_were_added_meanwhile_wait_for_the_next_run(study, stopped, config, finished, tmp_path):
    from napari_cln.annotation import Annotation
    from napari_cln.folder.dataset import TrainingFolder
    from napari_cln.phantom import simulate

    copy = tmp_path / "copy"
    shutil.copytree(study.path, copy)
    phantom = simulate(999, n_nodes=1, overlays=False)
    marked = Annotation(frame=phantom.frame, instances=phantom.instances, nodes=phantom.nodes)
    TrainingFolder.open(copy).save(marked, patient="new", source_kind="simulated")

    assert resumed(copy, stopped, config) == []
    assert card_of(stopped) == card_of(finished)
