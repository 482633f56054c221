"""Commands that measure nodes, and follow them through cines."""

import csv
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

import napari_cln
from napari_cln.cli import main
from napari_cln.imaging.radiomics import CODES

pytestmark = pytest.mark.slow  # its frames take seconds to make

CINE = Path(napari_cln.__file__).parent / "samples" / "simulated-cine.dcm"


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    out = tmp_path_factory.mktemp("clips")
    assert main(["track", str(CINE), "--out", str(out), "--perfusion", "--dynamic-range", "60"]) == 0
    return out


@pytest.mark.slow
def test_a_node_of_a_cine_has_one_row_and_one_label(clips):
    rows = table(clips / "clips.csv")

    assert [row["frames"] for row in rows] == ["12"]
    assert rows[0]["label"] in ("benign", "malignant")
    assert float(rows[0]["lowest"]) <= float(rows[0]["malignancy"]) <= float(rows[0]["highest"])


def test_each_frame_says_which_node_is_which(clips):
    places = table(clips / "clip_frames.csv")

    assert [row["frame"] for row in places] == [str(k) for k in range(12)]
    assert {row["track"] for row in places} == {"1"}


def test_where_no_agent_comes_the_table_has_a_curve_and_no_figures(clips):
    (row,) = table(clips / "perfusion.csv")

    assert (row["wash_out_s"], row["intensity"]) == ("", "linear, of 60 dB")
    assert len(table(clips / "perfusion_curves.csv")) == 12


def test_a_clip_that_has_no_curve_keeps_its_tracks_and_says_why(tmp_path, capsys):
    with napari_cln.open_source(CINE) as cine:
        frames = [cine[index].pixels for index in range(4)]
    tifffile.imwrite(tmp_path / "untimed.tif", np.stack(frames), photometric="minisblack")
    out = tmp_path / "out"

    assert main(["track", str(tmp_path / "untimed.tif"), "--out", str(out), "--perfusion"]) == 0

    said = capsys.readouterr()
    assert [row["frames"] for row in table(out / "clips.csv")] == ["4"]
    assert len(table(out / "clip_frames.csv")) == 4
    assert table(out / "perfusion.csv") == []
    assert "note: untimed.tif: Its nodes have no contrast curve. The clip does not say the time" in said.err
    assert "1 node in 1 cine: " in said.out


def test_a_dynamic_range_without_curves_is_refused(tmp_path, capsys):
    out = tmp_path / "out"

    assert main(["track", str(CINE), "--out", str(out), "--dynamic-range", "60"]) == 1
    assert "60 dB) is of contrast curves, and none are asked for. Add --perfusion" in capsys.readouterr().err
    assert not out.exists()


def test_stills_are_passed_over(tmp_path, capsys):
    Image.new("L", (64, 64), 90).save(tmp_path / "still.png")

    assert main(["track", str(tmp_path / "still.png"), "--out", str(tmp_path / "out")]) == 0
    assert "0 nodes in 0 cines, 1 still passed over" in capsys.readouterr().out


@pytest.mark.parametrize("options", [[], ["--perfusion"]])
def test_curves_of_a_former_run_go(tmp_path, options):
    Image.new("L", (64, 64), 90).save(tmp_path / "still.png")
    out = tmp_path / "out"
    out.mkdir()
    for name in ("perfusion.csv", "perfusion_curves.csv", "perfusion.png"):
        (out / name).write_text("source,track\nformer.dcm,1\n")

    assert main(["track", str(tmp_path / "still.png"), "--out", str(out), *options]) == 0

    left = {path.name for path in out.glob("perfusion*")}
    assert left == ({"perfusion.csv", "perfusion_curves.csv"} if options else set())
    assert not any(table(out / name) for name in left)


@pytest.mark.slow
@pytest.mark.parametrize("masks", ["png", "rle"])
def test_radiomics_stand_beside_the_results(tmp_path, masks):
    phantom = napari_cln.simulate(7, n_nodes=1)
    Image.fromarray(phantom.frame.pixels).save(tmp_path / "neck.png")
    out = tmp_path / "out"

    code = main(["segment", str(tmp_path / "neck.png"), "--out", str(out), "--masks", masks, "--radiomics"])

    rows, results = table(out / "radiomics.csv"), table(out / "results.csv")
    assert code == 0
    assert [(r["source"], r["frame"], r["node"]) for r in rows] == [
        (r["source"], r["frame"], r["node"]) for r in results
    ]
    assert f"cm_contrast [{CODES['cm_contrast']}]" in rows[0]
    assert rows[0]["bins"] == "32" and rows[0]["grid_mm"] == ""
    features = [value for name, value in rows[0].items() if name.startswith(("stat_", "cm_", "sign_"))]
    assert min(map(float, features)) < 0, "a negative number is no formula"


def test_results_name_the_flow_of_a_node(tmp_path):
    phantom = napari_cln.simulate(3_001, n_nodes=1, doppler=True)
    Image.fromarray(phantom.frame.pixels).save(tmp_path / "doppler.png")

    main(["segment", str(tmp_path / "doppler.png"), "--out", str(tmp_path / "out")])

    (row, *_) = table(tmp_path / "out" / "results.csv")
    assert row["flow_pattern"] == phantom.flow_patterns[0]
    assert "Doppler" in row["message"]
