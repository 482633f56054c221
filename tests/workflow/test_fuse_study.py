"""From a study with clinical records to a report with the record beside the model."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from napari_cln.cli import main
from napari_cln.errors import DatasetError
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.formats.exchange import import_study
from napari_cln.study.cases import CaseRow, write_rows
from napari_cln.study.fusion import read_fusion
from napari_cln.workflow.fuse import fuse_study, records_of_table


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Sixty small frames with a marker in the table that tells of the class, and a model's scores."""
    root = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    (root / "in").mkdir()
    with (root / "in" / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["image", "patient", "label", "marker"])
        for k in range(60):
            Image.fromarray(rng.integers(0, 200, (24, 32), dtype=np.uint8)).save(root / "in" / f"{k}.png")
            marker = "" if k % 9 == 0 else f"{rng.normal(1.5 if k % 2 else 0.0, 1):.3f}"
            table.writerow([f"{k}.png", f"p{k}", "metastatic" if k % 2 else "benign", marker])
    list(import_study(root / "in", root / "folder", clinical=["marker"]))
    folder = TrainingFolder.open(root / "folder")
    rows = [
        CaseRow(
            id=case.id,
            patient=case.patient,
            truth=case.truth,
            score=float(score),
            frame_score=float(score),
            level="IV",
        )
        for case in folder.cases()
        for score in [np.clip(rng.normal(0.6 if case.truth == "metastatic" else 0.4, 0.2), 0.01, 0.99)]
    ]
    write_rows(rows, root / "cases.csv")
    return root, rows


def test_a_fusion_is_fitted_from_the_folders_records(study, tmp_path):
    root, _ = study

    fusion = fuse_study(root / "folder", root / "cases.csv", tmp_path / "fusion.json")

    assert [variable.name for variable in fusion.variables] == ["marker"]
    assert fusion.nodes == 60 and fusion.auc_fused > fusion.auc_image
    assert read_fusion(tmp_path / "fusion.json") == fusion


def test_the_command_says_what_the_record_brings(study, tmp_path, capsys):
    root, _ = study
    out = tmp_path / "fusion.json"

    code = main(["fuse", str(root / "folder"), "--scores", str(root / "cases.csv"), "--out", str(out)])

    assert code == 0
    assert "with the record (held out in turn)" in capsys.readouterr().out
    assert json.loads(out.read_text())["variables"][0]["missing_weight"] != 0


@pytest.mark.slow
def test_a_report_sets_the_record_beside_the_model(study, tmp_path, capsys):
    root, _ = study
    fuse_study(root / "folder", root / "cases.csv", tmp_path / "fusion.json")

    code = main(
        [
            "evaluate",
            str(root / "folder"),
            *("--out", str(tmp_path / "report"), "--split", "all"),
            *("--fusion", str(tmp_path / "fusion.json"), "--resamples", "200"),
        ]
    )

    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert code == 0, capsys.readouterr().err
    assert "model with clinical record" in page
    assert "Nomogram" in page and "7 of 60" in page


def test_scores_of_training_cases_are_refused(study, tmp_path):
    root, rows = study
    from dataclasses import replace

    write_rows([replace(row, split="train") for row in rows], tmp_path / "cases.csv")

    with pytest.raises(DatasetError, match="flatter the image"):
        fuse_study(root / "folder", tmp_path / "cases.csv", tmp_path / "fusion.json")


def test_a_table_of_nodes_brings_more_variables(tmp_path):
    (tmp_path / "radiomics.csv").write_text(
        "id,node,stat_mean,place\nab,1,3.5,II\nab,2,,\n", encoding="utf-8"
    )

    assert records_of_table(tmp_path / "radiomics.csv") == {
        "ab/1": {"stat_mean": 3.5, "place": "ii"},
        "ab/2": {},
    }


def test_a_node_that_pandas_wrote_with_a_point_is_that_node(tmp_path):
    (tmp_path / "more.csv").write_text("id;node;age\nab;1.0;30\nab;2,0;40\nab;;50\n", encoding="utf-8")

    assert records_of_table(tmp_path / "more.csv") == {
        "ab/1": {"age": 30.0},
        "ab/2": {"age": 40.0},
        "ab": {"age": 50.0},
    }


@pytest.mark.parametrize("node", ["1.5", "one"])
def test_a_node_that_is_no_whole_number_is_refused_with_its_line(tmp_path, node):
    (tmp_path / "more.csv").write_text(f"id,node,age\nab,1,30\nab,{node},30\n", encoding="utf-8")

    with pytest.raises(DatasetError, match=rf"more\.csv in line 3 has the node '{node}'\. Give its number"):
        records_of_table(tmp_path / "more.csv")


@pytest.mark.parametrize("second", ["ab,1,80", "ab/1,,80"])
def test_two_rows_of_one_node_that_contradict_are_refused(tmp_path, second):
    (tmp_path / "more.csv").write_text(f"id,node,age\nab,1,30\n{second}\n", encoding="utf-8")

    with pytest.raises(DatasetError, match=r"two rows of ab/1 that contradict, the second in line 3\. Leave"):
        records_of_table(tmp_path / "more.csv")
