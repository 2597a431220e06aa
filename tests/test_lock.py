"""The versions that are installed, and the same ones with the checksums of their files."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_two_lists_name_the_same_versions():
    plain = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    hashed = (ROOT / "constraints-hashed.txt").read_text("utf-8")
    named = [line.removesuffix(" \\") for line in hashed.splitlines() if not line.startswith(" ")]
    assert sorted(named) == sorted(plain)


def test_all_but_torch_has_checksums():
    hashed = (ROOT / "constraints-hashed.txt").read_text("utf-8")
    blocks = re.split(r"\n(?=\S)", hashed.strip())
    without = [block for block in blocks if not re.search(r"--hash=sha256:[0-9a-f]{64}", block)]
    assert without == (ROOT / "pins.in").read_text("utf-8").splitlines()
    assert "://" not in hashed
