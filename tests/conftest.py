"""Fixtures that every test may use: real frames, a real small network."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def data() -> Path:
    """Small real frames that ship with the tests, each folder with its licence."""
    return HERE / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real ultrasound that may not enter the project; tests that need it skip without it."""
    path = HERE.parent.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip("the real ultrasound in ../shared/data is not here")
    return path
