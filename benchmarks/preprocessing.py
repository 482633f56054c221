"""How well frames are prepared: ``python benchmarks/preprocessing.py``.

On screens with exact truth (../shared/data/overlay_pairs where it is, else the selection in
tests/data; simulated frames), on frames without drawn marks, on masks sent through the network's
square, on ellipses.
Times are ratios to an area resize of the same frame, because machines differ.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_cln.imaging.measurement import measure
from napari_cln.imaging.preprocessing import (
    Geometry,
    find_overlay,
    find_scan_area,
    prepare,
    restore,
    to_model,
)
from napari_cln.phantom import simulate
from napari_cln.types import Box, Frame

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"
JPEG_QUALITY = 90


@dataclass(frozen=True)
class Screen:
    name: str
    shown: NDArray[np.uint8]
    clean: NDArray[np.uint8]
    drawn: NDArray[np.bool_]
    field_of_view: Box


@dataclass(frozen=True)
class Score:
    """What was found on one screen; counts of pixels inside the field of view."""

    name: str
    overlap: float
    found: int
    drawn: int
    touched: int
    tissue: int

    @property
    def recall(self) -> float:
        return self.found / self.drawn if self.drawn else float("nan")


def screens() -> list[Screen]:
    folder = SHARED / "overlay_pairs"
    if not folder.is_dir():
        folder = ROOT / "tests" / "data" / "overlay_pairs"
    rows = csv.DictReader((folder / "labels.csv").read_text(encoding="utf-8").splitlines())
    print(f"screens with drawn overlays: {folder.parent.name}/{folder.name}")
    return [
        Screen(
            name=Path(row["shown"]).stem,
            shown=np.asarray(Image.open(folder / row["shown"]).convert("RGB")),
            clean=np.asarray(Image.open(folder / row["clean"]).convert("RGB")),
            drawn=np.asarray(Image.open(folder / row["overlay_mask"]).convert("L")) > 0,
            field_of_view=(int(row["fov_y0"]), int(row["fov_x0"]), int(row["fov_y1"]), int(row["fov_x1"])),
        )
        for row in rows
    ]


def simulated(n: int) -> list[Screen]:
    """Screens of the project's own simulated frames: other marks, colours and sizes."""
    made = []
    for seed in range(9000, 9000 + n):
        phantom = simulate(seed)
        assert phantom.frame.scan_area is not None
        made.append(
            Screen(
                name=f"seed {seed}",
                shown=phantom.frame.pixels,
                clean=phantom.clean,
                drawn=phantom.overlay,
                field_of_view=phantom.frame.scan_area,
            )
        )
    return made


def overlap(a: Box, b: Box) -> float:
    height = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    width = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return height * width / (sum(areas) - height * width)


def score(screen: Screen, pixels: NDArray[np.uint8]) -> Score:
    frame = Frame(pixels=pixels)
    row0, column0, row1, column1 = screen.field_of_view
    tissue = np.s_[row0:row1, column0:column1]
    found, drawn = find_overlay(frame)[tissue], screen.drawn[tissue]
    return Score(
        name=screen.name,
        overlap=overlap(find_scan_area(frame), screen.field_of_view),
        found=int((found & drawn).sum()),
        drawn=int(drawn.sum()),
        touched=int((found & ~drawn).sum()),
        tissue=int((~drawn).sum()),
    )


def as_jpeg(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return np.asarray(Image.open(buffer).convert("RGB"))


def report_screens(title: str, scores: list[Score]) -> None:
    worst = min(scores, key=lambda s: s.overlap)
    below = sum(s.overlap < 0.97 for s in scores)
    print(f"\n{title} (n = {len(scores)} screens)")
    print(f"  scan area, IoU           worst {worst.overlap:.4f} ({worst.name}), below 0.97: {below}")
    marked = [s for s in scores if s.drawn]
    found, drawn = sum(s.found for s in marked), sum(s.drawn for s in marked)
    least = min(marked, key=lambda s: s.recall)
    print(
        f"  overlay pixels found     {found / drawn:.2%} of {drawn}; "
        f"worst screen {least.recall:.2%} of {least.drawn} ({least.name})"
    )
    touched, tissue = sum(s.touched for s in scores), sum(s.tissue for s in scores)
    most = max(scores, key=lambda s: s.touched / s.tissue)
    print(
        f"  tissue pixels touched    {touched / tissue:.4%} of {tissue}; "
        f"worst screen {most.touched / most.tissue:.4%} ({most.name})"
    )


def report_clean(title: str, frames: list[NDArray[np.uint8]]) -> None:
    shares = []
    for pixels in frames:
        frame = Frame(pixels=pixels)
        row0, column0, row1, column1 = box = find_scan_area(frame)
        shares.append(float(find_overlay(frame, box)[row0:row1, column0:column1].mean()))
    print(
        f"  {title:24} {np.mean(shares):.4%} of the scan area marked; worst frame {max(shares):.3%}; "
        f"frames above 0.05 %: {sum(share > 0.0005 for share in shares)} of {len(shares)}"
    )


def ellipses(n: int, least_area: float, most_area: float) -> Iterator[tuple[NDArray[np.bool_], float, float]]:
    """Masks in 960×1280 with their semi-axes, long side first."""
    rng = np.random.default_rng(0)
    shape = (960, 1280)
    for _ in range(n):
        area, ratio, angle = rng.uniform(least_area, most_area), rng.uniform(1, 2.5), rng.uniform(0, np.pi)
        long = (area * ratio / np.pi) ** 0.5
        row, column = (rng.uniform(long + 2, side - long - 3) for side in shape)
        rows, columns = np.ogrid[: shape[0], : shape[1]]
        along = (rows - row) * np.cos(angle) + (columns - column) * np.sin(angle)
        across = (columns - column) * np.cos(angle) - (rows - row) * np.sin(angle)
        yield (along / long) ** 2 + (across / long * ratio) ** 2 <= 1, long, long / ratio


def through_the_square(mask: NDArray[np.bool_]) -> float:
    """Dice of a mask with itself after 256×256 and back."""
    geometry = Geometry(frame_shape=mask.shape, box=(0, 0, *mask.shape))
    back = restore(to_model(mask, geometry), geometry) >= 0.5
    return 2 * np.count_nonzero(mask & back) / (np.count_nonzero(mask) + np.count_nonzero(back))


def report_round_trip() -> None:
    print("\nmask → 256×256 → mask, Dice (frames of 960×1280 shown whole)")
    for least, most in ((400, 600), (600, 1200), (1200, 6000)):
        values = [through_the_square(mask) for mask, *_ in ellipses(60, least, most)]
        below = sum(value < 0.98 for value in values)
        print(
            f"  ellipses of {least}–{most} px   median {median(values):.4f}, worst {min(values):.4f}, "
            f"below 0.98: {below} of {len(values)}"
        )


def report_axes() -> None:
    print("\naxes of ellipses of known size, relative error")
    for least, most in ((10, 12), (12, 16), (16, 40)):
        errors = []
        for mask, long, short in ellipses(150, np.pi * least**2 * 1.75, np.pi * most**2 * 1.75):
            if least <= short < most:
                found = measure(mask)
                errors.append(
                    (
                        abs(found.long_axis_px / (2 * long) - 1),
                        abs(found.short_axis_px / (2 * short) - 1),
                    )
                )
        worst = np.max(errors, axis=0)
        within = (np.max(errors, axis=1) <= 0.02).mean()
        print(
            f"  short radius {least}–{most} px    worst long {worst[0]:.2%}, short {worst[1]:.2%}; "
            f"both within 2 %: {within:.1%} of {len(errors)}"
        )


def seconds(step: Callable[[], object]) -> float:
    taken = []
    for _ in range(9):
        started = perf_counter()
        step()
        taken.append(perf_counter() - started)
    return min(taken)


def report_times(items: list[Screen]) -> None:
    screen = min(items, key=lambda s: abs(s.shown.size - 3 * 960 * 720))
    height, width = screen.shown.shape[:2]
    image = Image.fromarray(screen.shown)
    unit = seconds(lambda: np.asarray(image.convert("L").resize((256, 256), Image.Resampling.BOX)))
    print(f"\ntime on {width}×{height}, as a multiple of an area resize ({unit * 1000:.1f} ms here)")

    frame = Frame(pixels=screen.shown)
    prepared = prepare(frame)
    box = prepared.geometry.box
    steps: dict[str, Callable[[], object]] = {
        "prepare, all of it": lambda: prepare(Frame(pixels=screen.shown)),
        "find_scan_area": lambda: find_scan_area(frame),
        "find_overlay, area known": lambda: find_overlay(frame, box),
        "restore": lambda: restore(prepared.image, prepared.geometry),
    }
    for name, step in steps.items():
        taken = seconds(step)
        print(f"  {name:24} {taken / unit:6.1f}   ({taken * 1000:.1f} ms)")


def main() -> None:
    items = screens()
    report_screens("stored whole", [score(item, item.shown) for item in items])
    report_screens(f"as JPEG {JPEG_QUALITY}", [score(item, as_jpeg(item.shown)) for item in items])

    phantoms = simulated(24)
    report_screens("simulated frames", [score(phantom, phantom.shown) for phantom in phantoms])

    print("\nframes without drawn marks")
    report_clean("the same screens, clean", [item.clean for item in items])
    usgra = SHARED / "usgra" / "images"
    if not usgra.is_dir():
        usgra = ROOT / "tests" / "data" / "usgra"
    report_clean("usgra", [np.asarray(Image.open(p).convert("RGB")) for p in sorted(usgra.glob("*.png"))])

    report_round_trip()
    report_axes()
    report_times(items)


if __name__ == "__main__":
    main()
