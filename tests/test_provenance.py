"""What is said about a run is enough to repeat it, and says nothing about whose machine it was."""

from __future__ import annotations

import getpass
import json
import os
import platform
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from understudy.provenance import command, portable, provenance


def test_keys_versions_and_time():
    before = datetime.now(UTC).replace(microsecond=0)
    facts = provenance()
    after = datetime.now(UTC)
    assert set(facts) == {
        "command",
        "date",
        "versions",
        "python",
        "system",
        "cpu",
        "cores",
        "memory",
        "revision",
    }
    made = datetime.strptime(facts["date"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert before <= made <= after
    assert facts["versions"]["numpy"] == np.__version__
    assert facts["python"] == platform.python_version()
    assert 1 <= facts["cores"] <= (os.cpu_count() or 1)
    assert facts["cpu"]
    assert json.loads(json.dumps(facts)) == facts


def test_it_says_nothing_about_whose_machine_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    argv = [
        str(Path.home() / "bin" / "understudy"),
        "train",
        f"--data={Path.home()}/d",
        str(tmp_path / "runs" / "a"),
    ]
    facts = provenance(argv)
    assert facts["command"] == "understudy train --data=d runs/a"
    said = json.dumps(facts)
    secrets = [socket.gethostname(), getpass.getuser(), str(Path.home()), str(tmp_path), sys.prefix]
    for secret in secrets:
        if (
            len(secret) >= 6
        ):  # a host called "linux" or a user called "root" may stand there for something else
            assert secret not in said


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("/home/alice/demos one", "demos one"),
        ("--data=/home/alice/x", "--data=x"),
        ("data=/home/alice/x,/home/bob/y", "data=x,y"),
        ("robot:/home/alice/x", "robot:x"),
        ("-I/home/alice/x", "-Ix"),
        ("../alice/x", "x"),
        ("~alice/x", "x"),
        ("~/x", "x"),
        ("C:\\Users\\alice\\x", "x"),
        ("file:///home/alice/x", "x"),
        ("['/home/alice/x']", "['x']"),
        ("runs/a", "runs/a"),
        ("2/3", "2/3"),
        ("metaworld/door-open", "metaworld/door-open"),
        ("https://example.org/a/b", "https://example.org/a/b"),
        ("--rate=1e-3", "--rate=1e-3"),
        ("", ""),
    ],
)
def test_paths_lose_what_names_a_machine_and_nothing_else_changes(given, shown):
    assert portable(given) == shown


def test_a_path_inside_the_working_directory_stays_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert portable(str(tmp_path / "runs" / "one")) == "runs/one"
    assert portable(f"--out={tmp_path}/runs") == "--out=runs"


def test_commands_are_shown_as_they_are_typed():
    assert (
        command(["/usr/bin/understudy", "compare", "a b", "it's"]) == "understudy compare 'a b' 'it'\"'\"'s'"
    )
    assert command(["/x/understudy/__main__.py", "tasks"]) == "python -m understudy tasks"
    assert command(["/x/run.py", "--n", "3"]) == "python run.py --n 3"
    assert command(["-c"]) == "python"
    assert command([]) == ""


def test_a_command_can_be_printed_whatever_was_typed():
    shown = command(["understudy", "a\nb\x1b[31m", "\udcff", "x" * 10_000])
    assert shown.isprintable()
    assert len(shown) <= 2000


def git(*argv: str) -> str:
    who = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *who, *argv], check=True, capture_output=True, text=True).stdout.strip()


def test_the_revision_of_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance()["revision"] is None
    try:
        git("init", "-q")
    except FileNotFoundError:
        pytest.skip("git is not installed")
    Path("a").write_text("1")
    git("add", "a")
    git("commit", "-q", "-m", "m")
    head = git("rev-parse", "HEAD")
    clean = provenance()["revision"]
    assert clean == head[:12]
    Path("a").write_text("2")
    assert provenance()["revision"] == f"{clean}-dirty"


def test_a_repository_from_a_stranger_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    try:
        git("init", "-q")
    except FileNotFoundError:
        pytest.skip("git is not installed")
    Path("a").write_text("1")
    git("add", "a")
    git("commit", "-q", "-m", "m")
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    git("config", "core.fsmonitor", str(hook))
    assert provenance()["revision"]
    assert not (tmp_path / "ran").exists()
    git("status")
    assert (tmp_path / "ran").exists()  # the trap is a real one


def test_neither_torch_nor_any_other_heavy_package_is_imported():
    code = (
        "import sys; from understudy.provenance import provenance; provenance(); print(sorted(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=os.environ
    )
    heavy = {"'torch'", "'numpy'", "'gymnasium'", "'mujoco'", "'scipy'"}
    assert not heavy & set(done.stdout.strip("[]\n").split(", "))
