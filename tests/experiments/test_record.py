"""What a record says of the commit it was made at."""

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from experiments import _record


def git(*arguments):
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], check=True, capture_output=True)


def test_code_that_changed_is_dirty_and_results_are_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert _record.commit() == "unknown"
    git("init", "-q")
    files = [tmp_path / "code.py", tmp_path / "experiments" / "results" / "a.json"]
    files[1].parent.mkdir(parents=True)
    for file in files:
        file.write_text("1")
    git("add", "-A")
    git("commit", "-qm", "one")
    clean = _record.commit()
    files[1].write_text("2")
    (tmp_path / "new.py").write_text("untracked")
    assert _record.commit() == clean
    assert clean.isalnum()
    files[0].write_text("2")
    assert _record.commit() == f"{clean}-dirty"
