import io
import os
import shutil
import tracemalloc

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from pydicom import uid

from napari_cln.errors import FrameReadError
from napari_cln.io.sources import as_frame, find_sources, open_source, read_frame, read_frames
from napari_cln.types import Frame


@pytest.fixture
def study(tmp_path, data, lymph_node, write_video, cine):
    """A folder as a user has it: pictures, a cine, a clip, and what else lies about."""
    folder = tmp_path / "study"
    (folder / "b").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    Image.fromarray(lymph_node).save(folder / "2.png")
    Image.fromarray(lymph_node).save(folder / ".thumbnail.png")
    Image.fromarray(lymph_node).save(folder / ".hidden" / "3.png")
    shutil.copy(data / "dicom" / "examples_ybr_color.dcm", folder / "b" / "IM0001")
    shutil.move(write_video(cine, "clip.mkv", "ffv1", "yuv444p"), folder / "b" / "clip.mkv")
    (folder / "b" / "notes.txt").write_text("left level III")
    (folder / "1.jpg").write_bytes(b"")
    return folder


def test_a_folder_gives_what_can_be_read_and_what_should_be(study):
    found = [path.relative_to(study).as_posix() for path in find_sources(study)]

    assert found == ["1.jpg", "2.png", "b/IM0001", "b/clip.mkv"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.png", ["2.png"]),
        ("**/*", ["1.jpg", "2.png", "b/IM0001", "b/clip.mkv"]),
        ("b/*", ["b/IM0001", "b/clip.mkv"]),
        ("[12].*", ["1.jpg", "2.png"]),
        ("?/", ["b/IM0001", "b/clip.mkv"]),
    ],
)
def test_a_glob_gives_what_matches(study, pattern, expected):
    found = find_sources(f"{study}/{pattern}")

    assert [path.relative_to(study).as_posix() for path in found] == expected


def test_a_file_is_listed_once(study):
    assert find_sources(study / "2.png", f"{study}/*.png", study / "2.png") == [study / "2.png"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(study):
    (study / "2.png").rename(study / "scan[1].png")

    assert find_sources(study / "scan[1].png") == [study / "scan[1].png"]


def test_a_file_that_is_named_is_kept_so_that_its_failure_is_seen(study):
    assert find_sources(study / "missing.png", study / "b" / "notes.txt") == [
        study / "missing.png",
        study / "b" / "notes.txt",
    ]


@pytest.mark.parametrize("what", ["empty folder", "glob"])
def test_nothing_found_says_what_to_do(tmp_path, what):
    pattern = tmp_path if what == "empty folder" else f"{tmp_path}/*.png"

    with pytest.raises(FrameReadError, match=r"holds no image, DICOM or video. Check the path"):
        find_sources(pattern)


def test_a_disks_index_is_left_out(tmp_path, write_dicom):
    from pydicom import dcmread, uid

    dataset = dcmread(write_dicom())
    dataset.file_meta.MediaStorageSOPClassUID = uid.MediaStorageDirectoryStorage
    del dataset.PixelData
    (tmp_path / "disk").mkdir()
    dataset.save_as(tmp_path / "disk" / "DICOMDIR")

    with pytest.raises(FrameReadError, match="holds no image"):
        find_sources(tmp_path / "disk")
    with pytest.raises(FrameReadError, match=r"DICOMDIR is a DICOMDIR.*Open its folder"):
        open_source(tmp_path / "disk" / "DICOMDIR")


def test_links_in_a_circle_end(study):
    (study / "b" / "up").symlink_to(study, target_is_directory=True)

    assert len(find_sources(study)) == 4


def test_frames_of_all_kinds_are_streamed_in_order(study, lymph_node):
    frame = Frame(pixels=lymph_node)

    frames = list(read_frames(study / "b", frame, lymph_node[..., 0], np.stack([lymph_node] * 2)))

    assert [each.index for each in frames] == [*range(30), *range(30), 0, 0, 0, 1]
    assert frames[60] is frame


def test_a_wrong_path_is_known_before_the_first_frame(study):
    with pytest.raises(FrameReadError, match=r"notes\.txt is none of PNG, JPEG.*Open it in an image viewer"):
        read_frames(study / "2.png", study / "b" / "notes.txt")


def test_a_frame_that_is_not_there_says_which_are(study):
    with pytest.raises(FrameReadError, match=r"IM0001 has 30 frames.*number 31.*Give an index from 0 to 29"):
        read_frame(study / "b" / "IM0001", 30)
    with open_source(study / "b" / "IM0001") as source, pytest.raises(IndexError, match="number 31"):
        source[30]


def test_negative_numbers_count_from_the_end(study):
    with open_source(study / "b" / "IM0001") as source:
        assert source[-1].index == 29


def test_frames_stay_good_after_closing(study, lymph_node):
    frame = read_frame(study / "2.png")

    np.testing.assert_array_equal(frame.pixels, lymph_node)


@given(pixels=hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(5, 9))))
def test_an_8_bit_array_is_kept(pixels):
    np.testing.assert_array_equal(as_frame(pixels).pixels, pixels)
    np.testing.assert_array_equal(as_frame(np.dstack([pixels] * 3)).grey, pixels)
    np.testing.assert_array_equal(as_frame(pixels.astype(np.uint16) * 257).pixels, pixels)
    np.testing.assert_array_equal(as_frame(pixels / 255).pixels, pixels)


def test_a_stack_gives_the_frame_asked_for(cine):
    frame = as_frame(np.stack(cine), 7)

    np.testing.assert_array_equal(frame.pixels, cine[7])
    assert (frame.index, frame.n_frames) == (7, 30)


@pytest.mark.parametrize("shape", [(5,), (2, 2, 2, 2, 3), (0, 4), (3, 0, 3)])
def test_an_array_that_is_no_picture_says_so(shape):
    with pytest.raises(FrameReadError, match=r"is not a picture\. Give numbers of shape"):
        as_frame(np.zeros(shape))


@pytest.mark.parametrize(
    "name", ["颈部淋巴结.png", "🩺 Ultraschall.png", "a" * 246 + ".png", "#1 100%.png", "-x.png"]
)
def test_any_name_will_do(tmp_path, lymph_node, name):
    Image.fromarray(lymph_node).save(tmp_path / name, format="PNG")

    np.testing.assert_array_equal(read_frame(tmp_path / name).pixels, lymph_node)


@pytest.mark.parametrize("name", ["颈部.mkv", "http:%20a?b#c.mkv", "concat:a|b.mkv"])
def test_any_name_of_a_video_will_do(tmp_path, write_video, cine, name):
    shutil.move(write_video(cine[:3], "a.mkv", "ffv1", "yuv444p"), tmp_path / name)

    assert len(list(read_frames(tmp_path / name))) == 3


def test_a_relative_path_will_do(study, monkeypatch):
    monkeypatch.chdir(study / "b")

    assert read_frame("clip.mkv", 2).index == 2
    assert [path.name for path in find_sources(".")] == ["IM0001", "clip.mkv"]


def test_a_folder_that_may_not_be_written_to_can_be_read(study):
    study.chmod(0o500)
    try:
        assert read_frame(study / "2.png").n_frames == 1
    finally:
        study.chmod(0o700)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")

    with pytest.raises(FrameReadError, match=r"pipe\.png is empty"):
        open_source(tmp_path / "pipe.png")


def test_a_folder_is_no_frame(tmp_path):
    with pytest.raises(FrameReadError, match=r"is a folder\. Give one of its files"):
        open_source(tmp_path)


def test_a_png_needs_neither_pydicom_nor_ffmpeg(study):
    import subprocess
    import sys

    code = (
        "import sys; from napari_cln.io.sources import read_frame; read_frame(sys.argv[1]);"
        "sys.exit(any(name in sys.modules for name in ('pydicom', 'av', 'torch', 'napari', 'qtpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code, str(study / "2.png")]).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["native", "compressed", "tiff"])
def test_memory_does_not_grow_with_the_length_of_a_cine(tmp_path, write_dicom, lymph_node, kind):
    def peak(length: int) -> int:
        stack = np.stack([lymph_node] * length)
        if kind == "tiff":
            path = tmp_path / "a.tif"
            tifffile.imwrite(path, stack, photometric="rgb")
        else:
            stream = io.BytesIO()
            Image.fromarray(lymph_node).save(stream, "JPEG", quality=95)
            frames = [stream.getvalue()] * length if kind == "compressed" else None
            syntax = uid.JPEGBaseline8Bit if frames else uid.ExplicitVRLittleEndian
            path = write_dicom(stack, NumberOfFrames=length, frames=frames, syntax=syntax)
        del stack
        tracemalloc.start()
        assert sum(1 for _ in read_frames(path)) == length
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(2)  # imports
    assert peak(40) < 1.2 * peak(4) + 100_000
