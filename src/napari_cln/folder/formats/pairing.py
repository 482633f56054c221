"""Pairs of image and mask, by the longest common part of their paths.

A file's role, image or mask, is what its folders say (``P01/mask/1.png``), else a word at either end of
its name beside a picture without it (``scan.png``, ``scan_mask_1.png``). What is left of the name must
be the same for both; of several pictures with that name, the one whose folders agree most is meant.
Where that is not one, both names are told and neither is taken: a pairing is never a guess.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from os.path import normpath
from pathlib import Path

from ...disk.atomic import read_bytes
from ...disk.tables import decode_text, is_hidden
from ...errors import DatasetError, counted, listed
from ...io.signatures import HEAD_BYTES, has_no_frames, kind_of_file
from ...io.volumes import is_volume
from ...types import Frame, Split
from .imported import Drawn, below, path_inside, refuse
from .meaning import UnknownWords, same_text, split_of

IMAGES = (".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".tif", ".tiff", ".dcm", ".gif", ".webp")
MASK_WORDS = frozenset(
    ("mask", "masks", "seg", "segs", "segmentation", "segmentations", "label", "labels", "annotation",
     "annotations", "gt", "groundtruth", "roi", "rois", "outline", "outlines", "contour", "contours",
     "maske", "masken", "segmentationclass", "segmentationobject", "labelstr", "labelsts")
)  # fmt: skip
IMAGE_WORDS = frozenset(
    ("image", "images", "img", "imgs", "us", "ultrasound", "bmode", "picture", "pictures", "jpegimages",
     "original", "originals", "bild", "bilder", "imaging", "imagestr", "imagests")
)  # fmt: skip
FILLERS = frozenset(("cp", "ground", "truth", "binary", "the", "and", "png", "files"))
"""Words that say nothing by themselves beside one that says the role: ``cp_masks``, ``ground_truth``."""
BESIDE_SIDES = frozenset(("instance", "instances", "coco", "list", "autosplit"))
"""Words beside a side in the name of a file of annotations or of a list: ``instances_train2017``."""
MAX_BYTES = 2**27
"""Of a file of annotations, or of a list."""

_SIGN = r"[ _\-.]+"
_MASK = "|".join(sorted(MASK_WORDS, key=len, reverse=True))
_IMAGE = "|".join(sorted(IMAGE_WORDS, key=len, reverse=True))
_MASK_AT_END = re.compile(rf"(.+?){_SIGN}(?:(?:cp|ground|binary){_SIGN})?(?:{_MASK})(?:[ _\-.]*(\d+))?")
_MASK_AT_START = re.compile(rf"(?:{_MASK}){_SIGN}(.+?)()")
_IMAGE_AT_END = re.compile(rf"(.+?){_SIGN}(?:{_IMAGE})")
_IMAGE_AT_START = re.compile(rf"(?:{_IMAGE}){_SIGN}(.+)")


@dataclass(frozen=True, kw_only=True)
class Named:
    """A picture by what its path says.

    Parameters
    ----------
    path : Path
    role : str
        ``mask`` or ``image``, where its folders say it; else empty.
    stem : str
        Its name in one spelling, without the ending.
    base : str
        The stem without a word for a mask at one of its ends; the stem where there is none.
    number : str
        Number of a mask among several of one image.
    folders : tuple of str
        Names of its folders without those of the role.
    """

    path: Path
    role: str
    stem: str
    base: str
    number: str
    folders: tuple[str, ...]

    @property
    def is_named_mask(self) -> bool:
        """Tell whether a word at one end of the name says that it is a mask."""
        return self.base != self.stem

    @property
    def image_names(self) -> set[str]:
        """Names by which a mask may call it, if it is an image."""
        if set(_words(self.stem)) <= IMAGE_WORDS and _words(self.stem):
            return {_key(self.stem), ""}  # image.png beside mask.png
        match = _IMAGE_AT_END.fullmatch(self.stem) or _IMAGE_AT_START.fullmatch(self.stem)
        return {_key(self.stem), _key(match[1])} if match else {_key(self.stem)}

    @property
    def mask_names(self) -> set[str]:
        """Names of the image that it may belong to, if it is a mask."""
        return {_key(name) for name in (self.stem, self.base, f"{self.base} {self.number}")}


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Images with their masks, and what could not be paired.

    Parameters
    ----------
    images : list of Path
    masks : dict of Path to list of Path
    refused : dict of Path to str
        Images whose mask is not certain, and why.
    lonely : list of Path
        Masks without an image.
    """

    images: list[Path] = field(default_factory=list)
    masks: dict[Path, list[Path]] = field(default_factory=dict)
    refused: dict[Path, str] = field(default_factory=dict)
    lonely: list[Path] = field(default_factory=list)


def pictures_below(folder: Path) -> list[Path]:
    """Picture files below a folder, sorted; hidden ones, other programs' own, and DICOM files that are no
    images are left out."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if not is_hidden(path)
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and is_picture(path)
    ]


def is_picture(path: Path) -> bool:
    """Tell whether a path is a picture file: by its ending, as a volume, or as DICOM without an ending.

    DICOM files that refer to images and are none are no pictures, whatever their ending.
    """
    ending = path.suffix.casefold()
    if is_volume(path) or (ending in IMAGES and ending != ".dcm"):
        return path.is_file()
    if (ending != ".dcm" and ending.strip(".0123456789")) or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return ending == ".dcm"
    return (ending == ".dcm" or kind_of_file(head) == "dicom") and not has_no_frames(head)


def stem_of(path: Path) -> str:
    """A file's name without its ending; of ``a.seg.nrrd`` the word for a mask stays."""
    return path.name[: -len(".nii.gz")] if path.name.casefold().endswith(".nii.gz") else path.stem


def role_of(part: str) -> str:
    """Role that the name of a folder says: ``mask``, ``image`` or nothing."""
    words = set(_words(part))
    if words & MASK_WORDS or {"ground", "truth"} <= words:
        return "mask"
    return "image" if words & IMAGE_WORDS else ""


def sides_of(names: Iterable[str], own: Mapping[str, str], unknown: UnknownWords) -> set[Split]:
    """Sides that names of folders and files say; what only resembles one is noted as not known.

    Words of a role and years say no side of their own: ``images_test``, ``instances_train2017``.

    Parameters
    ----------
    names : iterable of str
        Without endings.
    own : mapping of str to str
        Meaning of words as the user gave it.
    unknown : UnknownWords
        Takes the names that hold the word of a side and something else.
    """
    sides = set()
    for name in names:
        known, side = split_of(name, own)
        if not known:
            words = _words(re.sub(r"(?<!\d)(19|20)\d\d(?!\d)", "_", name))
            rest = [word for word in words if not role_of(word) and word not in BESIDE_SIDES]
            known, side = split_of(" ".join(rest), own)
        if side is not None:
            sides.add(side)
        elif not known and any(split_of(word)[1] for word in re.findall(r"[^\W\d_]+", same_text(name))):
            unknown.add(name)
    return sides


def read_text(path: Path, most: int) -> str:
    """Text of a file of at most so many bytes, in whatever encoding.

    Raises
    ------
    DatasetError
        If it is none, or can't be read.
    """
    try:
        return decode_text(read_bytes(path, most))[0]
    except UnicodeDecodeError as cause:
        raise DatasetError(f"{path.name} is no text that can be read. Save it as UTF-8.") from cause
    except OSError as cause:
        raise DatasetError(f"{path.name} can't be read ({cause.strerror}). Check its permissions.") from cause


def sides_by_lists(
    lists: Mapping[Path, set[Split]],
    root: Path,
    images: Path | None,
    pictures: Sequence[Path],
    notes: list[str],
) -> dict[Path, set[Split]]:
    """Sides of pictures by lists, of which each line is a path of a picture.

    Parameters
    ----------
    lists : mapping of Path to set of str
        Sides that each list stands for.
    root : Path
        The study.
    images : Path, optional
        Folder of the images, where the user named one.
    pictures : sequence of Path
        The images of the study.
    notes : list of str
        Takes the lines for which none was found.
    """
    locate, known = PictureFinder(root, list(lists), images=images), set(pictures)
    sides: dict[Path, set[Split]] = defaultdict(set)
    for path, said in lists.items():
        strays = []
        for line in filter(None, map(str.strip, read_text(path, MAX_BYTES).splitlines())):
            image = None
            for name in dict.fromkeys((line, re.sub(r"\s+-?\d$", "", line))):  # "name -1" in lists of a class
                with suppress(DatasetError):
                    image = image or locate(name, path)
            if image in known:
                sides[image].update(said)
            else:
                strays.append(line[:60])
        if strays:
            notes.append(
                f"{below(path, root)} has {counted(len(strays), 'line')} for which no image, or more than "
                f"one, was found: {listed(strays, 8)}"
            )
    return sides


def only_sides(
    sides: Mapping[Path, set[Split]], draw: dict[Path, Callable[[Frame], Drawn]]
) -> dict[Path, Split]:
    """The side of each image that lists put on one; those that they put on two are refused.

    Parameters
    ----------
    sides : mapping of Path to set of str
    draw : dict of Path to callable
        Of the study's :class:`.Outlines`; takes the refusals.
    """
    for image, several in sides.items():
        if len(several) > 1:
            reason = (
                f"{image.name} is in the lists of {' and '.join(sorted(several))}. Leave the one that holds."
            )
            draw[image] = partial(refuse, reason)
    return {image: next(iter(side)) for image, side in sides.items() if len(side) == 1}


def lies_among_masks(path: Path, root: Path) -> bool:
    """True where a folder between the study and a file is called as folders of masks are."""
    parts = path.relative_to(root).parts[:-1] if path.is_relative_to(root) else ()
    return any(role_of(part) == "mask" for part in parts)


def pair_masks(root: Path, images: Path | None = None, masks: Path | None = None) -> Pairs:
    """Find images and their masks.

    Parameters
    ----------
    root : Path
        The study.
    images, masks : Path, optional
        Folders that the user named; images are looked for in theirs alone.

    Returns
    -------
    Pairs
    """
    places = [folder for folder in (images or root, masks) if folder is not None]
    paths = sorted({path for folder in places for path in pictures_below(folder)})
    files = [_named(path, root, images, masks) for path in paths]
    named_beside = {
        (name, file.path.parent) for file in files if _may_be_image(file) for name in file.image_names
    }
    pictures: list[Named] = []
    outlines: list[Named] = []
    for file in files:
        # In a folder of images, a mask is one only beside its image; elsewhere its name says it.
        beside = any((name, file.path.parent) in named_beside for name in file.mask_names - {_key(file.stem)})
        is_mask = file.role == "mask" or (file.is_named_mask and (beside or file.role == ""))
        (outlines if is_mask else pictures).append(file)
    return _match(pictures, outlines)


def match_files(root: Path, images: Sequence[Path], outlines: Sequence[Path]) -> Pairs:
    """Find the image of each outline file, where it is known which file is which.

    Parameters
    ----------
    root : Path
        The study.
    images, outlines : sequence of Path

    Returns
    -------
    Pairs
    """
    return _match(
        [_named(path, root, None, None) for path in images],
        [_named(path, root, None, None) for path in outlines],
    )


def _may_be_image(file: Named) -> bool:
    return file.role == "image" or (file.role == "" and not file.is_named_mask)


def _named(path: Path, root: Path, images: Path | None, masks: Path | None) -> Named:
    said = [
        (len(folder.parts), role, folder)
        for folder, role in ((images, "image"), (masks, "mask"))
        if folder is not None and path.is_relative_to(folder)
    ]
    _, role, base = max(said, default=(0, "", root), key=lambda item: item[0])
    # Below a folder that the user named, its own folders alone tell patients apart.
    parts = path.relative_to(base).parts[:-1] if path.is_relative_to(base) else ()
    if not role:
        role = next((found for part in reversed(parts) if (found := role_of(part))), "")
    stem = same_text(stem_of(path))
    match = _MASK_AT_END.fullmatch(stem) or _MASK_AT_START.fullmatch(stem)
    return Named(
        path=path,
        role=role,
        stem=stem,
        base=match[1] if match else "" if stem in MASK_WORDS else stem,
        number=(match[2] or "") if match else "",
        folders=tuple(rest for part in parts if (rest := _without_role(part))),
    )


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", same_text(text))


def _key(name: str) -> str:
    """A name without the signs by which its spellings differ."""
    return " ".join(_words(name)) or name


def _without_role(part: str) -> str:
    """A folder's name without the words of a role: ``train_masks`` is ``train``."""
    words = _words(part)
    if role_of(part):
        words = [word for word in words if word not in MASK_WORDS | IMAGE_WORDS | FILLERS]
    return " ".join(words)


def _match(pictures: Sequence[Named], outlines: Sequence[Named]) -> Pairs:
    pairs = Pairs(images=[file.path for file in pictures])
    by_name: dict[str, list[Named]] = defaultdict(list)
    for file in pictures:
        for name in file.image_names:
            by_name[name].append(file)
    given: dict[Path, list[Named]] = defaultdict(list)
    for mask in outlines:
        candidates = list({file.path: file for name in mask.mask_names for file in by_name[name]}.values())
        if not candidates:
            pairs.lonely.append(mask.path)
            continue
        fitting = [(_fit(file, mask), file) for file in candidates if _agree(file.folders, mask.folders)]
        best = max((fit for fit, _ in fitting), default=None)
        chosen = [file for fit, file in fitting if fit == best]
        if len(chosen) == 1:
            given[chosen[0].path].append(mask)
            continue
        pairs.lonely.append(mask.path)
        about = chosen or candidates
        why = "fit it equally well" if chosen else f"{'lies' if len(about) == 1 else 'lie'} in another folder"
        for file in about:
            pairs.refused[file.path] = (
                f"the mask {_short(mask.path)} has its name, but {listed(_short(f.path) for f in about)} "
                f"{why}. Give a table with the columns image and mask, or put each mask into a folder named "
                "like its image's."
            )
    for image, masks in given.items():
        # A stray mask elsewhere does not disturb an image that has its own.
        pairs.refused.pop(image, None)
        if len({mask.path.parent for mask in masks}) > 1 or len({mask.number for mask in masks}) < len(masks):
            pairs.refused[image] = (
                f"{len(masks)} masks fit it: {listed(_short(mask.path) for mask in masks)}. Give a table "
                "with the columns image and mask, or leave those out that do not hold."
            )
        else:
            pairs.masks[image] = [mask.path for mask in masks]
    return pairs


def _agree(image: Sequence[str], mask: Sequence[str]) -> bool:
    """Tell whether the folders of one are among those of the other, in their order."""
    return _among(image, mask) or _among(mask, image)


def _among(few: Iterable[str], many: Sequence[str]) -> bool:
    rest = iter(many)
    return all(any(part == other for other in rest) for part in few)


def _fit(image: Named, mask: Named) -> tuple[int, bool, bool]:
    """Likeness of two paths: folders in common, then the name as it is spelt, then its case."""
    common = min(len(image.folders), len(mask.folders))
    case = image.path.stem in mask.path.stem
    return common, image.stem in (mask.stem, mask.base), case


def _short(path: Path) -> str:
    """The end of a path, enough to tell two apart."""
    return "/".join(path.parts[-3:])


# ------------------------------------------------------------ pictures that a text names


class PictureFinder:
    """Finds the picture that a file names: by its path, else by its name and the end of its path.

    A path starts at the folder of the file that names it or at the study, or at the folder that the user
    named. A name alone is looked for in the lowest folder around that file that holds pictures, and never in
    that of another of the files: of pictures called alike in the folders of several patients, each speaks
    of its own.

    Parameters
    ----------
    root : Path
        The study.
    files : sequence of Path
        Files that name pictures: a table, annotations.
    images, masks : Path, optional
        Folders that the user named; images are looked for in theirs alone.
    """

    def __init__(
        self, root: Path, files: Sequence[Path], *, images: Path | None = None, masks: Path | None = None
    ) -> None:
        self._root, self._named = root, {False: images, True: masks}
        self._near = {file: _spelled_below(root, file.parent) for file in files}
        elsewhere = {near: None for near in self._near.values() if not near.is_relative_to(root)}
        self._roots = (root, *(folder for folder in (images, masks, *elsewhere) if folder is not None))
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        self._holders: dict[bool, set[Path]] = {False: set(), True: set()}
        self._folders: set[str] = set()
        folders = [folder for folder in dict.fromkeys(self._roots) if folder.is_dir()] if files else []
        found = {path: folder for folder in reversed(folders) for path in pictures_below(folder)}
        for path, folder in found.items():
            stem = same_text(stem_of(path))
            for name in {same_text(path.name), stem, stem.removesuffix("_0000")}:
                self._by_name[name].append(path)
            file = _named(path, root, images, masks)
            self._holders[file.role == "mask" or (file.role == "" and file.is_named_mask)].update(
                path.parents
            )
            self._folders.update(map(same_text, path.relative_to(folder).parts[:-1]))
        self._places = {
            masks: {place for file in files if (place := self._around(file, masks)) is not None}
            for masks in (False, True)
        }

    def __call__(self, name: str, file: Path, *, masks: bool = False) -> Path:
        """Return the picture of a name.

        Parameters
        ----------
        name : str
        file : Path
            The one of ``files`` that names it.
        masks : bool
            It is a mask: of several, prefer one among masks rather than one among images.

        Raises
        ------
        DatasetError
            If there is none or more than one, or it lies outside the study.
        """
        plain = Path(name.replace("\\", "/"))
        around = self._around(file, masks)
        try:
            for start in self._starts(file, masks):
                candidate = Path(normpath(start / plain))
                is_said = len(plain.parts) > 1 or around is None or candidate.is_relative_to(around)
                if is_said and candidate.is_file():
                    return path_inside(candidate, self._roots)
        except (OSError, ValueError) as cause:
            raise DatasetError(
                f"{plain.name[:80]} is no name that a file can have.", "Correct it."
            ) from cause
        near = self._near[file]
        others = [
            place
            for place in self._places[masks]
            if place != around and not (near.is_relative_to(place) or place.is_relative_to(near))
        ]
        everywhere = self._by_name.get(same_text(plain.name), [])
        wanted = [same_text(part) for part in plain.parts]
        # Where a folder of the path is one of the study's, a picture in another is another picture.
        folders = self._folders & set(wanted[:-1])
        found = [
            path
            for path in everywhere
            if (around is None or path.is_relative_to(around))
            and not any(path.is_relative_to(place) for place in others)
            and folders <= {same_text(part) for part in path.parts[:-1]}
        ]
        if len(found) > 1:
            longest = max(_same_end(path, wanted) for path in found)
            found = [path for path in found if _same_end(path, wanted) == longest]
        if len(found) > 1:
            found = [path for path in found if lies_among_masks(path, self._root) == masks] or found
        if len(found) != 1:
            places = f": {listed(map(_short, found or everywhere))}" if everywhere else ""
            where = (around or self._root).name + (", only elsewhere" if everywhere and not found else "")
            raise DatasetError(
                f"{plain.name[:80]} was found {len(found)} times in {where}{places}.",
                "Give its path from the file that names it, or the folder of the images with --images.",
            )
        return path_inside(found[0], self._roots)

    def _starts(self, file: Path, masks: bool) -> list[Path]:
        """Folders at which a path may start, the one that is meant first."""
        near, named = self._near[file], self._named[masks]
        if not near.is_relative_to(self._root):
            starts = [named, self._root, near]
        elif named is None or near.is_relative_to(named):
            starts = [near, named, self._root]
        else:
            starts = [named, near, self._root]
        return [start for start in starts if start is not None]

    def _around(self, file: Path, masks: bool) -> Path | None:
        """Folder in which a name alone is looked for; None for all."""
        near, named = self._near[file], self._named[masks]
        if not near.is_relative_to(self._root):
            return named
        holders = self._holders[masks]
        inside = [folder for folder in (near, *near.parents) if folder.is_relative_to(named or self._root)]
        return next((folder for folder in inside if folder in holders), named)


def _spelled_below(root: Path, folder: Path) -> Path:
    """A folder by its path from the study, however it was given; itself where it lies elsewhere."""
    if folder.is_relative_to(root) or not folder.resolve().is_relative_to(root.resolve()):
        return folder
    return root / folder.resolve().relative_to(root.resolve())


def _same_end(path: Path, wanted: Sequence[str]) -> int:
    """Number of folders that two paths share, from the end on."""
    length = 0
    for part, other in zip(reversed(path.parts[:-1]), reversed(wanted[:-1]), strict=False):
        if same_text(part) != other:
            break
        length += 1
    return length
