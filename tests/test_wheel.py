"""What is installed is what was tested: the wheel holds every module, template and the type marker."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

REPO = Path(__file__).parents[1]


def test_the_wheel_is_complete_and_runs_alone(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=REPO, check=True, capture_output=True, timeout=120)
    wheel = next(tmp_path.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "site")
    source = REPO / "src"
    wanted = {
        str(p.relative_to(source))
        for p in (source / "understudy").rglob("*")
        if p.is_file() and p.suffix != ".pyc" and "__pycache__" not in p.parts
    }
    assert wanted <= names
    # From the wheel alone: the checkout's own package is not on the path.
    code = "import sys; sys.path.insert(0, sys.argv[1]); import understudy; "
    code += "assert understudy.__file__.startswith(sys.argv[1]); "
    code += "from understudy.cli import main; main(['tasks'])"
    run = [sys.executable, "-c", code, str(tmp_path / "site")]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "fetch-pick-place" in done.stdout
