"""Names that stay in stored pictures: planted on tissue, and burned into real screens.

    python benchmarks/names.py --data ../shared/data

Strings are planted on 24 clean frames, four a frame, in four colours and four sizes, and the frames are
stored as the Correct dock stores them. A string counts as legible where the reader (extra ocr) finds three
letters, four digits or a date at its place; so it can't judge what it can't read itself. Screens, overlays,
DICOM files and clips then come in through every entrance, and what is stored outside scan area and mask is
looked at: it must be black.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from napari_cln.annotation import Annotation
from napari_cln.errors import ClnError, ConflictError
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.formats.exchange import import_study
from napari_cln.folder.text import TextReader, waiting_frames
from napari_cln.imaging.burned_in import find_text
from napari_cln.io.sources import find_sources, open_source
from napari_cln.io.volumes import encode_volume
from napari_cln.server.samples import StudySamples
from napari_cln.types import Box, Frame

NAMES = (
    "Huber Anna",
    "Kowalska M",
    "SMITH JOHN",
    "O'Brien",
    "Schmidt 12.04.1961",
    "ID 4471203",
    "Nguyen Van",
    "Rossi Paola",
)
COLOURS = {"white": (255, 255, 255), "grey": (170, 170, 170), "yellow": (230, 210, 60), "dark": (25, 25, 25)}
SIZES = (10, 14, 20, 28)


def planted(path: Path, n: int) -> tuple[np.ndarray, dict[str, Box]]:
    """A frame with four strings on its tissue, and where each stands."""
    image = Image.open(path).convert("RGB")
    draw, places = ImageDraw.Draw(image), {}
    for i, (colour, rgb) in enumerate(COLOURS.items()):
        text, font = NAMES[(4 * n + i) % len(NAMES)], ImageFont.load_default(SIZES[(n + i) % 4])
        at = (int(image.width * 0.2), int(image.height * (0.15 + 0.2 * i)))
        draw.text(at, text, fill=rgb, font=font)
        left, top, right, bottom = draw.textbbox(at, text, font=font)
        places[colour] = (int(top), int(left), int(bottom), int(right))
    return np.array(image), places


def unmarked(pixels: np.ndarray) -> Annotation:
    """A frame that nobody has judged; all of it is its scan area."""
    frame = Frame(pixels=pixels, scan_area=(0, 0, *pixels.shape[:2]))
    return Annotation(frame=frame, instances=np.zeros(frame.shape, np.uint8), status="predicted")


def overlap(one: Box, two: Box) -> bool:
    return one[0] < two[2] and two[0] < one[2] and one[1] < two[3] and two[1] < one[3]


def read_all(study: TrainingFolder) -> set[str]:
    """Frames that are held for their text once all have been read."""
    reader = TextReader(study)
    reader.add(study.ids())
    reader.wait()
    return set(waiting_frames(study))


def plant(frames: list[Path], root: Path) -> None:
    study = TrainingFolder.create(root / "planted")
    places = {}
    for n, path in enumerate(frames[:240:10]):
        pixels, where = planted(path, n)
        places[study.save(unmarked(pixels), who="r").id] = where
    held = read_all(study)
    legible: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    for case_id, where in places.items():
        found = find_text(study.read_image(study.case(case_id)))
        for colour, place in where.items():
            if any(overlap(place, box) for box in found):
                legible[colour] += 1
                missed[colour] += case_id not in held
    print(f"planted: {len(places)} frames, {4 * len(places)} strings; {len(held)} frames held")
    for colour in COLOURS:
        print(f"  {colour}: {legible[colour]} of {len(places)} legible as stored, {missed[colour]} not held")


def clean(frames: list[Path], root: Path) -> None:
    study = TrainingFolder.create(root / "clean")
    for path in frames:
        study.save(unmarked(np.array(Image.open(path).convert("L"))), who="r")
    start = time.process_time()
    held = read_all(study)
    each = (time.process_time() - start) / len(study.ids())
    print(f"clean: {len(held)} of {len(study.ids())} frames held; {each:.2f} CPU s to read one")


def saving(frames: list[Path], root: Path) -> None:
    """Saves with and without a reader behind them, in turns; medians of what a save takes."""
    took: dict[bool, list[float]] = {True: [], False: []}
    studies = {flag: TrainingFolder.create(root / f"saving-{flag}") for flag in (True, False)}
    reader = TextReader(studies[True])
    for i, path in enumerate(frames[:60]):
        annotation = unmarked(np.array(Image.open(path).convert("L")))
        for flag in (True, False) if i % 2 else (False, True):
            start = time.perf_counter()
            case = studies[flag].save(annotation, who="r")
            if flag:
                reader.add([case.id])
            took[flag].append(time.perf_counter() - start)
        time.sleep(0.3)  # a reader looks longer than that at a frame
    reader.wait()
    median = {flag: 1000 * float(np.median(times)) for flag, times in took.items()}
    print(
        f"saving: median {median[True]:.0f} ms with reading behind it, {median[False]:.0f} ms without "
        f"({len(took[True])} saves each, in turns)"
    )


def screens(data: Path) -> list[Frame]:
    places = [data / "us_screens" / "images", data / "overlay_pairs" / "shown"]
    places += [data / "us_dicom" / "files", data / "us_video"]
    frames = []
    for place in places:
        for path in find_sources(place):
            try:
                with open_source(path) as source:
                    frames.append(source[0])
            except ClnError:
                continue  # some are there to be refused
    return frames


def entrances(data: Path, root: Path) -> None:
    frames = screens(data)
    plain, nnunet, coco = root / "plain", root / "nnunet", root / "coco"
    for place in (plain / "images", plain / "masks", nnunet / "imagesTr", nnunet / "labelsTr", coco):
        place.mkdir(parents=True)
    masks, images, outlines = [], [], []
    for i, frame in enumerate(frames):
        mask = np.zeros(frame.shape, np.uint8)
        middle = frame.shape[0] // 2, frame.shape[1] // 2
        mask[middle[0] - 9 : middle[0] + 9, middle[1] - 9 : middle[1] + 9] = 1
        masks.append(mask)
        Image.fromarray(frame.pixels).save(plain / "images" / f"f{i:03d}.png")
        Image.fromarray(frame.pixels).save(coco / f"f{i:03d}.png")
        images.append(
            {"id": i, "file_name": f"f{i:03d}.png", "height": mask.shape[0], "width": mask.shape[1]}
        )
        box = [middle[1] - 9, middle[0] - 9, 18, 18]
        corners = [box[0], box[1], box[0] + 18, box[1], box[0] + 18, box[1] + 18, box[0], box[1] + 18]
        outlines.append({"id": i, "image_id": i, "category_id": 1, "bbox": box, "segmentation": [corners]})
        Image.fromarray(mask * 255).save(plain / "masks" / f"f{i:03d}.png")
        Image.fromarray(frame.grey).save(nnunet / "imagesTr" / f"f{i:03d}_0000.png")
        Image.fromarray(mask).save(nnunet / "labelsTr" / f"f{i:03d}.png")
    (nnunet / "dataset.json").write_text(
        json.dumps(
            {
                "channel_names": {"0": "US"},
                "labels": {"background": 0, "node": 1},
                "numTraining": len(frames),
                "file_ending": ".png",
            }
        )
    )
    said = {"images": images, "annotations": outlines, "categories": [{"id": 1, "name": "lymph node"}]}
    (coco / "annotations.json").write_text(json.dumps(said))
    saved, sent = TrainingFolder.create(root / "saved"), TrainingFolder.create(root / "sent")
    samples = StudySamples(sent)
    for frame, mask in zip(frames, masks, strict=True):
        with suppress(ConflictError):  # some pictures come twice, and are one frame
            saved.save(Annotation(frame=frame, instances=mask), who="r", expected_revision=0)
            name = samples.uploads.take(encode_volume(frame.pixels, ".nrrd"))
            samples.save(name, encode_volume(mask, ".nrrd"), ["lymph node 1"], "r")
    tell_entrance(saved)
    tell_entrance(sent)
    ways = {"plain": "from-plain", "from-plain": "from-folder", "nnunet": "from-nnunet", "coco": "from-coco"}
    for source, goal in ways.items():
        list(import_study(root / source, root / goal))
        tell_entrance(TrainingFolder.open(root / goal))
    held = read_all(saved)
    print(f"entrance saved: text was read on {len(held)} of {len(saved.ids())} pictures, which are held")


def tell_entrance(study: TrainingFolder) -> None:
    dirty = sum(not black_outside(study, case_id) for case_id in study.ids())
    print(f"entrance {study.path.name}: {len(study.ids())} pictures, {dirty} not black outside area and mask")


def black_outside(study: TrainingFolder, case_id: str) -> bool:
    record, image = study.record(case_id), study.read_image(study.case(case_id))
    assert record.source.area is not None
    left, top = record.source.crop[:2]
    x0, y0, x1, y1 = record.source.area
    outside = np.ones(image.shape, bool)
    outside[max(y0 - top, 0) : y1 - top, max(x0 - left, 0) : x1 - left] = False
    rows, columns = np.nonzero(study.read_instances(study.case(case_id)))
    outside[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = False
    return not image[outside].any()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", choices=["plant", "clean", "saving", "entrances"])
    given = parser.parse_args()
    frames = sorted((given.data / "usgra" / "images").glob("*.png"))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NAPARI_CLN_CONFIG"] = folder
        root = Path(folder)
        work = {
            "plant": lambda: plant(frames, root),
            "entrances": lambda: entrances(given.data, root),
            "saving": lambda: saving(frames, root),
            "clean": lambda: clean(frames, root),
        }
        for name, run in work.items():
            if given.only in (None, name):
                run()


if __name__ == "__main__":
    main()
