"""The gallery shows the right frames, and its memory does not grow with their pixels."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from drawn_frames import LEFT, RIGHT, annotation, prediction

from napari_cln.errors import DatasetError
from napari_cln.study import gallery as room
from napari_cln.study.gallery import Gallery


def frames(n: int, shape: tuple[int, int]):
    """Frames that no file stands behind, with outlines that fit less and less."""
    for i in range(n):
        one = annotation(LEFT)
        pixels = np.random.default_rng(i).integers(0, 255, shape, np.uint8)
        instances = np.zeros(shape, np.uint8)
        instances[20:40, 10:50] = 1
        truth = replace(one, frame=replace(one.frame, pixels=pixels), instances=instances)
        found = np.roll(instances, i, axis=1)
        yield truth, replace(prediction(LEFT), instances=found, frame=truth.frame), instances


@pytest.mark.slow
def test_memory_does_not_grow_with_the_pixels():
    n, shape = 60, (300, 400)
    with Gallery() as gallery:
        tracemalloc.start()
        for i, (truth, predicted, instances) in enumerate(frames(n, shape)):
            gallery.add(truth, predicted, instances, f"f{i:02d}", 1 - i / n)
        del truth, predicted, instances
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        pictures = gallery.pick()

    assert kept < 5 * shape[0] * shape[1]
    assert [p.id for p in pictures] == [f"f{i:02d}" for i in (0, 1, 2, 28, 29, 30, 57, 58, 59)]


def test_a_picture_comes_back_as_it_was_given():
    (truth, predicted, instances), *_ = frames(1, (120, 160))
    truth = replace(truth, frame=replace(truth.frame, scan_area=(0, 0, 120, 160)))
    with Gallery() as gallery:
        gallery.add(truth, predicted, instances, "f", 0.5)
        (picture,) = gallery.pick()

    np.testing.assert_array_equal(picture.reference, instances > 0)
    np.testing.assert_array_equal(picture.predicted, predicted.instances > 0)
    assert picture.image.shape == (120, 160)


def test_a_full_disk_is_said_in_a_sentence(monkeypatch):
    class Full:
        def seek(self, *_):
            return 0

        def write(self, _):
            raise OSError(28, "No space left on device")

        def close(self):
            pass

    monkeypatch.setattr(room, "TemporaryFile", Full)
    with Gallery() as gallery, pytest.raises(DatasetError, match=r"No space left on device.*Free some space"):
        gallery.add(annotation(LEFT), prediction(RIGHT), annotation(LEFT).instances, "f", 0.1)
