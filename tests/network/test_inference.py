"""A frame gets the same mask and score, whatever its batch, its source and its device's memory."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from napari_cln.errors import DeviceError, FrameReadError
from napari_cln.imaging.preprocessing import prepare
from napari_cln.models.card import ModelCard
from napari_cln.network import stream as stream_module
from napari_cln.network.inference import Segmenter, choose_device, segment, segment_batch
from napari_cln.network.model import Features, YNet, YNetConfig
from napari_cln.phantom import simulate
from napari_cln.types import Frame, Prediction


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return [simulate(seed, n_nodes=2).frame for seed in range(5)]


class DrawsDarkPatches(YNet):
    """A real network whose mask head is told to take dark tissue for nodes, so that it finds some."""

    def encode(self, x: torch.Tensor) -> Features:
        IN_VIEW.frames = x
        return super().encode(x)

    def masks(self, features: Features) -> tuple[torch.Tensor, ...]:
        blurred = torch.nn.functional.avg_pool2d(IN_VIEW.frames, 15, stride=1, padding=7)
        node = (0.12 - blurred) * 100 + super().masks(features)[-1][:, 1:] * 0.01
        return (torch.cat([torch.zeros_like(node), node], 1),)


IN_VIEW = threading.local()  # batches go through a network side by side


@pytest.fixture
def finder() -> YNet:
    torch.manual_seed(0)
    return DrawsDarkPatches(YNetConfig(width=0.125, decoder_width=8)).eval()


def same(one: Prediction, other: Prediction, tolerance: float = 1e-4) -> None:
    np.testing.assert_allclose(one.probability, other.probability, atol=tolerance)
    np.testing.assert_array_equal(one.instances, other.instances)
    np.testing.assert_allclose(one.node_scores, other.node_scores, atol=tolerance)
    assert one.malignancy == pytest.approx(other.malignancy, abs=tolerance)


@pytest.mark.slow
def test_a_prediction_lies_on_the_frames_own_pixels(finder, frames):
    prediction = segment(frames[0], finder)

    assert prediction.frame is frames[0]
    assert prediction.probability.shape == prediction.instances.shape == frames[0].shape
    assert prediction.probability.dtype == np.float32
    assert 0 <= prediction.probability.min() <= prediction.probability.max() <= 1
    assert len(prediction.node_scores) == prediction.instances.max() > 1
    assert sum(prediction.class_probabilities.values()) == pytest.approx(1)
    assert prediction.malignancy == max(prediction.node_scores)


@pytest.mark.slow
def test_the_result_of_a_frame_does_not_depend_on_its_neighbours(finder, frames):
    alone = [segment(frame, finder) for frame in frames]

    together = list(segment_batch(frames, finder, batch_size=4))

    assert len(together) == len(frames)
    for one, other in zip(alone, together, strict=True):
        assert isinstance(other, Prediction)
        same(one, other)


def test_nodes_of_one_frame_get_scores_of_their_own(finder, frames):
    scores = segment(frames[0], finder).node_scores

    assert len(set(scores)) == len(scores)


def test_without_a_guide_all_nodes_have_the_frames_score(frames):
    torch.manual_seed(0)
    net = DrawsDarkPatches(YNetConfig(width=0.125, decoder_width=8, guided=False)).eval()

    prediction = segment(frames[0], net)

    assert set(prediction.node_scores) == {prediction.class_probabilities["malignant"]}


def test_a_single_node_has_the_score_of_its_frame(finder, frames):
    class DrawsOne(DrawsDarkPatches):
        def masks(self, features):
            logits = torch.full((len(features.e3), 2, 256, 256), -5.0)
            logits[:, 1, 100:140, 90:150] = 5.0
            return (logits,)

    finder.__class__ = DrawsOne

    prediction = segment(frames[0], finder)

    assert prediction.instances.max() == 1
    assert prediction.node_scores == (prediction.class_probabilities["malignant"],)


def test_no_node_found_is_an_answer(small):
    prediction = segment(np.zeros((300, 400), dtype=np.uint8), NothingFound(small.config).eval())

    assert prediction.instances.max() == 0
    assert prediction.node_scores == ()
    assert prediction.label == "no node found"
    assert 0 <= prediction.malignancy <= 1


class NothingFound(YNet):
    def masks(self, features):
        logits = torch.zeros(len(features.e3), 2, 256, 256)
        logits[:, 0] = 9.0
        return (logits,)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (40, 2, 3)])
@pytest.mark.parametrize("grey", [0, 255])
def test_frames_without_a_picture_do_not_crash(small, shape, grey):
    prediction = segment(np.full(shape, grey, dtype=np.uint8), small)

    assert prediction.probability.shape == shape[:2]
    assert np.isfinite(prediction.probability).all()


def test_a_classification_only_network_labels_the_frame(frames):
    net = YNet(YNetConfig(width=0.125, segmentation=False, guided=False)).eval()

    prediction = segment(frames[0], net)

    assert prediction.mask_threshold is None
    assert prediction.label in ("benign", "malignant")
    assert not prediction.mask.any()


def test_the_operating_points_of_the_card_are_used(finder, frames):
    finder.card = ModelCard(name="strict", mask_threshold=0.9, cutoff=0.7, min_node_area=16, sha256="ab" * 32)
    loose = segment(frames[0], finder)
    finder.card = replace(finder.card, mask_threshold=0.99, min_node_area=400)
    strict = segment(frames[0], finder)

    assert (loose.mask_threshold, loose.cutoff, loose.model_id) == (0.9, 0.7, "strict@abababababab")
    assert 0 < strict.mask.sum() < loose.mask.sum()
    assert len(strict.node_scores) < len(loose.node_scores)


def test_temperature_brings_scores_nearer_to_one_half(finder, frames):
    sharp = segment(frames[0], finder)
    finder.card = ModelCard(name="warm", temperature=4.0)
    warm = segment(frames[0], finder)

    odds = [np.log(np.array(p.node_scores) / (1 - np.array(p.node_scores))) for p in (sharp, warm)]
    np.testing.assert_allclose(odds[1], odds[0] / 4, rtol=1e-6)


class HoldsTwoFrames(DrawsDarkPatches):
    """A network on a device whose memory holds two frames at a time."""

    holds = 2

    def encode(self, x: torch.Tensor) -> Features:
        if len(x) > self.holds:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return super().encode(x)


@pytest.mark.slow
def test_when_memory_runs_out_the_batch_is_halved_and_the_work_goes_on(finder, frames):
    alone = [segment(frame, finder) for frame in frames]
    finder.__class__ = HoldsTwoFrames
    segmenter = Segmenter(finder, "cpu", batch_size=5)

    predictions = list(segmenter.predict(frames))

    for one, other in zip(alone, predictions, strict=True):
        same(one, other)
    assert segmenter.batch_size <= 2


def test_when_not_even_one_frame_fits_the_cpu_is_offered(finder, frames):
    finder.__class__ = HoldsTwoFrames
    finder.holds = 0

    with pytest.raises(DeviceError, match=r"does not hold even one frame.*choose the device cpu"):
        segment(frames[0], finder)


def test_marks_corrected_by_hand_are_used(finder, frames):
    frame = frames[0]
    overlay = np.zeros(frame.shape, dtype=bool)
    area = (100, 100, 500, 600)

    (prediction,) = Segmenter(finder).predict_prepared(
        [frame], [prepare(frame, scan_area=area, overlay=overlay)]
    )

    outside = np.ones(frame.shape, dtype=bool)
    outside[100:500, 100:600] = False
    assert not prediction.probability[outside].any()
    assert prediction.probability.any()


def test_files_arrays_and_frames_give_the_same(finder, frames, tmp_path):
    grey = frames[1].grey
    Image.fromarray(grey).save(tmp_path / "frame.png")

    from_file, from_array, from_frame = (
        segment(source, finder) for source in (tmp_path / "frame.png", grey, Frame(pixels=grey))
    )

    same(from_file, from_array, 0)
    same(from_file, from_frame, 0)


def broken(folder: Path, grey: np.ndarray) -> list[Path]:
    paths = [folder / name for name in ("a.png", "b.png", "c.png")]
    for path in paths:
        Image.fromarray(grey).save(path)
    paths[1].write_bytes(b"not an image")
    return paths


def test_a_batch_goes_on_after_a_broken_file(finder, frames, tmp_path):
    paths = broken(tmp_path, frames[1].grey)

    results = list(segment_batch(paths, finder, on_error="yield"))

    assert [type(result) for result in results] == [Prediction, FrameReadError, Prediction]
    assert "b.png" in str(results[1])


def test_a_batch_stops_at_a_broken_file_unless_told_to_go_on(finder, frames, tmp_path):
    paths = broken(tmp_path, frames[1].grey)

    with pytest.raises(FrameReadError, match=r"b\.png"):
        list(segment_batch(paths, finder))


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
def test_a_stream_is_read_as_it_is_used(finder, frames, three_threads):
    taken = []

    def stream():
        for frame in frames * 4:
            taken.append(frame)
            yield frame

    predictions = Segmenter(finder, "cpu", batch_size=2).predict(stream())
    for used in range(1, 12):
        next(predictions)
        assert used < len(taken) <= used + 7  # three batches side by side, one ahead, and no more

    one_by_one = Segmenter(finder, batch_size=1).predict(stream())
    taken.clear()
    next(one_by_one)

    assert len(taken) == 1


@pytest.mark.slow
def test_of_large_frames_fewer_are_at_work_at_once(finder, frames, three_threads, monkeypatch):
    monkeypatch.setattr(stream_module, "MOST_PIXELS", 3 * max(frame.grey.size for frame in frames))
    taken = []

    def stream():
        for frame in frames * 4:
            taken.append(frame)
            yield frame

    predictions = Segmenter(finder, "cpu", batch_size=8).predict(stream())
    for used in range(1, 20):
        next(predictions)
        assert len(taken) <= used + 4  # those at work, and the one that was read last

    assert len(list(predictions)) == 1


@pytest.mark.slow
def test_frames_that_are_done_are_let_go(finder, frames, three_threads):
    made = []

    def stream():
        for index in range(24):
            frame = replace(frames[index % 5], index=index, n_frames=24)
            made.append(weakref.ref(frame))
            yield frame

    predictions = Segmenter(finder, "cpu", batch_size=2).predict(stream())
    for _ in range(16):
        next(predictions)
    gc.collect()

    assert [frame() for frame in made[:12]] == [None] * 12


def test_the_next_batch_is_read_while_the_network_works(finder, frames):
    read, seen = threading.Event(), []

    def stream():
        yield frames[0]
        yield frames[1]
        read.set()
        yield frames[2]

    segmenter = Segmenter(finder, batch_size=2)
    inner = segmenter.model.encode

    def encode(x):
        seen.append(read.wait(30))
        return inner(x)

    segmenter.model.encode = encode
    predictions = list(segmenter.predict(stream()))

    assert seen == [True, True]
    assert [prediction.frame for prediction in predictions] == [frames[0], frames[1], frames[2]]


@pytest.mark.slow
def test_a_stream_left_early_leaves_no_thread_behind(finder, frames):
    before = threading.active_count()
    predictions = Segmenter(finder, batch_size=2).predict(frames)

    next(predictions)
    predictions.close()

    assert threading.active_count() <= before


class CountsThreads(DrawsDarkPatches):
    """Tells how many threads its layers may use."""

    def encode(self, x: torch.Tensor) -> Features:
        SEEN.append(torch.get_num_threads())
        return super().encode(x)


SEEN: list[int] = []


@pytest.mark.slow
def test_cores_that_are_spared_are_spared_for_this_stream_alone(frames, three_threads):
    torch.manual_seed(0)
    network = CountsThreads(YNetConfig(width=0.125, decoder_width=8)).eval()
    segmenter = Segmenter(network, "cpu", batch_size=2)
    SEEN.clear()
    spared = list(segmenter.predict(frames, spare_cores=2))
    next(segmenter.predict(frames, spare_cores=2))  # left early
    assert set(SEEN) == {1}
    SEEN.clear()
    used = list(segmenter.predict(frames))
    assert SEEN == [1, 1, 1]  # side by side
    SEEN.clear()
    list(segmenter.predict(frames[:2]))
    list(segmenter.predict(frames[:2], spare_cores=1))
    list(segmenter.predict(frames[:2], spare_cores=7))
    assert SEEN == [3, 2, 1]

    assert torch.get_num_threads() == 3
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 3
    for one, other in zip(spared, used, strict=True):
        same(one, other)


def test_batches_go_side_by_side(frames, three_threads):
    together = threading.Barrier(3, timeout=30)

    class Meets(DrawsDarkPatches):
        def encode(self, x: torch.Tensor) -> Features:
            together.wait()  # breaks where fewer than three are at work
            return super().encode(x)

    torch.manual_seed(0)
    segmenter = Segmenter(Meets(YNetConfig(width=0.125, decoder_width=8)).eval(), "cpu", batch_size=2)
    found = list(segmenter.predict(frames + frames[:1]))

    assert [one.frame for one in found] == frames + frames[:1]


def test_the_cpu_can_always_be_chosen():
    device = choose_device("cpu")

    assert device.name == "cpu"
    n_threads = torch.get_num_threads()
    assert f"CPU with {n_threads} thread{'s' if n_threads > 1 else ''}, " in device.reason
    assert ("bfloat16" in device.reason) is device.mixed_precision


def test_auto_says_why():
    assert choose_device("auto").reason


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_a_sentence():
    with pytest.raises(DeviceError, match=r"no NVIDIA GPU that PyTorch can use.*Choose cpu"):
        choose_device("cuda")


def test_an_unknown_device_names_the_known_ones():
    with pytest.raises(DeviceError, match=r"no device 'tpu'\. Choose auto, cpu, cuda or mps"):
        choose_device("tpu")


def test_a_batch_of_nothing_is_refused(finder):
    with pytest.raises(ValueError, match="batch_size is 0: give 1 or more"):
        Segmenter(finder, batch_size=0)


def test_beside_a_gpu_the_next_batch_starts_while_the_first_is_brought_back(frames):
    started, together = threading.Event(), threading.Barrier(2, timeout=30)

    def stream():
        yield from frames[:2]
        assert started.wait(30)  # the first batch starts before the second is read
        yield from frames[2:4]

    def bring_back(given, inputs):
        started.set()
        together.wait()  # breaks where the second batch waits until the first is done
        return list(given)

    found = stream_module.predict_stream(
        stream(), lambda frame: frame, bring_back, lambda: 2, side_by_side=True, on_gpu=True
    )

    assert list(found) == frames[:4]
