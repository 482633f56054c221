"""Frames that fail, files that vanish and disks that are full: each costs itself alone."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from batch_runs import cine_with_damaged_frames, in_a_process, run, table
from PIL import Image

from napari_cln import segment_to_folder
from napari_cln.batch.job import open_results, segment_sources
from napari_cln.batch.names import sources_outside
from napari_cln.batch.part import segment_part
from napari_cln.errors import DeviceError, ExportError, RunError
from napari_cln.network.inference import Segmenter


def test_a_full_disk_ends_the_run_with_advice_and_a_rerun_completes_it(study, tmp_path, networks):
    run(study, tmp_path / "expected", networks["first"])
    out = tmp_path / "out"
    # No file may grow beyond this: the table of the second frame does, as on a full disk.
    size = len((tmp_path / "expected/results.csv").read_bytes())
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({size // 2}, {size // 2}))"

    process = in_a_process(study, out, networks["first"], limit)
    _, message = process.communicate(timeout=120)

    assert process.returncode == 1
    assert "can't be written in out: file too large" in message
    assert "goes on where it stopped" in message
    assert "Traceback" not in message
    run(study, out, networks["first"])
    assert (out / "results.csv").read_bytes() == (tmp_path / "expected/results.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("limit", [0, 60, 300, 1000, 1500])
def test_whatever_does_not_fit_on_the_disk_a_rerun_completes(study, tmp_path, networks, limit):
    run(study, tmp_path / "expected", networks["first"])
    out = tmp_path / "out"

    with no_file_larger_than(limit), pytest.raises(ExportError, match=r"file too large\. Make room"):
        run(study, out, networks["first"])

    assert run(study, out, networks["first"])
    assert (out / "results.csv").read_bytes() == (tmp_path / "expected/results.csv").read_bytes()
    assert not [*out.rglob("*.tmp"), *out.rglob(".tmp-*")]


@contextmanager
def no_file_larger_than(n_bytes: int) -> Iterator[None]:
    former, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (former, most))


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("file", r"file: file exists\. Move the file that has its name, or choose another --out"),
        ("n" * 300, r"n: file name too long\. Shorten its name, or choose another --out"),
        ("/".join(["n" * 200] * 25), r"n: file name too long\. Shorten its name, or choose another --out"),
    ],
)
def test_a_folder_that_can_not_be_is_a_sentence(study, tmp_path, networks, name, advice):
    (tmp_path / "file").write_text("")

    with pytest.raises(ExportError, match=rf"^results\.csv can't be written in n*{advice}"):
        run(study, tmp_path / name, networks["first"])


def test_a_file_that_vanishes_meanwhile_is_a_failed_row_and_then_none(study, tmp_path, networks):
    job = segment_to_folder([study], tmp_path / "out", model=networks["first"], batch_size=1)
    next(job)
    (study / "right/x.png").unlink()

    assert [r.status for r in job] == ["ok", "ok", "failed"]
    (failed,) = [row for row in table(tmp_path / "out") if row["status"] == "failed"]
    assert failed["message"].startswith("x.png is not there.")
    run(study, tmp_path / "out", networks["first"])
    assert {row["source"] for row in table(tmp_path / "out")} == {"a.png", "b.png", "left/x.png"}


@pytest.mark.slow
def test_a_file_of_which_too_many_frames_fail_is_left_and_the_next_one_done(tmp_path, frames, networks):
    study, out = tmp_path / "study", tmp_path / "out"
    study.mkdir()
    cine_with_damaged_frames(study / "cine.tif", 260, lambda index: False)
    Image.fromarray(frames[0]).save(study / "z.png")

    done = run(study, out, networks["first"])

    assert [r.frame for r in done] == [*range(100), None, 0]
    assert [r.source for r in done][-2:] == ["cine.tif", "z.png"]
    assert [r.status for r in done] == ["failed"] * 101 + ["ok"]
    (row,) = [row for row in table(out) if row["frame"] == ""]
    assert row["message"].startswith(
        "After 100 failed frames in a row, frames 101 to 260 were not tried. Open the file in a viewer"
    )
    assert [r.status for r in run(study, out, networks["first"])] == ["failed"] * 101 + ["kept"]


def test_failures_are_written_as_they_come(tmp_path, networks):
    cine_with_damaged_frames(tmp_path / "cine.tif", 90, lambda index: False)
    job = segment_to_folder([tmp_path / "cine.tif"], tmp_path / "out", model=networks["first"], batch_size=2)

    first = next(job)

    assert (first.frame, first.status) == (0, "failed")
    assert first.progress < 0.05
    assert len(table(tmp_path / "out")) == 1
    job.close()


def test_a_whole_frame_now_and_then_keeps_a_file_going(tmp_path, networks, monkeypatch):
    monkeypatch.setattr("napari_cln.batch.job.MOST_FAILURES", 6)
    cine_with_damaged_frames(tmp_path / "cine.tif", 18, lambda index: index % 6 == 5)

    done = list(segment_to_folder([tmp_path / "cine.tif"], tmp_path / "out", model=networks["first"]))

    assert [r.frame for r in done] == list(range(18))
    assert [r.frame for r in done if r.status == "ok"] == [5, 11, 17]
    assert {row["frame"] for row in table(tmp_path / "out") if row["status"] == "ok"} == {"5", "11", "17"}


@pytest.mark.slow
def test_a_cine_that_was_left_and_is_whole_again_is_done_from_where_it_was(tmp_path, networks, monkeypatch):
    monkeypatch.setattr("napari_cln.batch.job.MOST_FAILURES", 6)
    path, out = tmp_path / "cine.tif", tmp_path / "out"
    cine_with_damaged_frames(path, 12, lambda index: index < 3)
    first = list(segment_to_folder([path], out, model=networks["first"]))
    cine_with_damaged_frames(path, 12, lambda index: True)

    second = list(segment_to_folder([path], out, model=networks["first"]))

    assert [r.status for r in first] == ["ok"] * 3 + ["failed"] * 7
    assert {r.status for r in second} == {"note", "ok"}  # the file has become another
    assert {row["status"] for row in table(out)} == {"ok"}
    assert {row["frame"] for row in table(out)} == {str(index) for index in range(12)}


class Fragile(Segmenter):
    """A network at work that stumbles over frames of one size."""

    error: Exception = ArithmeticError("this one")

    def predict_prepared(self, frames, inputs):
        if any(frame.shape == (70, 50) for frame in frames):
            raise self.error
        return super().predict_prepared(frames, inputs)


@pytest.mark.parametrize("batch_size", [1, 3, 4])
def test_a_frame_that_breaks_its_batch_costs_itself_alone_and_the_order_stays(
    tmp_path, frames, networks, batch_size
):
    study, out = tmp_path / "study", tmp_path / "out"
    study.mkdir()
    for index in range(9):
        Image.fromarray(frames[index % 4][: 70 + index, 100:150]).save(study / f"{index % 5}{index}.png")
    (study / "15.png").write_bytes(b"")
    segmenter = Fragile(networks["first"], "cpu", batch_size)
    sources = sources_outside(out, [study])

    with open_results(out, segmenter.card, masks="png", overlays=False) as results:
        done = list(segment_sources(sources, segmenter, results))

    assert [r.source for r in done] == [source.name for source in sources]
    assert [r.source for r in done if r.status == "failed"] == ["00.png", "15.png"]
    assert "(ArithmeticError)" in done[0].message
    assert list(dict.fromkeys(row["source"] for row in table(out))) == [source.name for source in sources]


def test_a_device_that_fails_ends_the_run(tmp_path, networks):
    Image.new("L", (50, 70)).save(tmp_path / "a.png")
    segmenter = Fragile(networks["first"], "cpu", 4)
    segmenter.error = DeviceError("The memory of this GPU does not hold even one frame.")
    sources = sources_outside(tmp_path / "out", [tmp_path / "a.png"])

    with (
        open_results(tmp_path / "out", segmenter.card, masks="png", overlays=False) as results,
        pytest.raises(DeviceError, match="does not hold even one frame"),
    ):
        list(segment_sources(sources, segmenter, results))


@pytest.mark.parametrize("batch_size", [1, 4])
def test_an_error_that_no_frame_has_made_ends_the_run(study, tmp_path, networks, batch_size):
    segmenter = Segmenter(networks["first"], "cpu", batch_size)
    sources = sources_outside(tmp_path / "out", [study])

    asked = []

    def stumble(index):
        asked.append(index)
        if len(asked) == 4:  # as the second file is read, while the first is under way
            raise ExportError("attempt.json can't be written.")

    with (
        open_results(tmp_path / "out", segmenter.card, masks="png", overlays=False) as results,
        pytest.raises(ExportError, match=r"attempt\.json can't be written"),
    ):
        list(segment_sources(sources, segmenter, results, before=stumble))


@pytest.mark.slow
def test_a_file_of_which_too_many_frames_break_the_network_is_left(tmp_path, networks):
    pages = [Image.new("L", (50, 70), index) for index in range(130)]
    pages[0].save(tmp_path / "cine.tif", save_all=True, append_images=pages[1:])
    segmenter = Fragile(networks["first"], "cpu", 4)
    sources = sources_outside(tmp_path / "out", [tmp_path / "cine.tif"])

    with open_results(tmp_path / "out", segmenter.card, masks="png", overlays=False) as results:
        done = list(segment_sources(sources, segmenter, results))

    assert {r.status for r in done} == {"failed"}
    assert done[-1].frame is None
    assert 100 < len(done) < 130


DYING = """
import os, sys, time
import filelock
lock = filelock.FileLock(sys.argv[1])
lock.acquire(timeout=0)
print("held", flush=True)
sys.stdin.read(1)
time.sleep(0.5)
os._exit(9)
"""
"""A process that dies, and whose lock is given back later than its connections."""


def test_who_goes_on_with_a_part_waits_for_the_lock_of_a_process_that_died(study, tmp_path, networks):
    segmenter, (source, *_) = Segmenter(networks["first"], "cpu"), sources_outside(tmp_path / "out", [study])
    part = tmp_path / "part"
    part.mkdir()
    command = [sys.executable, "-c", DYING, str(part / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as dying:
        assert dying.stdout.readline() == "held\n"
        with pytest.raises(RunError, match="Another run is writing to part"):
            open_results(part, segmenter.card, masks="png", overlays=False)
        dying.stdin.write("x")
        dying.stdin.flush()

        done = segment_part(source, part, segmenter)

    assert [result.status for result in done] == ["ok"]
