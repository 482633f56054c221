import threading
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_cln.errors import FrameReadError
from napari_cln.io.sources import open_source, read_frame


@pytest.fixture(scope="session")
def numbered(cine):
    """Sixty frames that carry their number as eight black or white squares."""
    frames = []
    for number in range(60):
        pixels = cine[number % 30].copy()
        pixels[:24, :192] = 0
        for bit in range(8):
            if number >> bit & 1:
                pixels[:24, 24 * bit : 24 * bit + 24] = 255
        frames.append(pixels)
    return frames


def number_of(pixels) -> int:
    grey = pixels.mean(axis=2) if pixels.ndim == 3 else pixels
    return sum(int(grey[8:16, 24 * bit + 8 : 24 * bit + 16].mean() > 128) << bit for bit in range(8))


KINDS = {
    "h264.mp4": ("libx264", "yuv420p"),
    "h264.mov": ("libx264", "yuv420p"),
    "h264.mkv": ("libx264", "yuv420p"),
    "h264.avi": ("libx264", "yuv420p"),  # reordered frames, and no times that could be trusted
    "mpeg4.avi": ("mpeg4", "yuv420p"),
    "mjpeg.avi": ("mjpeg", "yuvj444p"),
    "ffv1.mkv": ("ffv1", "yuv444p"),
    "raw.avi": ("rawvideo", "bgr24"),
    "vp9.webm": ("libvpx-vp9", "yuv420p"),
    "wmv2.wmv": ("wmv2", "yuv420p"),
    "mpeg2.mpg": ("mpeg2video", "yuv420p"),
    "grey.avi": ("ffv1", "gray"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_each_frame_is_the_one_asked_for(write_video, numbered, name):
    codec, pix_fmt = KINDS[name]
    path = write_video(numbered, name, codec, pix_fmt)

    with open_source(path) as source:
        assert (source.n_frames, source.shape) == (60, (240, 320))
        assert source.is_rgb == (pix_fmt != "gray")
        assert source.warnings == ()
        asked = [59, 3, 40, 41, 12, 0, 58, 11, 13]
        assert [number_of(source[index].pixels) for index in asked] == asked
        assert [number_of(frame.pixels) for frame in source] == list(range(60))


@pytest.fixture(scope="module")
def clip(tmp_path_factory, numbered):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 240, 320, "yuv420p"
        stream.codec_context.gop_size = 12
        for pixels in numbered:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        file.mux(stream.encode(None))
    return path


@pytest.mark.slow
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=st.lists(st.integers(0, 59), min_size=1, max_size=20), capacity=st.integers(1, 70))
def test_in_any_order_with_any_cache(clip, asked, capacity):
    with open_source(clip) as source:
        source._video._capacity = capacity
        assert [number_of(source[index].pixels) for index in asked] == asked


@pytest.mark.slow
def test_several_threads_get_their_frames(clip):
    wrong = []
    with open_source(clip) as source:

        def scrub(start: int) -> None:
            for index in range(start, 60, 7):
                if number_of(source[index].pixels) != index:
                    wrong.append(index)

        threads = [threading.Thread(target=scrub, args=(start,)) for start in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_changing_a_frame_does_not_change_the_next_reading(clip):
    with open_source(clip) as source:
        source[5].pixels[:] = 0

        assert number_of(source[5].pixels) == 5


def test_memory_does_not_grow_with_the_length(write_video, numbered):
    with open_source(write_video(numbered, "long.avi", "rawvideo", "bgr24")) as source:
        source._video._capacity = 4
        for _ in source:
            assert len(source._video._cache) <= 4


def test_colours_and_greys_are_those_that_were_encoded(write_video, lymph_node, cine):
    coloured = read_frame(write_video([lymph_node] * 3, "a.mkv", "ffv1", "yuv444p"), 1)
    grey = read_frame(write_video(cine, "b.avi", "ffv1", "gray"), 7)

    assert np.abs(coloured.pixels.astype(int) - lymph_node).max() <= 4
    assert np.abs(grey.pixels.astype(int) - cine[7].mean(axis=2)).mean() < 4
    assert coloured.frame_time_s == pytest.approx(0.04)
    assert coloured.spacing_note == "A video carries no millimetres."


def test_a_clip_of_uneven_steps_keeps_its_times_and_lacks_no_frame(tmp_path, cine):
    milliseconds = [0, 40, 80, 120, 160, 4000, 8000, 12000]
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", rate=25)
        stream.height, stream.width = cine[0].shape[:2]
        stream.pix_fmt, stream.codec_context.time_base = "bgr0", Fraction(1, 1000)
        for pixels, stamp in zip(cine, milliseconds, strict=False):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())

    with open_source(path) as source:
        frames = list(source)

    assert [frame.time_s for frame in frames] == pytest.approx([stamp / 1000 for stamp in milliseconds])
    assert {frame.frame_time_s for frame in frames} == {None}
    assert source.warnings == ()


@pytest.mark.parametrize(
    ("name", "codec"), [("cut.avi", "mjpeg"), ("cut.avi", "mpeg4"), ("cut.mkv", "libx264")]
)
def test_a_clip_cut_in_the_middle_says_so_and_gives_what_is_whole(write_video, numbered, name, codec):
    path = write_video(numbered, name, codec, "yuvj420p" if codec == "mjpeg" else "yuv420p")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])

    with open_source(path) as source:
        assert 5 < source.n_frames < 60
        assert source.warnings[0].startswith("The file announces")
        assert source[-1].warnings == source.warnings
        assert [number_of(frame.pixels) for frame in source] == list(range(source.n_frames))


def test_an_mp4_without_its_index_is_refused(write_video, numbered):
    path = write_video(numbered, "cut.mp4")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    with pytest.raises(FrameReadError, match=r"cut\.mp4 is not a whole video.*export it again"):
        open_source(path)


def test_an_mp4_cut_after_its_index_says_so(tmp_path, numbered):
    path = tmp_path / "fast.mp4"
    with av.open(str(path), "w", options={"movflags": "faststart"}) as file:
        stream = file.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 240, 320, "yuv420p"
        stream.codec_context.gop_size = 12
        for pixels in numbered:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        file.mux(stream.encode(None))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])

    with open_source(path) as source:
        assert 5 < source.n_frames < 60
        assert source.warnings[0].startswith("The file announces 60 frames, but only")
        assert [number_of(source[index].pixels) for index in range(5)] == list(range(5))


def test_a_file_with_sound_only_says_so(tmp_path):
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        file.mux(stream.encode(sound))
        file.mux(stream.encode(None))

    with pytest.raises(FrameReadError, match=r"sound\.mkv holds no video"):
        open_source(path)


def test_a_turned_clip_is_read_upright(tmp_path, numbered):
    path = tmp_path / "turned.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 240, 320, "yuv420p"
        stream.set_display_rotation(90)
        for pixels in numbered[:5]:
            turned = np.ascontiguousarray(np.rot90(pixels, -1))
            file.mux(stream.encode(av.VideoFrame.from_ndarray(turned, format="rgb24")))
        file.mux(stream.encode(None))

    with open_source(path) as source:
        assert source.shape == (240, 320)
        assert number_of(source[3].pixels) == 3


@pytest.mark.slow
def test_every_real_clip_reads_from_first_to_last_frame(shared_data):
    counts = {
        "echo_sequoia.mov": 30,
        "echo_toshiba.mp4": 64,
        "one_frame.mp4": 1,
        "test_patient_burned_in.mp4": 27,
    }
    for name, count in counts.items():
        with open_source(shared_data / "us_video" / "derived" / name) as source:
            assert (source.n_frames, source.warnings) == (count, ())
            assert source[-1].pixels.max() > 100


def test_a_real_clip_shows_the_frames_of_its_dicom(shared_data):
    clip = open_source(shared_data / "us_video" / "derived" / "echo_toshiba.mp4")
    original = open_source(shared_data / "us_dicom" / "files" / "go-dicom__I_000031.dcm")
    with clip, original:
        for index in (63, 0, 31):
            assert np.abs(clip[index].pixels.astype(int) - original[index].pixels).mean() < 3


@pytest.mark.parametrize("count", [10**7, 10**9, 2**32 - 1])
def test_a_table_that_counts_very_many_frames_is_refused_by_its_number(write_video, cine, count):
    path = write_video(cine[:5], "a.mp4")
    data = bytearray(path.read_bytes())
    at = data.find(b"stsz")
    data[at + 8 : at + 16] = (1).to_bytes(4) + count.to_bytes(4)  # all of one byte, and how many
    path.write_bytes(data)

    with pytest.raises(FrameReadError, match=rf"a\.mp4 says it has {count} frames"):
        open_source(path)


def test_a_file_of_two_videos_says_that_the_first_is_read(tmp_path, cine):
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as file:
        streams = [file.add_stream("ffv1", rate=25) for _ in range(2)]
        for stream in streams:
            stream.height, stream.width, stream.pix_fmt = 240, 320, "yuv444p"
        for pixels in cine[:3]:
            for stream in streams:
                file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        for stream in streams:
            file.mux(stream.encode(None))

    with open_source(path) as source:
        assert source.n_frames == 3
        assert source.warnings == ("The file holds 2 videos; the first is read.",)


def test_a_clip_that_announces_a_billion_frames_has_those_that_are_there(write_video, cine):
    path = write_video(cine[:5], "a.avi", "mjpeg", "yuvj420p")
    data = bytearray(path.read_bytes())
    for box, offset in ((b"avih", 24), (b"strh", 40)):
        at = data.find(box) + offset
        data[at : at + 4] = (10**9).to_bytes(4, "little")
    path.write_bytes(data)

    with open_source(path) as source:
        assert source.n_frames == 5
        assert source.warnings == ("The file announces 1000000000 frames, but only 5 are there and whole.",)
