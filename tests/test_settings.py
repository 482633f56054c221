"""A setting is written once, and its limits hold in Python, on the command line, in a form and in JSON."""

from __future__ import annotations

import inspect
import json
import math
from importlib import import_module

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_cln import EvaluationConfig, EvaluationSettings, TrainConfig
from napari_cln.cli import COMMANDS as ALL_COMMANDS
from napari_cln.cli import main, parse
from napari_cln.errors import RunError
from napari_cln.settings import Setting, settings_of
from napari_cln.training.run_folder import RunFolder, read_settings

KINDS = (TrainConfig, EvaluationSettings)
NUMBERS = [(kind, each) for kind in KINDS for each in settings_of(kind) if each.is_number]
COMMAND_NAMES = sorted(ALL_COMMANDS)
COMMANDS = {TrainConfig: "train", EvaluationSettings: "evaluate"}


def name_of(value: object) -> str:
    return value.name if isinstance(value, Setting) else getattr(value, "__name__", str(value))


def outside(setting: Setting) -> list[float]:
    """The nearest numbers that a setting does not take."""
    limits, whole = setting.limits, setting.kind is int
    low = limits.gt if limits.gt is not None else limits.ge - (1 if whole or not limits.ge else limits.ge)
    high = limits.lt if limits.lt is not None else limits.le + 1
    return [low, high]


@pytest.mark.parametrize("kind", KINDS)
def test_every_setting_has_a_meaning(kind):
    assert all(setting.text for setting in settings_of(kind))


@pytest.mark.parametrize(("kind", "setting"), NUMBERS, ids=name_of)
def test_every_number_has_limits_on_both_sides(kind, setting):
    assert setting.bounds.keys() >= {"min", "max"}


@pytest.mark.parametrize(("kind", "setting"), NUMBERS, ids=name_of)
def test_a_number_outside_is_refused_in_every_entrance(kind, setting, tmp_path, capsys):
    for number in outside(setting):
        with pytest.raises(RunError, match=rf"^{setting.name} is .*, and must be"):
            kind(**{setting.name: number})
        with pytest.raises(SystemExit, match="2"):
            parse([COMMANDS[kind], ".", "--out", "out", f"{setting.option}={number}"])
        file = tmp_path / "settings.json"
        file.write_text(json.dumps({setting.name: number}))
        with pytest.raises(RunError, match=rf"holds no settings: {setting.name} is"):
            read_settings(file, kind)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, True, "0.5", None])
def test_what_is_no_number_is_refused(number):
    with pytest.raises(RunError, match="sensitivity is"):
        EvaluationConfig(sensitivity=number)


def test_a_number_of_numpy_becomes_a_plain_one():
    config = EvaluationConfig(prevalence=np.float64(0.25), resamples=np.int64(300))

    assert (type(config.prevalence), type(config.resamples)) == (float, int)


@given(
    epochs=st.integers(1, 1000),
    rate=st.floats(1e-6, 1),
    seed=st.integers(0, 2**31 - 1),
    model=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
def test_settings_come_back_from_their_file_as_they_were(tmp_path_factory, epochs, rate, seed, model):
    run = RunFolder(tmp_path_factory.mktemp("run"))
    config = TrainConfig(epochs=epochs, learning_rate=rate, seed=seed, start_from=model)

    assert read_settings(run.write_settings(config), TrainConfig) == config


def test_options_come_before_the_settings_of_a_file(tmp_path, capsys):
    file = tmp_path / "settings.json"
    file.write_text('{"split": "validation", "resamples": 300}')

    arguments = ["evaluate", str(tmp_path), "--out", "r", "--settings", str(file), "--split", "all"]
    _, bound = parse(arguments)

    assert bound.arguments["settings"] == file
    assert bound.arguments["split"] == "all"
    assert "resamples" not in bound.arguments


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "It is no JSON"),
        ("[]", "must be an object"),
        ('{"epoch": 3}', "epoch is not known here"),
        ('{"epochs": "3"}', 'epochs is "3", and must be a whole number from 1 to 1000'),
        ('{"folds": 1, "ensemble": true}', "An ensemble needs the networks of several folds"),
    ],
)
def test_a_file_of_settings_that_can_not_be_taken_is_one_sentence_and_1(text, reason, tmp_path, capsys):
    file = tmp_path / "settings.json"
    file.write_text(text)

    assert main(["train", str(tmp_path), "--out", str(tmp_path / "run"), "--settings", str(file)]) == 1

    said = capsys.readouterr().err
    assert said.startswith("napari-cln: settings.json holds no settings: ")
    assert reason in said
    assert said.count("\n") == 1
    assert str(tmp_path) not in said


@pytest.mark.parametrize(
    ("given", "needed", "sentence"),
    [
        ({"record_table": "more.csv"}, {"fusion": "fusion.json"}, "Give fusion as well"),
        ({"rule": "sensitivity"}, {"cutoff_from": "validation"}, "Choose validation or test for cutoff_from"),
        (
            {"sensitivity": 0.95, "cutoff_from": "validation"},
            {"rule": "sensitivity"},
            "Choose that rule, or leave out the sensitivity",
        ),
    ],
)
def test_a_setting_that_is_of_no_use_without_another_is_refused(given, needed, sentence):
    with pytest.raises(RunError, match=sentence):
        EvaluationSettings(**given)

    assert EvaluationSettings(**given, **needed)


@pytest.mark.parametrize("kind", KINDS)
def test_help_lists_every_setting_with_limits_and_default(kind, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "500")

    with pytest.raises(SystemExit, match="0"):
        main([COMMANDS[kind], "--help"])

    text = capsys.readouterr().out
    for setting in settings_of(kind):
        (line,) = (line for line in text.splitlines() if line.strip().startswith(f"{setting.option} "))
        rest = " ".join(text[text.index(line) :].partition("\n  --")[0].split())
        assert setting.range in rest
        if setting.kind is not bool and setting.default not in (None, "", ()):
            assert f"default: {setting.default}]" in rest


@pytest.mark.parametrize("command", COMMAND_NAMES)
def test_help_lists_every_option(command, capsys):
    place, _ = ALL_COMMANDS[command]
    module, _, function = place.partition(":")
    parameters = inspect.signature(getattr(import_module(f"napari_cln.cli.{module}"), function)).parameters

    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])

    lines = capsys.readouterr().out.splitlines()
    starts = {line.split()[0] for line in lines if line.startswith("  ") and line.strip()}
    for each in parameters.values():
        is_option = each.kind is each.KEYWORD_ONLY
        assert (f"--{each.name.replace('_', '-')}" if is_option else each.name.upper()) in starts


@pytest.mark.parametrize("command", COMMAND_NAMES)
def test_help_is_plain_text_in_a_pipe(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])

    text = capsys.readouterr().out
    assert not set(text) & set("\x1b╭╮╰╯│─")
    assert text.isprintable() or all(character.isprintable() or character == "\n" for character in text)
    assert not [line for line in text.splitlines() if line != line.rstrip()]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trainx"], 'Did you mean "train"?'),
        (["train", ".", "--out", "r", "--epcohs", "3"], "Did you mean --epochs?"),
        (["train", ".", "--out"], "--out needs a value."),
        (["train", "."], "--out is required."),
        (["check", ".", "more"], "There is nothing to do with more."),
        (["train", ".", "--out", "r", "--recipe", "bset"], 'invalid choice "bset"'),
    ],
)
def test_wrong_use_says_what_was_meant_and_where_to_look(arguments, said, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)

    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 2
    assert "--help lists what can be given." in error


def test_an_option_that_is_given_twice_counts_as_it_was_given_last():
    _, bound = parse(["train", ".", "--out", "a", "--epochs", "3", "--epochs", "4", "--out", "b"])

    assert (bound.arguments["epochs"], str(bound.arguments["out"])) == (4, "b")
