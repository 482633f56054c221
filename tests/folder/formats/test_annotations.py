"""Outlines of annotation tools: COCO in its layouts, labelme, YOLO, Pascal VOC, nnU-Net's ignore."""

import base64
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from napari_cln.disk.rle import decode_rle
from napari_cln.errors import DatasetError
from napari_cln.folder.dataset import TrainingFolder, read_not_judged
from napari_cln.folder.formats.exchange import export_study, import_study
from napari_cln.folder.screens import confirm_screens, unseen_screens

SQUARE = [20, 30, 60, 30, 60, 70, 20, 70]
"""40 by 40 pixels, as x and y in turn."""


@pytest.fixture
def frames(data, tmp_path):
    """A folder with two real frames of 224 by 224 pixels, a.png and b.png."""
    root = tmp_path / "source"
    root.mkdir()
    for name, number in (("a", 0), ("b", 1)):
        picture = Image.open(data / "folder" / "images" / f"neck_0{number}.png")
        picture.save(root / f"{name}.png")
    return root


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))


def take(root, tmp_path, **options):
    work = import_study(root, tmp_path / "study", **options)
    steps = {step.name: step for step in work}
    return work.report, steps, TrainingFolder.open(tmp_path / "study")


def areas(study, step):
    ids = study.read_instances(step.case)
    return [int((ids == node.id).sum()) for node in step.case.nodes]


def coco(*outlines, size=(224, 224), names=("lymph node",), files=("a.png", "b.png")):
    rows, columns = size
    images = [
        {"id": i, "file_name": name, "height": rows, "width": columns}
        for i, name in enumerate(files, start=1)
    ]
    categories = [{"id": i, "name": name} for i, name in enumerate(names, start=1)]
    annotations = [
        {"id": i, "image_id": 1, "category_id": 1, **each} for i, each in enumerate(outlines, start=1)
    ]
    return {"images": images, "annotations": annotations, "categories": categories}


# ------------------------------------------------------------ COCO


def test_several_coco_files_are_one_study_and_their_names_are_its_sides(frames, tmp_path):
    write(frames / "annotations" / "instances_train.json", coco({"segmentation": [SQUARE]}, files=["a.png"]))
    write(frames / "annotations" / "instances_test.json", "\ufeff" + json.dumps(coco(files=["b.png"])))

    report, steps, study = take(frames, tmp_path)

    assert areas(study, steps["a.png"]) == [1600]
    assert report.study.splits == {"train": 1, "test": 1}
    assert steps["b.png"].case.status == "predicted"


@pytest.mark.parametrize(
    "name",
    ["instances_test2017", "test", "hold_out", "testset", "Test_annotations.coco", "test/_annotations.coco"],
)
def test_names_of_coco_files_say_the_side(frames, tmp_path, name):
    write(frames / "coco" / f"{name}.json", coco({"segmentation": [SQUARE]}))
    write(frames / "coco" / "instances_train2017.json", coco(files=[]))

    report, _, _ = take(frames, tmp_path)

    assert report.study.splits == {"test": 2}


@pytest.mark.parametrize("name", ["hidden_test", "instances_test-dev2017", "test2"])
def test_a_coco_file_whose_name_only_resembles_a_side_is_asked_about(frames, tmp_path, name):
    write(frames / f"{name}.json", coco())

    with pytest.raises(DatasetError, match=rf"'{name}' \(1 time\).*--split-values \"{name}=test\""):
        take(frames, tmp_path)
    report, _, _ = take(frames, tmp_path, split_values={name: "test"})

    assert report.study.splits == {"test": 2}


def test_a_frame_that_coco_files_put_on_two_sides_is_refused(frames, tmp_path):
    write(frames / "test" / "train.json", coco(files=["a.png"]))
    write(frames / "test" / "instances.json", coco(files=["b.png"]))

    report, steps, _ = take(frames, tmp_path)

    assert "on the sides test, train at once" in steps["a.png"].problem
    assert report.study.splits == {"test": 1}


@pytest.mark.parametrize(
    ("outline", "words"),
    [
        ({"segmentation": [[float("nan")] * 6]}, "no number"),
        ({"segmentation": [[float("inf")] * 6]}, "no number"),
        ({"segmentation": [[1, 2]]}, "polygon of 1 corners"),
        ({"segmentation": [["x"] * 6]}, "could not convert"),
        ({"segmentation": {"size": [10**6, 10**6], "counts": [0, 10**12]}}, "its size is"),
        ({"segmentation": {"size": [224, 224], "counts": [0, 1.5]}}, "no whole numbers"),
        ({"segmentation": {"size": [224, 224], "counts": "o" * 100_000}}, "none that COCO's tools write"),
        ({"segmentation": {"size": [float("inf"), 1], "counts": [0, 1]}}, "cannot convert"),
        ({"segmentation": 7}, "neither polygons nor"),
        ({"segmentation": [SQUARE], "category_id": [1]}, "has the category"),
        ({"segmentation": [SQUARE], "category_id": 9}, "has the category"),
    ],
)
def test_an_outline_that_can_not_be_read_refuses_its_frame_alone(frames, tmp_path, outline, words):
    write(frames / "annotations.json", coco(outline))

    _, steps, _ = take(frames, tmp_path)

    assert "a.png" in steps["a.png"].problem and words in steps["a.png"].problem
    assert steps["b.png"].problem is None


@pytest.mark.parametrize("size", [(65_000, 65_000), (224, 448), (0, 5), (-1, 5), ("x", "y"), (1e400, 3)])
def test_a_size_that_is_not_the_pictures_refuses_its_frame(frames, tmp_path, size):
    write(frames / "annotations.json", coco({"segmentation": [SQUARE]}, size=size))

    _, steps, _ = take(frames, tmp_path)

    assert "annotations.json says" in steps["a.png"].problem


def test_an_image_without_an_id_and_boxes_are_told(frames, tmp_path):
    content = coco({"segmentation": [SQUARE]}, {"bbox": [1, 2, 3, 4], "segmentation": []})
    del content["images"][1]["id"]
    write(frames / "annotations.json", content)

    report, steps, _ = take(frames, tmp_path)

    assert steps["a.png"].note == "not taken: 1 box without an outline"
    assert report.problems["annotations.json: b.png"] == "its entry has no file_name, or no id of its own"


def test_categories_that_are_not_known_are_named_with_the_option(frames, tmp_path):
    write(frames / "annotations.json", coco({"segmentation": [SQUARE]}, names=["carotid", "node"]))

    with pytest.raises(
        DatasetError, match=r"the categories 'carotid'.*--label-values \"carotid=background\""
    ):
        take(frames, tmp_path)
    _, steps, _ = take(frames, tmp_path, label_values={"carotid": "background"})

    assert steps["a.png"].case.nodes == ()


def test_a_table_gives_labels_and_patients_to_the_outlines_of_coco(frames, tmp_path):
    write(frames / "annotations.json", coco({"segmentation": [SQUARE]}))
    write(frames / "labels.csv", "image;label;patient\na.png;malignant;P1\nb.png;normal;P1\n")

    report, steps, _ = take(frames, tmp_path)

    assert (steps["a.png"].case.truth, steps["b.png"].case.status) == ("metastatic", "no-node")
    assert report.study.patients == 1


def of_two_patients(frames, first=("1.png",), second=("1.png",), place=""):
    """Frames a of P01 and b of P02, both called 1.png, and a COCO file for each; P02's outlines its first."""
    for patient, name, files, outlines in (("P01", "a", first, ()), ("P02", "b", second, (SQUARE,))):
        (frames / patient).mkdir()
        (frames / f"{name}.png").rename(frames / patient / "1.png")
        content = coco(*({"segmentation": [ring]} for ring in outlines), files=files)
        write(frames / patient / place / "annotations.json", content)


@pytest.mark.parametrize("name", ["1.png", "./1.png", "../{}/1.png", "{}/1.png"])
def test_coco_files_of_several_patients_speak_of_the_pictures_beside_them(frames, tmp_path, name):
    of_two_patients(frames, [name.format("P01")], [name.format("P02")])

    report, steps, study = take(frames, tmp_path)

    assert steps["P01/1.png"].case.status == "predicted"
    assert areas(study, steps["P02/1.png"]) == [1600]
    assert report.unused_files == {}


def test_a_patient_whose_pictures_are_all_missing_takes_none_of_another(frames, tmp_path):
    of_two_patients(frames)
    (frames / "P02" / "1.png").unlink()

    report, steps, _ = take(frames, tmp_path)

    assert steps["P01/1.png"].case.status == "predicted"
    assert "only elsewhere: source/P01/1.png" in report.problems["annotations.json: 1.png"]


def test_coco_files_below_the_folders_of_patients_speak_of_the_pictures_there(frames, tmp_path):
    of_two_patients(frames, place="annotations")

    _, steps, study = take(frames, tmp_path)

    assert steps["P01/1.png"].case.status == "predicted"
    assert areas(study, steps["P02/1.png"]) == [1600]


@pytest.mark.parametrize("name", ["3.png", "P02/3.png"])
def test_a_picture_that_is_missing_is_not_replaced_by_another_patients(frames, tmp_path, name):
    of_two_patients(frames, ["1.png", "3.png"], [name, "1.png"])
    Image.fromarray(np.zeros((224, 224), np.uint8)).save(frames / "P01" / "3.png")

    report, steps, _ = take(frames, tmp_path)

    assert "3.png was found 0 times in P02, only elsewhere: " in report.problems[f"annotations.json: {name}"]
    assert steps["P02/1.png"].case.status == "predicted"


@given(st.binary(max_size=64))
@settings(max_examples=200)
def test_no_run_length_code_hangs_or_ends_in_anything_but_its_own_error(code):
    try:
        mask = decode_rle(code.decode("latin-1"), (8, 8))
    except ValueError:
        return
    assert mask.shape == (8, 8)


# ------------------------------------------------------------ labelme


def labelme(*shapes, path="a.png", size=(224, 224)):
    return {
        "version": "5.4.1",
        "shapes": list(shapes),
        "imagePath": path,
        "imageData": None,
        "imageHeight": size[0],
        "imageWidth": size[1],
    }


def shape(kind, points, label="node", **more):
    return {"label": label, "shape_type": kind, "points": points, **more}


def test_polygons_rectangles_and_circles_of_labelme_are_nodes_and_points_are_told(frames, tmp_path):
    corners = np.array(SQUARE).reshape(-1, 2).tolist()
    write(
        frames / "a.json",
        labelme(
            shape("polygon", corners),
            shape("rectangle", [[100, 100], [110, 120]]),
            shape("circle", [[160, 160], [160, 170]]),
            shape("point", [[5, 5]]),
        ),
    )

    _, steps, study = take(frames, tmp_path)

    square, box, circle = areas(study, steps["a.png"])
    assert (square, box) == (1600, 200)
    assert circle == pytest.approx(np.pi * 100, rel=0.05)
    assert steps["a.png"].note == "1 shapes of the kind point are not taken"


def test_a_mask_of_labelme_lies_where_its_box_says(frames, tmp_path):
    stream = io.BytesIO()
    Image.fromarray(np.full((10, 20), 255, np.uint8)).save(stream, "PNG")
    code = base64.b64encode(stream.getvalue()).decode()
    write(frames / "a.json", labelme(shape("mask", [[30, 40], [50, 50]], mask=code)))

    _, steps, study = take(frames, tmp_path, clean=False)

    ids = study.read_instances(steps["a.png"].case)
    assert ids[40:50, 30:50].all() and ids.sum() == 200


def test_shapes_for_a_picture_of_half_the_size_are_scaled_and_of_another_shape_refused(frames, tmp_path):
    corners = np.array(SQUARE).reshape(-1, 2).tolist()
    write(frames / "a.json", labelme(shape("polygon", corners), size=(112, 112)))
    write(frames / "b.json", labelme(shape("polygon", corners), path="b.png", size=(112, 224)))

    _, steps, study = take(frames, tmp_path)

    assert areas(study, steps["a.png"]) == [6400]
    assert "were scaled" in steps["a.png"].note
    assert "b.json says 112×224 pixels, the picture has 224×224" in steps["b.png"].problem


def test_a_labelme_file_without_its_picture_is_named(frames, tmp_path):
    write(frames / "c.json", labelme(path="c.png"))

    report, _, _ = take(frames, tmp_path)

    assert "its picture 'c.png' was not found" in report.problems["c.json"]


@pytest.mark.parametrize("name", ["1.png", "../P02/1.png", "C:\\study\\P02\\1.png"])
@pytest.mark.parametrize("others", [[], ["2.png"]])
def test_a_labelme_file_never_takes_the_picture_of_another_patient(frames, tmp_path, name, others):
    (frames / "P01").mkdir()
    (frames / "a.png").rename(frames / "P01" / "1.png")
    write(frames / "P01" / "2.json", labelme(path="2.png"))
    corners = np.array(SQUARE).reshape(-1, 2).tolist()
    write(frames / "P02" / "1.json", labelme(shape("polygon", corners), path=name))
    for other in others:
        (frames / "b.png").rename(frames / "P02" / other)

    report, steps, _ = take(frames, tmp_path)

    assert steps["P01/1.png"].case.status == "predicted"
    assert "its picture '1.png' was not found" in report.problems["P02/1.json"]


# ------------------------------------------------------------ YOLO


def yolo_line(number, corners=SQUARE):
    return " ".join([str(number), *(str(value / 224) for value in corners)]) + "\n"


def test_yolo_polygons_are_nodes_of_the_classes_that_its_list_names(frames, tmp_path):
    write(frames / "data.yaml", "names: [benign, malignant]\n")
    write(frames / "labels" / "a.txt", yolo_line(1) + "0 0.5 0.5 0.1 0.1\n")
    write(frames / "labels" / "b.txt", "")

    report, steps, study = take(frames, tmp_path)

    assert areas(study, steps["a.png"]) == [1600]
    assert steps["a.png"].case.truth == "metastatic"
    assert steps["a.png"].note == "not taken: 1 box without an outline"
    assert steps["b.png"].case.status == "predicted"
    assert report.unused_files == {}


def test_yolo_classes_without_names_are_asked_for(frames, tmp_path):
    write(frames / "a.txt", yolo_line(0) + yolo_line(1, [v + 80 for v in SQUARE]))

    with pytest.raises(DatasetError, match=r"the categories '0', '1'.*--label-values \"0=background\""):
        take(frames, tmp_path)
    _, steps, _ = take(frames, tmp_path, label_values={"0": "benign", "1": "malignant"})

    assert [node.truth for node in steps["a.png"].case.nodes] == ["benign", "metastatic"]


@pytest.mark.parametrize(
    "line", ["0 0.1 0.2 0.3 0.4 0.5", "0 9 9 8 8 7 7", "x 0.1 0.1 0.2 0.2 0.3 0.1", "0 nan nan 0 0 1 1"]
)
def test_a_line_of_yolo_that_is_none_refuses_its_frame(frames, tmp_path, line):
    write(frames / "a.txt", yolo_line(0) + line + "\n")

    _, steps, _ = take(frames, tmp_path)

    assert "An outline of a.txt can't be read" in steps["a.png"].problem


def yolo(frames, **lists):
    """The folder with an outline for each frame, and lists of images by the names of their files."""
    for name in ("a", "b"):
        write(frames / "labels" / f"{name}.txt", yolo_line(0))
    for name, lines in lists.items():
        write(frames / f"{name}.txt", lines)


@pytest.mark.parametrize(
    "lists",
    [
        {"train": "./a.png\n", "test": "./b.png\n"},
        {"autosplit_train": "/home/me/set/a.png\n", "autosplit_test": "C:\\set\\b.png\n"},
        {"list": "a.png\nb.png\n", "train": "a.png\n", "test": "b.png\n"},
    ],
)
def test_lists_of_yolo_say_the_side_of_their_images(frames, tmp_path, lists):
    yolo(frames, **lists)

    report, steps, _ = take(frames, tmp_path)

    assert (steps["a.png"].case.split, steps["b.png"].case.split) == ("train", "test")
    assert set(report.unused_files) <= {"list.txt"}


@pytest.mark.parametrize(
    "text",
    [
        "train: one\nval: []\ntest: two\n",
        "path: ../elsewhere\ntrain: [../one/]\ntest: [./two]\n",
        "train: /home/me/datasets/source/one\ntest: /home/me/datasets/source/two\n",
        "train: one\ntest: lists/hidden.txt\n",
    ],
)
def test_the_folders_and_lists_that_data_yaml_names_are_sides(frames, tmp_path, text):
    yolo(frames)
    for name, folder in (("a", "one"), ("b", "two")):
        (frames / folder).mkdir()
        (frames / f"{name}.png").rename(frames / folder / f"{name}.png")
    write(frames / "lists" / "hidden.txt", "two/b.png\n")
    write(frames / "data.yaml", f"names: [node]\n{text}")

    report, steps, _ = take(frames, tmp_path)

    assert (steps["one/a.png"].case.split, steps["two/b.png"].case.split) == ("train", "test")
    assert "data.yaml" not in report.unused_files


def test_an_image_that_data_yaml_puts_on_two_sides_is_refused(frames, tmp_path):
    yolo(frames, test="b.png\n")
    write(frames / "data.yaml", "names: [node]\ntrain: .\n")

    report, steps, _ = take(frames, tmp_path)

    assert report.study.splits == {"train": 1}
    assert "lists of test and train" in steps["b.png"].problem
    _, steps, _ = take(frames, tmp_path / "again", split_values={"train": "none"})
    assert (steps["a.png"].case.split, steps["b.png"].case.split) == (None, "test")


def test_what_names_no_image_or_folder_of_a_yolo_set_is_told(frames, tmp_path):
    yolo(frames, test="b.png\nc.png\n")
    write(frames / "data.yaml", "names: [node]\nval: images/val\ntrain: /data/train/images\n")
    (frames / "images").mkdir()
    (frames / "a.png").rename(frames / "images" / "a.png")

    report, steps, _ = take(frames, tmp_path)

    assert (steps["images/a.png"].case.split, steps["b.png"].case.split) == (None, "test")
    said = " ".join(report.remarks)
    assert "test.txt has 1 line for which no image, or more than one, was found: c.png" in said
    for entry, key in (("images/val", "val"), ("/data/train/images", "train")):
        assert f"data.yaml has '{entry}' under {key}, which was not found" in said


def test_a_list_of_yolo_whose_name_only_resembles_a_side_is_asked_about(frames, tmp_path):
    yolo(frames, hidden_test="b.png\n")

    with pytest.raises(DatasetError, match=r"name of a list in source has .*'hidden_test'.*--split-values"):
        take(frames, tmp_path)


# ------------------------------------------------------------ Pascal VOC


def voc(frames, colours):
    """The folder as Pascal VOC has it; frame a shows a square of each colour."""
    (frames / "JPEGImages").mkdir()
    (frames / "SegmentationClass").mkdir()
    for name in ("a", "b"):
        (frames / f"{name}.png").rename(frames / "JPEGImages" / f"{name}.png")
    mask = np.zeros((224, 224, 3), np.uint8)
    for i, colour in enumerate(colours):
        mask[50 * i + 10 : 50 * i + 30, 10:30] = colour
    Image.fromarray(mask).save(frames / "SegmentationClass" / "a.png")


def test_voc_masks_take_their_classes_from_the_map_and_their_sides_from_the_lists(frames, tmp_path):
    voc(frames, [(255, 0, 0), (0, 0, 255)])
    write(
        frames / "labelmap.txt",
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\nmalignant:255,0,0::\nbenign:0,0,255::\n",
    )
    write(frames / "ImageSets" / "Segmentation" / "train.txt", "a\n")
    write(frames / "ImageSets" / "Segmentation" / "test.txt", "b\n")

    report, steps, study = take(frames, tmp_path)

    a = steps["JPEGImages/a.png"]
    assert sorted((node.truth, area) for node, area in zip(a.case.nodes, areas(study, a), strict=True)) == [
        ("benign", 400),
        ("metastatic", 400),
    ]
    assert report.study.splits == {"train": 1, "test": 1}


def test_the_border_that_voc_calls_void_is_not_judged(frames, tmp_path):
    voc(frames, [])
    values = np.zeros((224, 224), np.uint8)
    values[20:40, 20:40], values[25:35, 25:35] = 255, 1
    picture = Image.fromarray(values, "P")
    palette = [0, 0, 0, 128, 0, 0] + [0] * 759 + [224, 224, 192]
    picture.putpalette(palette)
    picture.save(frames / "SegmentationClass" / "a.png")

    _, steps, study = take(frames, tmp_path, clean=False)

    case = steps["JPEGImages/a.png"].case
    assert (study.read_instances(case) > 0).sum() == 100
    assert read_not_judged(study, case).sum() == 300


def test_objects_of_voc_that_touch_are_nodes_of_their_own(frames, tmp_path):
    voc(frames, [(128, 0, 0)])
    (frames / "SegmentationObject").mkdir()
    objects = np.zeros((224, 224, 3), np.uint8)
    objects[10:30, 10:20], objects[10:30, 20:30] = (128, 0, 0), (0, 128, 0)
    Image.fromarray(objects).save(frames / "SegmentationObject" / "a.png")

    _, steps, study = take(frames, tmp_path)

    assert areas(study, steps["JPEGImages/a.png"]) == [200, 200]


def voc_of_two_patients(frames, place="{role}/{patient}"):
    """Frames a of P01 and b of P02, both called 1.png; P01 has one object, P02 two, of the same class."""
    for patient, name, values in (("P01", "a", (1, 1)), ("P02", "b", (1, 2))):
        classes, objects = np.zeros((2, 224, 224), np.uint8)
        classes[10:30, 10:30] = 1
        objects[10:30, 10:20], objects[10:30, 20:30] = values
        for role, pixels in (("SegmentationClass", classes), ("SegmentationObject", objects)):
            path = frames / place.format(role=role, patient=patient) / "1.png"
            path.parent.mkdir(parents=True)
            Image.fromarray(pixels).save(path)
        image = frames / place.format(role="JPEGImages", patient=patient) / "1.png"
        image.parent.mkdir(parents=True)
        (frames / f"{name}.png").rename(image)


@pytest.mark.parametrize("place", ["{role}/{patient}", "{patient}/{role}"])
def test_objects_and_lists_of_voc_are_those_of_their_own_patient(frames, tmp_path, place):
    voc_of_two_patients(frames, place)
    write(frames / "ImageSets" / "Segmentation" / "train.txt", "P01/1 1\n")
    write(frames / "ImageSets" / "Segmentation" / "test.txt", "P02/1\nP03/1\n1\n")

    report, steps, study = take(frames, tmp_path)

    first, second = (steps[place.format(role="JPEGImages", patient=p) + "/1.png"] for p in ("P01", "P02"))
    assert (areas(study, first), areas(study, second)) == ([400], [200, 200])
    assert (first.case.split, second.case.split) == ("train", "test")
    assert [remark for remark in report.remarks if "test.txt" in remark] == [
        "ImageSets/Segmentation/test.txt has 2 lines for which no image, or more than one, was found: "
        "P03/1, 1"
    ]
    assert report.unused_files == {}


def test_lists_of_voc_say_the_side_also_with_a_year_and_are_asked_about(frames, tmp_path):
    voc(frames, [])
    for name in ("test2017", "trainval"):
        write(frames / "ImageSets" / "Main" / f"{name}.txt", "a\nb\n")

    report, _, _ = take(frames, tmp_path)
    write(frames / "ImageSets" / "Main" / "node_test.txt", "a -1\n")

    assert report.study.splits == {"test": 2}
    with pytest.raises(DatasetError, match=r"'node_test' \(1 time\).*--split-values \"node_test=test\""):
        take(frames, tmp_path)


def test_colours_that_two_maps_name_differently_are_refused(frames, tmp_path):
    voc_of_two_patients(frames, "{patient}/{role}")
    for patient, name in (("P01", "benign"), ("P02", "malignant")):
        write(frames / patient / "labelmap.txt", f"background:0,0,0::\n{name}:128,0,0::\n")

    with pytest.raises(DatasetError, match=r"P01/labelmap.txt, P02/labelmap.txt differ in the names"):
        take(frames, tmp_path)


# ------------------------------------------------------------ nnU-Net's ignore


@pytest.mark.parametrize("format", ["nnunet", "coco", "csv"])
def test_what_nnunet_ignores_stays_not_judged_through_every_export(frames, tmp_path, format):
    for name in ("a", "b"):
        (frames / "imagesTr").mkdir(exist_ok=True)
        (frames / f"{name}.png").rename(frames / "imagesTr" / f"{name}_0000.png")
    (frames / "labelsTr").mkdir()
    values = np.zeros((224, 224), np.uint8)
    Image.fromarray(values).save(frames / "labelsTr" / "b.png")
    values[50:60, 50:60], values[100:110, 100:120] = 1, 2
    Image.fromarray(values).save(frames / "labelsTr" / "a.png")
    labels = {"background": 0, "lymph node": 1, "ignore": 2}
    write(frames / "dataset.json", {"labels": labels, "file_ending": ".png", "channel_names": {"0": "us"}})

    _, steps, study = take(frames, tmp_path)
    confirm_screens(study, unseen_screens(study), "r1")
    list(export_study(study, format, tmp_path / "out"))
    again, _, other = take(tmp_path / "out", tmp_path / "again")

    case = steps["imagesTr/a_0000.png"].case
    for folder in (study, other):
        assert (folder.read_instances(folder.case(case.id)) > 0).sum() == 100
        assert read_not_judged(folder, folder.case(case.id)).sum() == 200
    assert again.study.empty_mask == 1


@pytest.mark.parametrize("part", [slice(None), slice(20, 60)])
def test_what_nnunet_ignores_is_never_a_frame_without_a_node(frames, tmp_path, part):
    for place in ("imagesTr", "labelsTr"):
        (frames / place).mkdir()
    values = np.zeros((224, 224), np.uint8)
    Image.fromarray(values).save(frames / "labelsTr" / "b.png")
    values[part, part] = 2
    Image.fromarray(values).save(frames / "labelsTr" / "a.png")
    for name in ("a", "b"):
        (frames / f"{name}.png").rename(frames / "imagesTr" / f"{name}_0000.png")
    write(frames / "dataset.json", {"labels": {"node": 1, "ignore": 2}, "file_ending": ".png"})

    _, steps, _ = take(frames, tmp_path)

    a, b = (steps[f"imagesTr/{name}_0000.png"].case for name in ("a", "b"))
    assert (a.status, b.status) == ("predicted", "no-node")
    assert "waits to be looked at" in steps["imagesTr/a_0000.png"].note


def test_labelled_test_images_of_nnunet_are_test_frames(frames, tmp_path):
    for name, kind in (("a", "Tr"), ("b", "Ts")):
        (frames / f"images{kind}").mkdir()
        (frames / f"labels{kind}").mkdir()
        (frames / f"{name}.png").rename(frames / f"images{kind}" / f"{name}_0000.png")
        Image.fromarray(np.zeros((224, 224), np.uint8)).save(frames / f"labels{kind}" / f"{name}.png")
    write(frames / "dataset.json", {"labels": {"background": 0, "node": 1}, "file_ending": ".png"})

    report, _, _ = take(frames, tmp_path)

    assert report.study.splits == {"test": 1, "none": 1}


def test_ids_of_coco_are_the_same_as_text_and_as_numbers(frames, tmp_path):
    content = coco({"segmentation": [SQUARE]})
    for entry in content["images"]:
        entry["id"] = str(entry["id"])
    write(frames / "a.json", content)

    report, _, _study = take(frames, tmp_path)

    assert report.study.with_mask == 1


@pytest.mark.parametrize("names", [["benign", "malignant"], ["node", "vessel"]])
def test_a_category_with_two_names_is_refused(frames, tmp_path, names):
    content = coco({"segmentation": [SQUARE]})
    content["categories"] = [{"id": 1, "name": name} for name in names]
    write(frames / "a.json", content)

    with pytest.raises(DatasetError, match=f"'{names[0]}', '{names[1]}' as names of the one category"):
        take(frames, tmp_path)


def test_the_only_category_is_no_node_where_it_names_something_else(frames, tmp_path):
    write(frames / "a.json", coco({"segmentation": [SQUARE]}, names=("carotid artery",)))

    with pytest.raises(DatasetError, match="'carotid artery', whose meaning is not known"):
        take(frames, tmp_path)


def test_attributes_that_are_not_used_are_named(frames, tmp_path):
    content = coco({"segmentation": [SQUARE]})
    content["annotations"][0]["attributes"] = {"malignant": True, "occluded": False}
    write(frames / "a.json", content)

    report, _, _ = take(frames, tmp_path)

    assert any("attributes of outlines that are not used: malignant" in remark for remark in report.remarks)


def test_coco_in_which_no_image_is_found_says_why(frames, tmp_path):
    write(frames / "a.json", coco({"segmentation": [SQUARE]}, files=("gone.png", "lost.png")))

    with pytest.raises(DatasetError, match=r"a\.json: gone\.png: gone\.png was found 0 times"):
        take(frames, tmp_path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_annotations_are_read_in_the_encodings_of_windows(frames, tmp_path, encoding):
    (frames / "a.json").write_bytes(json.dumps(coco({"segmentation": [SQUARE]})).encode(encoding))

    report, _, _ = take(frames, tmp_path)

    assert report.study.with_mask == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"shape_type": "mask", "points": [[0, 0], [9, 9]], "mask": "!!!"},
        {"points": [[1, 2, 3]] * 4},
        {"points": None},
        {"shape_type": "mask", "points": [[0, 0], [9, 9]], "mask": "BOMB"},
    ],
    ids=["no picture", "three numbers a corner", "no points", "bomb"],
)
def test_a_shape_that_can_not_be_read_refuses_its_frame_alone(frames, tmp_path, change):
    shape = {"label": "node", "points": [[20, 30], [60, 30], [60, 70]], "shape_type": "polygon"}
    if change.get("mask") == "BOMB":
        stream = io.BytesIO()
        Image.fromarray(np.zeros((15_000, 15_000), bool)).save(stream, "png")
        change = change | {"mask": base64.b64encode(stream.getvalue()).decode()}
    write(frames / "a.json", {"shapes": [shape | change], "imagePath": "a.png"})
    write(frames / "b.json", {"shapes": [shape], "imagePath": "b.png"})

    report, steps, _ = take(frames, tmp_path)

    assert report.taken == 1
    assert "a.json" in steps["a.png"].problem


def test_a_shape_without_a_label_is_a_node(frames, tmp_path):
    shape = {"label": None, "points": [[20, 30], [60, 30], [60, 70]], "shape_type": "polygon"}
    write(frames / "a.json", {"shapes": [shape], "imagePath": "a.png"})

    report, _, _ = take(frames, tmp_path)

    assert report.study.with_mask == 1


@pytest.mark.parametrize("line", ["0 0,1 0,1 0,3 0,1 0,3 0,4", "0 nan nan 0.3 0.1 0.3 0.4", "node 0.1 0.1"])
def test_a_damaged_file_of_yolo_refuses_its_image(frames, tmp_path, line):
    write(frames / "a.txt", line)
    write(frames / "b.txt", "0 0.1 0.1 0.3 0.1 0.3 0.4")

    report, steps, _ = take(frames, tmp_path)

    assert report.taken == 1
    assert "a.txt can't be read" in steps["a.png"].problem


def test_names_of_classes_that_unfold_without_end_are_passed_over(frames, tmp_path):
    text = "a: &a [x,x,x,x,x,x,x,x,x]\n"
    for former, name in zip("abcdefghi", "bcdefghij", strict=True):
        text += f"{name}: &{name} [{','.join([f'*{former}'] * 9)}]\n"
    write(frames / "data.yaml", text + "names: *j\n")
    write(frames / "a.txt", "0 0.1 0.1 0.3 0.1 0.3 0.4")

    report, _, _ = take(frames, tmp_path)

    assert "data.yaml" in report.unused_files


@pytest.mark.parametrize("name", ["classes.txt", "labelmap.txt", "ImageSets/Segmentation/train.txt"])
def test_a_list_that_is_no_text_is_named(frames, tmp_path, name):
    write(frames / "a.txt", "0 0.1 0.1 0.3 0.1 0.3 0.4")
    if name != "classes.txt":
        (frames / "SegmentationClass").mkdir()
        Image.fromarray(np.zeros((224, 224), np.uint8)).save(frames / "SegmentationClass" / "a.png")
    write(frames / name, "")
    (frames / name).write_bytes(bytes([1, 0x81, 0x8D, 0x8F, 0xFF, 0x90, 0x9D]))

    with pytest.raises(DatasetError, match=f"{name.rpartition('/')[2]} is no text that can be read"):
        take(frames, tmp_path)


def test_an_image_in_the_lists_of_two_sides_is_refused(frames, tmp_path):
    (frames / "SegmentationClass").mkdir()
    for name in ("a", "b"):
        Image.fromarray(np.zeros((224, 224), np.uint8)).save(frames / "SegmentationClass" / f"{name}.png")
    write(frames / "ImageSets" / "Segmentation" / "train.txt", "a\nb\n")
    write(frames / "ImageSets" / "Segmentation" / "test.txt", "b\n")

    report, steps, _ = take(frames, tmp_path)

    assert report.study.splits == {"train": 1}
    assert "lists of test and train" in steps["b.png"].problem
