"""Types to layers and back. Layers are made without a window."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dask.cache import Cache
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from napari.components import LayerList
from napari.layers import Image, Labels, Layer, Points

from napari_cln import _layers
from napari_cln._layers import LayerKind
from napari_cln._layers.captions import captions_of
from napari_cln.errors import DatasetError, FrameReadError
from napari_cln.imaging.measurement import measure_nodes
from napari_cln.io.sources import open_source, read_frame, read_frames
from napari_cln.study.reading import read_prediction
from napari_cln.types import Frame, Prediction

SAMPLES = Path(_layers.__file__).parents[1] / "samples"
NOTE = "small · It is for research, not for diagnosis."


def ellipses(shape: tuple[int, int], *nodes: tuple[float, float, float, float]) -> np.ndarray:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    instances = np.zeros(shape, np.uint8)
    for number, (row, column, half_height, half_width) in enumerate(nodes, start=1):
        inside = ((rows - row) / half_height) ** 2 + ((columns - column) / half_width) ** 2 <= 1
        instances[inside] = number
    return instances


def predict(frame: Frame, instances: np.ndarray, scores: tuple[float, ...], **kwargs) -> Prediction:
    frame_score = max(scores, default=0.2)
    return Prediction(
        frame=frame,
        probability=(instances > 0).astype(np.float32),
        instances=instances,
        node_scores=scores,
        class_probabilities={"benign": 1 - frame_score, "malignant": frame_score},
        model_id="small@0123456789ab",
        **{"cutoff": 0.41} | kwargs,
    )


def make(layer_tuple) -> Layer:
    return Layer.create(*layer_tuple)


@pytest.fixture(scope="module")
def frame() -> Frame:
    """Calibrated: about 0.08 mm a pixel."""
    return read_frame(SAMPLES / "simulated-frame.dcm")


@pytest.fixture(scope="module")
def uncalibrated() -> Frame:
    return read_frame(SAMPLES / "usgra-vessels.png")


@pytest.fixture
def two_nodes(frame) -> Prediction:
    # inside the scan area of the sample
    row, column = frame.shape[0] // 2, frame.shape[1] // 2
    nodes = ellipses(frame.shape, (row, column - 60, 40, 50), (row + 20, column + 70, 20, 20))
    return predict(frame, nodes, (0.83, 0.22))


def test_a_calibrated_frame_is_in_millimetres(frame):
    image = make(_layers.frame_to_layer(frame))

    assert tuple(image.scale) == pytest.approx(frame.spacing_mm)
    assert [str(unit) for unit in image.units] == ["millimeter", "millimeter"]
    assert image.axis_labels == ("y", "x")
    assert np.shares_memory(image.data, frame.pixels)


def test_a_frame_without_calibration_is_in_pixels(uncalibrated):
    image = make(_layers.frame_to_layer(uncalibrated))

    assert tuple(image.scale) == (1, 1)
    assert [str(unit) for unit in image.units] == ["pixel", "pixel"]


def test_a_cine_is_read_as_the_slider_moves():
    with open_source(SAMPLES / "simulated-cine.dcm") as cine:
        image = make(_layers.source_to_layer(cine))

        assert type(image.data).__module__.startswith("dask")
        assert image.data.chunks[0] == (1,) * len(cine)
        assert image.scale[0] == 1
        assert tuple(image.scale[1:]) == pytest.approx(cine[0].spacing_mm)
        assert np.array_equal(np.asarray(image.data[7]), cine[7].pixels)
        assert _layers.frame_from_layer(image, 7).index == 7


def test_no_two_layers_are_one_in_the_cache_that_napari_keeps():
    shape, masks = (4, 4), [np.zeros((4, 4), np.uint8), np.full((4, 4), 1, np.uint8)]
    with open_source(SAMPLES / "simulated-cine.dcm") as source:
        names = {_layers.source_to_layer(source)[0].name for _ in range(2)}
    with Cache(1e6):
        np.asarray(_layers.masks_to_layer(masks, shape, ["a", "b"])[0])
        masks[1] = np.full((4, 4), 2, np.uint8)  # at the address of the former ones, as after closing them

        shown = np.asarray(_layers.masks_to_layer(masks, shape, ["a", "b"])[0])

    assert shown[1].max() == 2
    assert len(names) == 2


def test_the_status_bar_shows_no_flow_where_there_is_no_doppler(two_nodes):
    labels = make(_layers.prediction_to_layer(two_nodes))
    place = np.argwhere(labels.data == 1)[0]

    said = labels.get_status(labels.data_to_world(place))["coordinates"]

    assert "malignancy: 0.83" in said
    assert "flow" not in said


def test_row_i_of_the_features_belongs_to_label_i(two_nodes):
    features = make(_layers.prediction_to_layer(two_nodes)).features

    assert list(features["node"]) == [0, 1, 2]
    assert list(features["malignancy"]) == [0.83, 0.83, 0.22]
    assert list(features["label"]) == ["malignant", "malignant", "benign"]
    row_mm = two_nodes.frame.spacing_mm[0]
    assert features["short_axis_mm"][1] == pytest.approx(81 * row_mm, rel=0.03)
    assert features["axis_ratio"][1] == pytest.approx(101 / 81, rel=0.05)
    assert list(features["model"]) == ["small@0123456789ab"] * 3


def test_without_calibration_no_millimetre_is_shown(uncalibrated):
    nodes = ellipses(uncalibrated.shape, (100, 100, 20, 30))
    prediction = predict(uncalibrated, nodes, (0.6,))

    features = make(_layers.prediction_to_layer(prediction)).features
    texts = make(_layers.readings_to_layer([read_prediction(prediction)], {}, uncalibrated)).text.values

    assert np.isnan(features["short_axis_mm"][1])
    assert features["short_axis_px"][1] == pytest.approx(40, rel=0.02)
    assert "short axis 40 px" in texts[0]
    assert " mm" not in "".join(texts)


def test_the_canvas_says_score_label_cutoff_size_and_limits(two_nodes):
    points = make(_layers.readings_to_layer([read_prediction(two_nodes)], {}, two_nodes.frame))

    assert "malignancy 0.83 → malignant at cutoff 0.41" in points.text.values[0]
    assert "2 nodes" in points.text.values[0]
    assert max(map(len, points.text.values[0].splitlines())) < 60  # a canvas is not wide
    assert NOTE in points.text.values[0]
    assert points.text.values[2].startswith("0.22 benign · ")
    assert tuple(points.scale) == pytest.approx(two_nodes.frame.spacing_mm)


def test_a_flag_comes_before_the_verdict_which_has_no_colour_then(two_nodes):
    flagged, plain = (
        make(_layers.readings_to_layer([read_prediction(one)], {}, one.frame))
        for one in (replace(two_nodes, novelty=1.5), two_nodes)
    )

    first = " ".join(flagged.text.values[0].splitlines())
    assert first.startswith("The frame is unlike those that the model was trained on: do not rely on")
    assert "malignancy 0.83" in first
    assert len(set(flagged.features["text_colour"])) == 1
    assert plain.text.values[0].startswith("malignancy 0.83")
    assert len(set(plain.features["text_colour"])) == 2


def test_words_on_a_light_frame_are_dark(two_nodes):
    light = replace(two_nodes.frame, pixels=np.full_like(two_nodes.frame.pixels, 250))
    for frame, is_dark in ((light, True), (two_nodes.frame, False)):
        points = make(_layers.readings_to_layer([read_prediction(two_nodes)], {}, frame))
        for colour in points.features["text_colour"]:
            assert (int(colour[1:3], 16) + int(colour[3:5], 16) + int(colour[5:7], 16) < 384) == is_dark


@given(
    top=st.integers(0, 540), left=st.integers(0, 740), height=st.integers(8, 260), width=st.integers(8, 400)
)
def test_what_is_said_of_a_node_never_lies_on_it(top, left, height, width):
    box = (top, left, min(top + height, 600), min(left + width, 800))
    frame = Frame(pixels=np.zeros((600, 800), np.uint8))
    nodes = np.zeros((600, 800), np.uint8)
    nodes[box[0] : box[2], box[1] : box[3]] = 1
    reading = read_prediction(predict(frame, nodes, (0.9,)))

    of_frame, of_node = captions_of(reading, NOTE, frame)

    for caption in (of_frame, of_node):
        is_above = caption.row <= box[0]
        is_below = caption.row - 0.036 * 600 * len(caption.text.splitlines()) >= box[2] - 1
        is_right = caption.column >= box[2 + 1]
        is_left = caption.column + 7 * max(map(len, caption.text.splitlines())) <= box[1]
        assert is_above or is_below or is_right or is_left


@pytest.mark.parametrize("width", [220, 300, 420, 800])
def test_the_words_of_a_narrow_frame_end_where_it_ends(width):
    frame = Frame(pixels=np.zeros((600, width), np.uint8))
    nodes = np.zeros((600, width), np.uint8)
    nodes[100:160, 40:100] = 1
    reading = read_prediction(predict(frame, nodes, (0.9,)))

    of_frame, _ = captions_of(reading, "This model has never seen a cervical lymph node.", frame)

    lines = of_frame.text.splitlines()
    assert max(map(len, lines)) * 0.014 * 600 <= width
    assert "This model has never seen a cervical lymph node." in " ".join(lines)


def test_no_node_found_is_an_answer(frame):
    prediction = predict(frame, np.zeros(frame.shape, np.uint8), ())

    features = make(_layers.prediction_to_layer(prediction)).features
    (text,) = make(_layers.readings_to_layer([read_prediction(prediction)], {}, frame)).text.values

    assert list(features["label"]) == ["no node found"]
    assert text.startswith("no node found\nmalignancy of the frame 0.20")


def test_a_network_that_only_classifies_labels_the_frame(frame):
    prediction = predict(frame, np.zeros(frame.shape, np.uint8), (), mask_threshold=None)
    prediction = replace(prediction, class_probabilities={"benign": 0.1, "malignant": 0.9})

    (text,) = make(_layers.readings_to_layer([read_prediction(prediction)], {}, frame)).text.values

    assert text.startswith("malignancy 0.90 → malignant at cutoff 0.41")


def test_derived_layers_lie_where_the_user_has_moved_the_image(frame, two_nodes):
    image = make(_layers.frame_to_layer(frame))
    image.scale, image.translate = (0.2, 0.3), (5, 7)

    labels = make(_layers.prediction_to_layer(two_nodes, image))
    others = [
        _layers.readings_to_layer([read_prediction(two_nodes)], {}, image),
        _layers.overlay_to_layer(np.zeros(frame.shape, bool), image),
        _layers.scan_area_to_layer((10, 20, 300, 400), image),
        _layers.axes_to_layer(measure_nodes(two_nodes), labels),
    ]

    for layer in (labels, *map(make, others)):
        assert tuple(layer.scale) == (0.2, 0.3)
        assert tuple(layer.translate) == (5, 7)
        assert layer.units == image.units
        assert layer.axis_labels == image.axis_labels


@given(instances=hnp.arrays(np.uint8, (17, 23), elements=st.integers(0, 3)))
def test_masks_come_back_as_they_were_painted(instances):
    pixels = np.arange(17 * 23, dtype=np.uint8).reshape(17, 23)
    frame = Frame(pixels=pixels)
    labels = Labels(instances)

    annotation = _layers.annotation_from_layer(labels, frame)

    assert np.array_equal(annotation.instances, instances)
    assert [node.id for node in annotation.nodes] == sorted(set(instances[instances > 0].tolist()))


def test_an_untouched_prediction_is_read_back_as_predicted(two_nodes):
    labels = make(_layers.prediction_to_layer(two_nodes))

    annotation = _layers.annotation_from_layer(labels)

    assert annotation.status == "predicted"
    assert annotation.based_on == "small@0123456789ab"
    assert [node.p_malignant for node in annotation.nodes] == [0.83, 0.22]


def test_paint_is_seen_and_so_is_its_undo(two_nodes):
    labels = make(_layers.prediction_to_layer(two_nodes))
    assert not _layers.is_painted(labels)

    labels.paint((30, 30), 1)
    assert _layers.is_painted(labels)
    assert _layers.annotation_from_layer(labels).status == "corrected"

    labels.undo()
    assert not _layers.is_painted(labels)


def test_a_painted_node_has_no_score_and_its_neighbour_keeps_its_own(two_nodes):
    labels = make(_layers.prediction_to_layer(two_nodes))
    labels.paint((30, 30), 1)

    annotation = _layers.annotation_from_layer(labels)

    assert [node.p_malignant for node in annotation.nodes] == [None, 0.22]


def test_masks_are_refused_on_another_frame_of_the_same_size(frame, two_nodes):
    labels = make(_layers.prediction_to_layer(two_nodes))
    other = replace(frame, pixels=frame.pixels[::-1].copy())

    with pytest.raises(DatasetError, match=r"predicted on another frame.*segment it again"):
        _layers.annotation_from_layer(labels, other)


def test_masks_are_refused_on_a_frame_of_another_size(two_nodes, uncalibrated):
    labels = make(_layers.prediction_to_layer(two_nodes))

    with pytest.raises(DatasetError, match=r"painted on another frame"):
        _layers.annotation_from_layer(labels, uncalibrated)


def test_ids_that_do_not_fit_a_mask_file_are_refused(frame):
    masks = np.zeros(frame.shape, np.int32)
    masks[5, 5] = 256

    with pytest.raises(DatasetError, match="ids 1 to 255"):
        _layers.annotation_from_layer(Labels(masks), frame)


@pytest.mark.slow
@given(
    row=st.integers(0, 60), column=st.integers(0, 60), height=st.integers(16, 60), width=st.integers(16, 60)
)
def test_a_scan_area_is_read_back_from_its_rectangle(row, column, height, width):
    image = Image(np.zeros((120, 130), np.uint8))
    box = (row, column, row + height, column + width)

    shapes = make(_layers.scan_area_to_layer(box, image))

    assert _layers.box_from_layer(shapes, image) == box


def test_a_rectangle_beside_the_frame_is_no_scan_area():
    image = Image(np.zeros((120, 130), np.uint8))
    shapes = make(_layers.scan_area_to_layer((10, 10, 50, 50), image))
    shapes.data = [np.array([[200, 200], [200, 300], [300, 300], [300, 200]])]

    with pytest.raises(FrameReadError, match="Draw it round the ultrasound image"):
        _layers.box_from_layer(shapes, image)


@pytest.mark.parametrize(
    ("array", "n_frames"),
    [
        (np.linspace(0, 1, 600).reshape(20, 30), 1),
        (np.arange(1800, dtype=np.uint8).reshape(20, 30, 3), 1),
        (np.arange(3000, dtype=np.uint16).reshape(5, 20, 30), 5),
    ],
)
def test_layers_that_others_opened_are_frames_too(array, n_frames):
    image = Image(array, rgb=array.shape[-1] == 3)

    frame = _layers.frame_from_layer(image, n_frames - 1)

    assert _layers.n_frames_of(image) == n_frames
    assert frame.shape == (20, 30)
    assert frame.spacing_mm is None


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.uint16])
def test_a_stack_of_others_has_the_grey_in_the_window_that_commands_see(dtype):
    one = np.random.default_rng(0).integers(60, 200, (16, 16))
    stack = np.stack([one, one * 2, one * 4]).astype(dtype)
    image = Image(stack, rgb=False)

    shown = [_layers.frame_from_layer(image, index) for index in range(3)]

    for frame, expected in zip(shown, read_frames(stack), strict=True):
        np.testing.assert_array_equal(frame.pixels, expected.pixels)
        assert frame.warnings == expected.warnings
    image.data = (stack // 4).astype(dtype)
    np.testing.assert_array_equal(
        _layers.frame_from_layer(image, 2).pixels, list(read_frames(image.data))[2].pixels
    )


def test_a_scale_in_millimetres_that_the_user_typed_counts(uncalibrated):
    image = make(_layers.frame_to_layer(uncalibrated))
    image.scale, image.units = (0.1, 0.12), ("mm", "mm")

    frame = _layers.frame_from_layer(image)

    assert frame.spacing_mm == (0.1, 0.12)
    assert frame.spacing_source == "typed"


def test_a_volume_of_cines_is_refused_in_words():
    with pytest.raises(FrameReadError, match=r"neither a frame nor a stack.*Choose a layer of shape"):
        _layers.frame_from_layer(Image(np.zeros((2, 3, 20, 30), np.uint8)))


def test_layers_are_found_after_rename_reorder_and_beside_a_duplicate(frame, two_nodes):
    image = make(_layers.frame_to_layer(frame))
    twin = Image(frame.pixels.copy(), **_layers.frame_to_layer(frame)[1])
    labels = make(_layers.prediction_to_layer(two_nodes))
    points = make(_layers.readings_to_layer([read_prediction(two_nodes)], {}, frame))
    layers = LayerList([image, points, labels, twin])
    assert _layers.layers_of(image, layers) == [points, labels]

    image.name, labels.name = labels.name, "mine"
    layers.move(3, 0)

    assert _layers.layers_of(image, layers, LayerKind.NODES) == [labels]
    assert _layers.layers_of(image, layers, LayerKind.MALIGNANCY) == [points]
    assert _layers.layers_of(twin, layers) == []
    assert _layers.image_of(labels, layers) is image


def test_masks_made_by_hand_belong_to_the_only_image_of_their_size(frame, uncalibrated):
    image, other = make(_layers.frame_to_layer(frame)), make(_layers.frame_to_layer(uncalibrated))
    labels = Labels(np.zeros(frame.shape, np.uint8))

    assert _layers.image_of(labels, [image, other, labels]) is image
    assert _layers.image_of(labels, [other, labels]) is None


def test_a_cine_never_shows_the_numbers_of_another_frame(frame, two_nodes):
    readings = [read_prediction(replace(two_nodes, frame=replace(frame, index=index))) for index in (0, 3)]
    features = _layers.features_of(readings, cine=True)
    labels = Labels(np.ones((5, *frame.shape), np.uint8), features=features)

    assert features["frame"] == [0, 0, 0, 3, 3, 3]
    assert labels._get_properties((4, 10, 10), dims_displayed=[1, 2]) == ["[No Properties]"]


def test_points_of_a_cine_stand_in_their_frames(frame, two_nodes):
    image = Image(np.zeros((5, *frame.shape), np.uint8))
    reading = read_prediction(replace(two_nodes, frame=replace(frame, index=3)))

    points = make(_layers.readings_to_layer([reading], {}, image))

    assert isinstance(points, Points)
    assert points.ndim == 3
    assert set(points.data[:, 0]) == {3}
