"""Folders of pictures: outlines in whatever format lies beside them, and a table of labels and patients.

What the folder says (outlines), what the table says (label, patient, split) and what folders are called
(class, split) come together here, frame by frame; where two of them contradict each other, the frame is
refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from ...annotation import Annotation, Node
from ...disk.tables import ENDINGS, is_hidden
from ...errors import DatasetError, counted, listed
from ...imaging.burned_in import Extent
from ...io.sources import FrameSource, open_source
from ...types import Frame, Level, Side, Split, Status, Truth, TruthSource
from ..record import Provenance
from .columns import ClinicalValues, Labels, TableRow, has_images, read_labels
from .imported import Drawn, Found, ImportedFrame, ImportOptions, Incoming, Outlines, path_inside, status_of
from .masks import (
    LONELY,
    count_pages,
    draw_masks,
    has_two_values,
    looks_like_a_mask,
    mask_meanings,
    mask_together,
    read_on,
)
from .meaning import SPLIT_OPTION, UnknownWords, meaning_of, same_text, truth_of
from .pairing import PictureFinder, role_of, sides_of


@dataclass(frozen=True, kw_only=True)
class Study:
    """A folder of pictures and what belongs to it.

    Parameters
    ----------
    root : Path
    outlines : Outlines
    labels : Labels, optional
    options : ImportOptions
    """

    root: Path
    outlines: Outlines
    labels: Labels | None
    options: ImportOptions

    @property
    def roots(self) -> tuple[Path, ...]:
        """Folders from which files may be read."""
        named = (self.options.images, self.options.masks, self.labels.path.parent if self.labels else None)
        return (self.root, *(Path(root) for root in named if root is not None))

    @property
    def extent(self) -> Extent:
        """Part of each image that is stored; without a word of the user, sets of masks keep their size."""
        if self.options.clean is None:
            return "whole" if self.outlines.untouched else "scan area"
        return "scan area" if self.options.clean else "uncleaned"


# ------------------------------------------------------------ the table


def find_table(root: Path) -> Path | None:
    """The table of a study: the only one with a column of images; of several, the one that lies highest.

    Parameters
    ----------
    root : Path

    Raises
    ------
    DatasetError
        If several tables in one folder have such a column.
    """
    tables = [path for path in sorted(root.rglob("*")) if path.suffix.casefold() in ENDINGS]
    fitting = [path for path in tables if path.is_file() and not is_hidden(path) and has_images(path)]
    if not fitting:
        for path in tables:
            if path.parent == root and path.is_file() and not is_hidden(path):
                read_labels(path, ImportOptions())  # says why it can't be the table
        return None
    highest = min(len(path.parts) for path in fitting)
    first = [path for path in fitting if len(path.parts) == highest]
    if len(first) > 1:
        raise DatasetError(
            f"{root.name} has {len(first)} tables: {listed(path.name for path in first)}.",
            "Name the one with the labels by --labels.",
        )
    return first[0]


# ------------------------------------------------------------ frames


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """Fields of nodes that rows of a table give; ``None`` where they say nothing."""

    truth: Truth = "unknown"
    level: Level | None = None
    side: Side | None = None
    truth_source: TruthSource | None = None

    def of(self, nodes: Sequence[Node]) -> tuple[Node, ...]:
        """The nodes with these fields; their truths are given where they are drawn."""
        return tuple(
            replace(
                node,
                level=self.level or node.level,
                side=self.side or node.side,
                truth_source=self.truth_source or node.truth_source,
            )
            for node in nodes
        )


@dataclass(frozen=True, kw_only=True)
class _Said:
    """Facts that table and folders give about one image file.

    ``facts`` are fields of each of its nodes; ``masks`` are the masks that its rows name, each with the
    fields of its own nodes. ``problem`` is why the image can't be taken, where they contradict each other.
    """

    label: str = "unknown"
    split: Split | None = None
    patient: str | None = None
    cine: str | None = None
    facts: _Facts = _Facts()
    masks: Mapping[Path, _Facts] = field(default_factory=dict)
    problem: str | None = None
    hospital: str | None = None
    scanner: str | None = None
    clinical: ClinicalValues = field(default_factory=dict)


def find_study(study: Study) -> Found:
    """The frames of a folder of pictures, in the order of its table, else of their names.

    Raises
    ------
    DatasetError
        If there are no images, or the names of folders can't be understood.
    """
    locate = _finder(study)
    rows, missing = _rows_by_image(study, locate)
    listed_images = study.outlines.images or ()
    images = list(rows) if study.labels is not None else list(listed_images)
    if not images and not missing:
        if study.labels is not None:
            raise DatasetError(f"{study.labels.path.name} has no row below its headings. Add one per image.")
        lonely = sum(reason == LONELY for reason in study.outlines.refused.values())
        for name, reason in study.outlines.refused.items():
            if reason != LONELY:
                raise DatasetError(f"No image of {study.root.name} can be taken. {name}: {reason}")
        more = f" {counted(lonely, 'picture is', 'pictures are')} named like masks." if lonely else ""
        raise DatasetError(
            f"No images were found in {study.root.name}.{more}",
            "Name their folder with --images, and the table with --labels.",
        )
    sides = _sides(study, images)
    _check_classes(study, images, rows)
    items: list[Incoming] = []
    used = {*images, *study.outlines.used}
    n_masks = study.outlines.n_masks
    for image in images:
        said = _said(study, image, rows.get(image, []), sides[image], locate)
        items += _items(study, image, said)
        masks = _mask_files(study, image, said)
        used |= set(masks)
        n_masks += len(masks)
    if study.labels is not None:
        used.add(study.labels.path)
    return Found(
        kind=study.outlines.kind + (f" and the table {study.labels.path.name}" if study.labels else ""),
        items=items,
        n_images=len(images),
        n_masks=n_masks,
        used=used,
        tables=(study.labels.use,) if study.labels else (),
        refused={**study.outlines.refused, **missing},
        notes=(*study.outlines.notes, *(study.labels.notes if study.labels else ())),
    )


def _finder(study: Study) -> partial[Path]:
    """Finder of the pictures that the table names."""
    images, masks = (Path(f) if f is not None else None for f in (study.options.images, study.options.masks))
    files = [study.labels.path] if study.labels is not None else []
    finder = PictureFinder(study.root, files, images=images, masks=masks)
    return partial(finder, file=files[0] if files else study.root)


def _rows_by_image(study: Study, locate: partial[Path]) -> tuple[dict[Path, list[TableRow]], dict[str, str]]:
    """Rows of the table by the image that they name, and rows whose image can't be told."""
    rows: dict[Path, list[TableRow]] = {}
    missing: dict[str, str] = {}
    if study.labels is not None:
        for row in study.labels.rows:
            try:
                rows.setdefault(locate(row.image), []).append(row)
            except DatasetError as cause:
                missing[f"{study.labels.path.name}, line {row.line}"] = str(cause)
    return rows, missing


# ------------------------------------------------------------ what is said of an image


def _said(
    study: Study, image: Path, rows: Sequence[TableRow], by_folder: set[Split], locate: partial[Path]
) -> _Said:
    """Gather what table and folders say of an image; a contradiction is a problem of this image alone."""
    try:
        label = _label(study, image, rows)
        said = (study.outlines.splits.get(image), *(row.split for row in rows))
        sides = by_folder | {side for side in said if side}
        if len(sides) > 1:
            raise DatasetError(
                f"{image.name} is on the sides {' and '.join(sorted(sides))} at once, by its folders, "
                "lists and table.",
                "Correct the table, or say what the names of folders mean: --split-values FOLDER=none.",
            )
        patients = {row.patient for row in rows if row.patient}
        if len(patients) > 1:
            raise DatasetError(
                f"{image.name} has {len(patients)} patients in the table.", "Leave the one that holds."
            )
        cines = {row.cine for row in rows if row.cine}
        if len(cines) > 1:
            raise DatasetError(
                f"{image.name} is of {len(cines)} cines in the table.", "Leave the one that holds."
            )
        hospital, clinical = _hospital(rows, image), _clinical(rows, image)
        masks: dict[Path, _Facts] = {}
        for row in rows:
            if row.mask:
                own = row.label if row.label in ("benign", "metastatic") else label
                fields = replace(_facts([row], image), truth=_truth(own))
                mask = locate(row.mask, masks=True)
                if masks.setdefault(mask, fields) != fields:
                    raise DatasetError(
                        f"{mask.name} stands in several rows of the table, which say different things of it. "
                        "Leave the one that holds."
                    )
        facts = _Facts() if masks else _facts(rows, image)
    except DatasetError as cause:
        return _Said(problem=str(cause))
    folder = _patient_folder(study, image) if study.options.patient_folders else None
    return _Said(
        label=label,
        split=sides.pop() if sides else None,
        patient=patients.pop() if patients else folder,
        cine=cines.pop() if cines else None,
        facts=facts,
        masks=masks,
        hospital=hospital,
        scanner=next((row.scanner for row in rows if row.scanner), None),
        clinical=clinical,
    )


def _hospital(rows: Sequence[TableRow], image: Path) -> str | None:
    """Place where an image was made; a table that says two is refused."""
    said = list({same_text(row.hospital): row.hospital for row in rows if row.hospital}.values())
    if len(said) > 1:
        raise DatasetError(
            f"{image.name} is of the hospitals {said[0]} and {said[1]} in {len(rows)} rows.",
            "Leave the one that holds.",
        )
    return said[0] if said else None


def _clinical(rows: Sequence[TableRow], image: Path) -> ClinicalValues:
    """What is known of an image's patient; rows that say different values are refused."""
    known: dict[str, float | str] = {}
    for row in rows:
        for name, value in row.clinical.items():
            if known.setdefault(name, value) != value:
                raise DatasetError(
                    f"{image.name} has {name} {known[name]} and {value} in {len(rows)} rows.",
                    "Leave the value that holds, or leave the column out: it is kept of the patient.",
                )
    return known


def _facts(rows: Sequence[TableRow], image: Path) -> _Facts:
    """Fields of nodes that rows of one image give.

    Raises
    ------
    DatasetError
        If the rows give different values.
    """
    facts = _Facts()
    for row in rows:
        for name in ("level", "side", "truth_source"):
            value, former = getattr(row, name), getattr(facts, name)
            if None not in (value, former) and value != former:
                raise DatasetError(
                    f"{image.name} has the {name.replace('_', ' ')}s {former} and {value} in {len(rows)} "
                    "rows. Give each row the mask of its node, or leave the one that holds."
                )
        facts = _Facts(
            level=row.level or facts.level,
            side=row.side or facts.side,
            truth_source=row.truth_source or facts.truth_source,
        )
    return facts


def _truth(label: str | None) -> Truth:
    """Truth of the nodes of a frame with that label."""
    if label == "metastatic":
        return "metastatic"
    return "benign" if label == "benign" else "unknown"


def _folders(study: Study, image: Path) -> tuple[str, ...]:
    return image.relative_to(study.root).parts[:-1] if image.is_relative_to(study.root) else ()


def _sides(study: Study, images: Sequence[Path]) -> dict[Path, set[Split]]:
    """Sides of each image by the names of its folders: what is called test must not join a training."""
    unknown = UnknownWords(f"The name of a folder in {study.root.name}")
    sides = {image: sides_of(_folders(study, image), study.options.split_values, unknown) for image in images}
    unknown.refuse("words of a split", *SPLIT_OPTION)
    return sides


def _check_classes(study: Study, images: Sequence[Path], rows: Mapping[Path, Sequence[TableRow]]) -> None:
    """Refuse names of folders that hold the word of a class and something else: no class is passed over."""
    unknown = UnknownWords(f"The name of a folder in {study.root.name}")
    for image in images:
        if any(row.label not in (None, "unknown") for row in rows.get(image, ())):
            continue
        for part in _folders(study, image):
            words = re.findall(r"[^\W\d_]+", same_text(part))
            if (
                meaning_of(part, study.options.label_values) is None
                and _class_name(part, study.options) is None
                and any(meaning_of(word) in ("benign", "metastatic") for word in words)
            ):
                unknown.add(part)
    unknown.refuse("words of a class", "--label-values", "benign, metastatic, no-node or unknown")


def _patient_folder(study: Study, image: Path) -> str | None:
    """Name of the folder that stands for the patient: the deepest that is no role, class or split."""
    own, unknown = study.options.split_values, UnknownWords("")
    for part in reversed(_folders(study, image)):
        if role_of(part) or _class_name(part, study.options) is not None:
            continue
        if not sides_of([part], own, unknown):
            return part
    return None


def _class_name(part: str, options: ImportOptions) -> str | None:
    truth = truth_of(part, options.label_values)
    if truth is None:  # images_benign, 2_malignant
        words = [word for word in re.findall(r"[^\W\d_]+", same_text(part)) if not role_of(word)]
        truth = truth_of(" ".join(words), options.label_values) if words else None
    return truth if truth in ("benign", "metastatic", "no-node") and same_text(part) != "none" else None


def _label(study: Study, image: Path, rows: Sequence[TableRow]) -> str:
    """Label of an image, by its folders and its rows."""
    folders = {name for part in _folders(study, image) if (name := _class_name(part, study.options))}
    if len(folders) > 1:
        raise DatasetError(
            f"{'/'.join(image.parts[-3:])} lies in folders of the classes {' and '.join(sorted(folders))}.",
            "Put it into one, or give a table.",
        )
    said = {str(row.label) for row in rows if row.label not in (None, "unknown")}
    if len(said) > 1 and not all(row.mask for row in rows):
        raise DatasetError(
            f"{image.name} has the labels {' and '.join(sorted(said))} in {len(rows)} rows.",
            "Give each row the mask of its node, or leave the one that holds.",
        )
    label = said.pop() if len(said) == 1 else "unknown"
    folder = folders.pop() if folders else "unknown"
    if "unknown" not in (label, folder) and label != folder:
        raise DatasetError(
            f"{image.name} lies in a folder of the class {folder}, but the table says {label}.",
            "Correct one of them.",
        )
    return folder if label == "unknown" else label


# ------------------------------------------------------------ one frame


def _items(study: Study, image: Path, said: _Said) -> list[Incoming]:
    """One item a frame: a stack that has a mask for each of its frames is all of them."""
    name = "/".join((*_folders(study, image), image.name))
    if (frames := study.outlines.frames.get(image)) is not None:
        return [
            Incoming(
                name=f"{name}, frame {index + 1}", read=partial(_parcel, study, image, said, index, None)
            )
            for index in frames
        ]
    pages = max((count_pages(path) for path in _mask_files(study, image, said)), default=1)
    if pages == 1:
        return [Incoming(name=name, read=partial(_parcel, study, image, said, None, 1))]
    return [
        Incoming(name=f"{name}, frame {index + 1}", read=partial(_parcel, study, image, said, index, pages))
        for index in range(pages)
    ]


def _mask_files(study: Study, image: Path, said: _Said) -> list[Path]:
    draw = study.outlines.draw.get(image)
    if isinstance(draw, partial) and draw.func is draw_masks:
        return list(draw.args[1])
    return list(said.masks)


def _parcel(study: Study, image: Path, said: _Said, index: int | None, pages: int | None) -> ImportedFrame:
    if said.problem is not None:
        raise DatasetError(said.problem)
    truth = _truth(said.label)
    has_outlines = image in study.outlines.draw or bool(said.masks)
    with open_source(path_inside(image, study.roots)) as source:
        frame, notes = _frame(source, index, pages, has_outlines)
        if looks_like_a_mask(frame.pixels):
            few = "two values" if has_two_values(frame.pixels) else "few flat areas"
            raise DatasetError(
                f"{image.name} has {few} alone, as a mask has and no ultrasound picture.",
                "If it is the mask of an image, name it like that image with _mask at its end, or give a "
                "table.",
            )
        outlines = _outlines(study, image, said, frame, truth)
    nodes = outlines.nodes
    if said.label == "no-node" and nodes:
        raise DatasetError(
            f"{image.name} is labelled as showing no node, but its mask shows {len(nodes)}.",
            'Correct one of them; or say what the label means, for example --label-values "normal=benign".',
        )
    notes += outlines.notes
    if not nodes and truth != "unknown":
        nodes = (Node(id=1, status="accepted", truth=truth),)
        notes += ("its mask is empty: it trains the class alone",) if has_outlines else ()
    elif not nodes and has_outlines and said.label == "unknown" and not outlines.judged:
        notes += ("its mask is empty, and nothing says that it shows no node: it waits to be looked at",)
    nodes = said.facts.of(nodes)
    looked = said.label == "no-node" or (outlines.judged and not nodes)
    status: Status = status_of(nodes) if nodes else "no-node" if looked else "predicted"
    annotation = Annotation(
        frame=replace(frame, channels=outlines.channels),
        instances=outlines.instances,
        nodes=nodes,
        status=status,
        annotator="import",
        not_judged=outlines.not_judged,
    )
    about = Provenance(
        patient=said.patient,
        clip=said.cine,
        who="import",
        kind="import",
        split=said.split,
        action="imported",
        extent=study.extent,
        hospital=said.hospital,
        scanner=said.scanner,
        clinical=dict(said.clinical),
    )
    return ImportedFrame(annotation=annotation, about=about, notes=notes, has_unread=outlines.has_unread)


def _frame(
    source: FrameSource, index: int | None, pages: int | None, has_outlines: bool
) -> tuple[Frame, tuple[str, ...]]:
    """The frame of a file, and what to know of it and of those that are not taken."""
    n, name = source.n_frames, source.path.name
    if index is not None and pages not in (None, n):
        raise DatasetError(f"{name} has {counted(n, 'frame')}, its mask {pages}. Export both with as many.")
    if index is None and n > 1 and has_outlines:
        raise DatasetError(
            f"{name} has {n} frames and outlines for one, and nothing says which frame they are of.",
            "Export that frame as a picture, or give a mask with a page for each frame.",
        )
    frame = source[index or 0]
    notes = tuple(warning.rstrip(".") for warning in frame.warnings)
    if index is None and n > 1:
        notes += (f"one of its {n} frames is taken: export others that you want as pictures",)
    return frame, notes


def _outlines(study: Study, image: Path, said: _Said, frame: Frame, truth: Truth) -> Drawn:
    """Nodes of a frame: of the masks that its rows name, else of what lies beside it."""
    if said.masks:
        meanings = mask_meanings(study.options)
        parts = []
        for path, facts in said.masks.items():
            part = read_on(path, frame, meanings, study.options, facts.truth)
            parts.append(replace(part, nodes=facts.of(part.nodes)))
        return mask_together(image, parts, list(said.masks))
    draw = study.outlines.draw.get(image)
    if draw is None:
        return Drawn(instances=np.zeros(frame.shape, dtype=np.uint8), nodes=())
    made = draw(frame)
    nodes = tuple(replace(node, truth=truth) if node.truth == "unknown" else node for node in made.nodes)
    if truth != "unknown" and (against := {node.truth for node in nodes} - {truth}):
        raise DatasetError(
            f"{image.name} is labelled {truth}, but a node of its outlines {against.pop()}. Correct one of "
            "them."
        )
    return replace(made, nodes=nodes)
