"""Names of files in the results: unique, run by no spreadsheet, and on request hashed."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest
from batch_runs import cine_with_damaged_frames, run, table, written
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from napari_cln.batch.names import NamedSource, content_key, name_sources, picture_path, sources_outside
from napari_cln.cli import main
from napari_cln.disk.cells import restored
from napari_cln.errors import FrameReadError, RunError


@pytest.mark.slow
def test_files_of_one_name_in_two_given_folders_keep_apart(study):
    names = [source.name for source in name_sources([study / "left", study / "right"])]

    assert names == ["left/x.png", "right/x.png"]


def test_files_given_one_by_one_are_called_by_name_and_told_apart_by_folder(study):
    assert [s.name for s in name_sources([study / "a.png", study / "b.png"])] == ["a.png", "b.png"]
    assert [s.name for s in name_sources([study / "left/x.png", study / "right/x.png"])] == [
        "left/x.png",
        "right/x.png",
    ]


def test_a_glob_names_files_below_its_first_wildcard(study):
    assert [s.name for s in name_sources([f"{study}/*/x.png"])] == ["left/x.png", "right/x.png"]


def test_a_file_given_twice_is_done_once(study):
    assert [s.path.name for s in name_sources([study / "left", study / "left" / "x.png"])] == ["x.png"]


@pytest.mark.parametrize(
    ("given", "out", "expected"),
    [
        (["left"], ".", ["left/x.png"]),
        (["a.png"], ".", ["a.png"]),
        (["left", "right"], ".", ["left/x.png", "right/x.png"]),
        (["*/x.png"], "right", ["left/x.png"]),
        (["."], "left", ["a.png", "b.png", "right/x.png"]),
        ([".", "left/x.png"], "left", ["a.png", "b.png", "left/x.png", "right/x.png"]),
    ],
)
def test_of_the_folder_of_results_only_what_was_given_is_taken(study, monkeypatch, given, out, expected):
    monkeypatch.chdir(study)

    found = sources_outside(Path(out), given)

    assert sorted(source.path.relative_to(study).as_posix() for source in found) == expected


@pytest.mark.parametrize(
    ("given", "out", "sentence"),
    [
        (["."], ".", "study can't be read and take the results as well: their pictures would be taken for"),
        (["left", "*.png"], ".", "study can't be read and take the results as well"),
        (["masks"], ".", r"masks lies where the pictures of the results do\. Choose another --out"),
        (["set-aside/masks/x.png"], ".", "x.png lies where the pictures of the results do"),
        (["only"], "only/these", "All images that were found lie in the folder of the results, which"),
    ],
)
def test_results_are_refused_a_folder_that_is_to_be_read(study, monkeypatch, given, out, sentence):
    monkeypatch.chdir(study)
    for folder in ("masks", "set-aside/masks", "only/these"):
        Path(folder).mkdir(parents=True)
        shutil.copy("left/x.png", folder)

    with pytest.raises(RunError, match=sentence):
        sources_outside(Path(out), given)
    with pytest.raises(RunError) as told:
        sources_outside(Path(out), given, "hash")
    assert not any(name in str(told.value) for name in ("study", "masks", "only"))


@pytest.mark.slow
def test_results_stand_beside_the_folder_that_is_read(study, networks):
    first = run(study / "left", study, networks["first"], overlays=True)
    again = run(study / "left", study, networks["first"], overlays=True)

    assert [result.status for result in first + again] == ["ok", "kept"]
    assert {row["source"] for row in table(study)} == {"x.png"}


PARTS = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=300).filter(
    lambda part: part not in (".", "..")  # no names of files
)
NAMES = st.lists(PARTS, min_size=1, max_size=3).map("/".join)


@given(first=NAMES, second=NAMES, n_frames=st.integers(1, 2))
def test_two_names_never_share_a_picture_and_every_picture_fits_the_file_system(first, second, n_frames):
    paths = {name: picture_path(name, 0, n_frames) for name in (first, second)}

    assert len(set(paths.values())) == len(paths)
    assert all(len(os.fsencode(part)) <= 255 for path in paths.values() for part in path.parts)


@given(frames=st.sets(st.integers(0, 100_000), min_size=2, max_size=2))
def test_two_frames_never_share_a_picture(frames):
    first, second = (picture_path("c.dcm", frame, 100_001) for frame in frames)

    assert first != second


def test_one_changed_byte_of_a_small_file_changes_its_content_key(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(1000))
    before = content_key(path)
    path.write_bytes(bytes(500) + b"\1" + bytes(499))

    assert content_key(path) != before


def test_the_content_of_a_long_file_is_known_without_reading_it_whole(tmp_path):
    path = tmp_path / "long.bin"
    with path.open("wb") as file:
        file.truncate(20 << 30)  # a hole: takes no room, but an hour to read

    started = time.monotonic()
    content_key(path)

    assert time.monotonic() - started < 5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["=1+1.png", "@x.png", "+1;=2.png", "-1.png", "a;=1.png", "'=1.png"])
def test_no_file_name_is_run_by_a_spreadsheet_and_its_frame_is_found_again(tmp_path, frames, networks, name):
    study, out = tmp_path / "study", tmp_path / "out"
    study.mkdir()
    Image.fromarray(frames[0]).save(study / name)
    (study / f"{name}.dcm").write_bytes(b"not a picture")

    first = run(study, out, networks["first"])
    again = run(study, out, networks["first"])

    assert [r.source for r in first] == [name, f"{name}.dcm"]
    assert [r.status for r in again] == ["kept", "failed"]
    for row in table(out):
        for cell in row.values():
            assert not re.search(r"(^|[;,\t])[\s\"]*[=+\-@]", cell), cell
        assert restored(row["source"]) in (name, f"{name}.dcm")


@pytest.fixture
def named(tmp_path, frames) -> Path:
    """Files whose names and folders are names of persons, some of which can't be read."""
    for index, name in enumerate(
        ("Meier_Anna/1950-01-02.png", "Schütz Hans/=Krause.png", "Meier_Anna/x.dcm")
    ):
        path = tmp_path / "Berger" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(frames[index][:80, :80]).save(path, format="PNG")
    (tmp_path / "Berger/Meier_Anna/Wolf^Eva.dcm").write_bytes(b"no picture")
    (tmp_path / "Berger/Meier_Anna/Wolf.tif").write_bytes(b"II*\0\x08\0\0\0\xff\xff")
    cine_with_damaged_frames(tmp_path / "Berger" / "Winter.tif", 4, lambda index: index == 2)
    return tmp_path / "Berger"


PERSONS = ("Berger", "Meier", "Anna", "1950", "Schütz", "Hans", "Krause", "Wolf", "Eva", "Winter")


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--overlays"], ["--masks", "rle"]])
def test_hashed_names_stand_nowhere_and_a_rerun_knows_them(named, tmp_path, networks, options, capfd):
    out = tmp_path / "out"
    command = ["segment", str(named), "--out", str(out), "--model", networks["first"], "--names", "hash"]

    codes = [main([*command, "--device", "cpu", *options]) for _ in range(2)]

    said = capfd.readouterr()
    assert codes == [1, 1]
    assert "0 frames segmented, 3 files done before, 5 failed" in said.out
    texts = [said.out, said.err, *(str(path.relative_to(out)) for path in out.rglob("*"))]
    texts += [path.read_bytes().decode("latin-1") for path in out.rglob("*") if path.is_file()]
    for person in PERSONS:
        spellings = {person, person.encode().decode("latin-1")}
        assert not [text for text in texts if any(spelling in text for spelling in spellings)]
    assert all(re.fullmatch("file-[0-9a-f]{20}", row["source"]) for row in table(out))


def test_keys_are_those_of_every_run_on_this_computer(named, tmp_path):
    first, second = (sources_outside(tmp_path / name, [named], "hash") for name in ("a", "b"))

    assert [source.name for source in first] == [source.name for source in second]
    assert len({source.name for source in first}) == 6
    assert {s.path for s in first} == {s.path for s in sources_outside(tmp_path / "c", [named])}


@pytest.mark.slow
def test_a_hashed_file_that_has_become_another_is_done_again(study, tmp_path, networks):
    out = tmp_path / "out"
    run(study, out, networks["first"], names="hash")
    shutil.copy(study / "b.png", study / "a.png")

    results = run(study, out, networks["first"], names="hash")

    assert sorted(r.status for r in results) == ["kept", "kept", "kept", "note", "ok"]
    assert "a.png" not in results[0].message
    contents = [json.loads(line).get("content") for line in (out / "run.jsonl").read_text().splitlines()]
    assert content_key(study / "a.png") not in contents, "the content is hashed with the salt too"


@pytest.mark.slow
@pytest.mark.parametrize("redo", [False, True])
@pytest.mark.parametrize(
    ("first", "second", "sentence"),
    [
        ("path", "hash", "out holds results under the files' own names, and this run hashes them. Choose"),
        ("hash", "path", "out holds results under hashed names, and this run would write the files' own"),
    ],
)
def test_names_and_keys_never_stand_in_one_folder(study, tmp_path, networks, first, second, sentence, redo):
    run(study, tmp_path / "out", networks["first"], names=first)
    before = written(tmp_path / "out")

    with pytest.raises(RunError, match=re.escape(sentence)):
        run(study, tmp_path / "out", networks["first"], names=second, redo=redo)
    assert written(tmp_path / "out") == before


@pytest.mark.slow
@pytest.mark.parametrize("redo", [False, True])
@pytest.mark.parametrize("record", [None, b"", bytes(300)])
def test_keys_do_not_join_names_whose_record_is_lost(study, tmp_path, networks, record, redo):
    run(study, tmp_path / "out", networks["first"])
    (tmp_path / "out/run.jsonl").unlink()
    if record is not None:
        (tmp_path / "out/run.jsonl").write_bytes(record)
    before = table(tmp_path / "out")

    with pytest.raises(RunError, match=r"out holds results.*[Cc]hoose another --out"):
        run(study, tmp_path / "out", networks["first"], names="hash", redo=redo)
    assert table(tmp_path / "out") == before


@pytest.mark.slow
def test_keys_of_another_salt_are_refused(study, tmp_path, networks, monkeypatch):
    run(study, tmp_path / "out", networks["first"], names="hash")
    monkeypatch.setenv("NAPARI_CLN_CONFIG", str(tmp_path / "another"))

    with pytest.raises(RunError, match=r"hashed with another salt.*Go on there, or choose another --out"):
        run(study, tmp_path / "out", networks["first"], names="hash")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda folder: folder.write_text(""),
            r"can't be kept \(.*\)\. Make your configuration folder writable",
        ),
        (
            lambda folder: (folder.mkdir(), (folder / "patient-salt").write_text("")),
            r"is damaged \(patient-salt, in your configuration folder\)\. Put back a copy",
        ),
    ],
    ids=["no-folder", "empty"],
)
def test_without_a_salt_nothing_is_hashed(study, tmp_path, networks, monkeypatch, make, sentence):
    make(tmp_path / "config")
    monkeypatch.setenv("NAPARI_CLN_CONFIG", str(tmp_path / "config"))

    with pytest.raises(RunError, match=rf"The salt that names are hashed with {sentence}"):
        run(study, tmp_path / "out", networks["first"], names="hash")
    assert not (tmp_path / "out").exists()


def test_a_hashed_run_without_images_names_no_folder(tmp_path, networks):
    (tmp_path / "Meier_Anna").mkdir()

    with pytest.raises(
        FrameReadError, match="The path that was given holds no image, DICOM or video"
    ) as told:
        run(tmp_path / "Meier_Anna", tmp_path / "out", networks["first"], names="hash")
    assert "Meier" not in str(told.value)


@given(
    name=st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=20),
    text=st.sampled_from(["{} is not whole at frame 3 of 14.", "Part of {}: no picture.", "({})"]),
)
def test_a_sentence_about_a_hashed_file_bears_its_key(name, text):
    assume(name not in (".", "..") and (len(name) > 3 or text.startswith("{}")))
    source = NamedSource(name="file-0", root="/data", inside=name, seal=b"0" * 32)

    assert source.hide(text.format(name)) == text.format("file-0")


def test_a_short_number_is_hidden_where_a_sentence_begins_alone():
    source = NamedSource(name="file-0", root="/data", inside="1", seal=b"0" * 32)

    assert source.hide("1 is not whole at frame 1 of 10.") == "file-0 is not whole at frame 1 of 10."
