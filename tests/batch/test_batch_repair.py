"""Damage by a power cut, an editor or a spreadsheet is told of and done again."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from batch_runs import run, table, written
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from napari_cln.batch.masks import MaskFile
from napari_cln.batch.names import sources_outside
from napari_cln.batch.part import segment_part
from napari_cln.batch.rows import COLUMNS, checksum
from napari_cln.errors import FrameReadError, RunError
from napari_cln.network.inference import Segmenter

MODES = {"png": {"overlays": True}, "rle": {"masks": "rle"}, "hash": {"names": "hash"}}


@pytest.fixture(scope="module")
def results(tmp_path_factory, frames, networks) -> dict[str, tuple[Path, Path]]:
    """A study with a cine and a damaged file, and a whole folder of results in each way to keep masks."""
    folder = tmp_path_factory.mktemp("results")
    study = folder / "study"
    (study / "left").mkdir(parents=True)
    pages = [Image.fromarray(pixels[:80, :80]) for pixels in frames]
    pages[0].save(study / "cine.tif", save_all=True, append_images=pages[1:])
    for name, pixels in zip(("=a.png", "left/x y.png"), frames, strict=False):
        Image.fromarray(pixels).save(study / name)
    (study / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for mode, options in MODES.items():
        for _ in range(2):  # the second one leaves the record as a rerun does
            run(study, folder / mode, networks["first"], **options)
    return {mode: (study, folder / mode) for mode in MODES}


CHANGES = st.sampled_from(["zeros", "cut", "flip", "swap", "nul", "junk", "lost", "twice", "empty", "half"])


def changed(data: bytes, how: str, where: float, size: int) -> bytes:
    at = int(where * len(data))
    lines = data.split(b"\n")
    line = int(where * len(lines)) % len(lines)
    match how:
        case "zeros":
            return data[:at] + bytes(len(data[at : at + size])) + data[at + size :]
        case "cut":
            return data[:at]
        case "flip" if at < len(data):
            return data[:at] + bytes([data[at] ^ 1 << size % 8]) + data[at + 1 :]
        case "swap":
            return b"\n".join([*lines[line:], *lines[:line]])
        case "nul":
            return data[:at] + b"\0" + data[at:]
        case "junk":
            return data[:at] + bytes(range(256)) * size + data[at:]
        case "lost":
            return b"\n".join(lines[:line] + lines[line + 1 :])
        case "twice":
            return b"\n".join(lines[: line + 1] + lines[line:])
        case "half":
            return data[:at] + b"\xc3" + data[at:]
    return b""


@pytest.mark.slow
@settings(max_examples=25)
@given(
    mode=st.sampled_from(sorted(MODES)),
    file=st.floats(0, 1, exclude_max=True),
    how=CHANGES,
    where=st.floats(0, 1),
    size=st.integers(1, 600),
)
def test_any_damage_of_any_file_is_repaired_by_a_rerun(
    results, networks, tmp_path_factory, mode, file, how, where, size
):
    study, whole = results[mode]
    out = Path(shutil.copytree(whole, tmp_path_factory.mktemp("damaged") / "out"))
    files = sorted(path for path in out.rglob("*") if path.is_file() and path.name != ".lock")
    path = files[int(file * len(files))]
    before = path.read_bytes()
    path.write_bytes(changed(before, how, where, size))

    told = run(study, out, networks["first"], **MODES[mode])

    assert written(out) == written(whole)
    if any(result.status == "ok" for result in told):
        assert any(result.status == "note" for result in told), "nothing is done again without a word"
    assert {r.status for r in run(study, out, networks["first"], **MODES[mode])} == {"kept", "failed"}


ODD = [
    "",
    "nan",
    "inf",
    "-1",
    "1e400",
    "0x10",
    "½",
    "=1+1",
    '"',
    "a,b",
    "a;b",
    "None",
    "[]",
    "0",
    "99999999999",
]
ODD += ["0.5.5", "\0", "é" * 300, "../../x", "12,5"]


@pytest.mark.slow
@pytest.mark.parametrize("column", COLUMNS)
def test_no_odd_value_of_a_row_is_kept(results, networks, tmp_path, column):
    study, whole = results["png"]
    out = Path(shutil.copytree(whole, tmp_path / "out"))
    with (out / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row, odd in zip(rows, ODD, strict=False):
        row[column] = odd
    with (out / "results.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)

    run(study, out, networks["first"], overlays=True)

    assert written(out) == written(whole)


ODD_LINES = [
    "null",
    "[]",
    "{}",
    '{"source": 1}',
    '{"source": "=a.png"}',
    "1e999",
    "[" * 5000,
    "\0",
    "é",
    "nan",
]


@pytest.mark.parametrize("line", range(3))
@pytest.mark.parametrize("odd", ODD_LINES)
def test_a_wrong_line_of_the_record_is_passed_over(results, networks, tmp_path, line, odd):
    study, whole = results["rle"]
    out = Path(shutil.copytree(whole, tmp_path / "out"))
    for name in ("run.jsonl", "masks.jsonl"):
        lines = (out / name).read_text(encoding="utf-8").splitlines()
        (out / name).write_text("\n".join([*lines[:line], odd, *lines[line + 1 :], ""]), encoding="utf-8")

    run(study, out, networks["first"], masks="rle")

    assert written(out) == written(whole)


def spreadsheet(text: str, separator: str, sign: str, **options) -> str:
    """A table as a spreadsheet saves it: numbers in its own way, ends of lines of Windows."""
    buffer = io.StringIO()
    rows = list(csv.reader(io.StringIO(text)))
    saved = [[f"{float(c):.15g}".replace(".", sign) if c[:1].isdigit() else c for c in row] for row in rows]
    csv.writer(buffer, delimiter=separator, **options).writerows(saved)
    return buffer.getvalue()


def one_cell_a_line(text: str) -> str:
    """A table as a spreadsheet saves it that took commas for no separators."""
    lines = [f'"{line.replace(chr(34), chr(34) * 2)}"' for line in text.splitlines()]
    return "\r\n".join([*lines, ""])


@pytest.mark.parametrize(
    ("save", "encoding"),
    [
        (lambda text: spreadsheet(text, ";", ","), "utf-8-sig"),
        (lambda text: spreadsheet(text, ";", ",", quoting=csv.QUOTE_ALL), "cp1252"),
        (lambda text: spreadsheet(text, "\t", ","), "utf-16"),
        (lambda text: spreadsheet(text, ",", "."), "utf-8"),
        (one_cell_a_line, "utf-8-sig"),
    ],
    ids=["semicolons", "quotes", "tabs", "commas", "one-cell"],
)
def test_a_table_that_a_spreadsheet_saved_is_read_and_kept(results, networks, tmp_path, save, encoding):
    study, whole = results["png"]
    out = Path(shutil.copytree(whole, tmp_path / "out"))
    edited = save((out / "results.csv").read_text(encoding="utf-8")).encode(encoding)
    (out / "results.csv").write_bytes(edited)

    told = run(study, out, networks["first"], overlays=True)

    (note,) = [result for result in told if result.status == "note"]
    assert note.source == "results.csv"
    assert note.message.startswith("results.csv was saved by another program; 7 frames could be read.")
    assert {result.status for result in told} == {"note", "kept", "failed"}
    assert (out / "set-aside/results.csv").read_bytes() == edited
    assert written(out) == written(whole)


def test_a_record_that_ends_in_zeros_is_told_and_not_taken_for_a_cut_one(results, networks, tmp_path):
    study, whole = results["png"]
    out = Path(shutil.copytree(whole, tmp_path / "out"))
    record = out / "run.jsonl"
    record.write_bytes(record.read_bytes()[:-40] + bytes(40))

    told = run(study, out, networks["first"], overlays=True)

    assert [result.source for result in told if result.status == "note"] == ["run.jsonl"]
    assert written(out) == written(whole)


def test_the_note_names_what_is_done_again(results, networks, tmp_path):
    study, whole = results["png"]
    out = Path(shutil.copytree(whole, tmp_path / "out"))
    mask = out / "masks/cine.tif_frame0001.png"
    mask.write_bytes(mask.read_bytes()[:-30] + bytes(30))

    note, *others = run(study, out, networks["first"], overlays=True)

    assert (note.status, note.source, note.progress) == ("note", "masks", 0)
    assert note.message == (
        "Missing or damaged masks are made again: cine.tif (frame 1). What was there is kept in set-aside."
    )
    assert [(r.source, r.frame) for r in others if r.status == "ok"] == [("cine.tif", 1)]


def test_all_is_done_again_with_a_word_where_nothing_is_left(results, networks, tmp_path):
    study, whole = results["rle"]
    out = Path(shutil.copytree(whole, tmp_path / "out"))
    for name in ("results.csv", "run.jsonl", "masks.jsonl"):
        (out / name).write_bytes(b"")

    told = run(study, out, networks["first"], masks="rle")

    assert [result.source for result in told if result.status == "note"] == ["run.jsonl", "results.csv"]
    assert written(out) == written(whole)


def test_two_masks_that_were_swapped_are_done_again(results, networks, tmp_path):
    study, whole = results["png"]
    out = Path(shutil.copytree(whole, tmp_path / "out"))
    a, b = (out / f"masks/cine.tif_frame000{i}.png" for i in (0, 1))
    first, second = a.read_bytes(), b.read_bytes()
    a.write_bytes(second)
    b.write_bytes(first)

    run(study, out, networks["first"], overlays=True)

    assert written(out) == written(whole)
    assert (out / "set-aside/masks" / a.name).read_bytes() == second


def test_a_table_of_somebody_else_is_left_alone(study, tmp_path, networks):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/results.csv").write_text("name;score\nAnna;3\n")

    with pytest.raises(RunError, match=r"holds a results.csv, but not the record of its run.*add --redo"):
        run(study, tmp_path / "out", networks["first"])
    assert (tmp_path / "out/results.csv").read_text() == "name;score\nAnna;3\n"


@pytest.mark.slow
def test_results_of_another_model_stay_whole_where_their_record_is_damaged(study, tmp_path, networks):
    out = tmp_path / "out"
    run(study, out, networks["first"])
    (out / "run.jsonl").write_bytes(bytes(300))
    before = (out / "results.csv").read_bytes()

    with pytest.raises(RunError, match=r"results of another run, of the model first@.*another --out"):
        run(study, out, networks["second"])
    assert (out / "results.csv").read_bytes() == before


ODD_NOTES = [
    b"",
    b"\0" * 50,
    b"[]",
    b"null",
    b'{"fatal": "x", "trying": 1}',
    b'{"fatal": [null, 1.5], "trying": {}}',
]


@pytest.mark.slow
@pytest.mark.parametrize("note", ODD_NOTES)
@pytest.mark.parametrize("masks", ["png", "rle"])
def test_a_damaged_part_of_a_cluster_is_done_again(study, tmp_path, networks, masks, note):
    (source, *_) = sources_outside(tmp_path / "out", [study])
    segmenter = Segmenter(networks["first"], "cpu")
    segment_part(source, tmp_path / "whole", segmenter, masks=masks)
    segment_part(source, tmp_path / "part", segmenter, masks=masks)
    (tmp_path / "part/attempt.json").write_bytes(note)
    for name in ("results.csv", "run.jsonl"):
        (tmp_path / "part" / name).write_bytes((tmp_path / "part" / name).read_bytes()[:40] + bytes(60))

    told = segment_part(source, tmp_path / "part", segmenter, masks=masks)

    assert [result.status for result in told] == ["note", "ok"]
    assert table(tmp_path / "part") == table(tmp_path / "whole")
    assert not (tmp_path / "part/attempt.json").exists()


def test_a_part_of_a_file_that_has_become_another_is_done_again(study, tmp_path, networks):
    segmenter = Segmenter(networks["first"], "cpu")
    (source,) = sources_outside(tmp_path / "out", [study / "a.png"])
    segment_part(source, tmp_path / "part", segmenter)
    attempt = {"fatal": [0], "trying": None}  # the former file ended the process that worked on it
    (tmp_path / "part" / "attempt.json").write_text(
        json.dumps({**attempt, "check": checksum(json.dumps(attempt).encode())})
    )
    shutil.copy(study / "b.png", study / "a.png")

    done = segment_part(source, tmp_path / "part", segmenter)

    segment_part(source, tmp_path / "expected", segmenter)
    assert [result.status for result in done] == ["ok"]
    assert table(tmp_path / "part") == table(tmp_path / "expected")


def test_a_part_that_another_run_has_left_is_done_again(study, tmp_path, networks):
    (source, *_) = sources_outside(tmp_path / "out", [study])
    segment_part(source, tmp_path / "part", Segmenter(networks["second"], "cpu"))

    told = segment_part(source, tmp_path / "part", Segmenter(networks["first"], "cpu"))

    assert [result.status for result in told] == ["ok"]
    assert {row["model"].partition("@")[0] for row in table(tmp_path / "part")} == {"first"}


@given(line=st.binary(max_size=200) | st.text(max_size=100).map(lambda text: json.dumps(text).encode()))
def test_a_file_of_masks_with_any_line_is_read_or_refused_with_a_sentence(tmp_path_factory, line):
    path = tmp_path_factory.mktemp("masks") / "masks.jsonl"
    path.write_bytes(line + b"\n")

    with pytest.raises(FrameReadError, match="holds no masks"):
        MaskFile(path)


@pytest.mark.parametrize(
    "nodes", [["\x00"], [[1, 2]], [["x"]], [[-1, 17]], [None], [{}], ["o" * 400], [[10**30]]]
)
def test_a_mask_whose_code_is_wrong_is_a_sentence(tmp_path, nodes):
    line = {"source": "a.png", "frame": 0, "size": [4, 4], "nodes": nodes}
    (tmp_path / "masks.jsonl").write_text(json.dumps(line) + "\n")
    masks = MaskFile(tmp_path / "masks.jsonl")

    with pytest.raises(FrameReadError, match=r"the mask of a\.png is damaged .*Segment that file again"):
        masks[0]
