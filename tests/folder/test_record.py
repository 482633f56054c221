"""A record: what is read can be written again, what does not fit is named, no flipped bit passes."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

import napari_cln
from napari_cln.annotation import Annotation
from napari_cln.disk.seals import flip_text_back
from napari_cln.disk.user import image_key
from napari_cln.errors import DatasetError
from napari_cln.folder.record import (
    HistoryEntry,
    NodeEntry,
    Record,
    Source,
    StoredImage,
    decode_record,
    encode_record,
    now,
)
from napari_cln.io.sources import read_frame

ODD = (
    None, True, False, 0, 1, -1, 256, 10**30, 0.5, -0.0, 1e-320, 1e308, "", "x", "\ud800", "a\0b", "../../x",
    "9" * 70_000, [], [1], [[]], {}, {"id": 1}, [None, None], "2026-13-45T99:00:00Z",
)  # fmt: skip


def record(**changes) -> Record:
    facts = {
        "schema": 1,
        "id": "0123456789abcdef",
        "revision": 3,
        "status": "accepted",
        "nodes": (NodeEntry(id=1, status="accepted", truth="benign", area_px=12, p_malignant=0.25),),
        "patient_key": "00112233aabbccdd",
        "image": StoredImage(sha256="0" * 64, rows=20, columns=30),
        "mask_sha256": "1" * 64,
        "source": Source(kind="dicom", frame=2, rows=40, columns=60, crop=(10, 5, 40, 25), deid=("113100",)),
        "spacing_mm": (0.1, 0.2),
        "spacing_source": "dicom-region",
        "note": "hilum seen, “fatty”",
        "history": (HistoryEntry(t=now(), who="r1", app="napari-cln", action="accepted", seconds=4.5),),
    }
    return Record(**(facts | changes))


def places(value, path=()):
    """Every place in a JSON value: the keys and indices that lead there."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def test_a_record_is_read_as_it_was_written():
    written = record()

    assert decode_record(encode_record(written), "x.json") == written


def test_keys_of_others_are_kept():
    text = json.loads(encode_record(record()))
    del text["checksum"]
    text["hospital"] = {"ward": [1, 2]}

    again = decode_record(json.dumps(text).encode(), "x.json")

    assert json.loads(encode_record(again))["hospital"] == {"ward": [1, 2]}


PLACES = [path for path in places(json.loads(encode_record(record()))) if path]


@pytest.mark.parametrize("path", PLACES, ids=lambda path: ".".join(map(str, path)))
def test_an_odd_value_is_named_or_can_be_written_again(path):
    for odd in ODD:
        value = json.loads(encode_record(record()))
        del value["checksum"]
        if path == ("checksum",):
            continue
        inner = value
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = odd
        try:
            read = decode_record(json.dumps(value).encode(), "x.json")
        except DatasetError as error:
            assert "x.json" in str(error) and len(str(error)) < 500
        else:
            assert decode_record(encode_record(read), "x.json") == read


def test_a_value_that_does_not_fit_is_named_with_what_is_expected():
    text = encode_record(record()).replace(b'"rows": 20', b'"rows": "x"')

    with pytest.raises(DatasetError, match=r"x\.json has \"x\" under 'image\.rows', where a whole number"):
        decode_record(text, "x.json")


def test_every_flipped_bit_is_noticed_and_can_be_set_right():
    text = encode_record(record())
    for place in range(len(text)):
        for bit in range(8):
            flipped = bytearray(text)
            flipped[place] ^= 1 << bit
            try:
                read = decode_record(bytes(flipped), "x.json")
            except DatasetError:
                continue
            # Without its checksum, nothing tells that it was changed; but the key that is left says so.
            assert read.others
    for place in range(0, len(text), 97):
        flipped = bytearray(text)
        flipped[place] ^= 4
        assert flip_text_back(bytes(flipped)) == text


@given(st.text(), st.text(), st.floats(), st.integers())
def test_what_can_not_be_read_again_is_not_written(note, who, score, node):
    entry = HistoryEntry(t=now(), who=who, app="napari-cln", action="accepted")
    odd = record(note=note, history=(entry,), nodes=(NodeEntry(id=node, p_malignant=score),))
    try:
        text = encode_record(odd)
    except DatasetError:
        return
    assert decode_record(text, "x.json") == msgspec.structs.replace(odd)


def test_a_record_has_a_key_of_its_dicom_image_by_which_it_is_found_and_not_read(folder):
    path = Path(napari_cln.__file__).parent / "samples" / "simulated-frame.dcm"
    frame = read_frame(path)
    case = folder.save(
        Annotation(frame=frame, instances=np.zeros(frame.shape, np.uint8), status="predicted"), who="r1"
    )

    uid = str(pydicom.dcmread(path).SOPInstanceUID)
    assert folder.record(case.id).source.image_key == image_key(uid)
    assert uid not in folder.layout.record(case.id).read_text()
