"""The golden files of every version, as copies that a test may use up."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.golden.write import FILES, golden, kept

__all__ = ["VERSIONS"]

VERSIONS = sorted(each.stem.removeprefix("runs-") for each in FILES.glob("runs-*.db"))


@pytest.fixture(params=VERSIONS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with copies of the files of one version, under plain names."""
    for each in kept():
        plain = each.name.replace(f"-{request.param}.", ".")
        if golden(plain, request.param) == each.name:
            shutil.copyfile(each, tmp_path / plain)
    return tmp_path
