"""The command as a user meets it: exit codes, sentences, and what the doctor says."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from napari_cln import TrainingFolder, __version__, read_frame, simulate
from napari_cln.cli import main, parse
from napari_cln.folder.split.frozen import frozen_split
from napari_cln.models.card import ModelCard
from napari_cln.network.model import YNet, YNetConfig
from napari_cln.network.weights import save_model
from napari_cln.study.cases import read_rows
from napari_cln.study.config import EvaluationSettings
from napari_cln.training.config import TrainConfig
from napari_cln.training.run_folder import Judged, Note, RunFolder, TrainingRecord


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    """A small real network, untrained."""
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    torch.manual_seed(0)
    network = YNet(YNetConfig(width=0.05, decoder_width=4, block="rcb", bins=(3,)))
    save_model(network, path, ModelCard(name="small"))
    return str(path)


@pytest.fixture
def study(tmp_path) -> Path:
    folder = tmp_path / "study"
    folder.mkdir()
    for seed in range(2):
        Image.fromarray(simulate(seed).frame.pixels[::4, ::4]).save(folder / f"{seed}.png")
    return folder


def segment(study: Path | str, out: Path, model: str, *options: str) -> int:
    return main(["segment", str(study), "--out", str(out), "--model", model, "--device", "cpu", *options])


@pytest.mark.slow
def test_all_went_well_is_0(study, tmp_path, model, capsys):
    assert segment(study, tmp_path / "out", model) == 0

    output = capsys.readouterr()
    assert output.out == f"2 frames segmented: {tmp_path / 'out' / 'results.csv'}\n"
    assert "Traceback" not in output.err


@pytest.mark.slow
def test_a_failed_file_is_1_and_named_on_standard_error(study, tmp_path, model, capsys):
    (study / "bad.png").write_bytes(b"not an image")

    assert segment(study, tmp_path / "out", model) == 1

    output = capsys.readouterr()
    assert "failed: bad.png: bad.png is " in output.err
    assert "2 frames segmented, 1 failed" in output.out


@pytest.mark.slow
def test_a_rerun_says_what_was_done_before(study, tmp_path, model, capsys):
    segment(study, tmp_path / "out", model)
    capsys.readouterr()

    assert segment(study, tmp_path / "out", model) == 0
    assert "0 frames segmented, 2 files done before" in capsys.readouterr().out


@pytest.mark.slow
def test_a_damaged_table_is_told_of_and_is_no_failure(study, tmp_path, model, capsys):
    segment(study, tmp_path / "out", model)
    table = tmp_path / "out" / "results.csv"
    lines = table.read_bytes().splitlines(keepends=True)
    table.write_bytes(b"".join([*lines[:-1], bytes(40), b"\n"]))
    capsys.readouterr()

    assert segment(study, tmp_path / "out", model) == 0

    output = capsys.readouterr()
    assert "note: results.csv had " in output.err
    assert "1 frame segmented, 1 file done before: " in output.out
    assert table.read_bytes() == b"".join(lines)


def test_of_many_failures_of_a_file_the_first_three_are_told(tmp_path, model, capsys):
    pages = [Image.new("L", (64, 64), index) for index in range(6)]
    pages[0].save(tmp_path / "cine.tif", compression="tiff_deflate", save_all=True, append_images=pages[1:])
    with tifffile.TiffFile(tmp_path / "cine.tif") as file:
        places = [(page.dataoffsets[0], page.databytecounts[0]) for page in file.pages]
    data = bytearray((tmp_path / "cine.tif").read_bytes())
    for offset, count in places:
        data[offset : offset + count] = bytes(count)
    (tmp_path / "cine.tif").write_bytes(data)

    assert segment(tmp_path / "cine.tif", tmp_path / "out", model) == 1

    output = capsys.readouterr()
    assert output.err.count("failed: cine.tif") == 3
    assert "More failures of this file stand in the table." in output.err
    assert "0 frames segmented, 6 failed (see the message column)" in output.out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "required"),
        (["segment"], "required"),
        (["segment", "nowhere.png", "--out", "out"], "there is no file or folder nowhere.png"),
        (["segment", ".", "--out", "out", "--batch-size", "0"], "0 is less than 1"),
        (["segment", ".", "--out", "out", "--device", "abacus"], "invalid choice"),
        (["phantom", "many", "--out", "out"], "'many' is not a whole number"),
        (["segment", ".", "--out", ""], "argument --out: it is empty, and must name a file or folder."),
        (["track", ".", "--out="], "argument --out: it is empty, and must name a file or folder."),
        (["phantom", "2", "--out", ""], "argument --out: it is empty, and must name a file or folder."),
    ],
)
def test_wrong_use_is_2_and_writes_nothing(arguments, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SystemExit) as stopped:
        main(arguments)

    assert stopped.value.code == 2
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


NUMBERS = [
    ("evaluate", "--cutoff"),
    ("evaluate", "--sensitivity"),
    ("evaluate", "--prevalence"),
    ("evaluate", "--iou-threshold"),
    ("evaluate", "--confidence"),
    ("train", "--learning-rate"),
]
WHOLE_NUMBERS = [
    ("evaluate", "--resamples"),
    ("evaluate", "--seed"),
    ("train", "--epochs"),
    ("train", "--folds"),
    ("train", "--batch-size"),
    ("train", "--patience"),
    ("train", "--seed"),
    ("segment", "--batch-size"),
]


@pytest.mark.parametrize(("command", "option"), NUMBERS)
def test_a_number_takes_point_and_comma(command, option):
    read = [parse([command, ".", "--out", "out", option, text])[1].arguments for text in ("0.25", "0,25")]

    assert read[0] == read[1]
    assert 0.25 in read[0].values()


@pytest.mark.parametrize("text", ["1.234,5", "1,234.5", "nan", "inf", "1e400", "0x10", "½", "０.５", "0 5"])
@pytest.mark.parametrize(("command", "option"), NUMBERS)
def test_what_is_not_one_number_is_wrong_use(command, option, text, capsys):
    with pytest.raises(SystemExit, match="2"):
        parse([command, ".", "--out", "out", option, text])

    said = capsys.readouterr().err
    assert f"argument {option}: '{text}' is " in said
    assert "Traceback" not in said


@pytest.mark.parametrize("text", ["1.5", "1,5", "1e3", "٣", "0x1", "1_0", "9" * 30, "-1"])
@pytest.mark.parametrize(("command", "option"), WHOLE_NUMBERS)
def test_what_is_not_a_whole_number_is_wrong_use(command, option, text, capsys):
    with pytest.raises(SystemExit, match="2"):
        parse([command, ".", "--out", "out", option, text])

    said = capsys.readouterr().err
    assert f"argument {option}: " in said
    assert "Traceback" not in said


@pytest.mark.parametrize("text", ["0", "1", "1,5", "0e-400"])
def test_a_cutoff_outside_its_range_is_refused_and_never_clamped(text, capsys):
    with pytest.raises(SystemExit, match="2"):
        parse(["evaluate", ".", "--out", "out", "--cutoff", text])

    assert f"{text} is not between 0 and 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--model", "nonesuch"], "There is no model 'nonesuch'"),
        pytest.param(
            ["--device", "cuda"],
            "There is no NVIDIA GPU",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here"),
        ),
    ],
)
def test_an_error_is_one_sentence_and_1(study, tmp_path, model, options, sentence, capsys):
    assert segment(study, tmp_path / "out", model, *options) == 1

    error = capsys.readouterr().err
    assert error.startswith("napari-cln: ")
    assert sentence in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("name", ["n" * 5000, "a\0b"])
def test_a_path_that_can_not_be_is_wrong_use(name, tmp_path, capsys):
    for arguments in (["segment", name, "--out", str(tmp_path / "out")], ["check", name]):
        with pytest.raises(SystemExit, match="2"):
            main(arguments)

        said = capsys.readouterr().err
        assert "there is no file or folder" in said
        assert "Traceback" not in said


def test_an_error_of_the_system_is_one_sentence_and_1(tmp_path, capsys):
    main(["phantom", "1", "--out", str(tmp_path / "frames")])
    (tmp_path / "file").write_text("")
    capsys.readouterr()

    assert main(["check", str(tmp_path / "frames"), "--pictures", str(tmp_path / "file" / "sheets")]) == 1

    error = capsys.readouterr().err
    assert error.startswith("napari-cln: ")
    assert "Traceback" not in error
    assert str(tmp_path) not in error


@pytest.fixture
def broken(monkeypatch):
    """An error that nobody foresaw, with a path in its text."""

    def fail():
        raise KeyError("/home/Meier_Anna/scan.dcm")
        yield

    monkeypatch.setattr("napari_cln.doctor.examine", fail)


def test_an_error_that_nobody_foresaw_is_one_line_that_says_where_to_report_it(broken, capsys):
    assert main(["doctor"]) == 1

    error = capsys.readouterr().err
    assert error.startswith("napari-cln: This should not have happened (KeyError in cli/batch.py, line ")
    assert "Please open an issue" in error
    assert "napari-cln doctor" in error
    assert error.count("\n") == 1
    assert "Meier" not in error


@pytest.mark.parametrize("arguments", [["--debug", "doctor"], ["doctor", "--debug"], ["doctor"]])
def test_a_traceback_is_shown_on_request(broken, arguments, monkeypatch, capsys):
    if arguments == ["doctor"]:
        monkeypatch.setenv("NAPARI_CLN_DEBUG", "1")

    assert main(arguments) == 1

    assert "Traceback (most recent call last)" in capsys.readouterr().err


@pytest.mark.parametrize("goes", ["| true", "> /dev/full"])
def test_output_that_goes_nowhere_is_a_sentence(goes):
    command = f"{sys.executable} -m napari_cln doctor {goes}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)

    assert done.stderr.startswith("napari-cln: ")
    assert done.stderr.count("\n") == 1


def test_an_empty_folder_is_one_sentence_and_1(tmp_path, model, capsys):
    (tmp_path / "empty").mkdir()

    assert segment(tmp_path / "empty", tmp_path / "out", model) == 1
    assert "empty holds no image" in capsys.readouterr().err


def test_ctrl_c_says_how_to_go_on(study, tmp_path, model):
    for i in range(30):
        Image.fromarray(simulate(0).frame.pixels[::4, ::4]).save(study / f"more{i}.png")
    arguments = ["segment", str(study), "--out", str(tmp_path / "out"), "--model", model, "--batch-size", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "napari_cln", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        # a test run in the background would hand on that Ctrl+C is ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not list((tmp_path / "out").glob("masks/*.png")):
        assert process.poll() is None, process.stderr.read()

    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "The same command goes on from what is written by now." in error
    assert "Traceback" not in error


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])

    assert capsys.readouterr().out == f"napari-cln {__version__}\n"


@pytest.mark.slow
def test_phantom_writes_a_training_folder_that_the_seed_decides(tmp_path, capsys):
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert main(["phantom", "2", "--seed", seed, "--out", str(tmp_path / name)]) == 0
    assert "2 simulated frames" in capsys.readouterr().out

    images = {
        name: [path.read_bytes() for path in sorted((tmp_path / name / "imagesTr").iterdir())]
        for name in "abc"
    }
    assert len(images["a"]) == 2
    assert images["a"] == images["b"]
    assert images["a"] != images["c"]
    assert main(["phantom", "1", "--out", str(tmp_path / "a")]) == 1, "what is there is not overwritten"


@pytest.mark.slow
def test_a_study_goes_out_and_comes_in_again_the_same(tmp_path, capsys):
    from napari_cln import TrainingFolder

    main(["phantom", "4", "--seed", "1", "--out", str(tmp_path / "study")])
    for format in ("nnunet", "coco", "csv"):
        sent, back = tmp_path / f"{format}-sent", tmp_path / f"{format}-back"
        assert main(["export", str(tmp_path / "study"), "--format", format, "--out", str(sent)]) == 0
        assert main(["import", str(sent), "--out", str(back)]) == 0
        main(["check", str(back), "--pictures", str(tmp_path / "sheets")])  # CSV does not say: simulated
        assert main(["check", str(back), "--seen-by", "r1"]) == 0

        ids = {
            path: {case.id for case in TrainingFolder.open(path).cases()}
            for path in (tmp_path / "study", back)
        }
        assert len(set(map(frozenset, ids.values()))) == 1
    said = capsys.readouterr().out
    assert "4 frames exported" in said
    assert "4 frames imported" in said


def test_check_names_a_lost_image_and_is_1(tmp_path, capsys):
    main(["phantom", "2", "--out", str(tmp_path / "study")])
    lost = min((tmp_path / "study" / "imagesTr").iterdir())
    lost.unlink()

    assert main(["check", str(tmp_path / "study")]) == 1
    assert lost.name.partition("_")[0] in capsys.readouterr().out


def test_a_mask_value_that_is_no_number_is_wrong_use(tmp_path, capsys):
    arguments = ["import", str(tmp_path), "--out", str(tmp_path / "out"), "--mask-values", "red=node"]

    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "red is no value of a mask" in capsys.readouterr().err


@pytest.mark.slow
def test_train_writes_a_model_that_segments_and_goes_on_when_asked(study, tmp_path, capsys):
    main(["phantom", "6", "--out", str(tmp_path / "frames")])
    train = ["train", str(tmp_path / "frames"), "--out", str(tmp_path / "run")]
    settings = ["--epochs", "1", "--folds", "1", "--batch-size", "4", "--compare-with", ""]

    assert main([*train, *settings]) == 0
    said = capsys.readouterr().out
    assert "fold 0, epoch 1, the best so far: " in said
    assert f"model: {tmp_path / 'run' / 'model.safetensors'}" in said

    assert segment(study, tmp_path / "out", str(tmp_path / "run" / "model.safetensors")) == 0
    assert main([*train, *settings]) == 1, "a run is not overwritten"
    assert main([*train, "--resume"]) == 0, "a run is resumed with its own settings"


def test_every_setting_of_a_run_is_an_option():
    arguments = ["train", ".", "--out", "run"]
    given = parse(arguments)[1].arguments.keys()
    for field in fields(TrainConfig):
        option = f"--{field.name.replace('_', '-')}"
        words = {"recipe": "best", "hold_out": "hospital", "channels": "flow"}
        values = [] if field.type is bool else [words.get(field.name, "1")]
        assert parse([*arguments, option, *values])[1].arguments.keys() - given == {field.name}


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> Path:
    """A training folder of simulated frames."""
    folder = tmp_path_factory.mktemp("studies") / "frames"
    assert main(["phantom", "6", "--out", str(folder)]) == 0
    return folder


@pytest.mark.slow
def test_evaluate_writes_a_report_of_a_training_folder(frames, tmp_path, model, capsys):
    arguments = ["evaluate", str(frames), "--model", model, "--out", str(tmp_path / "report")]
    assert main([*arguments, "--data", "Six simulated frames."]) == 0

    assert "Six simulated frames." in (tmp_path / "report" / "report.html").read_text()
    rows = read_rows(tmp_path / "report" / "cases.csv")
    masks = tmp_path / "report" / "masks"
    assert {path.stem for path in masks.iterdir()} == {row.id for row in rows}
    for row in rows:
        assert row.predicted_node in {0, *np.unique(read_frame(masks / f"{row.id}.png").pixels)}
    assert "frame 6 of 6" in capsys.readouterr().err


@pytest.mark.slow
def test_evaluate_notes_how_far_it_is_beside_the_report_and_in_no_run(frames, tmp_path, model):
    report, run = RunFolder(tmp_path / "report"), RunFolder(tmp_path / "run")
    run.path.mkdir()
    run.write_record(TrainingRecord(config=TrainConfig()))
    run.note(Note(message="of the training"))
    report.path.mkdir()
    report.note(Judged(done=1, of=1))

    for folder in (report, run):
        main(["evaluate", str(frames), "--model", model, "--out", str(folder.path), "--split", "all"])

    n = len(TrainingFolder.open(frames).ids())
    assert [*report.events()][-1] == Judged(done=n, of=n)
    assert Judged(done=1, of=1) not in report.events()
    assert [*run.events()] == [Note(message="of the training")]


@pytest.mark.slow
def test_evaluate_sets_a_second_model_readers_and_reports_beside_the_first(frames, tmp_path, model):
    ids = TrainingFolder.open(frames).ids()
    (tmp_path / "readers.csv").write_text("id,Dr A\n" + "".join(f"{id_},malignant\n" for id_ in ids))
    (tmp_path / "reports.csv").write_text("id,label,evidence\n" + "".join(f"{id_},benign,\n" for id_ in ids))
    out = tmp_path / "report"
    beside = ["--compare-with", "default", "--readers", str(tmp_path / "readers.csv")]
    beside += ["--reports", str(tmp_path / "reports.csv"), "--prevalence", "0.2", "--resamples", "200"]

    code = main(["evaluate", str(frames), "--model", model, "--out", str(out), *beside])

    text = (out / "report.html").read_text()
    assert code == 0
    for name in ("Dr A", "original reports", "default@"):
        assert f"Model and {name}" in text
    assert "PPV at a prevalence of 20.0 %" in text


@pytest.mark.slow
def test_evaluate_reports_the_set_that_it_is_asked_for(frames, tmp_path, model, capsys):
    arguments = ["evaluate", str(frames), "--model", model, "--out", str(tmp_path / "report")]

    assert main([*arguments, "--split", "validation"]) == 1

    assert "No frame of frames is in the set 'validation' (there: test 6)." in capsys.readouterr().err


@pytest.mark.slow
def test_frames_of_a_frozen_split_are_no_test_cases(frames, tmp_path, model, capsys):
    study = TrainingFolder.open(shutil.copytree(frames, tmp_path / "frames"))
    (fold,) = frozen_split(study, 1)[:1]

    assert main(["evaluate", str(study.path), "--model", model, "--out", str(tmp_path / "a")]) == 1
    assert main(
        ["evaluate", str(study.path), "--model", model, "--out", str(tmp_path / "b"), "--split", "validation"]
    ) == 0  # fmt: skip

    there = f"train {len(fold.train)}, validation {len(fold.validation)}"
    assert f"is in the set 'test' (there: {there})" in capsys.readouterr().err
    assert {row.id for row in read_rows(tmp_path / "b" / "cases.csv")} == set(fold.validation)


@pytest.mark.slow
def test_frames_that_the_model_learned_from_are_told(frames, tmp_path, model):
    run = tmp_path / "run"
    run.mkdir()
    for path in (Path(model), Path(model).with_suffix(".json")):
        shutil.copy(path, run)
    learned = TrainingFolder.open(frames).ids()[:4]
    folds = [{"train": learned[:3], "validation": learned[3:]}]
    (run / "run.json").write_text(json.dumps({"config": {}, "folds": folds}))

    main(["evaluate", str(frames), "--model", str(run / Path(model).name), "--out", str(tmp_path / "report")])

    said = json.loads((tmp_path / "report" / "report.json").read_text())
    assert any(note.startswith("4 of these frames were in the run") for note in said["notes"])


@pytest.mark.slow
def test_a_damaged_record_of_the_models_run_is_told_with_what_is_not_known(frames, tmp_path, model, capsys):
    run = tmp_path / "run"
    run.mkdir()
    for path in (Path(model), Path(model).with_suffix(".json")):
        shutil.copy(path, run)
    (run / "run.json").write_bytes(bytes(200))
    arguments = ["evaluate", str(frames), "--model", str(run / Path(model).name)]

    assert main([*arguments, "--out", str(tmp_path / "report")]) == 0

    said = capsys.readouterr().err
    assert "run.json in run can't be read" in said
    assert f"it is not known which frames {Path(model).name} learned from" in said


def test_a_model_that_gives_no_number_is_told_once_with_the_count(frames, tmp_path, capsys):
    torch.manual_seed(0)
    network = YNet(YNetConfig(width=0.05, decoder_width=4, block="rcb", bins=(3,)))
    with torch.no_grad():
        network.stem[0].weight.fill_(1e38)
    save_model(network, tmp_path / "huge.safetensors", ModelCard(name="huge"))
    arguments = ["evaluate", str(frames), "--model", str(tmp_path / "huge.safetensors"), "--split", "all"]

    assert main([*arguments, "--out", str(tmp_path / "report")]) == 1

    said = capsys.readouterr().err
    assert "napari-cln: The model huge@" in said
    assert "frames without a result" in said


def test_calls_on_no_case_of_the_set_are_refused(frames, tmp_path, model, capsys):
    (tmp_path / "readers.csv").write_text("id,Dr A\nscan-7.png,malignant\n")

    arguments = ["evaluate", str(frames), "--model", model, "--out", str(tmp_path / "report")]
    assert main([*arguments, "--readers", str(tmp_path / "readers.csv")]) == 1

    assert "Dr A has 1 calls, and none is on a case of this set." in capsys.readouterr().err


def test_every_setting_of_an_evaluation_is_an_option():
    arguments = ["evaluate", ".", "--out", "report"]
    given = parse(arguments)[1].arguments.keys()
    words = {
        "cutoff_from": "card",
        "rule": "youden",
        "device": "cpu",
        "readers": __file__,
        "reports": __file__,
        "fusion": __file__,
        "record_table": __file__,
    }
    for field in fields(EvaluationSettings):
        value = words.get(field.name, "300" if field.name in ("resamples", "seed") else "0.5")
        option = f"--{field.name.replace('_', '-')}"
        assert parse([*arguments, option, value])[1].arguments.keys() - given == {field.name}


def test_reports_are_read_by_the_dictionary(tmp_path, capsys):
    (tmp_path / "reports.csv").write_text("id,text\n1,reactive node\n2,metastasis\n")

    assert main(["reports", str(tmp_path / "reports.csv"), "--out", str(tmp_path / "verdicts.csv")]) == 0
    assert capsys.readouterr().out.startswith("benign 1, malignant 1: ")


# -- doctor ------------------------------------------------------------------------------------


def test_the_doctor_says_which_device_and_why_and_what_can_be_read(capsys):
    assert main(["doctor"]) == 0

    said = capsys.readouterr().out
    assert f"napari-cln {__version__}" in said
    assert "will be used: " in said
    assert "default@" in said
    assert "JPEGLSLossless" in said
    assert "JPEG XL" in said
    assert "DICOM that can't be read: JPEG2000MCLossless" in said
    assert "h264" in said
    assert "MISSING" not in said
    assert "not for diagnosis" in said


def test_the_doctor_warns_of_gdcm(tmp_path, monkeypatch, capsys):
    (tmp_path / "gdcm.py").write_text("raise RuntimeError('never imported')")
    monkeypatch.syspath_prepend(tmp_path)

    main(["doctor"])

    assert "WARNING: GDCM is installed" in capsys.readouterr().out


@pytest.mark.parametrize("missing", ["torch", "imagecodecs", "av", "PySide6", "safetensors"])
def test_the_doctor_goes_on_when_a_library_is_missing(missing):
    code = (
        f"import sys; sys.modules[{missing!r}] = None; import napari_cln.cli; napari_cln.cli.main(['doctor'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "For research" in done.stdout
