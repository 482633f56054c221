"""The batch job on a real Dask scheduler with real worker processes, some of which are killed."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dask
import dask.array as da
import distributed
import numpy as np
import pytest
import torch
from batch_runs import cine_with_damaged_frames
from PIL import Image

from napari_cln import segment_to_folder, simulate
from napari_cln.batch import MaskFile
from napari_cln.batch.names import sources_outside
from napari_cln.batch.part import FATAL, segment_part
from napari_cln.cluster import segment_on_cluster
from napari_cln.errors import RunError
from napari_cln.models.card import ModelCard
from napari_cln.network.inference import Segmenter
from napari_cln.network.model import YNet, YNetConfig
from napari_cln.network.weights import save_model

N_FILES = 6
WORKER = """
import os, sys
import napari_cln.batch.job as job
def open_or_die(path, read=job.open_source):  # stands in for a decoder that ends its process
    opened = read(path)
    if not path.name.startswith("deadly"):
        return opened
    class Deadly(type(opened)):
        def __getitem__(self, index):
            if index == 1:
                os._exit(9)
            return super().__getitem__(index)
    opened.__class__ = Deadly
    return opened
if job.open_source.__name__ != "open_or_die":
    job.open_source = open_or_die
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    network = YNet(YNetConfig(width=0.05, decoder_width=4, block="rcb", bins=(3,))).eval()
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    save_model(network, path, ModelCard(name="small", mask_threshold=0.4))
    return path


@pytest.fixture
def study(tmp_path) -> Path:
    folder = tmp_path / "study"
    folder.mkdir()
    pixels = simulate(3).frame.pixels[::4, ::4]
    for index in range(N_FILES):
        Image.fromarray(np.roll(pixels, 9 * index, axis=1)).save(folder / f"{index}.png")
    return folder


class Cluster:
    """A scheduler and two workers, each a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address_file = folder / "scheduler.json"
        self.processes = [self._start("dask_scheduler", "--port", "0", "--no-dashboard")]
        preload = folder / "deadly.py"
        preload.write_text(WORKER)
        self.processes += [
            self._start(
                "dask_worker",
                *("--nthreads", "1", "--no-dashboard", "--memory-limit", "0"),
                *("--local-directory", str(folder / f"worker-{index}"), "--preload", str(preload)),
            )
            for index in range(2)
        ]
        with distributed.Client(
            scheduler_file=str(self.address_file), set_as_default=False, timeout=60
        ) as client:
            self.address = client.scheduler.address
            client.wait_for_workers(2, timeout=120)

    def _start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.{name}"]
        with (self.folder / f"{name}-{len(list(self.folder.iterdir()))}.log").open("wb") as log:
            return subprocess.Popen(
                [*command, "--scheduler-file", str(self.address_file), *arguments],
                stdout=log,
                stderr=log,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )

    def worker_pids(self) -> list[int]:
        with distributed.Client(self.address, set_as_default=False) as client:
            return list(client.run(os.getpid).values())

    def close(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            process.wait(30)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    with contextlib.closing(Cluster(tmp_path_factory.mktemp("cluster"))) as running:
        yield running


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "results.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("masks", ["png", "rle"])
def test_the_cluster_says_what_one_machine_says(cluster, study, tmp_path, model, masks):
    list(segment_to_folder([study], tmp_path / "here", model=model, device="cpu", masks=masks))
    done = list(
        segment_on_cluster(
            [study], tmp_path / "there", scheduler=cluster.address, model=model, device="cpu", masks=masks
        )
    )

    assert {result.source for result in done} == {f"{index}.png" for index in range(N_FILES)}
    assert {result.status for result in done} == {"ok"}
    assert done[-1].progress == 1
    assert rows(tmp_path / "there") == rows(tmp_path / "here")
    if masks == "rle":
        here, there = (MaskFile(tmp_path / name / "masks.jsonl") for name in ("here", "there"))
        assert here.keys == there.keys
        assert all((a == b).all() for a, b in zip(here, there, strict=True))
    else:
        for path in (tmp_path / "here" / "masks").iterdir():
            assert path.read_bytes() == (tmp_path / "there" / "masks" / path.name).read_bytes()
    assert not (tmp_path / "there" / "parts").exists()


def test_what_failed_has_the_rows_that_one_machine_writes(cluster, study, tmp_path, model):
    (study / "nothing.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    cine_with_damaged_frames(study / "cine.tif", 4, lambda index: index != 1)
    options = {"model": model, "device": "cpu"}

    list(segment_to_folder([study], tmp_path / "here", **options))
    list(segment_on_cluster([study], tmp_path / "there", scheduler=cluster.address, **options))

    failed = [(row["source"], row["frame"]) for row in rows(tmp_path / "there") if row["status"] == "failed"]
    assert failed == [("cine.tif", "1"), ("nothing.png", "")]
    assert rows(tmp_path / "there") == rows(tmp_path / "here")


def test_hashed_names_stand_in_no_result_and_in_no_log(cluster, study, tmp_path, model):
    named = tmp_path / "Meier_Anna"
    study.rename(named)
    (named / "Schulz.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    pages = [Image.open(named / f"{index}.png") for index in range(4)]
    pages[0].save(named / "deadly Krause.tif", save_all=True, append_images=pages[1:])
    options = {"scheduler": cluster.address, "model": model, "device": "cpu", "names": "hash"}

    done = list(segment_on_cluster([named], tmp_path / "there", **options))
    again = list(segment_on_cluster([named], tmp_path / "there", **options))
    list(segment_to_folder([named], tmp_path / "here", model=model, device="cpu", names="hash"))

    assert sorted(result.status for result in done if result.status != "ok") == ["failed", "failed"]
    assert [result.status for result in again].count("kept") == N_FILES
    texts = [repr(done), repr(again), *(path.read_bytes().decode("latin-1") for path in logs(cluster))]
    for path in (tmp_path / "there").rglob("*"):
        texts += [str(path.relative_to(tmp_path))]
        if path.is_file():
            texts.append(path.read_bytes().decode("latin-1"))
    assert not [text for text in texts if re.search("Meier|Anna|Schulz|Krause", text)]
    there = rows(tmp_path / "there")
    assert [row["status"] for row in there if row["status"] != "ok"] == ["failed", "failed"]
    ok = [row for row in there if row["status"] == "ok"]
    assert [row for row in rows(tmp_path / "here") if row in ok] == ok


def logs(cluster: Cluster) -> list[Path]:
    return list(cluster.folder.glob("*.log"))


def test_damaged_parts_of_a_stopped_run_are_done_again(cluster, study, tmp_path, model):
    options = {"scheduler": cluster.address, "model": model, "device": "cpu"}
    list(segment_on_cluster([study], tmp_path / "whole", **options))
    out = tmp_path / "out"
    shutil.copytree(tmp_path / "whole", out)
    (out / "run.jsonl").unlink()
    (out / "results.csv").unlink()
    for source in sources_outside(out, [study]):
        part = out / "parts" / hashlib.sha256(source.name.encode()).hexdigest()[:20]
        segment_part(source, part, Segmenter(model, "cpu"))
        (part / "attempt.json").write_bytes(bytes(30))
        for name in ("run.jsonl", "results.csv", f"masks/{source.name}.png"):
            data = (part / name).read_bytes()
            (part / name).write_bytes(data[:60] + bytes(len(data[60:])))

    done = list(segment_on_cluster([study], out, **options))

    assert {result.status for result in done} == {"ok", "note"}
    assert rows(out) == rows(tmp_path / "whole")
    assert not (out / "parts").exists()


@pytest.mark.parametrize("name", ["thyroid", "own/default"])
def test_a_model_goes_by_its_files_name_there_too(cluster, study, tmp_path, model, monkeypatch, name):
    """Its card says another name, and a worker has the model in a folder of its own."""
    monkeypatch.setenv("NAPARI_CLN_MODELS", str(tmp_path / "models"))
    (tmp_path / "models").mkdir()
    for ending in (".safetensors", ".json"):
        shutil.copy(model.with_suffix(ending), tmp_path / "models" / f"{name.removeprefix('own/')}{ending}")

    list(segment_on_cluster([study], tmp_path / "out", scheduler=cluster.address, model=name, device="cpu"))

    assert {row["model"].partition("@")[0] for row in rows(tmp_path / "out")} == {name}


def test_a_rerun_does_what_is_missing(cluster, study, tmp_path, model):
    out = tmp_path / "out"
    options = {"scheduler": cluster.address, "model": model, "device": "cpu"}
    late = study / "5.png"
    shutil.move(late, tmp_path / "5.png")
    (study / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    first = list(segment_on_cluster([study], out, **options))
    shutil.move(tmp_path / "5.png", late)
    shutil.copy(study / "1.png", study / "0.png")

    second = list(segment_on_cluster([study], out, **options))

    assert [result.source for result in first if result.status == "failed"] == ["0.png"]
    assert sorted(result.source for result in second if result.status == "ok") == ["0.png", "5.png"]
    assert [result.status for result in second].count("kept") == N_FILES - 2
    assert [row["source"] for row in rows(out)] == sorted(row["source"] for row in rows(out))
    assert all(row["status"] == "ok" for row in rows(out))


def test_a_frame_that_ends_its_worker_costs_itself_alone(cluster, study, tmp_path, model):
    pages = [Image.open(study / f"{index}.png") for index in range(4)]
    pages[0].save(study / "deadly.tif", save_all=True, append_images=pages[1:])

    done = list(
        segment_on_cluster([study], tmp_path / "out", scheduler=cluster.address, model=model, device="cpu")
    )

    failed = [(result.source, result.frame, result.message) for result in done if result.status == "failed"]
    assert failed == [("deadly.tif", 1, FATAL)]
    (row,) = [row for row in rows(tmp_path / "out") if row["status"] == "failed"]
    assert (row["source"], row["frame"], row["message"]) == ("deadly.tif", "1", FATAL)
    ok = {(row["source"], row["frame"]) for row in rows(tmp_path / "out") if row["status"] == "ok"}
    assert ok >= {("deadly.tif", "0"), ("deadly.tif", "2"), ("deadly.tif", "3")}
    assert ok >= {(f"{index}.png", "0") for index in range(N_FILES)}


def test_a_worker_that_is_killed_loses_nothing(cluster, study, tmp_path, model):
    pages = [Image.open(study / f"{index % N_FILES}.png") for index in range(40)]
    pages[0].save(study / "cine.tif", save_all=True, append_images=pages[1:])
    out, killed = tmp_path / "out", False
    job = segment_on_cluster([study], out, scheduler=cluster.address, model=model, device="cpu")

    done = []
    for result in job:
        done.append(result)
        if not killed:
            os.kill(cluster.worker_pids()[0], signal.SIGKILL)
            killed = True

    # a file that was done, but not yet told of, is "kept" by the worker that takes it up again
    assert {result.status for result in done} <= {"ok", "kept"}
    keys = {(row["source"], row["frame"]) for row in rows(out)}
    assert len(keys) == N_FILES + 40


def test_the_callers_own_arrays_stay_its_own(cluster, study, tmp_path, model):
    job = segment_on_cluster([study], tmp_path / "out", scheduler=cluster.address, model=model, device="cpu")
    next(job)

    with pytest.raises(ValueError, match="No client"):
        distributed.default_client()
    assert dask.base.get_scheduler(collections=[da.zeros(3)]) is da.Array.__dask_scheduler__
    job.close()


@pytest.mark.slow
def test_no_scheduler_is_a_sentence(study, tmp_path, model):
    with pytest.raises(RunError, match=r"There is no Dask scheduler at tcp://127.0.0.1:9\. Start one"):
        list(segment_on_cluster([study], tmp_path / "out", scheduler="tcp://127.0.0.1:9", model=model))
