"""Two processes train one network, and see what one process sees."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from napari_cln.models.card import ModelCard
from napari_cln.network.model import YNet, YNetConfig
from napari_cln.network.weights import save_model

SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import torch
from accelerate import PartialState
from napari_cln.network.weights import load_model
from napari_cln.training.data import Samples
from napari_cln.training.loop import fit
from napari_cln.training.recipes import Recipe

place, out = Path(sys.argv[1]), Path(sys.argv[2])
samples = Samples.load(place / "samples.npz")
start = load_model(place / "start.safetensors")
recipe = replace(Recipe.best(), network=start.config, batch_size=8, average=0.0)
events = list(fit(samples, samples.take(range(7)), recipe, out, epochs=2, start_from=start))
(out / f"rank-{PartialState().process_index}.json").write_bytes(msgspec.json.encode(events))
PartialState().destroy_process_group()  # else one of its threads may abort the process as Python ends
"""


def run(place: Path, processes: int) -> list[dict]:
    out = place / f"of-{processes}"
    out.mkdir()
    (place / "script.py").write_text(SCRIPT)
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    done = subprocess.run(
        [sys.executable, *launcher, str(place / "script.py"), str(place), str(out)],
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(list(out.glob("rank-*.json"))) == processes
    return json.loads((out / "rank-0.json").read_text())


def test_two_processes_train_like_one_even_where_labels_are_rare(samples, tmp_path):
    # most steps have a process whose frames all lack a label: it must not wait for ever
    rare = np.full_like(samples.node_targets, np.nan)
    rare[::7] = samples.node_targets[::7]
    few = replace(samples, node_targets=rare, frame_targets=rare[:, 0].copy())
    few.save(tmp_path / "samples.npz")
    torch.manual_seed(0)
    save_model(
        YNet(YNetConfig(width=0.125, decoder_width=8)),
        tmp_path / "start.safetensors",
        ModelCard(name="start"),
    )

    alone, together = run(tmp_path, 1), run(tmp_path, 2)

    one, two = ([event for event in events if event["event"] == "epoch"] for events in (alone, together))
    assert [event["n"] for event in two] == [7, 7]  # each validation frame once, by one process
    assert sorted(two[-1]["worst"]) == sorted(one[-1]["worst"])
    states = [
        torch.load(tmp_path / f"of-{n}" / "checkpoint.pt", weights_only=True)["network"] for n in (1, 2)
    ]
    start = load_file(tmp_path / "start.safetensors")
    moved, apart = (
        sum(float((a[key].float() - b[key].float()).norm() ** 2) for key in start if "running" not in key)
        for a, b in ((states[0], start), (states[0], states[1]))
    )
    assert apart < 0.01 * moved
