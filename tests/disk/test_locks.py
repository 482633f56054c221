"""One holder at a time; what a crash left ages out; what lives is never taken."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from filelock import SoftFileLock

from napari_cln.disk import locks as module
from napari_cln.disk.locks import break_lock, held_locks, lock
from napari_cln.errors import DatasetError

posix = pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")

WORK = """
import os, random, sys, time
from pathlib import Path
from napari_cln.disk.locks import lock
place, who = Path(sys.argv[1]), sys.argv[2]
log = os.open(place / f"log-{who}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
for _ in range(int(sys.argv[3])):
    with lock(place / "locks", "x", who):
        n = int((place / "counter").read_text()) + 1
        time.sleep(random.uniform(0, 0.002))
        mine = place / f"counter-{os.getpid()}"
        mine.write_text(str(n))
        mine.replace(place / "counter")
        os.write(log, f"{n}\\n".encode())
"""

HOLD = """
import sys, time
from pathlib import Path
from napari_cln.disk.locks import lock
with lock(Path(sys.argv[1]), "x", "r2"):
    print("held", flush=True)
    time.sleep(600)
"""


def process(code, *args, **kwargs):
    return subprocess.Popen([sys.executable, "-c", code, *map(str, args)], text=True, **kwargs)


@pytest.fixture
def locks(tmp_path):
    folder = tmp_path / "locks"
    folder.mkdir()
    return folder


@pytest.fixture
def held(locks):
    """A living process that holds the lock x."""
    child = process(HOLD, locks, stdout=subprocess.PIPE)
    assert child.stdout.readline() == "held\n"
    yield child
    child.kill()
    child.communicate()


def marker(folder, name, data, age_s=0.0):
    path = folder / f"{name}.lock"
    path.write_bytes(data)
    path.chmod(0o600)
    at = path.stat().st_mtime - age_s
    os.utime(path, (at, at))
    return path


def taken(folder, name):
    with lock(folder, name, "r1"):
        return (folder / f"{name}.lock").read_text().splitlines()[0] == str(os.getpid())


@pytest.mark.slow
def test_markers_that_a_crash_left_empty_or_torn_are_taken_over(locks):
    """Also one that was made a moment ago, and one of a clock that ran ahead."""
    marker(locks, "old", b"", age_s=3600)
    marker(locks, "fresh", b"")
    marker(locks, "future", b"", age_s=-7200)
    marker(locks, "zeros", bytes(4096))
    marker(locks, "torn", b"4242\nPC")
    marker(locks, "binary", b"\xff\xfe\x00")

    names = ["old", "fresh", "future", "zeros", "torn", "binary"]
    with ThreadPoolExecutor(len(names)) as pool:
        assert all(pool.map(lambda name: taken(locks, name), names))
    assert held_locks(locks) == []


def test_a_marker_that_is_just_being_made_is_not_yet_a_lock_and_an_old_one_was_left(locks):
    marker(locks, "new", b"")
    assert held_locks(locks) == []

    marker(locks, "new", b"", age_s=60)
    assert [owner.left for owner in held_locks(locks)] == [True]


def test_a_marker_of_a_process_that_is_gone_is_taken_over_at_once(locks):
    child = process("")
    child.wait()
    with SoftFileLock(locks / "own.lock"):
        _, host, _ = (locks / "own.lock").read_text().splitlines()
    marker(locks, "x", f"{child.pid}\n{host}\n1\n".encode())

    (left,) = held_locks(locks)
    assert left.left
    assert taken(locks, "x")


def test_a_marker_whose_number_another_process_has_by_now_is_taken_over(locks):
    """As after a restart of the computer: the number is that of a process that began at another time."""
    with SoftFileLock(locks / "own.lock"):
        pid, host, began = (locks / "own.lock").read_text().splitlines()
    marker(locks, "x", f"{pid}\n{host}\n{int(began) + 1}\n".encode())

    assert taken(locks, "x")


@posix
def test_a_lock_whose_holder_sleeps_is_not_taken(locks, held, monkeypatch):
    for name, seconds in (("LEFT_AFTER_S", 0.2), ("STUCK_AFTER_S", 0.4), ("PATIENCE_S", 3.5)):
        monkeypatch.setattr(module, name, seconds)
    held.send_signal(signal.SIGSTOP)
    before = (locks / "x.lock").read_bytes()

    with pytest.raises(DatasetError, match=rf"The lock x is held by r2 on {socket.gethostname()} since 20"):
        taken(locks, "x")

    assert (locks / "x.lock").read_bytes() == before
    held.send_signal(signal.SIGCONT)
    held.kill()
    held.wait()
    assert taken(locks, "x")


@posix
@pytest.mark.slow
def test_a_maker_that_slept_before_it_named_itself_sees_that_another_has_the_lock(locks, monkeypatch):
    """Its marker was held for left, and filled by another meanwhile: it does not enter, but waits."""
    monkeypatch.setattr(module, "PATIENCE_S", 0.3)
    real = SoftFileLock.acquire
    other = f"{os.getppid()}\n{socket.gethostname()}\n"

    def acquire(self, *args, **kwargs):
        proxy = real(self, *args, **kwargs)
        replaced = marker(locks, "y", other.encode())
        replaced.replace(locks / "x.lock")
        return proxy

    monkeypatch.setattr(SoftFileLock, "acquire", acquire)

    with pytest.raises(DatasetError, match="The lock x is held by"):
        taken(locks, "x")
    assert (locks / "x.lock").read_text() == other


def test_where_two_names_can_not_be_swapped_a_dead_holder_is_still_followed(locks, monkeypatch):
    """As on NFS and SMB, where filelock leaves the marker."""
    monkeypatch.setattr("filelock._soft.exchange_names", lambda *names: False)
    monkeypatch.setattr(module, "STUCK_AFTER_S", 0.5)
    child = process("")
    child.wait()
    with SoftFileLock(locks / "own.lock"):
        _, host, _ = (locks / "own.lock").read_text().splitlines()
    marker(locks, "x", f"{child.pid}\n{host}\n1\n".encode())

    assert taken(locks, "x")


@pytest.mark.slow
def test_a_lock_of_another_computer_is_shown_and_stays(locks, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE_S", 0.3)
    path = marker(locks, "x", b"1\nPC-7\n1\n", age_s=86_400)

    (owner,) = held_locks(locks)
    assert (owner.host, owner.left) == ("PC-7", False)
    with pytest.raises(DatasetError, match=r"held by an unnamed reader on PC-7 since .* UTC"):
        taken(locks, "x")
    assert path.exists()
    break_lock(locks, owner, confirmed=True)
    assert taken(locks, "x")


@pytest.mark.parametrize(
    "note",
    [
        b"",
        bytes(512),
        b"{",
        b"[]",
        b"null",
        b'{"who": 1, "host": [], "since": {}}',
        b'{"who": "r2"}',
        b'{"who": "\\ud800", "host": "a", "since": "b"}',
        b"[" * 5000,
        b'{"who": "' + b"r" * 100_000 + b'", "host": "a", "since": "b"}',
        b"\xff\xfe",
    ],
)
def test_an_owner_file_that_can_not_be_read_leaves_what_the_marker_says(locks, note):
    marker(locks, "x", b"1\nPC-7\n1\n")
    (locks / "x.owner").write_bytes(note)

    (owner,) = held_locks(locks)

    assert str(owner).startswith("an unnamed reader on PC-7 since 20")


def test_an_owner_is_named_as_noted(locks):
    marker(locks, "x", b"1\nPC-7\n1\n")
    note = {"who": "r2", "host": "PC-7", "since": "2026-11-21T10:31:00+00:00"}
    (locks / "x.owner").write_text(json.dumps(note))

    assert [str(owner) for owner in held_locks(locks)] == ["r2 on PC-7 since 2026-11-21 10:31 UTC"]


@posix
def test_of_many_processes_that_are_killed_at_any_moment_one_holds_the_lock(tmp_path, locks):
    """Each holder writes the next number; two at a time would write one number twice."""
    (tmp_path / "counter").write_text("0")
    rng = random.Random(4)
    children = [process(WORK, tmp_path, f"r{i}", 10_000) for i in range(3)]
    for i in range(12):
        # Whatever the machine's load: each death comes after somebody went on since the last.
        before = (tmp_path / "counter").read_text()
        while (tmp_path / "counter").read_text() == before:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.15))
        children[i % 3].kill()
        children[i % 3].wait()
        children[i % 3] = process(WORK, tmp_path, f"r{i % 3}", 10_000)
    for child in children:
        child.kill()
        child.wait()

    said = [int(line) for path in tmp_path.glob("log-*") for line in path.read_text().split()]
    assert len(said) == len(set(said)) >= 6
    assert taken(locks, "x")
