"""Images and masks by their paths: each finds its own, or both names are told."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from napari_cln.folder.formats.pairing import pair_masks, role_of

DOT = Image.fromarray(np.zeros((2, 2), np.uint8))


def make(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        DOT.save(path)


def found(root, **options):
    pairs = pair_masks(root, **options)
    short = {
        image.relative_to(root).as_posix(): sorted(mask.relative_to(root).as_posix() for mask in masks)
        for image, masks in pairs.masks.items()
    }
    return short, {path.relative_to(root).as_posix() for path in pairs.refused}, pairs


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/1.png", "masks/1.png"),
        ("P01/image/1.png", "P01/mask/1.png"),
        ("images/P01/1.png", "masks/P01/node/1.png"),
        ("train/1.png", "train_masks/1.png"),
        ("train/images/1.png", "train/ground_truth/1.png"),
        ("1.png", "1_mask.png"),
        ("1.jpg", "1_mask.png"),
        ("benign (1).png", "benign (1)_mask.png"),
        ("scan0.png", "scan0_cp_masks.png"),
        ("scan0.tif", "mask_scan0.tif"),
        ("P01_img.png", "P01_mask.png"),
        ("images/scan_1.png", "masks/scan_mask_1.png"),
        ("US/a.png", "ROI/a.png"),
        ("images/Hälfte.png", "masks/Ha\u0308lfte.png"),
        ("images/A.PNG", "masks/a.png"),
        ("data/img/x-1.png", "data/lbl/labels/x_1.png"),
    ],
)
def test_an_image_finds_its_mask(tmp_path, image, mask):
    make(tmp_path, image, mask)

    pairs, refused, rest = found(tmp_path)

    assert pairs == {image: [mask]}
    assert (refused, rest.lonely) == (set(), [])


def test_several_numbered_masks_belong_to_one_image(tmp_path):
    make(tmp_path, "a (1).png", "a (1)_mask.png", "a (1)_mask_1.png", "a (1)_mask_2.png")

    pairs, refused, _ = found(tmp_path)

    assert {image: len(masks) for image, masks in pairs.items()} == {"a (1).png": 3}
    assert refused == set()


def test_names_that_differ_in_case_find_the_one_that_is_spelt_alike(tmp_path):
    make(tmp_path, "images/A.png", "images/a.png", "masks/A.png", "masks/a.png")

    assert found(tmp_path)[0] == {"images/A.png": ["masks/A.png"], "images/a.png": ["masks/a.png"]}


@pytest.mark.parametrize(
    ("names", "refused"),
    [
        (["images/P01/1.png", "images/P02/1.png", "masks/1.png"], {"images/P01/1.png", "images/P02/1.png"}),
        (["images/P01/1.png", "masks/P02/1.png"], {"images/P01/1.png"}),
        (["images/1.png", "images/1.jpg", "masks/1.png"], {"images/1.png", "images/1.jpg"}),
        (["images/1.png", "masks/r1/1.png", "masks/r2/1.png"], {"images/1.png"}),
        (["1.png", "1_mask.png", "1_seg.png"], {"1.png"}),
    ],
)
def test_what_is_not_certain_is_refused_with_all_names(tmp_path, names, refused):
    make(tmp_path, *names)

    pairs, told, rest = found(tmp_path)

    assert (pairs, told) == ({}, refused)
    for reason in rest.refused.values():
        assert all(
            "/".join(Path(name).parts[-2:]) in reason for name in names if "mask" in name or "seg" in name
        )


def test_a_stray_mask_of_another_patient_does_not_disturb_an_image_with_its_own(tmp_path):
    make(tmp_path, "images/P01/1.png", "masks/P01/1.png", "masks/P02/1.png")

    pairs, refused, rest = found(tmp_path)

    assert (pairs, refused) == ({"images/P01/1.png": ["masks/P01/1.png"]}, set())
    assert [path.name for path in rest.lonely] == ["1.png"]


def test_a_picture_named_like_a_mask_without_an_image_is_told_and_no_frame(tmp_path):
    make(tmp_path, "a.png", "b_mask.png", "._a.png")

    pairs = pair_masks(tmp_path)

    assert [path.name for path in pairs.images] == ["a.png"]
    assert [path.name for path in pairs.lonely] == ["b_mask.png"]


def test_folders_that_the_user_names_say_what_is_what(tmp_path):
    make(tmp_path, "x/1.png", "y/1.png")

    pairs, _, _ = found(tmp_path, images=tmp_path / "x", masks=tmp_path / "y")

    assert pairs == {"x/1.png": ["y/1.png"]}


@pytest.mark.parametrize(
    ("folder", "role"),
    [
        ("masks", "mask"),
        ("Ground Truth", "mask"),
        ("US_images", "image"),
        ("P01", ""),
        ("label-images", "mask"),
    ],
)
def test_roles_of_folders(folder, role):
    assert role_of(folder) == role


NAMES = st.sampled_from(["1", "2", "10", "scan_1", "scan-2", "a (1)", "Ä1"])
PATIENTS = st.sampled_from(["P01", "P02", "p1/left", "x"])


@pytest.mark.slow
@given(st.sets(st.tuples(PATIENTS, NAMES), min_size=1, max_size=8), st.booleans(), st.booleans())
@settings(max_examples=60)
def test_every_mask_goes_to_the_image_of_its_own_patient(tmp_path_factory, studies, roles_first, deeper):
    root = tmp_path_factory.mktemp("study")
    wanted = {}
    for patient, name in studies:
        image = f"images/{patient}/{name}.png" if roles_first else f"{patient}/images/{name}.png"
        end = f"node/{name}.png" if deeper else f"{name}.png"
        mask = f"masks/{patient}/{end}" if roles_first else f"{patient}/masks/{end}"
        make(root, image, mask)
        wanted[image] = [mask]

    pairs, refused, rest = found(root)

    assert (pairs, refused, rest.lonely) == (wanted, set(), [])


def test_files_that_are_named_after_their_role_alone_are_pairs(tmp_path):
    for name in (
        "left/image.png",
        "left/mask.png",
        "right/imaging.png",
        "right/segmentation.png",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    pairs = pair_masks(tmp_path)

    assert pairs.masks == {
        tmp_path / "left/image.png": [tmp_path / "left/mask.png"],
        tmp_path / "right/imaging.png": [tmp_path / "right/segmentation.png"],
    }
