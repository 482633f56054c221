"""AVI, MP4, MOV, MKV, WMV and MPEG clips, decoded by PyAV (FFmpeg) frame by frame.

Opening a clip lists its packets without decoding them: that gives the number of frames that
are really there, their times and the key frames. A frame asked for in order is decoded next;
one asked for out of order is reached from the key frame before it, and the frames on the way
are kept, so that stepping back through a clip decodes each stretch once.
"""

from __future__ import annotations

import bisect
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from numpy.typing import NDArray

from ..errors import FrameReadError
from ..types import Frame
from .frame_source import FrameSource, even_step
from .limits import Unreadable, check_frames, check_size, missing_frames
from .signatures import walk_boxes

CACHE_BYTES = 2**26
MAX_TABLE_BYTES = 2**26
ATTACHED_PICTURE = 0x400
THREADED_PIXELS = 2**23  # a 4K screen
MAX_REORDER = 16  # frames that H.264 and H.265 may hold back
DECODER = f"PyAV {av.__version__}, libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))}"


class VideoStream:
    """The first video stream of a file, as frames by number.

    Parameters
    ----------
    path : Path
        Named in messages.
    data : str or binary file
        What FFmpeg reads.
    container : str
        FFmpeg's name of the format.

    Attributes
    ----------
    n_frames, shape, is_rgb, warnings
        As of :class:`~napari_cln.io.sources.FrameSource`.
    frame_time_s : float or None
        Of a clip whose frames follow each other in even steps.
    decoder : str
    """

    decoder = DECODER

    def __init__(self, path: Path, data: str | BinaryIO, container: str) -> None:
        self.path = path
        self._file = data, container
        self._cache: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
        self._next: int | None = None
        if container == "mov":
            self._check_tables()
        self._open()
        try:
            self._list_packets()
            self._seek(0)
            first = self.read(0)
        except BaseException:
            self.close()
            raise
        self.shape = (first.shape[0], first.shape[1])

    def _open(self) -> None:
        data, form = self._file
        if not isinstance(data, str):
            data.seek(0)
        self._container = av.open(data, format=form, options={"protocol_whitelist": "file"})
        if not self._container.streams.video:
            raise FrameReadError(f"{self.path.name} holds no video. Export the clip again from the scanner.")
        self._stream = stream = (self._clips() or self._container.streams.video)[0]
        if stream.pix_fmt is None:
            raise Unreadable("its pictures are in a form that FFmpeg does not know")
        check_size(self.path, stream.height, stream.width)
        # Threads of their own for frames hold some frames each.
        stream.thread_type = "AUTO" if stream.height * stream.width <= THREADED_PIXELS else "SLICE"
        self.is_rgb = not stream.pix_fmt.startswith(("gray", "mono"))
        self._capacity = max(1, CACHE_BYTES // (stream.height * stream.width * (3 if self.is_rgb else 1)))

    def _clips(self) -> list[Any]:
        """Video streams that are no picture that goes with the file."""
        return [stream for stream in self._container.streams.video if not _is_cover(stream)]

    def _check_tables(self) -> None:
        """Refuse an MP4 whose tables count more frames than can be read.

        A table of frames of one size takes twenty bytes, and FFmpeg makes a list of it.
        """
        data, _ = self._file
        with self.path.open("rb") if isinstance(data, str) else nullcontext(data) as file:
            check_frames(self.path, max(_frame_counts(file), default=1))

    def _list_packets(self) -> None:
        """Find out how many frames there are, when, and which stand alone."""
        stream = self._stream
        packets = []
        try:
            for packet in self._container.demux(stream):
                if packet.size and not packet.is_discard:
                    packets.append((packet.pts, packet.is_keyframe, packet.is_corrupt))
                    check_frames(self.path, len(packets))
        except av.FFmpegError:
            pass  # cut short: what came before it is whole, and the count below tells
        while packets and packets[-1][2]:  # the frame that the cut runs through
            packets.pop()
        check_frames(self.path, len(packets), (stream.height, stream.width))
        self.n_frames = len(packets)
        self._times = self._order([stamp for stamp, _, _ in packets])
        self._keys = sorted(stamp for stamp, is_key, _ in packets if is_key and stamp is not None)
        remarks = []
        announced = self._count_announced()
        if announced > self.n_frames:
            self._drop_stragglers()
            remarks.append(missing_frames(announced, self.n_frames))
        rate = float(stream.average_rate or 0)
        if self._times is not None and self.n_frames > 1:
            self.frame_time_s = even_step([self.time_s(index) or 0.0 for index in range(self.n_frames)])
        else:
            self.frame_time_s = 1 / rate if rate else None
        if (n_clips := len(self._clips())) > 1:
            remarks.append(f"The file holds {n_clips} videos; the first is read.")
        ratio = stream.sample_aspect_ratio
        if ratio and ratio != 1:
            form = f"{ratio.numerator}:{ratio.denominator}"
            remarks.append(f"Pixels are not square ({form}): axis ratios in pixels are not true.")
        self.warnings = tuple(remarks)

    def _order(self, stamps: list[int | None]) -> list[int] | None:
        """Times of the frames in the order they are shown; None where they can't be trusted."""
        known = [stamp for stamp in stamps if stamp is not None]
        if len(set(known)) < len(stamps):
            return None
        # AVI has no such times: what FFmpeg gives for reordered frames is the order of decoding.
        if known == sorted(known) and self._stream.codec_context.has_b_frames:
            return None
        return sorted(known)

    def _count_announced(self) -> int:
        """Frames that the file says it has; by its duration where it gives no number."""
        stream, container = self._stream, self._container
        if stream.frames or not container.duration or len(container.streams) > 1:
            return int(stream.frames)
        said_s, rate = container.duration / av.time_base, float(stream.average_rate or 0)
        if self._times is not None and self.n_frames > 1:  # the last frame lasts as long as the one before
            present_s = float((2 * self._times[-1] - self._times[-2] - self._times[0]) * stream.time_base)
        else:
            present_s = self.n_frames / rate if rate else said_s
        return round(self.n_frames * said_s / present_s) if present_s < 0.9 * said_s else 0

    def time_s(self, index: int) -> float | None:
        """Seconds from the first frame to another, by their stamps; None where these can't be trusted."""
        if self._times is None:
            return None
        return float((self._times[index] - self._times[0]) * self._stream.time_base)

    def _drop_stragglers(self) -> None:
        """Leave out frames behind a gap: a cut takes frames that are shown before ones it leaves."""
        if self._times is None or self.n_frames < 3:
            return
        steps = np.diff(self._times)
        gaps = np.flatnonzero(steps > 1.5 * np.median(steps))
        late = gaps[gaps >= len(steps) - MAX_REORDER]
        if late.size:
            self.n_frames = int(late[0]) + 1
            self._times = self._times[: self.n_frames]

    def read(self, index: int) -> NDArray[np.uint8]:
        """Decode frame `index`, in ``range(n_frames)``.

        Returns
        -------
        ndarray of uint8, shape (H, W) or (H, W, 3)
            Shared with the cache: copy it before changing it.

        Raises
        ------
        FrameReadError
            If the frame is damaged.
        """
        if index not in self._cache:
            key = self._key_before(index)
            if self._next is None or not key <= self._next <= index:
                self._seek(key)
            self._advance(index)
            if index not in self._cache and key > 0:  # some containers can't seek to a key frame
                self._seek(0)
                self._advance(index)
        if index not in self._cache:
            raise FrameReadError(
                f"{self.path.name} is damaged at frame {index + 1} of {self.n_frames}. "
                "Open it in a video player to check that it is whole, or export it again from the scanner."
            )
        return self._cache[index]

    def _key_before(self, index: int) -> int:
        """Number of the last frame up to `index` that is decoded without others."""
        if self._times is None:
            return 0
        key = bisect.bisect_right(self._keys, self._times[index])
        return bisect.bisect_left(self._times, self._keys[key - 1]) if key else 0

    def _seek(self, key: int) -> None:
        """Decode frame `key` next."""
        if key and self._times is not None:
            self._container.seek(self._times[key], stream=self._stream, backward=True)
        else:
            self._container.close()
            self._open()
        self._next = key
        self._decoded = self._decode(key)

    def _decode(self, key: int) -> Iterator[tuple[int, Any]]:
        """Frames with their numbers, from `key` on."""
        for count, frame in enumerate(self._container.decode(self._stream)):
            position = count
            if self._times is not None:
                position = bisect.bisect_left(self._times, frame.pts)
                if position == self.n_frames or self._times[position] != frame.pts:
                    continue
            # Frames shown before the key frame may lean on others that were not decoded.
            if key <= position < self.n_frames:
                yield position, frame

    def _advance(self, index: int) -> None:
        """Decode up to `index`, keeping as many of the last frames as the cache holds."""
        try:
            for position, frame in self._decoded:
                self._next = position + 1
                if position > index - self._capacity and not frame.is_corrupt:
                    self._keep(position, frame)
                if position >= index:
                    return
        except av.FFmpegError:
            pass  # the caller sees that the frame is missing
        self._next = None

    def _keep(self, position: int, frame: Any) -> None:
        pixels = frame.to_ndarray(format="rgb24" if self.is_rgb else "gray")
        self._cache[position] = np.ascontiguousarray(np.rot90(pixels, frame.rotation // 90))
        while len(self._cache) > self._capacity:
            self._cache.popitem(last=False)

    def close(self) -> None:
        """Let go of the file."""
        self._container.close()


def _frame_counts(file: BinaryIO) -> Iterator[int]:
    """Frames that each table of an MP4 file counts."""
    for kind, start, stop in walk_boxes(file):
        if kind in (b"moov", b"moof"):
            file.seek(start)
            data = file.read(min(stop - start, MAX_TABLE_BYTES))
            for track in data.split(b"trak"):
                if b"vide" in track:
                    yield from _numbers_after(track, b"stsz", 8)
            yield from _numbers_after(data, b"trun", 4)


def _numbers_after(data: bytes, box: bytes, offset: int) -> Iterator[int]:
    at = data.find(box)
    while at >= 0:
        start = at + len(box) + offset
        yield max(1, int.from_bytes(data[start : start + 4], "big"))
        at = data.find(box, at + 1)


def _is_cover(stream: Any) -> bool:
    """Tell whether a stream is a picture that goes with the file, and no clip."""
    return bool(int(getattr(stream, "disposition", 0)) & ATTACHED_PICTURE)


class VideoSource(FrameSource):
    """A video file."""

    def __init__(self, path: Path, container: str) -> None:
        super().__init__(path)
        self._video = VideoStream(path, f"file:{path}", container)
        self.n_frames = self._video.n_frames
        self.shape = self._video.shape
        self.is_rgb = self._video.is_rgb
        self.warnings = self._video.warnings

    def _read(self, index: int) -> Frame:
        return Frame(
            pixels=self._video.read(index).copy(),
            spacing_note="A video carries no millimetres.",
            source=self.path,
            index=index,
            n_frames=self.n_frames,
            frame_time_s=self._video.frame_time_s,
            time_s=self._video.time_s(index) if self.n_frames > 1 else None,
            decoder=self._video.decoder,
            warnings=self.warnings,
        )

    def close(self) -> None:
        self._video.close()
