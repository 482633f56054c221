"""Pretraining restores frames without a label, and its model is one to start from."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import torch
from PIL import Image
from scipy import ndimage

from napari_cln.errors import RunError, WeightsError
from napari_cln.models.card import ModelCard
from napari_cln.network.inference import Segmenter
from napari_cln.network.model import YNet, YNetConfig
from napari_cln.network.weights import load_model, save_model
from napari_cln.phantom import simulate
from napari_cln.training.augmentation import hide_cells
from napari_cln.training.config import PretrainConfig, TrainConfig
from napari_cln.training.data import Batch
from napari_cln.training.loop import fit
from napari_cln.training.recipes import Recipe
from napari_cln.training.run import train
from napari_cln.training.run_folder import End, Epoch, Note, RunFolder, Stopped
from napari_cln.training.start import starting_point
from napari_cln.workflow.pretrain import pretrain
from napari_cln.workflow.promote import promote


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    for seed in range(10):
        Image.fromarray(simulate(seed, overlays=False).frame.pixels).save(folder / f"{seed}.png")
    return folder


@pytest.fixture(scope="module")
def pretrained(scans, small, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "pretrained"
    events = list(pretrain([scans], out, PretrainConfig(epochs=2, batch_size=4, start_from=str(small))))
    return out, events


def test_what_is_restored_comes_nearer_to_what_was_hidden(draw, recipe, tmp_path):
    recipe = replace(recipe, task="restore", learning_rate=3e-3)

    smooth = [
        replace(one, images=ndimage.gaussian_filter(one.images, (0, 6, 6)))
        for one in (draw(40, 1), draw(8, 2))
    ]

    events = list(fit(*smooth, recipe, tmp_path, epochs=5))

    epochs = [event for event in events if isinstance(event, Epoch)]
    held_out = [event.loss["held_out"] for event in epochs]
    assert held_out[-1] < 0.7 * held_out[0]
    assert epochs[held_out.index(min(held_out))].best


def test_hidden_cells_hold_nothing_of_the_frame(samples):
    batch = Batch.of(samples.take([0, 1]))
    hidden = hide_cells(batch, [(0,), (1,)])

    for row in range(2):
        shown = hidden.image[row][hidden.judged[row] > 0]
        assert torch.allclose(shown, shown[0])
        assert 0.3 < hidden.judged[row].mean() < 0.9
    assert torch.equal(hide_cells(batch, [(0,), (1,)]).image, hidden.image)


def test_a_model_of_pretraining_is_one_to_start_from_alone(pretrained):
    out, events = pretrained

    assert isinstance(events[-1], End)
    assert list(RunFolder(out).events()) == events
    card = load_model(out / "model.safetensors").card
    assert not card.figures
    assert [(source.name, source.n) for source in card.trained_on] == [("unlabelled frames", 9)]
    with pytest.raises(WeightsError, match="neither draws nor scores"):
        Segmenter(out / "model.safetensors", "cpu")
    with pytest.raises(WeightsError, match="neither draws nor scores"):
        promote(out / "model.safetensors", confirmed=True)


def test_a_training_takes_all_of_it_but_the_last_layers(pretrained):
    out, _ = pretrained
    model = load_model(out / "model.safetensors")

    start = starting_point(str(out / "model.safetensors"), Recipe.best())

    ours, theirs = start.network.state_dict(), model.state_dict()
    assert torch.equal(ours["enc2.down.0.weight"], theirs["enc2.down.0.weight"])
    assert torch.equal(ours["dec2.1.0.weight"], theirs["dec2.1.0.weight"])
    assert not torch.equal(ours["dec1.1.weight"], theirs["dec1.1.weight"])
    assert "layers that draw and score are new" in str(start)


def test_a_pretraining_that_was_stopped_goes_on(scans, small, pretrained, tmp_path):
    config = PretrainConfig(epochs=2, batch_size=4, start_from=str(small))
    asked = iter([False, False, True])
    *_, stopped = pretrain([scans], tmp_path / "run", config, stop=lambda: next(asked))
    *_, last = pretrain([scans], tmp_path / "run", config)

    assert isinstance(stopped, Stopped)
    assert isinstance(last, End)
    states = [
        load_model(folder / "model.safetensors").state_dict() for folder in (tmp_path / "run", pretrained[0])
    ]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_frames_of_one_cine_are_not_on_both_sides(scans, tmp_path, small):
    for path in scans.iterdir():
        Image.open(path).save(tmp_path / path.name)
    first = Image.open(tmp_path / "0.png")
    first.save(tmp_path / "0.tif", save_all=True, append_images=[first] * 50)
    (tmp_path / "0.png").unlink()

    config = PretrainConfig(epochs=1, batch_size=4, start_from=str(small))
    epoch = next(e for e in pretrain([tmp_path], tmp_path / "run", config) if isinstance(e, Epoch))

    assert epoch.n == 6  # the cine, of whose 51 frames six are taken, and not two of its frames


def test_the_other_frames_of_a_cine_with_a_damaged_frame_are_used(scans, torn_cine, small, tmp_path):
    config = PretrainConfig(epochs=1, batch_size=4, start_from=str(small))
    first, *_ = pretrain([torn_cine, scans], tmp_path / "run", config)

    assert first == Note(message="1 file or frame can't be read: left out.")
    card = load_model(tmp_path / "run" / "model.safetensors").card
    assert card.trained_on[0].n == 10  # two of the cine are held out


def test_frames_are_in_memory_one_by_one(growth_by_frame, tmp_path):
    def use(place):
        with pytest.raises(RunError, match="too few"):
            list(pretrain([place], tmp_path / "run"))

    assert growth_by_frame(use) < 0.5


def test_too_few_frames_are_refused(tmp_path):
    Image.fromarray(simulate(0, overlays=False).frame.pixels).save(tmp_path / "0.png")

    with pytest.raises(RunError, match="1 frames are too few"):
        list(pretrain([tmp_path], tmp_path / "run"))


def test_a_pretraining_does_not_go_on_from_another_start(scans, pretrained, tmp_path):
    shutil.copytree(pretrained[0], tmp_path / "run")
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    torch.manual_seed(1)
    other = YNet(YNetConfig(width=0.125, decoder_width=8))
    save_model(other, tmp_path / "b.safetensors", ModelCard(name="b"))
    config = PretrainConfig(epochs=2, batch_size=4, start_from=str(tmp_path / "b.safetensors"))

    with pytest.raises(RunError, match=r"its start_from changed since the checkpoint\. Change it back"):
        list(pretrain([scans], tmp_path / "run", config))

    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("left", ["model.safetensors", "fold-0"])
def test_a_training_does_not_write_over_a_pretraining(study, pretrained, small, tmp_path, left):
    shutil.copytree(pretrained[0], tmp_path / "run")
    for path in (tmp_path / "run").iterdir():  # one without its checkpoint, or one that was stopped
        if path.name not in (left, "model.json"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}

    with pytest.raises(RunError, match=r"run holds a pretraining, or another model\. Choose another folder"):
        list(train(study, tmp_path / "run", TrainConfig(epochs=1, folds=1, start_from=str(small))))

    assert before == {path: path.read_bytes() for path in before}


def test_a_pretraining_does_not_write_into_a_training(scans, data, tmp_path):
    shutil.copytree(data / "runs" / "neck-run-1", tmp_path / "run")
    before = (tmp_path / "run" / "progress.jsonl").read_bytes()

    with pytest.raises(RunError, match=r"run holds a training\. Choose another folder"):
        list(pretrain([scans], tmp_path / "run"))

    assert (tmp_path / "run" / "progress.jsonl").read_bytes() == before
