"""Where the time goes: ``python benchmarks/speed.py --data ../shared/data [--quick] [--write]``.

All times are ratios of runs that took turns in one process, with the spread of the repeats, since
machines differ and other work slows both sides. Memory is that of processes of their own. The training
step, the window, saving, opening and starting have benchmarks of their own, which this one runs last.
``--write`` puts everything into ``benchmarks/results/speed.md``. OpenVINO (extra ``fast``), ONNX
Runtime and MONAI's networks are measured where they are installed; the last two are no dependencies.
"""

from __future__ import annotations

import argparse
import copy
import os
import platform
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, TypeAlias

# as the package sets it where it is loaded before NumPy, such as in its own command
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")

import av
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage, generate_uid
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

from measure_default import busi, usgra
from napari_cln import segment_to_folder
from napari_cln.imaging.preprocessing import prepare
from napari_cln.models.card import ModelCard
from napari_cln.network.blocks import PyramidPooling
from napari_cln.network.device import choose_device, compile_for
from napari_cln.network.engines.openvino import is_wanted
from napari_cln.network.inference import Segmenter
from napari_cln.network.model import Network, YNet, YNetConfig, YNetOutput
from napari_cln.network.weights import load_model, save_model
from napari_cln.phantom import simulate
from napari_cln.types import Frame

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "benchmarks" / "results" / "speed.md"
SIZE = (960, 720)
TINY = YNetConfig(width=0.05, decoder_width=4, block="rcb", bins=(3,))


@dataclass(frozen=True, kw_only=True)
class Row:
    """A ratio with the quartiles of its repeats, and what it should be."""

    name: str
    ratio: float
    low: float | None = None
    high: float | None = None
    target: str = ""
    digits: int = 2

    def __str__(self) -> str:
        spread = "" if self.low is None else f"{self.low:.{self.digits}f}–{self.high:.{self.digits}f}"
        return f"| {self.name} | {self.ratio:.{self.digits}f} | {spread} | {self.target} |"


Ratios: TypeAlias = dict[str, tuple[float, float, float]]
Table: TypeAlias = tuple[str, list[Row]]


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


class OwnPooling(nn.Module):
    """A Y-Net whose pyramid pooling is PyTorch's own, as its paper's authors wrote it."""

    def __init__(self, network: YNet) -> None:
        super().__init__()
        self.network = copy.deepcopy(network)
        for layer in self.network.modules():
            if isinstance(layer, PyramidPooling):
                layer.forward = partial(_pool, layer)  # type: ignore[method-assign]

    def forward(self, x: Tensor) -> YNetOutput:
        output: YNetOutput = self.network(x)
        return output


def _pool(layer: PyramidPooling, x: Tensor, convolution: nn.Conv2d) -> Tensor:
    maps = [x]
    for count, branch in zip(layer.bins, layer.branches, strict=True):
        pooled = branch(F.adaptive_avg_pool2d(x, count))
        maps.append(F.interpolate(pooled, x.shape[-2:], mode="bilinear", align_corners=False))
    read: Tensor = convolution(torch.cat(maps, 1))
    return read


def network_alone(arguments: argparse.Namespace) -> Iterator[Table]:
    """Engines and networks beside the paper's network in PyTorch, float32."""
    paper, ours = YNet(YNetConfig.paper()).eval(), load_model("default")
    eager = OwnPooling(ours)
    runs: dict[str, Callable[[Tensor], object]] = {
        "the default model, PyTorch's own pooling, float32": eager,
        "the default model, float32": ours,
        **{f"the default model, as it works in {engine}": with_engine(ours, engine) for engine in ENGINES},
        **dict(other_networks()),
    }
    repeats = 5 if arguments.quick else 9
    with torch.inference_mode():
        for batch in (1, 8):
            images = torch.rand(batch, 1, 256, 256)
            bound = {name: partial(run, images) for name, run in [*runs.items(), *onnx_runtime(ours, batch)]}
            yield (
                f"Network alone, batch {batch}; the paper's Y-Net, PyTorch's own pooling, float32 = 1",
                rows(compared(partial(OwnPooling(paper), images), bound, repeats)),
            )
            faster = {name: run for name, run in bound.items() if "the default" in name}
            yield (
                f"The default model, batch {batch}; with PyTorch's own pooling, float32 = 1",
                rows(
                    compared(faster.pop(next(iter(faster))), faster, repeats),
                    {"in PyTorch": "≤ 0.70 with bfloat16, ≤ 0.92 without", "in OpenVINO": "≤ 0.45"},
                ),
            )


ENGINES: tuple[Literal["PyTorch", "OpenVINO"], ...] = ("PyTorch", "OpenVINO") if is_wanted() else ("PyTorch",)


def with_engine(network: Network, engine: Literal["PyTorch", "OpenVINO"]) -> Network:
    """The network as it predicts on this processor."""
    return compile_for(network, replace(choose_device("cpu"), engine=engine))[0]


def onnx_runtime(network: YNet, batch: int) -> Iterator[tuple[str, Callable[[Tensor], object]]]:
    """Another engine for the same network, where it is installed."""
    if not (version_of("onnxruntime") and version_of("onnxscript")):
        return
    import onnxruntime

    network(torch.zeros(1, 1, 256, 256))  # its matrices are made before the exporter looks
    exported = torch.onnx.export(
        network,
        (torch.zeros(batch, 1, 256, 256),),
        dynamo=True,
        verbose=False,
    )
    graph = exported.model_proto.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # or it slows the others
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    yield "the default model, ONNX Runtime, float32", lambda x: session.run(None, {name: x.numpy()})


def same_masks(arguments: argparse.Namespace) -> Iterator[Table]:
    """How far bfloat16 moves masks and scores, on real frames."""
    frames = [annotation.frame for part in ("train", "test") for annotation in usgra(arguments.data, part)]
    frames += [a.frame for part in ("public_test", "val", "train") for a in busi(arguments.data, part)]
    frames = frames[: 60 if arguments.quick else 500]
    original = load_model("default").eval()
    exact = Segmenter(original, "cpu")
    exact.model = original
    for engine in ENGINES:
        here = Segmenter(original, "cpu")
        here.model = with_engine(original, engine)
        masked, moved, scores = 0, [], []
        for a, b in zip(exact.predict(frames), here.predict(frames), strict=True):
            masked += int(a.mask.sum())
            moved.append(int((a.mask ^ b.mask).sum()))
            scores.append(abs(a.malignancy - b.malignancy))
        share, differing = sum(moved) / masked, float(np.mean([count > 0 for count in moved]))
        yield (
            f"As it works in {engine} against float32, {len(frames)} real frames (usgra, BUSI)",
            [
                Row(name="share of mask pixels that differ", ratio=share, target="≤ 0.001", digits=5),
                Row(name="greatest malignancy difference", ratio=max(scores), target="≤ 0.005", digits=5),
                Row(name="frames with any difference", ratio=differing, digits=3),
            ],
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


def whole_job(arguments: argparse.Namespace) -> Iterator[Table]:
    """From files to the table and the masks, beside the network on the same frames, prepared."""
    n_frames = 8 if arguments.quick else 96
    segmenter = Segmenter("default", "cpu")
    screens = (Image.fromarray(simulate(seed).frame.pixels) for seed in range(n_frames))
    pixels = [np.asarray(screen.convert("L").resize(SIZE)) for screen in screens]
    prepared = [prepare(Frame(pixels=one)) for one in pixels]
    images = torch.from_numpy(np.stack([one.image for one in prepared]))[:, None]

    def bare(network: nn.Module = segmenter.model) -> None:
        with torch.inference_mode():
            for batch in images.split(segmenter.batch_size):
                network(batch)

    def side_by_side() -> None:
        n_threads = torch.get_num_threads()
        with ThreadPoolExecutor(n_threads, initializer=torch.set_num_threads, initargs=(1,)) as teams:
            list(teams.map(one_batch, images.split(segmenter.batch_size)))
            teams.submit(torch.set_num_threads, n_threads)  # threads to come take over the last number

    @torch.inference_mode()
    def one_batch(batch: Tensor) -> object:
        return segmenter.model(batch)

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        jobs = {
            f"{kind}, to the table and masks": job(folder, kind, write, pixels)
            for kind, write in WRITERS.items()
        }
        eager = OwnPooling(load_model("default"))
        jobs |= {
            "the network alone, batches side by side, one thread each": side_by_side,
            "the network alone, eager float32, PyTorch's own pooling": lambda: bare(eager),
        }
        yield (
            f"Whole job, {n_frames} frames of {SIZE[0]}×{SIZE[1]}; the network on them alone = 1",
            rows(
                compared(bare, jobs, 2 if arguments.quick else 3),
                {"table": "≤ 1.11 (0.90 of the throughput)"},
            ),
        )
    n_threads, repeats = torch.get_num_threads(), 3 if arguments.quick else 5
    with ThreadPoolExecutor(n_threads) as pool:
        preparing: dict[str, Callable[[], object]] = {
            "one frame at a time": lambda: [*map(prepare_one, pixels)],
            f"{n_threads} frames at a time, as in the job": lambda: [*pool.map(prepare_one, pixels)],
        }
        title = "Preparing alone; the network on the same frames, on {} threads = 1"
        yield title.format(n_threads), rows(compared(bare, preparing, repeats), {"": "≤ 0.20"})
    torch.set_num_threads(1)
    alone = {name: run for name, run in preparing.items() if name == "one frame at a time"}
    yield title.format(1), rows(compared(bare, alone, repeats), {"": "≤ 0.20"})
    torch.set_num_threads(n_threads)


def prepare_one(pixels: NDArray[np.uint8]) -> object:
    return prepare(Frame(pixels=pixels))


def job(
    folder: Path,
    kind: str,
    write: Callable[[Path, list[NDArray[np.uint8]]], None],
    pixels: list[NDArray[np.uint8]],
) -> Callable[[], object]:
    source = folder / kind
    source.mkdir()
    write(source, pixels)
    return lambda: [*segment_to_folder([source], folder / f"{kind}-results", device="cpu", redo=True)]


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


# -- two processes -------------------------------------------------------------------------------


FRAMES_IN_TURN = """
import sys, time
import torch
from napari_cln.network.inference import Segmenter
network = Segmenter("default", "cpu").model
x = torch.rand(1, 1, 256, 256)
with torch.inference_mode():
    network(x)
    print("ready", flush=True)
    sys.stdin.readline()
    begun = time.perf_counter()
    for _ in range(int(sys.argv[1])):
        network(x)
print(time.perf_counter() - begun)
"""


def two_processes(arguments: argparse.Namespace) -> Iterator[Table]:
    """Two processes at once beside one alone: 2 is what the processor allows, more is a fight."""
    n_frames = 3 if arguments.quick else 10
    found = []
    for name, spins in (("GNU OpenMP's own spin", "300000"), ("as the package sets it", "1000")):
        environment = {**os.environ, "GOMP_SPINCOUNT": spins, "NAPARI_CLN_ENGINE": "pytorch"}
        ratios = []
        for _ in range(1 if arguments.quick else 3):
            alone, both = (seconds_of(n, n_frames, environment) for n in (1, 2))
            ratios.append(both / alone)
        low, ratio, high = np.quantile(ratios, (0.25, 0.5, 0.75))
        found.append(
            Row(name=name, ratio=ratio, low=low, high=high, target="about 2" if spins == "1000" else "")
        )
    yield f"Two processes of {torch.get_num_threads()} threads at once; one alone = 1", found


def seconds_of(n_processes: int, n_frames: int, environment: dict[str, str]) -> float:
    """Seconds until so many processes, started together, have each put the frames through the network."""
    command = [sys.executable, "-c", FRAMES_IN_TURN, str(n_frames)]
    pipe = subprocess.PIPE
    running = [
        subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True)
        for _ in range(n_processes)
    ]
    for process in running:
        assert process.stdout is not None
        process.stdout.readline()
    for process in running:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return max(float(process.communicate()[0]) for process in running)


# -- memory ----------------------------------------------------------------------------------------


def memory(arguments: argparse.Namespace) -> Iterator[Table]:
    """Peak memory of a batch against its number of frames, each in a process of its own."""
    few, many = (100, 1000) if arguments.quick else (1000, arguments.many)
    with tempfile.TemporaryDirectory() as place:
        peaks = [batch_of(Path(place), count)[1] for count in (few, many)]
    yield (
        f"Peak memory of {few:,} frames ({peaks[0] / 1024:.0f} MiB) = 1",
        [Row(name=f"{many:,} frames", ratio=peaks[1] / peaks[0], target="≤ 1.10")],
    )


def batch_of(folder: Path, count: int) -> tuple[float, int]:
    """Seconds of a batch of so many frames and the kilobytes of its peak, in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--memory-of", str(count), "--in", str(folder / str(count))],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    taken, peak = done.stdout.split()[-2:]
    return float(taken), int(peak)


def segment_many(folder: Path, count: int) -> None:
    """The batch job on small frames with a small network: its seconds, and this process's peak memory."""
    study = folder / "study"
    frame = Image.fromarray(simulate(3).frame.pixels).convert("L").resize((96, 72))
    for index in range(count):
        path = study / f"{index // 1000:03d}" / f"{index:06d}.png"
        if index % 1000 == 0:
            path.parent.mkdir(parents=True)
        frame.save(path, compress_level=1)
    torch.manual_seed(0)
    save_model(YNet(TINY), folder / "tiny.safetensors", ModelCard(name="tiny"))
    begun = perf_counter()
    for _ in segment_to_folder(
        [study], folder / "out", model=folder / "tiny.safetensors", device="cpu", batch_size=8, masks="rle"
    ):
        pass
    print(perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


# -- the page --------------------------------------------------------------------------------------


def version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def machine() -> str:
    libraries = ", ".join(
        f"{name} {found}"
        for name in ("torch", "onnxruntime", "openvino", "monai", "numpy")
        if (found := version_of(name))
    )
    capability = torch.backends.cpu.get_cpu_capability()
    return (
        f"{platform.machine()} processor ({capability}), {os.cpu_count()} cores, "
        f"{torch.get_num_threads()} threads; Python {platform.python_version()}, {libraries}."
    )


def others(arguments: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """What the benchmarks of training, window, folder and start print."""
    quick = {
        "training.py": ["--steps", "3", "--repeats", "3", "--seconds", "5"],
        "window.py": ["--quick"],
        "folder.py": ["--saves", "10", "--records", "500"],
        "startup.py": [],
    }
    display = [sys.executable, str(ROOT / "tools" / "with_display.py")]
    for name, brief in quick.items():
        command = [*display, sys.executable, str(ROOT / "benchmarks" / name)]
        done = subprocess.run(
            command + (brief if arguments.quick else []), stdout=subprocess.PIPE, text=True, check=True
        )
        yield name, done.stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with busi_384 and usgra")
    parser.add_argument("--quick", action="store_true", help="few frames and repeats")
    parser.add_argument("--many", type=int, default=100_000, help="frames of the longest batch")
    parser.add_argument("--only", nargs="+", choices=tuple(SECTIONS), help="these sections alone")
    parser.add_argument("--write", action="store_true", help="put the tables into the page")
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--in", type=Path, dest="folder", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        segment_many(arguments.folder, arguments.memory_of)
        return
    print(machine(), flush=True)
    for name, section in SECTIONS.items():
        if arguments.only and name not in arguments.only:
            continue
        parts = []
        for title, found in section(arguments):
            if isinstance(found, str):
                parts.append(f"`benchmarks/{title}`\n\n```text\n{found}\n```")
            else:
                lines = [f"**{title}**", "", "| | ratio | quartiles | target |", "|---|---|---|---|"]
                parts.append("\n".join([*lines, *map(str, found)]))
            print(f"\n{parts[-1]}", flush=True)
        if arguments.write:
            write(name, [machine(), *parts])


def write(section: str, parts: list[str]) -> None:
    """Put a section's tables between its marks on the page."""
    page = PAGE.read_text(encoding="utf-8")
    head, rest = page.split(f"<!-- {section} -->\n")
    _, tail = rest.split("<!-- end -->", 1)
    text = "\n\n".join(parts)
    PAGE.write_text(f"{head}<!-- {section} -->\n{text}\n<!-- end -->{tail}", encoding="utf-8")


SECTIONS: dict[str, Callable[[argparse.Namespace], Iterator[tuple[str, Any]]]] = {
    "network": network_alone,
    "masks": same_masks,
    "job": whole_job,
    "processes": two_processes,
    "memory": memory,
    "others": others,
}

if __name__ == "__main__":
    main()
