"""Pseudonyms of patients, and the salt that they hang on."""

import hashlib
import re
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_cln.disk.user import pseudonym, salt_path


@pytest.fixture
def another_user(tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_CLN_CONFIG", str(tmp_path / "config"))
    return tmp_path / "config"


@given(identity=st.text(min_size=4).filter(str.strip))
def test_the_same_patient_has_the_same_pseudonym_and_it_hides_the_id(identity):
    name = pseudonym(identity)

    assert name == pseudonym(f" {identity} ")
    assert re.fullmatch("pt-[0-9a-f]{16}", name)
    assert name[3:] not in (identity, hashlib.sha256(identity.encode()).hexdigest()[:16])


def test_two_patients_have_two_pseudonyms():
    assert len({pseudonym(f"{number:04}") for number in range(2000)}) == 2000


def test_the_pseudonym_is_the_same_tomorrow_and_another_for_another_user(another_user):
    first = pseudonym("4711")
    again = pseudonym("4711")
    salt_path().unlink()

    assert first == again
    assert pseudonym("4711") != first


def test_only_the_user_can_read_the_salt(another_user):
    pseudonym("4711")

    assert stat.S_IMODE(salt_path().stat().st_mode) == 0o600


@pytest.mark.parametrize("identity", ["", "   "])
def test_no_id_is_no_patient(identity):
    assert pseudonym(identity) is None


def test_without_a_place_for_the_salt_there_is_no_pseudonym(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("NAPARI_CLN_CONFIG", str(tmp_path / "file"))

    assert pseudonym("4711") is None
