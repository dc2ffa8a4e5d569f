"""The examples of README and docs run as they stand, each page in an empty folder."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from understudy.cli import _acting, main

REPO = Path(__file__).parents[1]
METHODS = sorted((REPO / "docs" / "methods").glob("*.md"))
PAGES = [REPO / "README.md", *sorted((REPO / "docs").glob("*.md")), *METHODS]


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), flags=re.M | re.S)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=lambda p: p.name)
def test_the_examples_of_a_page_run_one_after_another(page: Path, tmp_path: Path) -> None:
    code = "\n".join(blocks(page))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"


@pytest.mark.parametrize("page", METHODS, ids=lambda p: p.name)
def test_the_flags_that_a_page_of_a_method_names_are_its_flags(page: Path, capsys: Any) -> None:
    text = page.read_text()
    verbs = re.findall(r"understudy train ([\w|-]+)", text)
    assert verbs, "the page names no command"
    known = set[str]()
    for verb in {v for words in verbs for v in words.split("|")} | {f"{page.stem}"} & set(_acting()):
        with suppress(SystemExit):
            main(["train", verb, "--help"])
        known |= set(re.findall(r"--[\w-]+", capsys.readouterr().out))
    assert set(re.findall(r"--[a-z][\w-]+", text)) <= known | {"--help"}


def test_every_method_that_acts_has_a_page() -> None:
    text = "\n".join(p.read_text() for p in METHODS) + (REPO / "docs" / "inverse.md").read_text()
    for name in _acting():
        assert re.search(rf"[`|]{name}[`|]|train {name}\b", text), f"{name} has no page under docs/methods"


def test_the_example_of_an_own_robot_learns_its_controller() -> None:
    example = REPO / "examples" / "own_robot.py"
    done = subprocess.run(
        [sys.executable, "-W", "error", str(example)], capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "No difference in success shown between learned and controller" in done.stdout


def test_the_tables_of_the_pages_are_those_of_the_committed_results() -> None:
    check = [sys.executable, str(REPO / "benchmarks" / "tables.py"), "--check"]
    done = subprocess.run(check, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr or "run `python benchmarks/tables.py`"
