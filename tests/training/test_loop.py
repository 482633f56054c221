"""The loop learns, resumes to the last bit, and stops with a sentence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_cln.errors import RunError
from napari_cln.network.model import YNet, YNetConfig
from napari_cln.training import loop
from napari_cln.training.loop import fit
from napari_cln.training.recipes import LossTerms, Recipe
from napari_cln.training.run_folder import Collapsed, Epoch, Step, Stopped
from napari_cln.training.scoring import Limits, fit_limits, fit_temperature, score_frames, summarise


def of_kind(events, kind):
    return [event for event in events if isinstance(event, kind)]


def test_a_small_network_learns_to_draw_and_to_score(draw, samples, recipe, tmp_path):
    recipe = replace(recipe, learning_rate=3e-3, crops=0.3)

    events = list(fit(draw(60, 1), samples, recipe, tmp_path, epochs=8))

    first, *_, last = of_kind(events, Epoch)
    assert last.dice_median > 0.8 > first.dice_median
    assert last.auc > 0.8
    steps = [event.loss["total"] for event in of_kind(events, Step)]
    assert steps[-1] < 0.6 * steps[0]


def test_a_resumed_run_equals_an_uninterrupted_one(draw, samples, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 3)
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    recipe = replace(recipe, loss=LossTerms(deep_supervision=True))
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    uninterrupted = list(fit(samples, draw(5, 2), recipe, whole, epochs=2, seed=3))

    for event in fit(samples, draw(5, 2), recipe, broken, epochs=2, seed=3):
        if event.step == 8:  # in the middle of the second epoch, two steps after a checkpoint
            break
    resumed = list(fit(samples, draw(5, 2), recipe, broken, epochs=2, seed=3, resume=True))

    states = [torch.load(folder / "checkpoint.pt", weights_only=True) for folder in (whole, broken)]
    for part in ("network", "heads", "average"):
        assert states[0][part]
        for key, value in states[0][part].items():
            assert torch.equal(value, states[1][part][key]), key
    assert resumed[0].step == 7
    losses = [
        {event.step: event.loss for event in of_kind(events, Step)} for events in (uninterrupted, resumed)
    ]
    assert losses[1] == {step: losses[0][step] for step in losses[1]}


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        (
            replace(Recipe.best(), network=YNetConfig(trunk="u", width=0.125), batch_size=4),
            {"mask_ce": 0.68414, "mask_dice": 0.88302, "mask_deep": 1.26553, "class_ce": 1.04953},
        ),
        (
            replace(
                Recipe.paper(), network=YNetConfig(width=0.125, decoder_width=8, guided=False), batch_size=4
            ),
            {"mask_ce": 0.62435, "class_ce": 0.66308},
        ),
    ],
)
def test_three_steps_have_the_losses_they_always_had(draw, recipe, expected, tmp_path):
    events = list(fit(draw(12), draw(2), recipe, tmp_path, epochs=1, seed=1))

    (epoch,) = of_kind(events, Epoch)
    assert epoch.step == 3
    found = {name: value for name, value in epoch.loss.items() if name != "total"}
    assert found == pytest.approx(expected, rel=0.01)  # bfloat16 and float32 differ by 0.007


def test_a_stop_comes_before_the_validation_which_a_resumed_run_makes_up_for(samples, recipe, tmp_path):
    asked = iter([False] * 5 + [True])

    stopped = list(fit(samples, samples, recipe, tmp_path, epochs=1, stop=lambda: next(asked)))
    resumed = list(fit(samples, samples, recipe, tmp_path, epochs=1, resume=True))

    assert stopped == [Stopped(step=5, of=5)]
    assert [event.step for event in of_kind(resumed, Epoch)] == [5]
    assert (tmp_path / "best.pt").is_file()


def test_an_epoch_tells_the_mean_of_its_losses(samples, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "LOG_EVERY", 1)

    events = list(fit(samples, samples.take(range(5)), recipe, tmp_path, epochs=2))

    for number, epoch in enumerate(of_kind(events, Epoch)):
        steps = [event.loss for event in of_kind(events, Step)][5 * number : 5 * number + 5]
        means = {name: np.mean([loss[name] for loss in steps]) for name in steps[0]}
        assert epoch.loss == pytest.approx(means, abs=1e-4)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"recipe": {"batch_size": 2}}, "recipe"),
        ({"epochs": 3}, "epochs"),
        ({"seed": 4}, "seed"),
        ({"frames": 15}, "frames"),
        ({"start_from": 1}, "start_from"),
    ],
)
def test_a_run_is_not_resumed_with_other_settings_or_frames(draw, samples, recipe, tmp_path, change, named):
    start = dict.fromkeys((0, 1))
    for number in start:
        torch.manual_seed(number)
        start[number] = YNet(recipe.network)
    list(fit(samples, draw(5, 2), recipe, tmp_path, epochs=1, start_from=start[0]))
    frames = samples.take(range(change.get("frames", 20)))
    recipe = replace(recipe, **change.get("recipe", {}))

    with pytest.raises(RunError, match=rf"can't be resumed: its {named} changed since the checkpoint"):
        next(
            fit(
                frames,
                draw(5, 2),
                recipe,
                tmp_path,
                epochs=change.get("epochs", 1),
                seed=change.get("seed", 0),
                start_from=start[change.get("start_from", 0)],
                resume=True,
            )
        )


def test_nothing_to_resume_from_is_a_sentence(samples, recipe, tmp_path):
    with pytest.raises(RunError, match="no checkpoint to resume from"):
        next(fit(samples, samples, recipe, tmp_path, epochs=1, resume=True))


def test_a_loss_that_is_no_number_names_the_frames_and_keeps_the_last_good_checkpoint(
    samples, recipe, tmp_path, monkeypatch
):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 1)
    poisoned = replace(samples, node_targets=samples.node_targets.copy())
    poisoned.node_targets[7, 0] = np.inf

    with pytest.raises(RunError, match=r"step \d is not a number, on the frames .*frame-0-7\b"):
        list(fit(poisoned, samples, recipe, tmp_path, epochs=1))

    if (tmp_path / "checkpoint.pt").is_file():
        state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
        assert all(value.isfinite().all() for value in state["network"].values())


@pytest.mark.parametrize("every", [1, 4, 10])
def test_losses_that_are_fetched_late_are_the_same(samples, recipe, tmp_path, monkeypatch, every):
    monkeypatch.setattr(loop, "LOG_EVERY", every)
    told = []
    for name, devices in (("each", ("cpu",)), ("late", ())):
        monkeypatch.setattr(loop, "EACH_STEP", devices)
        (tmp_path / name).mkdir()
        events = list(fit(samples, samples, recipe, tmp_path / name, epochs=2))
        told.append([(type(e), getattr(e, "step", None), getattr(e, "loss", None)) for e in events])

    assert told[0] == told[1]
    each, late = (torch.load(tmp_path / name / "best.pt", weights_only=True) for name in ("each", "late"))
    assert all(torch.equal(each[key], late[key]) for key in each)


def test_a_loss_that_is_fetched_late_and_no_number_names_its_own_step(samples, recipe, tmp_path, monkeypatch):
    poisoned = replace(samples, node_targets=samples.node_targets.copy())
    poisoned.node_targets[7, 0] = np.inf
    said = []
    for devices in (("cpu",), ()):
        monkeypatch.setattr(loop, "EACH_STEP", devices)
        with pytest.raises(RunError) as caught:
            list(fit(poisoned, samples, recipe, tmp_path, epochs=1))
        said.append(str(caught.value))

    assert said[0] == said[1]
    assert "frame-0-7" in said[0]


def test_memory_that_runs_out_says_which_batch_size_to_try(samples, recipe, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(loop.Objective, "forward", full)

    with pytest.raises(RunError, match=r"Memory ran out with 4 frames a step\. Choose a batch size of 2"):
        next(fit(samples, samples, recipe, tmp_path, epochs=1))


def test_a_mask_head_that_draws_nothing_is_named(samples, recipe, tmp_path):
    never = replace(recipe, learning_rate=0.0)
    empty = replace(samples, images=np.zeros_like(samples.images))
    start = YNet(recipe.network)
    with torch.no_grad():
        for parameter in start.dec1[1].parameters():
            parameter[0], parameter[1] = 0.5, -0.5

    events = list(fit(empty, empty, never, tmp_path, epochs=1, start_from=start))

    assert isinstance(events[-1], Collapsed)
    assert "Start again with another seed" in events[-1].message


def test_early_stop_waits_as_long_as_it_was_told(samples, recipe, tmp_path):
    still = replace(recipe, learning_rate=0.0, average=0.0, optimizer="sgd", weight_decay=0.0)
    few = samples.take(range(4))

    events = list(fit(few, few, still, tmp_path, epochs=40, patience=3))

    epochs = of_kind(events, Epoch)
    assert len(epochs) < 40
    assert [event.best for event in epochs[-4:]] == [True, False, False, False]


def test_a_network_to_start_from_is_copied_with_its_kind_and_left_as_it_was(samples, recipe, tmp_path):
    class Shy(YNet):
        def decode(self, features):
            return super().decode(features) - torch.tensor([0.0, 1e3]).view(2, 1, 1)

    torch.manual_seed(3)
    start = Shy(recipe.network)
    before = {name: value.clone() for name, value in start.state_dict().items()}

    events = list(fit(samples, samples, recipe, tmp_path, epochs=1, seed=9, start_from=start))

    assert of_kind(events, Collapsed)  # as it draws nothing, whatever its weights
    assert all(torch.equal(value, before[name]) for name, value in start.state_dict().items())


def test_without_any_known_truth_the_last_weights_are_kept(samples, recipe, tmp_path):
    few = samples.take(range(4))
    unknown = replace(
        few,
        has_mask=np.zeros(4, dtype=bool),
        frame_targets=np.full(4, np.nan, dtype=np.float32),
    )

    events = list(fit(few, unknown, recipe, tmp_path, epochs=2))

    assert [event.best for event in of_kind(events, Epoch)] == [True, True]


def test_figures_say_nothing_where_there_is_nothing_to_say(samples, recipe):
    unlabelled = replace(samples, frame_targets=np.full_like(samples.frame_targets, np.nan))
    network = YNet(recipe.network).eval()

    figures = summarise(score_frames(network, unlabelled))

    assert figures.auc is None
    assert (figures.n, figures.failed) == (20, 0)


def test_the_temperature_of_scores_that_are_too_sure_is_found():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, 4000)
    truth = rng.random(4000) < 1 / (1 + np.exp(-logits))

    assert fit_temperature(1 / (1 + np.exp(-3 * logits)), truth) == pytest.approx(3, rel=0.1)


def test_limits_lose_one_node_in_fifty_at_most(samples, recipe, tmp_path):
    list(fit(samples, samples, replace(recipe, learning_rate=3e-3), tmp_path, epochs=6))
    network = YNet(recipe.network).eval()
    network.load_state_dict(torch.load(tmp_path / "best.pt", weights_only=True))
    scores = score_frames(network, samples)
    peaks = [peak for score in scores for peak in score.peaks]

    found = fit_limits(scores, samples.node_areas())

    assert len(peaks) >= 5
    assert found.min_peak <= min(peaks) < found.min_peak + 0.001
    assert found.min_node_area == samples.node_areas().min() // 2
    assert fit_limits(scores * 10, [3, *[40] * 99]).min_node_area == 20  # a slip of the brush is no measure
    assert fit_limits([], []) == Limits(min_node_area=0, min_peak=0.0, min_node_chance=0.0)
