"""The batch job on real files: what it writes, and that a rerun does just what is missing."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from batch_runs import in_a_process, picture, run, table
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from napari_cln import segment_to_folder
from napari_cln.batch.job import open_results
from napari_cln.batch.masks import MaskFile, MaskLines
from napari_cln.batch.names import sources_outside
from napari_cln.batch.part import segment_part
from napari_cln.batch.rows import COLUMNS, FrameKey
from napari_cln.cli import main
from napari_cln.disk.tables import read_table
from napari_cln.errors import ExportError, FrameReadError, RunError
from napari_cln.imaging.preprocessing import prepare
from napari_cln.io.sources import as_frame
from napari_cln.network.doubt import Novelty, pooled_texture
from napari_cln.network.inference import Segmenter
from napari_cln.network.weights import load_model, save_model
from napari_cln.workflow.radiomics import write_radiomics


def test_results_hold_the_promised_columns_and_a_mask_of_the_frames_own_size(study, tmp_path, networks):
    out = tmp_path / "out"

    results = run(study, out, networks["first"])

    assert [(r.source, r.status) for r in results] == [
        ("a.png", "ok"),
        ("b.png", "ok"),
        ("left/x.png", "ok"),
        ("right/x.png", "ok"),
    ]
    assert [r.progress for r in results] == [0.25, 0.5, 0.75, 1.0]
    rows = table(out)
    assert tuple(rows[0]) == COLUMNS
    for name in ("a.png", "left/x.png"):
        mode, mask = picture(out / "masks" / f"{name}.png")
        of_frame = [row for row in rows if row["source"] == name]
        assert mode == "L"
        assert mask.shape == picture(study / name)[1].shape[:2]
        assert mask.max() == len([row for row in of_frame if row["node"]])


@pytest.mark.slow
def test_the_table_says_what_segment_says(study, tmp_path, networks):
    from napari_cln import measure_nodes, segment

    run(study, tmp_path / "out", networks["first"])

    prediction = segment(study / "a.png", networks["first"], "cpu")
    rows = [row for row in table(tmp_path / "out") if row["source"] == "a.png"]
    assert prediction.node_scores
    assert [float(row["malignancy"]) for row in rows] == pytest.approx(prediction.node_scores, abs=1e-4)
    assert [row["label"] for row in rows] == [prediction.label_of(score) for score in prediction.node_scores]
    assert {row["model"] for row in rows} == {prediction.model_id}
    assert [int(row["area_px"]) for row in rows] == [size.area_px for size in measure_nodes(prediction)]
    assert {row["area_mm2"] for row in rows} == {""}
    assert all(row["message"] for row in rows), "no millimetres, so the message must say why"
    _, mask = picture(tmp_path / "out" / "masks" / "a.png.png")
    np.testing.assert_array_equal(mask, prediction.instances)


def test_a_damaged_file_is_a_row_with_its_reason_and_the_others_are_done(study, tmp_path, networks):
    (study / "b.png").write_bytes(b"not an image")

    results = run(study, tmp_path / "out", networks["first"])

    (failed,) = [row for row in table(tmp_path / "out") if row["status"] == "failed"]
    assert failed["source"] == "b.png"
    assert failed["frame"] == ""
    assert "b.png" in failed["message"]
    assert str(tmp_path) not in failed["message"]
    assert [r.status for r in results] == ["ok", "failed", "ok", "ok"]


@pytest.mark.slow
def test_a_repaired_file_takes_its_place_in_the_table(study, tmp_path, networks):
    whole = (study / "a.png").read_bytes()
    run(study, tmp_path / "expected", networks["first"])
    (study / "a.png").write_bytes(whole[: len(whole) // 2])
    run(study, tmp_path / "out", networks["first"])

    (study / "a.png").write_bytes(whole)
    results = run(study, tmp_path / "out", networks["first"])

    assert [r.status for r in results] == ["ok", "kept", "kept", "kept"]
    assert (tmp_path / "out/results.csv").read_text() == (tmp_path / "expected/results.csv").read_text()


@pytest.mark.slow
def test_a_rerun_does_nothing_twice_and_a_new_file_is_added(study, tmp_path, networks):
    out = tmp_path / "out"
    run(study, out, networks["first"])
    before = {path: path.stat().st_mtime_ns for path in (out / "masks").rglob("*.png")}
    shutil.copy(study / "a.png", study / "aa.png")

    results = run(study, out, networks["first"])

    assert [r.source for r in results if r.status == "ok"] == ["aa.png"]
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert [row["source"] for row in table(out)] == sorted(row["source"] for row in table(out))


@pytest.mark.slow
def test_a_file_that_has_become_another_is_done_again(study, tmp_path, networks):
    out = tmp_path / "out"
    run(study, out, networks["first"])
    shutil.copy(study / "b.png", study / "a.png")

    results = run(study, out, networks["first"])

    assert [r.source for r in results if r.status == "ok"] == ["a.png"]
    rows = table(out)
    scores = {name: [r["malignancy"] for r in rows if r["source"] == name] for name in ("a.png", "b.png")}
    assert scores["a.png"] == scores["b.png"]
    assert (out / "masks/a.png.png").read_bytes() == (out / "masks/b.png.png").read_bytes()


@pytest.mark.slow
def test_results_that_make_room_for_a_file_of_the_same_name_are_told_of(study, tmp_path, networks):
    out = tmp_path / "out"
    run(study / "left", out, networks["first"])

    results = run(study / "right", out, networks["first"])

    assert [(r.source, r.status) for r in results] == [("results.csv", "note"), ("x.png", "ok")]
    assert "1 file has become another since, and former results are replaced: x.png." in results[0].message
    assert "give both folders in one command, with another --out" in results[0].message


@pytest.mark.slow
def test_a_missing_mask_is_made_again(study, tmp_path, networks):
    out = tmp_path / "out"
    run(study, out, networks["first"])
    expected = (out / "results.csv").read_text()
    (out / "masks/left/x.png.png").unlink()

    results = run(study, out, networks["first"])

    assert [r.source for r in results if r.status == "ok"] == ["left/x.png"]
    assert (out / "masks/left/x.png.png").exists()
    assert (out / "results.csv").read_text() == expected


@pytest.mark.slow
@pytest.mark.parametrize("missing_bytes", [1, 30, 200])
def test_a_table_that_was_cut_is_repaired(study, tmp_path, networks, missing_bytes):
    out = tmp_path / "out"
    run(study, out, networks["first"])
    expected = (out / "results.csv").read_bytes()
    (out / "results.csv").write_bytes(expected[:-missing_bytes])

    run(study, out, networks["first"])

    assert (out / "results.csv").read_bytes() == expected


@pytest.mark.slow
def test_one_file_holds_the_same_masks_as_a_folder_of_pictures(study, tmp_path, networks):
    run(study, tmp_path / "png", networks["first"])
    run(study, tmp_path / "rle", networks["first"], masks="rle")

    masks = MaskFile(tmp_path / "rle" / "masks.jsonl")

    assert [key.source for key in masks.keys] == ["a.png", "b.png", "left/x.png", "right/x.png"]
    for key, mask in zip(masks.keys, masks, strict=True):
        np.testing.assert_array_equal(mask, picture(tmp_path / "png" / "masks" / f"{key.source}.png")[1])
    assert any(mask.any() for mask in masks)
    assert table(tmp_path / "png") == table(tmp_path / "rle")
    assert not (tmp_path / "rle" / "masks").exists()


@pytest.mark.slow
@pytest.mark.parametrize("missing_bytes", [1, 40, 2000, 10**9])
def test_a_file_of_masks_that_was_cut_is_repaired(study, tmp_path, networks, missing_bytes):
    out = tmp_path / "out"
    run(study, out, networks["first"], masks="rle")
    path = out / "masks.jsonl"
    before = [mask.tolist() for mask in MaskFile(path)]
    os.truncate(path, max(path.stat().st_size - missing_bytes, 0))

    run(study, out, networks["first"], masks="rle")

    assert [mask.tolist() for mask in MaskFile(path)] == before


@pytest.mark.slow
def test_masks_of_a_file_that_has_become_another_are_done_again(study, tmp_path, networks):
    out = tmp_path / "out"
    run(study, out, networks["first"], masks="rle")
    other = np.ascontiguousarray(np.array(Image.open(study / "b.png"))[:, ::-1])
    Image.fromarray(other).save(study / "a.png")

    run(study, out, networks["first"], masks="rle")

    lines = [json.loads(line) for line in (out / "masks.jsonl").read_text().splitlines()]
    assert sorted(line["source"] for line in lines) == ["a.png", "b.png", "left/x.png", "right/x.png"]
    again = MaskFile(out / "masks.jsonl")
    assert again[0].shape == other.shape[:2]


@pytest.mark.slow
def test_radiomics_are_of_the_masks_of_the_last_run(study, tmp_path, networks):
    out = tmp_path / "out"
    run(study, out, networks["first"], masks="rle")
    for name in ("a.png", "c.png"):
        shutil.copy(study / "b.png", study / name)

    run(study, out, networks["first"])
    list(write_radiomics([study], out))

    of = radiomics_of(out)
    assert of["a.png"] == of["b.png"] == of["c.png"] != []
    assert not (out / "masks.jsonl").exists()


@pytest.fixture
def measured(study, tmp_path, networks):
    """Two files, segmented and measured by one command after the other, and a way to do it again."""

    def do(name, **options):
        run(study / name, tmp_path / "out", networks["first"], **options)
        list(write_radiomics([study / name], tmp_path / "out"))
        return radiomics_of(tmp_path / "out")

    do("b.png")
    do("a.png")
    return do


def radiomics_of(out):
    of = {}
    for row in read_table(out / "radiomics.csv").rows:
        of.setdefault(row.pop("source"), []).append(row)
    return of


@pytest.mark.slow
def test_radiomics_are_of_all_files_that_the_results_hold(study, tmp_path, measured):
    both = radiomics_of(tmp_path / "out")
    shutil.copy(study / "left/x.png", study / "a.png")
    other = measured("a.png")

    assert list(both) == list(other) == ["a.png", "b.png"]
    assert other["b.png"] == both["b.png"] != []
    assert other["a.png"] != both["a.png"]
    assert list(measured("a.png", redo=True)) == ["a.png"]


@pytest.mark.slow
def test_radiomics_of_a_file_that_has_become_another_go(study, tmp_path, networks, measured):
    before = radiomics_of(tmp_path / "out")
    shutil.copy(study / "left/x.png", study / "a.png")

    run(study / "a.png", tmp_path / "out", networks["first"])

    assert radiomics_of(tmp_path / "out") == {"b.png": before["b.png"]}


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage", [lambda text: text[:-9], lambda text: text.replace(",", ";"), lambda text: text + "\0" * 40]
)
def test_radiomics_that_can_not_be_kept_are_left_alone_with_advice(tmp_path, measured, damage):
    path = tmp_path / "out" / "radiomics.csv"
    path.write_text(damage(path.read_text()))
    before = path.read_bytes()

    with pytest.raises(RunError, match=r"radiomics\.csv is damaged, or was saved by another.*Move it away"):
        measured("b.png")
    assert path.read_bytes() == before


def test_where_no_mask_was_made_the_radiomics_are_empty(tmp_path, networks):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    run(tmp_path / "a.png", tmp_path / "out", networks["first"], masks="rle")

    assert list(write_radiomics([tmp_path / "a.png"], tmp_path / "out")) == []
    assert read_table(tmp_path / "out" / "radiomics.csv").rows == []


@pytest.mark.slow
@pytest.mark.parametrize("masks", ["png", "rle"])
def test_a_part_that_is_taken_over_twice_counts_once(study, tmp_path, networks, masks):
    segmenter = Segmenter(networks["first"], "cpu")
    for source in sources_outside(tmp_path / "out", [study]):
        segment_part(source, tmp_path / "part" / source.name, segmenter, masks=masks)

    for _ in range(2):  # as when the first was cut short, and the part stayed
        with open_results(tmp_path / "out", segmenter.card, masks=masks, overlays=False) as results:
            for source in sources_outside(tmp_path / "out", [study]):
                part = tmp_path / "part" / source.name
                with open_results(part, segmenter.card, masks=masks, overlays=False) as made:
                    results.adopt(made)

    run(study, tmp_path / "alone", networks["first"], masks=masks)
    assert table(tmp_path / "out") == table(tmp_path / "alone")


def test_a_file_without_masks_is_refused_with_advice(tmp_path):
    (tmp_path / "masks.jsonl").write_text('{"source": "a.png"}\nnonsense\n')

    with pytest.raises(FrameReadError, match=r"masks.jsonl holds no masks. Give a masks.jsonl that"):
        MaskFile(tmp_path / "masks.jsonl")


@pytest.mark.slow
@given(
    frames=st.lists(
        st.tuples(
            st.text(min_size=1, max_size=8),
            st.integers(0, 3),
            st.integers(1, 9).flatmap(
                lambda side: st.lists(st.integers(0, 3), min_size=side * 4, max_size=side * 4)
            ),
        ),
        max_size=6,
    ).filter(bool)
)
def test_the_last_mask_of_each_frame_is_read_back(tmp_path_factory, frames):
    path = tmp_path_factory.mktemp("masks") / "masks.jsonl"
    lines, expected = MaskLines(path), {}
    for source, frame, pixels in frames:
        instances = np.array(pixels, np.uint8).reshape(-1, 4)
        lines.add(FrameKey(source, frame), instances)
        expected[FrameKey(source, frame)] = instances
    lines.close()

    masks = MaskFile(path)

    assert masks.keys == sorted(expected)
    for key, mask in zip(masks.keys, masks, strict=True):
        np.testing.assert_array_equal(mask, expected[key])


@pytest.mark.slow
def test_results_of_another_model_are_refused_with_advice_and_redone_on_request(study, tmp_path, networks):
    out = tmp_path / "out"
    run(study, out, networks["first"])
    before = (out / "results.csv").read_text()

    with pytest.raises(RunError, match=r"out holds results of model first@.*another --out, or add --redo"):
        run(study, out, networks["second"])
    assert (out / "results.csv").read_text() == before

    results = run(study, out, networks["second"], redo=True)
    assert {r.status for r in results} == {"ok"}
    assert {row["model"].partition("@")[0] for row in table(out)} == {"second"}


def test_a_network_that_only_scores_writes_rows_and_no_masks(study, tmp_path, networks):
    out = tmp_path / "out"

    run(study, out, networks["scores"])
    again = run(study, out, networks["scores"])

    assert {row["label"] for row in table(out)} <= {"benign", "malignant"}
    assert not (out / "masks").exists()
    assert {r.status for r in again} == {"kept"}


@pytest.mark.slow
def test_overlays_asked_for_later_are_added_and_show_the_scan_area_alone(study, tmp_path, networks):
    out = tmp_path / "out"
    run(study, out, networks["first"])
    run(study, out, networks["first"], overlays=True)

    mode, overlay = picture(out / "overlays/a.png.png")
    assert mode == "RGB"
    assert overlay.size < picture(study / "a.png")[1].size
    assert len(table(out)) == len({(row["source"], row["node"]) for row in table(out)})


@pytest.mark.slow
def test_frames_of_a_multi_page_file_have_rows_and_masks_of_their_own(tmp_path, frames, networks):
    pages = [Image.fromarray(pixels[:200, :200]) for pixels in frames]
    pages[0].save(tmp_path / "cine.tif", save_all=True, append_images=pages[1:])

    results = list(segment_to_folder([tmp_path / "cine.tif"], tmp_path / "out", model=networks["first"]))

    assert [r.frame for r in results] == [0, 1, 2, 3]
    assert sorted(path.name for path in (tmp_path / "out/masks").iterdir()) == [
        f"cine.tif_frame{i:04d}.png" for i in range(4)
    ]
    assert sorted({row["frame"] for row in table(tmp_path / "out")}) == ["0", "1", "2", "3"]


@pytest.mark.slow
def test_results_inside_the_study_are_not_taken_for_frames(study, networks):
    run(study, study / "results", networks["first"])

    results = run(study, study / "results", networks["first"])

    assert [r.status for r in results] == ["kept"] * 4


@pytest.mark.slow
def test_nothing_that_is_written_holds_an_absolute_path(study, tmp_path, networks):
    (study / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    run(study, tmp_path / "out", networks["first"], overlays=True)

    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            assert os.fsencode(tmp_path) not in path.read_bytes(), path.name


@pytest.mark.parametrize("name", ["颈部淋巴结 🦢.png", "n" * 250 + ".png", 'a,b\n"c".png', "=1+1.png"])
def test_any_file_name_gets_a_row_and_a_mask(tmp_path, frames, networks, name):
    study = tmp_path / "study"
    study.mkdir()
    Image.fromarray(frames[0]).save(study / name)

    run(study, tmp_path / "out", networks["first"])
    again = run(study, tmp_path / "out", networks["first"])

    assert [r.status for r in again] == ["kept"]
    assert len(list((tmp_path / "out/masks").rglob("*.png"))) == 1
    assert {row["status"] for row in table(tmp_path / "out")} == {"ok"}


@pytest.mark.slow
def test_two_runs_do_not_write_to_one_folder(study, tmp_path, networks):
    first = segment_to_folder([study], tmp_path / "out", model=networks["first"], batch_size=1)
    next(first)

    with pytest.raises(RunError, match="Another run is writing to out"):
        run(study, tmp_path / "out", networks["first"])
    first.close()
    assert [r.source for r in run(study, tmp_path / "out", networks["first"])] == [
        "b.png",
        "left/x.png",
        "right/x.png",
    ]


def test_a_folder_that_can_not_be_made_says_so(study, tmp_path, networks):
    (tmp_path / "file").write_text("")

    with pytest.raises(ExportError, match=r"can't be written in out: .*choose another --out"):
        run(study, tmp_path / "file" / "out", networks["first"])


def test_a_run_that_was_killed_goes_on_and_ends_like_one_that_was_not(study, tmp_path, networks):
    run(study, tmp_path / "expected", networks["first"])
    out = tmp_path / "out"
    for n_frames in (1, 1):
        process = in_a_process(study, out, networks["first"])
        for _ in range(n_frames):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.communicate()

    run(study, out, networks["first"])

    assert (out / "results.csv").read_bytes() == (tmp_path / "expected/results.csv").read_bytes()
    for path in (tmp_path / "expected/masks").rglob("*.png"):
        assert (out / path.relative_to(tmp_path / "expected")).read_bytes() == path.read_bytes()
    assert not [*out.rglob("*.tmp"), *out.rglob(".tmp-*")]


def test_memory_does_not_grow_with_the_number_of_frames(tmp_path, frames, networks):
    study = tmp_path / "study"
    study.mkdir()
    for i in range(40):
        Image.fromarray(frames[i % 4][:128, :128]).save(study / f"{i:03d}.png")

    process = in_a_process(study, tmp_path / "out", networks["first"])
    output, _ = process.communicate(timeout=240)

    peaks = [int(line.split()[1]) for line in output.splitlines()]
    assert len(peaks) == 40
    assert peaks[39] - peaks[9] < 10_000, "kB for 30 frames more"


def test_one_frame_that_breaks_the_network_costs_only_itself(study, tmp_path, networks):
    Image.new("L", (1, 1)).save(study / "a.png")

    results = run(study, tmp_path / "out", networks["first"])

    assert [r.status for r in results][1:] == ["ok", "ok", "ok"]
    assert len(results) == 4


@pytest.mark.slow
def test_frames_unlike_the_training_data_say_so_and_are_kept(study, tmp_path, networks, capsys):
    network = load_model(networks["first"])
    size = 2 * network.stem[0].out_channels
    with torch.no_grad():
        (a, b) = (pooled_texture(network.stem(seen(study / name))) for name in ("a.png", "b.png"))
    # a ball round a.png that b.png does not lie in
    radius = float(np.linalg.norm(b - a)) / 2
    network.novelty = Novelty(mean=a, factor=np.eye(size, dtype=np.float32)[None] / radius)
    save_model(network, tmp_path / "knows.safetensors", replace(network.card, name="knows"))
    out, model = tmp_path / "out", str(tmp_path / "knows.safetensors")

    status = {result.source: result.status for result in run(study, out, model)}
    again = run(study, out, model)
    main(["segment", str(study), "--out", str(tmp_path / "other"), "--model", model, "--device", "cpu"])

    assert (status["a.png"], status["b.png"]) == ("ok", "unlike-training-data")
    rows = table(out)
    assert {row["source"]: row["status"] for row in rows} == status
    flagged = next(row for row in rows if row["source"] == "b.png")
    assert flagged["malignancy"]
    assert flagged["message"].startswith("The frame is unlike those that the model was trained on")
    assert {result.status for result in again} == {"kept"}
    n_unlike = list(status.values()).count("unlike-training-data")
    assert f"4 frames segmented, {n_unlike} of them unlike the training data" in capsys.readouterr().out


def seen(path: Path) -> torch.Tensor:
    return torch.from_numpy(prepare(as_frame(path)).image)[None, None]
