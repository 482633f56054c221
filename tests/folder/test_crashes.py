"""Real faults: processes killed in mid-save, two writers at once, a full disk, a read-only folder."""

import errno
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from napari_cln.errors import DatasetError
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.formats.exchange import import_study
from napari_cln.folder.health.check import check_study
from napari_cln.folder.health.repair import repair, repair_all
from napari_cln.folder.readers import read_reading, save_reading
from napari_cln.types import Frame

pytestmark = pytest.mark.skipif(os.name == "nt", reason="kill -9, file size limits and permissions are POSIX")

NURSERY = """
import json, os, sys
import numpy as np
from napari_cln.errors import DatasetError
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.disk.locks import lock
from napari_cln.folder.formats.exchange import import_study
from napari_cln.folder.health.repair import repair_all
from napari_cln.folder.readers import save_reading
from napari_cln.annotation import (Annotation, Node)
from napari_cln.types import (Frame)
for line in sys.stdin:
    order = json.loads(line)
    if "wait" in order:
        print(os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1]), flush=True)
        continue
    pid = os.fork()
    if pid:
        print(pid, flush=True)
        continue
    out = open(order["out"], "a", buffering=1)
    try:
        exec(order["code"], globals() | {"told": out, "args": order["args"]})
    except BaseException as error:
        print(type(error).__name__, error, file=out)
        os._exit(1)
    os._exit(0)
"""
"""A process that has imported everything and forks real children on order: forty starts take no time."""

SAVE = """
path, image, first, last, who = args
folder = TrainingFolder.open(path)
pixels = np.load(image)
frame = Frame(pixels=pixels, scan_area=(0, 0, *pixels.shape))
nodes = (Node(id=1, truth="benign"), Node(id=2, truth="metastatic"))
for n in range(first, last):
    instances = np.zeros(pixels.shape, np.uint8)
    instances[0, : n + 1] = 1  # the stroke says its own number
    instances[-1, : n + 1] = 2
    folder.save(Annotation(frame=frame, instances=instances, nodes=nodes), who=who)
    print(n, file=told)
"""


class Child:
    """A process that runs some code beside the test."""

    def __init__(self, nursery, out, code, *args):
        self.out, self._nursery = out, nursery
        out.touch()
        self.pid = self._order({"code": code, "args": args, "out": str(out)})

    def _order(self, order):
        self._nursery.stdin.write(json.dumps(order) + "\n")
        self._nursery.stdin.flush()
        return int(self._nursery.stdout.readline())

    def wait(self):
        return self._order({"wait": self.pid})

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        return self.wait()


@pytest.fixture(scope="module")
def nursery(salted):
    environment = os.environ | {"NAPARI_CLN_CONFIG": str(salted)}
    process = subprocess.Popen(
        [sys.executable, "-c", NURSERY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    yield process
    process.communicate()


@pytest.fixture
def start(nursery, tmp_path):
    """Start code in a child; what it tells stands line by line in ``child.out``."""
    numbers = itertools.count()
    return lambda code, *args: Child(nursery, tmp_path / f"told-{next(numbers)}.txt", code, *args)


@pytest.fixture
def grey(necks, tmp_path):
    """One real frame as a file, wide enough for 800 strokes."""
    np.save(tmp_path / "frame.npy", np.tile(Frame(pixels=necks[0][0]).grey, (1, 4))[:64])
    return str(tmp_path / "frame.npy")


def stroke(instances):
    """The number that a stroke says, the same in both nodes or it is torn."""
    first, second = (int((instances == i).sum()) - 1 for i in (1, 2))
    assert first == second
    return first


def mended(path):
    """The folder as a user finds it after a crash, its torn sets repaired: the last stroke, or -1."""
    found = TrainingFolder.open(path)
    faults = [fault for fault in check_study(found).faults if fault.remedy]
    assert {fault.kind for fault in faults} <= {"torn", "orphan", "count", "image-place", "lock", "reading"}
    for fault in faults:
        repair(found, fault, confirmed=True)
    assert not [fault for fault in check_study(found).faults if fault.kind not in ("no-split", "held")]
    return max((stroke(found.read_instances(case)) for case in found.cases()), default=-1)


def test_kill_9_forty_times_in_mid_save_leaves_every_file_readable(folder, grey, start):
    rng = random.Random(9)
    begun = time.perf_counter()
    start(SAVE, str(folder.path), grey, 0, 10, "r1").wait()
    one_save = (time.perf_counter() - begun) / 10
    saved = 9
    for _ in range(40):
        child = start(SAVE, str(folder.path), grey, saved + 1, 800, "r1")
        while not child.out.read_text().endswith("\n"):
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 2 * one_save))
        assert child.kill() == -signal.SIGKILL
        told = max(map(int, child.out.read_text().split()))

        kept = mended(folder.path)

        assert told <= kept <= told + 1, "a stroke was lost that the child had saved"
        saved = kept


def test_kill_9_in_the_very_first_save_of_a_frame_leaves_it_whole_or_not_there(folder, grey, start):
    rng = random.Random(3)
    begun = time.perf_counter()
    start(SAVE, str(folder.path), grey, 0, 1, "r1").wait()
    first_save = time.perf_counter() - begun
    for i in range(20):
        fresh = TrainingFolder.create(folder.path.with_name(f"study-{i}"))
        child = start(SAVE, str(fresh.path), grey, 0, 1, "r1")
        time.sleep(rng.uniform(0.3, 1.1) * first_save)
        if child.kill() == 0:
            assert child.out.read_text() == "0\n"

        assert mended(fresh.path) >= (0 if child.out.read_text() else -1)


def test_kill_9_while_a_stroke_is_kept_aside_leaves_one_to_restore(folder, grey, start):
    """A full disk or a rival's lock keeps strokes in the autosave; then the computer crashes."""
    keep = """
path, image = args
folder, pixels = TrainingFolder.open(path), np.load(image)
frame = Frame(pixels=pixels, scan_area=(0, 0, *pixels.shape))
for n in range(800):
    instances = np.zeros(pixels.shape, np.uint8)
    instances[0, : n + 1] = 1
    instances[-1, : n + 1] = 2
    folder.autosave.keep(Annotation(frame=frame, instances=instances), folder.identify(frame), who="r1")
    print(n, file=told)
"""
    rng, frame = random.Random(5), Frame(pixels=np.load(grey))
    for _ in range(10):
        child = start(keep, str(folder.path), grey)
        while not child.out.read_text().endswith("\n"):
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.02))
        assert child.kill() == -signal.SIGKILL
        told = max(map(int, child.out.read_text().split()))

        (left,) = TrainingFolder.open(folder.path).autosave.list()

        assert told <= stroke(folder.autosave.restore(left, frame).instances) <= told + 1
        folder.autosave.clear(left.id, "r1")


def test_kill_9_in_a_second_reading_leaves_the_former_or_the_new_one(folder, grey, start):
    read = """
path, image, first = args
folder, pixels = TrainingFolder.open(path), np.load(image)
frame = Frame(pixels=pixels, scan_area=(0, 0, *pixels.shape))
for n in range(first, 800):
    instances = np.zeros(pixels.shape, np.uint8)
    instances[0, : n + 1] = 1
    instances[-1, : n + 1] = 2
    save_reading(folder, Annotation(frame=frame, instances=instances), "r2")
    print(n, file=told)
"""
    start(SAVE, str(folder.path), grey, 0, 1, "r1").wait()
    rng, kept = random.Random(6), -1
    for _ in range(15):
        child = start(read, str(folder.path), grey, kept + 1)
        while not child.out.read_text().endswith("\n"):
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.02))
        assert child.kill() == -signal.SIGKILL
        told = max(map(int, child.out.read_text().split()))

        mended(folder.path)

        (case,) = folder.cases()
        kept = stroke(read_reading(folder, case, "r2").instances)
        assert told <= kept <= told + 1


def test_kill_9_in_a_repair_leaves_what_the_next_one_finishes(folder, annotate, necks, start):
    for n in range(4):
        for shift in (0, 3):
            folder.save(annotate(n, mask=np.roll(necks[n][1], shift)), patient=f"P{n}", who="r1")
        save_reading(folder, annotate(n), "r2")
    cases = folder.cases()
    folder.layout.record(cases[0].id).write_bytes(bytes(300))
    cases[1].mask.write_bytes(bytes(30))
    folder.layout.record(cases[2].id).unlink()
    (folder.layout.records / f"{cases[3].id}.r2.png").write_bytes(bytes(3))
    rng = random.Random(8)
    for i in range(12):
        copy = shutil.copytree(folder.path, folder.path.with_name(f"copy-{i}"))
        child = start("print(list(repair_all(TrainingFolder.open(args[0]))), file=told)", str(copy))
        time.sleep(rng.uniform(0, 0.25))
        child.kill()

        for _ in repair_all(TrainingFolder.open(copy)):
            pass

        assert not [fault for fault in check_study(copy).faults if fault.remedy]
        assert {case.id for case in TrainingFolder.open(copy).cases()} == {
            case.id for case in cases if case is not cases[2]
        }


def test_kill_9_in_an_import_leaves_what_the_same_import_finishes(data, tmp_path, start):
    source = tmp_path / "source"
    for name in ("images", "masks"):
        (source / name).mkdir(parents=True)
        for path in sorted((data / "folder" / name).iterdir())[:4]:
            shutil.copy(path, source / name)
    rng = random.Random(7)
    for i in range(10):
        out = tmp_path / f"out-{i}"
        child = start("list(import_study(args[0], args[1]))", str(source), str(out))
        time.sleep(rng.uniform(0, 0.5))
        child.kill()

        steps = list(import_study(source, out))

        assert [step.problem for step in steps] == [None] * 4
        for _ in repair_all(TrainingFolder.open(out)):
            pass
        assert {fault.kind for fault in check_study(out).faults} <= {"patient-unknown", "no-split", "held"}
        assert len(TrainingFolder.open(out).cases()) == 4


def test_two_writers_with_300_updates_keep_300(folder, grey, start):
    children = [start(SAVE, str(folder.path), grey, 0, 150, who) for who in ("r1", "r2")]
    assert [child.wait() for child in children] == [0, 0]

    (case,) = folder.cases()
    record = folder.record(case.id)
    assert record.revision == 300
    assert sum(entry.saves for entry in record.history) == 300
    assert [former.revision for former in folder.revisions(case.id)] == list(range(1, 300))
    assert stroke(folder.read_instances(case)) == 149
    assert not [fault for fault in check_study(folder).faults if fault.kind not in ("no-split", "held")]


def test_two_processes_that_add_frames_count_them_all(folder, start):
    add = """
folder = TrainingFolder.open(args[0])
for n in range(30):
    pixels = np.full((32, 32), 10 + n, np.uint8)
    pixels[0] = args[1]
    frame = Frame(pixels=pixels, scan_area=(0, 0, 32, 32))
    annotation = Annotation(frame=frame, instances=np.eye(32, dtype=np.uint8))
    folder.save(annotation, overlay=np.zeros((32, 32), bool))
"""
    children = [start(add, str(folder.path), i) for i in (1, 2)]
    assert [child.wait() for child in children] == [0, 0]

    assert len(folder.cases()) == 60
    assert json.loads(folder.layout.dataset.read_text())["numTraining"] == 60


@pytest.mark.parametrize("limit", [0, 200, 1000])
def test_when_no_file_can_grow_the_former_state_stays_and_the_reader_is_told(folder, grey, start, limit):
    """The kernel refuses every write over the limit, as a full disk would."""

    def files():
        return {p: p.read_bytes() for p in folder.path.rglob("*") if p.is_file() and ".cln" not in p.parts}

    assert start(SAVE, str(folder.path), grey, 5, 6, "r1").wait() == 0
    before = files()
    child = start(
        """
import resource, signal
folder, pixels = TrainingFolder.open(args[0]), np.load(args[1])
noise = np.random.default_rng(0).integers(0, 2, pixels.shape, dtype=np.uint8)
frame = Frame(pixels=pixels, scan_area=(0, 0, *pixels.shape))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (args[2], resource.RLIM_INFINITY))
try:
    folder.save(Annotation(frame=frame, instances=noise), who="r1")
except DatasetError as error:
    message = str(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(message, file=told)
""",
        str(folder.path),
        grey,
        limit,
    )
    assert child.wait() == 0

    assert "can't be" in child.out.read_text() and "Free some space" in child.out.read_text()
    assert files() == before


@pytest.mark.slow
def test_a_disk_that_is_full_at_any_one_write_keeps_the_stroke(study, annotate, necks, monkeypatch):
    """The first, second, third … call that reaches the disk fails, until a save needs no more calls."""

    def full_at(nth, calls, real):
        def call(*args, **kwargs):
            if next(calls) == nth:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*args, **kwargs)

        return call

    frame = annotate(0).frame
    for nth in itertools.count(1):
        painted, calls = np.roll(necks[0][1], nth), itertools.count(1)
        with monkeypatch.context() as patch:
            for name in ("fsync", "link", "replace"):
                patch.setattr(os, name, full_at(nth, calls, getattr(os, name)))
            try:
                study.save(annotate(0, mask=painted), who="r1")
                break
            except DatasetError as error:
                assert "No space left on device). Your strokes are kept" in str(error)

        (left,) = study.autosave.list()
        assert np.array_equal(study.autosave.restore(left, frame).mask, painted)
        study.autosave.clear(left.id, "r1")
        for fault in check_study(study).faults:
            repair(study, fault)
        assert check_study(study).faults == ()

    assert nth > 8


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 256 kB, where this user may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_on_a_full_disk_the_strokes_are_kept_elsewhere_and_come_back(small_disk, annotate, necks, config):
    folder = TrainingFolder.create(small_disk / "study")
    case = folder.save(annotate(0), who="r1")
    before = folder.read_instances(case)
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space left"), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(512))

    painted = np.roll(necks[0][1], 4)
    with pytest.raises(DatasetError, match=r"No space left on device\). Your strokes are kept"):
        folder.save(annotate(0, mask=painted), who="r1", expected_revision=1)

    assert np.array_equal(folder.read_instances(folder.case(case.id)), before)
    (kept,) = TrainingFolder.open(folder.path).autosave.list()
    assert config in kept.path.parents
    filler.unlink()
    restored = folder.autosave.restore(kept, annotate(0).frame)
    folder.save(restored, who="r1", expected_revision=kept.revision)
    assert np.array_equal(folder.read_instances(folder.case(case.id)) > 0, painted)
    assert folder.autosave.list() == []


def test_a_read_only_folder_says_so_and_is_left_alone(study, annotate):
    if os.geteuid() == 0:
        attribute = subprocess.run(["chattr", "-R", "+i", str(study.path)], capture_output=True, check=False)
        if attribute.returncode:
            pytest.skip("the superuser may write everywhere, and this file system has no immutable files")
        undo = ["chattr", "-R", "-i", str(study.path)]
    else:
        subprocess.run(["chmod", "-R", "a-w", str(study.path)], check=True)
        undo = ["chmod", "-R", "u+w", str(study.path)]
    try:
        assert len(TrainingFolder.open(study.path).cases()) == 12
        with pytest.raises(DatasetError, match=r"can't be saved \(.*make the folder writable"):
            study.save(annotate(0, truth="metastatic"), who="r1")
        assert len(study.autosave.list()) == 1
    finally:
        subprocess.run(undo, check=True)
    assert check_study(study).faults == ()
    study.autosave.clear(study.identify(annotate(0).frame), "r1")


def test_a_lock_of_a_process_that_died_here_is_taken_over(folder, start, annotate):
    hold = """
import time
from pathlib import Path
with lock(Path(args[0]), args[1], "r2"):
    print("held", file=told)
    time.sleep(60)
"""
    child = start(hold, str(folder.layout.locks), folder.identify(annotate(0).frame))
    while not child.out.read_text():
        time.sleep(0.01)
    child.kill()

    assert folder.save(annotate(0)).revision == 1


def test_who_waits_for_a_lock_is_told_who_holds_it(folder, annotate, monkeypatch):
    case_id = folder.identify(annotate(0).frame)
    folder.layout.locks.mkdir(parents=True, exist_ok=True)
    marker = folder.layout.locks / f"{case_id}.lock"
    marker.write_text("4242\nPC-7\n1\n")
    marker.chmod(0o600)
    marker.with_suffix(".owner").write_text(
        json.dumps({"who": "r2", "host": "PC-7", "since": "2026-11-21T10:31:00+00:00"})
    )
    monkeypatch.setattr("napari_cln.disk.locks.PATIENCE_S", 0.2)

    with pytest.raises(DatasetError, match=r"held by r2 on PC-7 since 2026-11-21 10:31 UTC.*break the lock"):
        folder.save(annotate(0))
    assert marker.exists()


def test_a_save_that_a_lock_refuses_keeps_the_stroke(folder, annotate, monkeypatch):
    frame = annotate(0).frame
    folder.layout.locks.mkdir(parents=True, exist_ok=True)
    (folder.layout.locks / f"{folder.identify(frame)}.lock").write_text("4242\nPC-7\n1\n")
    monkeypatch.setattr("napari_cln.disk.locks.PATIENCE_S", 0.2)

    with pytest.raises(DatasetError, match="on PC-7"):
        folder.save(annotate(0), who="r1")

    (stroke,) = folder.autosave.list()
    assert np.array_equal(folder.autosave.restore(stroke, frame).instances, annotate(0).instances)


@pytest.mark.slow
def test_an_empty_lock_that_a_kill_left_does_not_stop_a_save(folder, annotate):
    folder.layout.locks.mkdir(parents=True, exist_ok=True)
    (folder.layout.locks / f"{folder.identify(annotate(0).frame)}.lock").write_bytes(b"")

    assert folder.save(annotate(0)).revision == 1
    assert not list(folder.layout.locks.glob("*.lock"))


@pytest.mark.slow
def test_an_empty_lock_is_named_and_removed_by_a_repair(study):
    (study.layout.locks / f"{study.ids()[0]}.lock").write_bytes(bytes(512))
    at = time.time() - 60
    os.utime(study.layout.locks / f"{study.ids()[0]}.lock", (at, at))

    (fault,) = check_study(study).faults
    assert (fault.kind, fault.severity) == ("lock", "warning") and "held by nobody any more" in fault.message
    for _ in repair_all(study):
        pass

    assert check_study(study).faults == ()
