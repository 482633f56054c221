"""Pseudo-labels: sure ones alone, marked, and nobody's judgement."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from napari_cln.annotation import Annotation
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.health.check import check_study
from napari_cln.folder.screens import confirm_screens, unseen_screens
from napari_cln.folder.split.groups import is_trainable
from napari_cln.folder.text import release_frame
from napari_cln.network.ensemble import Ensemble
from napari_cln.network.inference import Segmenter, segment
from napari_cln.network.weights import load_model
from napari_cln.phantom import simulate
from napari_cln.workflow.pseudo import PseudoStep, _agrees, _members, _reason_against, pseudo_label

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
    assert [step.why for step in found if not step.id] == ["a file that can't be read"]
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
    ours, other = load_model("default"), load_model("default")
    with torch.no_grad():
        other.draw1.bias[:4] += 20.0  # background everywhere
    both = Ensemble([ours, other])
    both.card = ours.card
    frame = simulate(1, n_nodes=1, overlays=False).frame
    sure = segment(frame)

    alone = [Segmenter(one, "cpu") for one in _members(both)]

    assert [_agrees(sure, one, frame) for one in alone] == [True, False]
    assert _members(ours) == []
