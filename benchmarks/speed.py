"""Where the time goes: ``python benchmarks/speed.py [--quick] [--write]``.

All times are ratios of runs that took turns in one process, with the spread of the repeats, since
machines differ and other work slows both sides. Memory is that of processes of their own.
``--write`` puts the tables into ``docs/explanation/performance.md``.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import TypeAlias

import av
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage, generate_uid

from napari_cln.batch import segment_to_folder
from napari_cln.imaging.phantom import simulate
from napari_cln.imaging.preprocessing import prepare
from napari_cln.network.card import ModelCard
from napari_cln.network.device import Device, choose_device
from napari_cln.network.engine import OpenVino, PyTorch, choose_engine
from napari_cln.network.model import YNet, YNetConfig
from napari_cln.network.weights import load_model, save_model
from napari_cln.types import Frame

PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "performance.md"
BEGIN, END = "<!-- tables: benchmarks/speed.py --write -->", "<!-- end of tables -->"
SIZE = (960, 720)
TINY = YNetConfig(width=0.05, decoder_width=4, block="rcb", bins=(3,))


@dataclass(frozen=True, kw_only=True)
class Row:
    """A ratio with the spread of its repeats, and what it should be."""

    name: str
    ratio: float
    low: float
    high: float
    target: str = ""

    def __str__(self) -> str:
        return f"| {self.name} | {self.ratio:.2f} | {self.low:.2f}–{self.high:.2f} | {self.target} |"


Ratios: TypeAlias = dict[str, tuple[float, float, float]]


def compared(
    reference: Callable[[], object], others: dict[str, Callable[[], object]], repeats: int
) -> Ratios:
    """Median, lower and upper quartile of time over that of the reference, in turn."""
    for run in (reference, *others.values()):
        run()
    ratios: dict[str, list[float]] = {name: [] for name in others}
    for _ in range(repeats):
        base = seconds(reference)
        for name, run in others.items():
            ratios[name].append(seconds(run) / base)
    return {name: tuple(np.quantile(values, (0.5, 0.25, 0.75))) for name, values in ratios.items()}


def seconds(run: Callable[[], object]) -> float:
    started = perf_counter()
    run()
    return perf_counter() - started


# -- the network alone -----------------------------------------------------------------------------


def network_alone(quick: bool) -> Iterator[tuple[str, list[Row]]]:
    """Engines and networks beside the paper's network in PyTorch, float32."""
    plain = Device(name="cpu", reason="to compare")
    half = Device(name="cpu", reason="to compare", mixed_precision=True)
    paper, ours = YNet(YNetConfig.paper()).eval(), load_model("default")
    installed = choose_device("cpu")
    engines = {
        "the default model, PyTorch float32": PyTorch(ours, plain),
        "the default model, PyTorch bfloat16": PyTorch(ours, half),
        f"the default model, as installed ({installed.engine})": choose_engine(ours, installed),
    }
    if version_of("openvino"):
        engines["the default model, OpenVINO"] = OpenVino(ours)
    networks = dict(other_networks())
    repeats = 5 if quick else 15
    with torch.inference_mode():
        for batch in (1, 8):
            images = torch.rand(batch, 1, 256, 256)
            runs = {name: partial(run, images) for name, run in {**engines, **networks}.items()}
            yield (
                f"Network alone, batch {batch}; the paper's Y-Net in PyTorch float32 = 1",
                rows(compared(partial(PyTorch(paper, plain), images), runs, repeats)),
            )
            exact, *faster = engines
            yield (
                f"Engines, batch {batch}; the default model in PyTorch float32 = 1",
                rows(
                    compared(runs[exact], {name: runs[name] for name in faster}, repeats),
                    {"installed": "≤ 0.70 with bfloat16, ≤ 0.92 without", ", OpenVINO": "≤ 0.45"},
                ),
            )


def rows(ratios: Ratios, targets: dict[str, str] | None = None) -> list[Row]:
    """Rows of a table; a target holds for the names that contain its word."""
    return [
        Row(
            name=name,
            ratio=ratio,
            low=low,
            high=high,
            target=next((target for word, target in (targets or {}).items() if word in name), ""),
        )
        for name, (ratio, low, high) in ratios.items()
    ]


def other_networks() -> Iterator[tuple[str, torch.nn.Module]]:
    """Peers, where MONAI is installed; it is no dependency."""
    try:
        from monai.networks.nets import DynUNet, UNet
    except ImportError:
        return
    yield (
        "U-Net 32–512 (MONAI)",
        UNet(2, 1, 2, channels=(32, 64, 128, 256, 512), strides=(2, 2, 2, 2), num_res_units=0).eval(),
    )
    kernels, strides = [3] * 7, [1] + [2] * 6
    yield (
        "2-D U-Net like nnU-Net's (MONAI)",
        DynUNet(2, 1, 2, kernels, strides, strides[1:], filters=(32, 64, 128, 256, 512, 512, 512)).eval(),
    )


# -- the whole job ---------------------------------------------------------------------------------


def whole_job(quick: bool) -> Iterator[tuple[str, list[Row]]]:
    """From files to the table and the masks, beside the network on the same frames, prepared."""
    n_frames = 8 if quick else 32
    device = choose_device("cpu")
    network = load_model("default")
    engine = choose_engine(network, device)
    pixels = [
        np.asarray(Image.fromarray(simulate(seed).frame.pixels).convert("L").resize(SIZE))
        for seed in range(n_frames)
    ]
    prepared = [prepare(Frame(pixels=one)) for one in pixels]
    images = torch.from_numpy(np.stack([one.image for one in prepared]))[:, None]

    def bare() -> None:
        with torch.inference_mode():
            for start in range(0, n_frames, device.batch_size):
                engine(images[start : start + device.batch_size])

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        jobs = {
            f"{kind}, to the table and masks": job(folder, kind, write, pixels, network)
            for kind, write in WRITERS.items()
        }
        yield (
            f"Whole job, {n_frames} frames of {SIZE[0]}×{SIZE[1]}; the network on them alone = 1",
            rows(compared(bare, jobs, 2 if quick else 5), {"": "≤ 1.11 (0.90 of the throughput)"}),
        )
    alone = {"preparing, one frame at a time": lambda: [*map(prepare_one, pixels)]}
    yield (
        "Preparing alone; the network on the same frames = 1",
        rows(compared(bare, alone, 3), {"": "≤ 0.20"}),
    )


def prepare_one(pixels: NDArray[np.uint8]) -> object:
    return prepare(Frame(pixels=pixels))


def job(
    folder: Path,
    kind: str,
    write: Callable[[Path, list[NDArray[np.uint8]]], None],
    pixels: list[NDArray[np.uint8]],
    network: YNet,
) -> Callable[[], object]:
    source = folder / kind
    source.mkdir()
    write(source, pixels)
    return lambda: [
        *segment_to_folder([source], folder / f"{kind}-results", model=network, device="cpu", redo=True)
    ]


def write_png(folder: Path, pixels: list[NDArray[np.uint8]]) -> None:
    for index, one in enumerate(pixels):
        Image.fromarray(one).save(folder / f"{index:03d}.png")


def write_jpeg(folder: Path, pixels: list[NDArray[np.uint8]]) -> None:
    for index, one in enumerate(pixels):
        Image.fromarray(one).save(folder / f"{index:03d}.jpg", quality=92)


def write_cine(folder: Path, pixels: list[NDArray[np.uint8]]) -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = UltrasoundMultiFrameImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.Modality, data.PhotometricInterpretation, data.SamplesPerPixel = "US", "MONOCHROME2", 1
    data.Columns, data.Rows = SIZE
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    data.NumberOfFrames = len(pixels)
    data.PixelData = np.stack(pixels).tobytes()
    data.save_as(folder / "cine.dcm", enforce_file_format=True)


def write_video(folder: Path, pixels: list[NDArray[np.uint8]]) -> None:
    with av.open(folder / "cine.mp4", "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(25))
        stream.width, stream.height = SIZE
        stream.pix_fmt, stream.bit_rate = "yuv420p", 20_000_000
        for one in pixels:
            frame = av.VideoFrame.from_ndarray(np.repeat(one[..., None], 3, axis=2), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


WRITERS = {
    "PNG": write_png,
    "JPEG": write_jpeg,
    "DICOM cine": write_cine,
    "MP4": write_video,
}


# -- memory ----------------------------------------------------------------------------------------


def memory(quick: bool) -> Iterator[tuple[str, list[Row]]]:
    """Peak memory of a batch against its number of frames, each in a process of its own."""
    few, many = (100, 1000) if quick else (1000, 100_000)
    with tempfile.TemporaryDirectory() as place:
        peaks = [peak_of(Path(place), count) for count in (few, many)]
    ratio = peaks[1] / peaks[0]
    yield (
        f"Peak memory of {few:,} frames ({peaks[0] / 1024:.0f} MiB) = 1",
        [Row(name=f"{many:,} frames", ratio=ratio, low=ratio, high=ratio, target="≤ 1.10")],
    )


def peak_of(folder: Path, count: int) -> int:
    """Kilobytes."""
    done = subprocess.run(
        [sys.executable, __file__, "--memory-of", str(count), "--in", str(folder / str(count))],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return int(done.stdout.split()[-1])


def segment_many(folder: Path, count: int) -> None:
    """The batch job on small frames with a small network, and then this process's peak memory."""
    study = folder / "study"
    frame = Image.fromarray(simulate(3).frame.pixels).convert("L").resize((96, 72))
    for index in range(count):
        path = study / f"{index // 1000:03d}" / f"{index:06d}.png"
        if index % 1000 == 0:
            path.parent.mkdir(parents=True)
        frame.save(path, compress_level=1)
    torch.manual_seed(0)
    save_model(YNet(TINY), folder / "tiny.safetensors", ModelCard(name="tiny"))
    for _ in segment_to_folder(
        [study], folder / "out", model=folder / "tiny.safetensors", device="cpu", batch_size=8, masks="rle"
    ):
        pass
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


# -- the page --------------------------------------------------------------------------------------


def version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def machine() -> str:
    libraries = ", ".join(
        f"{name} {found}" for name in ("torch", "openvino", "monai", "numpy") if (found := version_of(name))
    )
    capability = torch.backends.cpu.get_cpu_capability()
    return (
        f"{platform.machine()} processor ({capability}), {os.cpu_count()} cores, "
        f"{torch.get_num_threads()} threads; Python {platform.python_version()}, {libraries}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few frames and repeats")
    parser.add_argument("--write", action="store_true", help="put the tables into the page")
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--in", type=Path, dest="folder", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        segment_many(arguments.folder, arguments.memory_of)
        return
    tables = [machine()]
    print(tables[0], flush=True)
    for section in (network_alone, whole_job, memory):
        for title, rows in section(arguments.quick):
            lines = [f"**{title}**", "", "| | ratio | quartiles | target |", "|---|---|---|---|"]
            tables.append("\n".join([*lines, *map(str, rows)]))
            print(f"\n{tables[-1]}", flush=True)
    if arguments.write:
        before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
        after = rest.split(END)[1]
        PAGE.write_text(f"{before}{BEGIN}\n\n" + "\n\n".join(tables) + f"\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
