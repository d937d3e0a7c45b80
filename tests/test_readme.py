"""README.md promises files: they are there, and nothing in it is left to be filled in."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
LINKS = sorted({target for target in re.findall(r"\]\(([^()\s]+)\)", TEXT) if "://" not in target})


def test_it_has_links_to_the_files_of_the_repository():
    assert {"minicam/backend.py", "minicam/ops", "tests/gradcheck.py"} <= set(LINKS)


@pytest.mark.parametrize("target", LINKS)
def test_a_relative_link_leads_to_a_file(target):
    assert (ROOT / target.partition("#")[0]).exists(), f"README.md links to {target}, which is not there"


def test_nothing_is_left_to_be_filled_in():
    assert re.findall(r"@[A-Z][A-Z0-9_]*@", TEXT) == []
