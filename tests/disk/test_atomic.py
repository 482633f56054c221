"""Files that are written whole or not at all, and what a crash left of them."""

import os
import subprocess
import sys

import pytest

from napari_cln.disk import atomic
from napari_cln.disk.atomic import filling, is_free, read_bytes, replacing, server_time, sweep
from napari_cln.errors import DatasetError


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("former\n")
    return path


def test_a_stream_takes_the_place_of_the_former_file_at_its_end(table):
    with replacing(table) as file:
        file.write("a\r\n")
        file.write("é\n")
        assert table.read_text() == "former\n"

    assert table.read_bytes() == "a\r\né\n".encode()
    assert [path.name for path in table.parent.iterdir()] == ["table.csv"]


def test_a_stream_of_bytes_is_kept_as_it_is(table):
    with replacing(table) as file:
        file.buffer.write(b"\r\n\0")

    assert table.read_bytes() == b"\r\n\0"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_in_the_stream_the_former_file_is_there_alone(table, error):
    with pytest.raises(error), replacing(table) as file:
        file.write("half")
        raise error

    assert table.read_text() == "former\n"
    assert [path.name for path in table.parent.iterdir()] == ["table.csv"]


def test_two_streams_into_one_file_do_not_meet(table):
    with replacing(table) as first, replacing(table) as second:
        first.write("first\n" * 3)
        second.write("second\n")

    assert table.read_text() == "first\n" * 3


@pytest.mark.parametrize("is_there", [False, True])
def test_a_folder_is_filled_at_the_end_and_stays_the_same(tmp_path, is_there):
    folder = tmp_path / "out"
    if is_there:
        folder.mkdir()
        number = folder.stat().st_ino
    with filling(folder) as part:
        (part / "a").write_text("a")
        (part / "b").mkdir()
        assert is_free(folder)

    assert sorted(path.name for path in folder.iterdir()) == ["a", "b"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert not is_there or folder.stat().st_ino == number


def test_where_a_part_of_a_folder_can_not_be_put_in_place_none_is(tmp_path):
    with pytest.raises(OSError, match="b"), filling(tmp_path) as part:
        (part / "a").mkdir()
        (part / "b").write_text("b")
        (tmp_path / "b" / "in the way").mkdir(parents=True)

    assert [path.name for path in tmp_path.iterdir()] == ["b"]


@pytest.mark.skipif(os.name == "nt", reason="file size limits are POSIX")
@pytest.mark.parametrize("write", ["write_atomically(path, bytes(5000))", "stream(path)"])
def test_where_no_file_can_grow_the_former_one_stays_alone(table, write):
    code = f"""
import resource, signal, sys
from pathlib import Path
from napari_cln.disk.atomic import replacing, write_atomically
def stream(path):
    with replacing(path) as file:
        file.buffer.write(bytes(5000))
path = Path(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    {write}
except OSError as error:
    print(error.strerror)
"""
    told = subprocess.run([sys.executable, "-c", code, table], capture_output=True, text=True, check=True)

    assert told.stdout == "File too large\n"
    assert table.read_text() == "former\n"
    assert [path.name for path in table.parent.iterdir()] == ["table.csv"]


@pytest.mark.skipif(os.name == "nt", reason="pipes with a name are POSIX")
def test_a_pipe_in_place_of_a_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "record.json")

    with pytest.raises(DatasetError, match=r"record\.json is not a plain file"):
        read_bytes(tmp_path / "record.json", 100)


def test_what_a_crash_left_is_swept_by_the_clock_of_the_file_server(tmp_path, monkeypatch):
    left, young = tmp_path / ".tmp-a-1-1", tmp_path / ".tmp-b-1-1"
    for path in (left, young):
        path.touch()
    at = server_time(tmp_path)
    os.utime(left, (at - 4000, at - 4000))

    assert sweep([tmp_path]) == 1
    assert [path.name for path in tmp_path.iterdir()] == [young.name]
    # The server's clock is three hours ahead of this computer's.
    monkeypatch.setattr(atomic, "server_time", lambda folder: at + 3 * 3600)
    assert sweep([tmp_path]) == 1


def test_a_folder_that_is_none_is_swept_without_a_word(tmp_path):
    (tmp_path / "file").touch()

    assert sweep([tmp_path / "file", tmp_path / "missing"]) == 0
