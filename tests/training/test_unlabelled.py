"""Frames beside the labelled ones: unlabelled, pseudo-labelled and simulated, on the training side alone."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from napari_cln.annotation import Annotation
from napari_cln.errors import FrameReadError, RunError
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.record import Provenance
from napari_cln.folder.split.frozen import frozen_split
from napari_cln.network.u_shaped import network_of
from napari_cln.network.weights import load_model
from napari_cln.phantom import simulate
from napari_cln.training import loop, unlabelled
from napari_cln.training.checkpoint import Average
from napari_cln.training.config import TrainConfig
from napari_cln.training.data import Batch, Samples
from napari_cln.training.loop import fit
from napari_cln.training.loss import Objective
from napari_cln.training.recipes import Recipe
from napari_cln.training.run import train
from napari_cln.training.run_folder import Epoch, Note, Step
from napari_cln.training.unlabelled import (
    MoreFrames,
    Teacher,
    UnlabelledFrames,
    pseudo_labelled,
    read_frames_of,
    read_unlabelled,
    simulated_samples,
    weighed,
)
from napari_cln.types import Frame


def unmasked(samples: Samples) -> Samples:
    return replace(
        samples,
        has_mask=np.zeros(len(samples), bool),
        node_targets=np.full_like(samples.node_targets, np.nan),
        frame_targets=np.full_like(samples.frame_targets, np.nan),
    )


@pytest.fixture
def network(recipe):
    torch.manual_seed(1)
    return network_of(recipe.network)


def test_a_run_with_unlabelled_frames_is_resumed_bit_by_bit(draw, samples, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 3)
    few, many = samples.take(range(8)), unmasked(draw(9, 5))
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    runs = {
        name: lambda name=name, **more: fit(
            few, few, recipe, tmp_path / name, epochs=4, seed=2, unlabelled=many, **more
        )
        for name in ("whole", "broken")
    }
    list(runs["whole"]())
    for step, _ in enumerate(runs["broken"]()):
        if step == 1:
            break
    list(runs["broken"](resume=True))

    whole, broken = (
        torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)["average"]
        for name in ("whole", "broken")
    )
    assert all(torch.equal(whole[key], broken[key]) for key in whole)


def test_a_run_is_not_resumed_with_other_unlabelled_frames(draw, samples, recipe, tmp_path):
    list(fit(samples, samples, recipe, tmp_path, epochs=1, unlabelled=unmasked(draw(4, 5))))

    with pytest.raises(RunError, match="frames changed"):
        list(fit(samples, samples, recipe, tmp_path, epochs=1, unlabelled=unmasked(draw(4, 6)), resume=True))


def test_the_loss_tells_what_the_teacher_adds(draw, samples, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    monkeypatch.setattr(unlabelled, "SURE", 0.501)  # after two epochs a network is never surer
    events = list(fit(samples, samples, recipe, tmp_path, epochs=2, unlabelled=unmasked(draw(6, 5))))

    steps = [event.loss for event in events if isinstance(event, Step)]
    assert steps[0]["consistency"] == 0  # nothing at the start, when the teacher knows nothing
    assert steps[-1]["consistency"] > 0


def test_the_teacher_changes_as_the_average_does(samples, recipe, network):
    average = Average(network, 0.5)
    teacher = Teacher(samples, average, network, recipe, 0)
    with torch.no_grad():
        for weight in network.parameters():
            weight += 1
    before = next(teacher.network.parameters()).clone()
    average.update(network, 100)

    after = next(teacher.network.parameters())
    assert not torch.equal(before, after)
    assert torch.equal(after, average.state[next(iter(average.state))])


def test_where_the_teacher_is_unsure_nothing_is_learnt(samples, recipe, network):
    guessed = replace(
        Batch.of(samples.take([0, 1])),
        judged=torch.zeros(2, 1, 64, 64),
        mask_weight=torch.ones(2),
    )
    objective = Objective(network, recipe.loss)
    objective(Batch.of(samples.take([2, 3])), guessed)["consistency"].backward()

    changes = [weight.grad.abs().max() for weight in network.parameters() if weight.grad is not None]
    # the Dice of what nobody judges falls with the area of the mask alone, and that does not depend on it
    assert max(changes) < 1e-6


def test_what_the_teacher_is_unsure_of_is_no_part_of_a_mask(samples, recipe, network, monkeypatch):
    teacher = Teacher(samples, Average(network, 0.5), network, recipe, 0)
    batch, keys = teacher.batch(0, 4, (0, 1), torch.device("cpu"))
    with torch.no_grad():
        drawn = teacher.network.decode(teacher.network.encode(batch.image)).softmax(1)[:, 1]
    monkeypatch.setattr(unlabelled, "SURE", float(drawn.clamp_min(0.5).quantile(0.9)))

    guessed = teacher.guess(batch, keys, 1.0, crop=False, half=False)

    assert guessed.instances.any()
    assert not (guessed.instances.bool() & (guessed.judged == 0)).any()


def test_unlabelled_frames_say_nothing_of_a_class(samples, recipe, network):
    batch, guessed = Batch.of(samples.take([0, 1])), Batch.of(unmasked(samples.take([2, 3])))
    network.eval()
    objective = Objective(network, recipe.loss).eval()

    alone, beside = objective(batch), objective(batch, guessed)

    assert torch.allclose(alone["class_ce"], beside["class_ce"], atol=1e-6)
    assert torch.allclose(alone["mask_ce"], beside["mask_ce"], atol=1e-6)


@pytest.fixture
def scans(tmp_path, study):
    """Two frames that are new, and one that is in the study."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for seed in (900, 901):
        Image.fromarray(simulate(seed, overlays=False).frame.pixels).save(folder / f"{seed}.png")
    frames = {seed: simulate(seed, n_nodes=1, overlays=False).frame for seed in range(20)}
    known = next(frame for frame in frames.values() if study.identify(frame) in study.ids())
    Image.fromarray(known.pixels).save(folder / "known.png")
    return folder


def test_frames_of_the_study_are_no_unlabelled_ones(scans, study):
    found = read_unlabelled(scans, study, frozen_split(study, 2, freeze=False), Recipe.best().prepare)

    assert len(found.samples) == 2
    assert found.left_out == 1
    assert "of 2 no patient is known" in str(found)


def test_a_frame_that_a_reader_has_left_out_is_no_unlabelled_one(scans, study, tmp_path):
    study = TrainingFolder.open(shutil.copytree(study.path, tmp_path / "copy"))
    frame = Frame(pixels=np.array(Image.open(scans / "900.png")))
    study.dataset.note_left_out(study.identify(frame), "r1", is_out=True)

    found = read_unlabelled(scans, study, frozen_split(study, 2, freeze=False), Recipe.best().prepare)

    assert (len(found.samples), found.left_out) == (1, 2)


def test_the_other_frames_of_a_cine_with_a_damaged_frame_teach(torn_cine, study):
    found = read_unlabelled(torn_cine, study, frozen_split(study, 2, freeze=False), Recipe.best().prepare)

    assert (len(found.samples), found.unread) == (2, 1)  # of the first, the eleventh and the last frame
    assert "1 file or frame can't be read" in str(found)


def test_unlabelled_frames_are_in_memory_one_by_one(growth_by_frame, study):
    folds = frozen_split(study, 2, freeze=False)

    grown = growth_by_frame(lambda place: read_unlabelled(place, study, folds, Recipe.best().prepare))

    assert grown < 0.5


def test_a_place_that_is_not_there_is_told_before_a_frame_is_read(tmp_path):
    with pytest.raises(FrameReadError, match="holds no image"):
        read_frames_of([tmp_path])


def test_a_validated_patient_teaches_nothing(samples):
    frames = UnlabelledFrames(samples=samples.take([0, 1, 2]), patients=("a", "b", ""))

    assert frames.beside({"a"}).ids == (samples.ids[1], samples.ids[2])


def test_the_unlabelled_frames_of_a_training_folder_are_those_without_a_mask(study, tmp_path):
    more = TrainingFolder.create(tmp_path / "more")
    for seed, status in ((910, "predicted"), (911, "accepted")):
        phantom = simulate(seed, n_nodes=1, overlays=False)
        shown = Annotation(frame=phantom.frame, instances=phantom.instances, status=status)
        more.save(shown, patient=f"p{seed}", source_kind="simulated")

    found = read_unlabelled(more.path, study, frozen_split(study, 2, freeze=False), Recipe.best().prepare)

    assert len(found.samples) == 1
    assert not found.samples.instances.any()


def test_nothing_to_learn_from_is_a_sentence(study):
    with pytest.raises(RunError, match="holds no unlabelled frame to learn from"):
        read_unlabelled(study.path, study, frozen_split(study, 2, freeze=False), Recipe.best().prepare)


def test_a_folder_that_is_not_there_is_named(study, tmp_path):
    with pytest.raises(RunError, match=r"There is no folder nowhere of unlabelled frames"):
        read_unlabelled(tmp_path / "nowhere", study, [], Recipe.best().prepare)


def test_a_run_says_in_its_card_what_it_learnt_from_and_not_where_that_lies(study, scans, small, tmp_path):
    config = TrainConfig(
        epochs=1, folds=2, batch_size=2, start_from=str(small), compare_with="",
        unlabelled=str(scans), synthetic=3,
    )  # fmt: skip
    events = list(train(study, tmp_path / "run", config))

    notes = [event.message for event in events if isinstance(event, Note)]
    assert any("3 simulated frames join" in note for note in notes)
    card = load_model(tmp_path / "run" / "model.safetensors").card
    sources = {source.name.split(",")[0]: source.n for source in card.trained_on}
    assert sources["simulated neck frames (napari_cln.simulate)"] == 3
    assert sources["unlabelled frames"] == 2
    assert card.recipe["unlabelled"] == 2
    assert str(scans) not in card.to_json()
    folds = json.loads((tmp_path / "run" / "run.json").read_text())["folds"]
    assert not any(id_.startswith("simulated") for fold in folds for side in fold.values() for id_ in side)
    assert [event.n for event in events if isinstance(event, Epoch)] == [4, 4]  # of the study alone


def test_simulated_frames_are_other_ones_than_a_simulated_study_has():
    ours = simulated_samples(2, 0, Recipe.best().prepare)
    again = simulated_samples(3, 0, Recipe.best().prepare)

    assert np.array_equal(ours.images, again.images[:2])
    assert simulated_samples(0, 0, Recipe.best().prepare) is None


def test_unlabelled_frames_and_a_network_that_draws_nothing_are_refused():
    for more in ({"unlabelled": "scans"}, {"pseudo": 0.5}):
        with pytest.raises(RunError, match="classification-only network draws nothing"):
            TrainConfig(classification_only=True, **more)


def test_pseudo_labels_count_as_much_as_asked_and_never_of_a_validated_patient(study, tmp_path):
    folder = TrainingFolder.create(tmp_path / "study")
    for seed in (1, 2, 3):
        phantom = simulate(seed, n_nodes=1, overlays=False)
        shown = Annotation(frame=phantom.frame, instances=phantom.instances, status="predicted")
        about = Provenance(patient=str(seed), kind="simulated", action="pseudo" if seed < 3 else None)
        folder.keep(shown, about)

    cases = pseudo_labelled(folder, folder.cases())
    assert len(cases) == 2
    samples = weighed(folder, cases, 0.25, Recipe.best().prepare)
    assert Batch.of(samples).mask_weight.tolist() == [0.25, 0.25]
    assert len(Batch.of(samples).nodes) == 0
    more = MoreFrames(pseudo=samples, patients=tuple(case.patient for case in cases))
    assert [len(part) for part in more.of_fold({cases[0].patient})] == [1]


def test_pseudo_labels_that_are_not_there_are_named(study, small, tmp_path):
    config = TrainConfig(epochs=1, folds=2, start_from=str(small), compare_with="", pseudo=0.5)

    with pytest.raises(RunError, match="holds no pseudo-label"):
        list(train(study, tmp_path / "run", config))
