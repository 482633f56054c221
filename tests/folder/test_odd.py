"""Odd values in the files of a folder: what can't be read is one named fault, and the rest goes on."""

import json
import random

import numpy as np
import pytest

from napari_cln.annotation import Annotation, Node
from napari_cln.cli import main
from napari_cln.disk.seals import sealed, with_checksum
from napari_cln.errors import ClnError, DatasetError, ExportError
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.decisions import undecided
from napari_cln.folder.formats.exchange import export_study, import_study
from napari_cln.folder.health.check import check_study
from napari_cln.folder.queue import rank, signs_of_case
from napari_cln.folder.readers import pair_readings, pair_truths, read_annotation, save_reading
from napari_cln.folder.screens import confirm_screens, contact_sheet, unseen_screens
from napari_cln.folder.split.frozen import SEAL, frozen_split
from napari_cln.training.data import Samples
from napari_cln.types import Frame, PrepareConfig

ODD = (
    None, True, False, 0, 1, -1, 256, 10**30, 0.5, -0.0, 1e-320, 1e308, "", "x", "\ud800", "a\0b", "../../x",
    "9" * 70_000, [], [1], [[]], {}, {"id": 1}, [None, None], "2026-13-45T99:00:00Z",
)  # fmt: skip
RAW = (b"NaN", b"-Infinity", b"1e999", b"[" * 3000 + b"]" * 3000, b'"\\ud800"', b"\xff", b"")


@pytest.fixture
def tiny(tmp_path, necks):
    """Four small frames of four patients, a second reading, a former one, folds, and a stroke set aside."""
    folder = TrainingFolder.create(tmp_path / "tiny")
    for n in range(4):
        frame = Frame(
            pixels=necks[n][0][60:108, 60:116].copy(), scan_area=(0, 0, 48, 56), spacing_mm=(0.1, 0.2)
        )
        instances = np.zeros((48, 56), np.uint8)
        instances[5:20, 5 : 30 + n] = 1
        nodes = (Node(id=1, truth="metastatic" if n % 2 else "benign", level="II", p_malignant=0.25),)
        annotation = Annotation(frame=frame, instances=instances, nodes=nodes, note="hilum", seconds=3.0)
        folder.save(annotation, patient=f"P{n}", cine=f"c{n}", who="r1")
    for _ in range(2):
        save_reading(folder, annotation, "r2")
    folder.save(annotation, who="r1")
    folder.autosave.keep(annotation, folder.identify(frame), who="r3")
    frozen_split(folder, 2)
    confirm_screens(folder, unseen_screens(folder), "r1")
    return folder


def read_all(folder):
    """All that reads a folder, one after the other; each may refuse in a sentence."""

    def attempt(run):
        try:
            return run()
        except ClnError as error:
            assert str(folder.path) not in str(error) and len(str(error)) < 900
            return None

    attempt(lambda: check_study(folder))
    attempt(lambda: frozen_split(folder, freeze=False))
    attempt(lambda: Samples.from_cases(folder, folder.cases(), PrepareConfig()))
    for case_id in folder.ids():
        attempt(lambda case_id=case_id: undecided(folder, case_id))
        attempt(lambda case_id=case_id: folder.revisions(case_id))
        attempt(lambda case_id=case_id: rank([signs_of_case(folder.case(case_id), novelty=0.9)]))
        attempt(lambda case_id=case_id: read_annotation(folder, folder.case(case_id)))
    attempt(lambda: (list(pair_readings(folder, "r2")), pair_truths(folder, "r2")))
    attempt(lambda: contact_sheet(folder, folder.ids()))
    attempt(lambda: [folder.autosave.discard(stroke) for stroke in folder.autosave.list()])
    for name in ("nnunet", "coco", "csv"):
        out = folder.path.with_name(name)
        if attempt(lambda name=name, out=out: list(export_study(folder, name, out))):
            list(import_study(out, folder.path.with_name(f"{name}-again")))
    list(import_study(folder.path, folder.path.with_name("copy")))


def places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def with_odd(text, rng):
    """A file with an odd value somewhere; with a checksum that holds, with none, or no JSON at all."""
    value = json.loads(text)
    holder = value if isinstance(value, dict) else value[-1]
    holder.pop("checksum", None)
    *way, last = rng.choice([path for path in places(value) if path])
    inner = value
    for key in way:
        inner = inner[key]
    kind = rng.random()
    inner[last] = "@" if kind < 0.2 else rng.choice(ODD)
    if kind < 0.2:
        return json.dumps(value).encode().replace(b'"@"', rng.choice(RAW))
    if kind < 0.6:
        try:
            return (
                with_checksum(value)
                if holder is value
                else sealed(json.dumps(value, indent=1).encode(), SEAL)
            )
        except ValueError:  # half of a character
            pass
    return json.dumps(value).encode()


FILES = (
    "records/*[0-9a-f].json",
    "records/*.r2.json",
    "revisions/*/*-1.json",
    "revisions/*/*.json.reading",
    "dataset.json",
    "splits_final.json",
    ".cln/dataset.json",
    ".cln/autosave/*.json",
)


@pytest.mark.slow
@pytest.mark.parametrize("pattern", FILES)
def test_an_odd_value_in_any_file_ends_nothing_in_a_traceback(tiny, pattern, capsys):
    rng = random.Random(pattern)
    was = {path: path.read_bytes() for path in tiny.path.rglob("*") if path.is_file()}
    path = max(tiny.path.glob(pattern), key=lambda path: len(list(path.parent.glob(f"{path.name[:16]}*"))))
    for _ in range(6):
        path.write_bytes(with_odd(was[path], rng))
        try:
            read_all(TrainingFolder.open(tiny.path))
        except DatasetError as error:
            assert "dataset.json" in str(error) and pattern == "dataset.json"

        assert main(["check", str(tiny.path), "--repair"]) in (0, 1)

        assert not [fault for fault in check_study(tiny.path).faults if fault.remedy]
        tiny.save(
            Annotation(frame=Frame(pixels=np.eye(48, dtype=np.uint8)), instances=np.eye(48, dtype=np.uint8))
        )
        for old in [path for path in tiny.path.rglob("*") if path.is_file()]:
            old.unlink()
        for old, text in was.items():
            old.write_bytes(text)


HOSTILE = ("record_mask_sha_list", "record_note_nan", "record_source_true", "record_spacing_text")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_record_is_one_named_fault_and_the_other_frames_go_on(study, data, tmp_path, name, capsys):
    case_id = study.ids()[0]
    text = (data / "cases" / "hostile_records" / f"{name}.json").read_bytes()
    study.layout.record(case_id).write_bytes(text.replace(b"2e4460592837affe", case_id.encode()))

    assert len(study.cases()) == 11
    (fault,) = (fault for fault in check_study(study).faults if fault.severity == "error")
    assert (fault.kind, fault.id) == ("record", case_id)
    assert len([step for step in import_study(study.path, tmp_path / "copy") if step.case]) == 11
    assert sum(len(fold.validation) for fold in frozen_split(study, 5)) == 11
    with pytest.raises(ExportError, match=rf"Nothing was exported: {case_id}\.json"):
        list(export_study(study, "coco", tmp_path / "out"))
    assert main(["check", str(study.path), "--repair"]) == 0

    assert len(list(export_study(study, "coco", tmp_path / "out"))) == 11


@pytest.mark.parametrize("folder_of", ["images", "labels"])
def test_a_picture_that_can_not_be_read_is_named_by_the_export_and_by_the_training(
    study, tmp_path, folder_of
):
    case = study.cases()[0]
    path = case.image if folder_of == "images" else case.mask
    path.write_bytes(bytes(100))

    with pytest.raises(ExportError, match=rf"Nothing was exported: {path.name} is not a whole PNG"):
        list(export_study(study, "csv", tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    with pytest.raises(DatasetError, match=rf"{path.name} is not a whole PNG"):
        Samples.from_cases(study, study.cases(), PrepareConfig())
    assert study.read_instances(study.cases()[1]).any()
