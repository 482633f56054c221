"""Pseudo-labels: sure ones alone, marked, and nobody's judgement."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from napari_cln.annotation import Annotation
from napari_cln.cli import main
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.health.check import check_study
from napari_cln.folder.readers import read_annotation
from napari_cln.folder.record import Provenance
from napari_cln.folder.screens import confirm_screens, unseen_screens
from napari_cln.folder.split.groups import is_trainable
from napari_cln.folder.text import release_frame
from napari_cln.network.ensemble import Ensemble
from napari_cln.network.inference import Segmenter, segment
from napari_cln.network.model import Network
from napari_cln.network.weights import load_model
from napari_cln.phantom import simulate
from napari_cln.training.unlabelled import pseudo_labelled
from napari_cln.workflow.pseudo import PseudoStep, _agrees, _reason_against, pseudo_label

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> TrainingFolder:
    """Five simulated frames that nobody labelled, and an accepted one."""
    folder = TrainingFolder.create(tmp_path_factory.mktemp("study") / "study")
    for seed in range(6):
        phantom = simulate(seed, n_nodes=1, overlays=False)
        nothing = np.zeros_like(phantom.instances)
        shown = Annotation(frame=phantom.frame, instances=nothing, status="predicted")
        if seed == 5:
            shown = replace(shown, instances=phantom.instances, nodes=phantom.nodes, status="accepted")
        folder.save(shown, patient=str(seed), source_kind="simulated")
    return folder


@pytest.fixture(scope="module")
def steps(study):
    return {step.id: step for step in pseudo_label(study, model="default", device="cpu")}


def test_the_frames_that_nobody_labelled_are_looked_at(study, steps):
    accepted = {case.id for case in study.cases() if case.status == "accepted"}

    assert steps.keys() == set(study.ids()) - accepted
    assert not all(step.why for step in steps.values())


def test_a_kept_mask_is_marked_and_is_no_label(study, steps):
    for case in study.cases():
        if case.status == "accepted" or steps[case.id].why:
            continue
        record = study.record(case.id)
        assert (record.status, record.last.action, record.last.who) == (
            "predicted", "pseudo", "napari-cln pseudo",
        )  # fmt: skip
        assert record.last.model.startswith("default@")
        assert study.read_instances(case).any()
        assert case.mask is None
        assert not is_trainable(case)


def test_a_study_counts_them_apart_from_the_masks_of_readers(study, steps):
    summary = check_study(study).summary

    assert (summary.with_mask, summary.predicted) == (1, sum(not step.why for step in steps.values()))


def test_it_can_be_done_again_and_a_frame_that_was_accepted_stays(study, steps):
    again = {step.id: step for step in pseudo_label(study, model="default", device="cpu")}

    assert again == steps


def blind(name: str) -> Network:
    """The network of the default model, which finds nothing any more."""
    network = load_model("default")
    with torch.no_grad():
        network.draw1.bias[:4] += 20.0  # background everywhere
    network.card = replace(network.card, name=name)
    return network


def studied(path: Path, *about: Provenance, model: str | None = None) -> TrainingFolder:
    """A study of a simulated frame, with its mask as a prediction for each of these lines of history."""
    folder = TrainingFolder.create(path)
    phantom = simulate(1, n_nodes=1, overlays=False)
    nodes = tuple(replace(node, status="predicted", truth="unknown") for node in phantom.nodes)
    shown = Annotation(
        frame=phantom.frame, instances=phantom.instances, nodes=nodes, status="predicted", based_on=model
    )
    for line in about:
        folder.keep(shown, line)
    return folder


def test_a_pseudo_label_that_a_new_model_rejects_is_taken_back_and_trains_nothing(tmp_path):
    folder = studied(tmp_path / "study", Provenance(kind="simulated", action="pseudo"), model="former@1")
    (case,) = folder.cases()
    folder.keep(replace(read_annotation(folder, case), note="see the report"), Provenance(action="pseudo"))
    assert len(pseudo_labelled(folder, folder.cases())) == 1

    (step,) = pseudo_label(folder, model=blind("other"), device="cpu")

    assert step.why == "nothing was found"
    assert pseudo_labelled(folder, folder.cases()) == []
    (case,) = folder.cases()
    record = folder.record(case.id)
    assert (case.status, case.instances, case.nodes) == ("predicted", None, ())
    assert (record.last.who, record.last.model.partition("@")[0]) == ("napari-cln pseudo", "other")
    assert record.note == "see the report"
    assert list(pseudo_label(folder, model=blind("other"), device="cpu")) == [step]
    assert folder.record(case.id) == record


def test_a_prediction_that_is_no_pseudo_label_stays_where_the_model_is_not_sure(tmp_path):
    folder = studied(tmp_path / "study", Provenance(kind="simulated"), model="former@1")
    before = [folder.record(case.id) for case in folder.cases()]

    (step,) = pseudo_label(folder, model=blind("other"), device="cpu")

    assert step.why == "nothing was found"
    assert [folder.record(case.id) for case in folder.cases()] == before


@pytest.mark.parametrize(
    ("action", "model", "why"),
    [
        ("from calipers", "calipers@1", "outlined from calipers: a reader has to look first"),
        (None, "carried from frame 3", "carried or interpolated from other frames: a reader has to look"),
        (None, "interpolated between frames 3 and 9", "carried or interpolated from other frames"),
    ],
)
def test_masks_that_a_reader_has_to_look_at_first_are_left_alone(tmp_path, capsys, action, model, why):
    lines = [Provenance(kind="simulated", action=action), Provenance(action="noted")]
    folder = studied(tmp_path / "study", *lines, model=model)
    before = [folder.record(case.id) for case in folder.cases()]

    assert main(["pseudo", str(folder.path), "--model", "default", "--device", "cpu"]) == 0

    assert f"1 not kept: {why}" in capsys.readouterr().out
    assert [folder.record(case.id) for case in folder.cases()] == before
    assert pseudo_labelled(folder, folder.cases()) == []


def test_new_frames_join_where_they_get_a_mask(study, steps, tmp_path):
    before = set(study.ids())
    for seed in (53, 54, 55):
        Image.fromarray(simulate(seed, n_nodes=1, overlays=False).frame.pixels).save(tmp_path / f"{seed}.png")
    # the three are of a kind of screen that nobody has looked at: they join, and training waits for that
    (tmp_path / "torn.dcm").write_bytes(b"x")
    found = list(pseudo_label(study, model="default", scans=[tmp_path], device="cpu"))
    kept = [step.id for step in found if step.id not in before and not step.why]

    assert kept
    assert set(study.ids()) - before == set(kept)
    assert [step.why for step in found if not step.id] == ["a file or frame that can't be read"]
    confirm_screens(study, unseen_screens(study), "r1")
    again = list(pseudo_label(study, model="default", scans=[tmp_path], device="cpu"))
    assert sorted(step.id for step in again if step.id) == sorted({step.id for step in again if step.id})


def test_a_frame_that_a_reader_has_left_out_does_not_join(tmp_path):
    phantom, folder = simulate(53, n_nodes=1, overlays=False), TrainingFolder.create(tmp_path / "study")
    Image.fromarray(phantom.frame.pixels).save(tmp_path / "53.png")
    case = folder.save(Annotation(frame=phantom.frame, instances=phantom.instances), who="r1")
    release_frame(folder, case.id, "leave-out", "r1")

    (step,) = pseudo_label(folder, model="default", scans=[tmp_path / "53.png"], device="cpu")

    assert step == PseudoStep(id=case.id, why="a reader has left the frame out")
    assert folder.ids() == []


def test_the_other_frames_of_a_cine_with_a_damaged_frame_are_looked_at(torn_cine, tmp_path):
    folder = TrainingFolder.create(tmp_path / "study")

    steps = list(pseudo_label(folder, model=blind("other"), scans=[torn_cine], device="cpu"))

    assert [bool(step.id) for step in steps] == [True, False, True]
    assert steps[1].why == "a file or frame that can't be read"


def test_new_frames_are_in_memory_one_by_one(growth_by_frame, tmp_path):
    folder, network = TrainingFolder.create(tmp_path / "study"), blind("other")

    def use(place):
        list(pseudo_label(folder, model=network, scans=[place], device="cpu"))

    assert growth_by_frame(use) < 0.5


def test_doubt_and_disagreement_speak_against_a_mask():
    phantom = simulate(1, n_nodes=1, overlays=False)
    sure = segment(phantom.frame)
    mirrored = replace(sure, instances=np.ascontiguousarray(sure.instances[:, ::-1]))
    nothing = np.zeros_like(sure.instances)

    assert _reason_against(sure, mirrored) == ""
    assert _reason_against(sure, replace(sure, instances=nothing)) == "the mirrored frame gets another mask"
    assert _reason_against(replace(sure, instances=nothing), sure) == "nothing was found"
    unsure = replace(sure, probability=np.full_like(sure.probability, 0.5))
    assert _reason_against(unsure, mirrored) == "the border is uncertain"


def test_a_network_of_an_ensemble_that_draws_another_mask_speaks_against_it():
    both = Ensemble([load_model("default"), blind("other")])
    frame = simulate(1, n_nodes=1, overlays=False).frame
    sure = segment(frame)

    alone = [Segmenter(one, "cpu") for one in both.members]

    assert [_agrees(sure, one, frame) for one in alone] == [True, False]
