"""Where a number comes from: the command, the versions, the machine and the time. Standard library only.

Nothing here names the machine or its user: no host name, no user name, no absolute path.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TypeAlias

__all__ = ["Provenance", "provenance"]

Provenance: TypeAlias = dict[str, str | int | float | dict[str, str] | None]

_PACKAGES = ("understudy", "torch", "numpy", "scipy", "gymnasium", "mujoco", "gymnasium-robotics")
_LONG = 2000  # characters of a command line; a list of a thousand files tells nobody more
_ABSOLUTE = re.compile(
    r"""(?: (?<![\w./\\]) | (?<=^-\w) )     # not inside a word or a relative path; "-I/x" counts
        (?! (?<=:)// )                      # nor the host of a URL
        (?: ~ | / | \\\\ | [A-Za-z]:[\\/] ) [^,;:"'()\[\]]*""",
    re.VERBOSE,
)


def provenance(argv: Sequence[str] | None = None) -> Provenance:
    """What a reader needs in order to make a number again, ready for JSON.

    Keys: command; date (UTC, ISO 8601); versions (package -> version, of those installed); python; system;
    cpu; cores (that this process may use); memory (GiB; None where unknown); revision (git, of the working
    directory, "-dirty" where tracked files are changed; None outside a repository).

    Args:
        argv: the command line; `sys.argv` when left out.
    """
    return {
        "command": command(sys.argv if argv is None else argv),
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "versions": {p: v for p in _PACKAGES if (v := _version(p)) is not None},
        "python": platform.python_version(),
        "system": _system(),
        "cpu": _cpu(),
        "cores": _cores(),
        "memory": _memory(),
        "revision": _revision(),
    }


def command(argv: Sequence[str]) -> str:
    """A command line as one would type it, without the paths that tell one machine from another.

    >>> command(["/opt/alice/bin/understudy", "train", "bc", "--data=/home/alice/d one", "--out", "runs/a"])
    "understudy train bc '--data=d one' --out runs/a"
    """
    if not argv:
        return ""
    program = _base(argv[0])
    if program in ("", "-c"):
        program = "python"
    elif program == "__main__.py":
        program = f"python -m {_base(str(PurePosixPath(argv[0].replace(os.sep, '/')).parent))}"
    elif program.endswith(".py"):
        program = f"python {program}"
    typed = " ".join([program, *(_quoted(portable(a)) for a in argv[1:])])
    shown = "".join(c if c.isprintable() else "?" for c in typed)
    return shown if len(shown) <= _LONG else shown[: _LONG - 3] + "..."


def portable(text: str) -> str:
    """The text with its absolute paths made relative to the working directory, or else cut to their names.

    A path that climbs out of the working directory ("../x") is cut too, as it may name a user.
    """
    head, equals, value = text.partition("=")
    if equals and head.startswith("-"):
        return f"{head}={portable(value)}"
    if (
        text.startswith(("..", "~"))
        or PurePosixPath(text).is_absolute()
        or PureWindowsPath(text).is_absolute()
    ):
        return _relative(text)
    return _ABSOLUTE.sub(lambda found: _relative(found.group()), text.replace("file:///", "/"))


def _relative(path: str) -> str:
    try:
        inside = Path(os.path.expanduser(path)).relative_to(Path.cwd()).as_posix()
    except (ValueError, OSError):
        return _base(path)
    return inside


def _base(path: str) -> str:
    name = PureWindowsPath(path).name  # understands both kinds of slash
    return "" if name == ".." else name


def _quoted(text: str) -> str:
    if text and re.fullmatch(r"[\w@%+=:,./\-]+", text):
        return text
    return "'" + text.replace("'", "'\"'\"'") + "'"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _system() -> str:
    name = platform.system()
    if name == "Linux":
        with suppress(OSError):
            name = platform.freedesktop_os_release().get("PRETTY_NAME", name)
    elif name == "Darwin":
        name = f"macOS {platform.mac_ver()[0]}"
    elif name == "Windows":
        name = f"Windows {platform.win32_ver()[0]}"
    return f"{name} {platform.machine()}"


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.lower().startswith(("model name", "hardware")):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    if platform.system() == "Darwin":
        return _output(["sysctl", "-n", "machdep.cpu.brand_string"]) or platform.machine()
    return platform.processor() or platform.machine()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def _revision() -> str | None:
    # A folder from a stranger may name a program as its fsmonitor: that is switched off.
    git = [
        "git",
        "-c",
        "core.fsmonitor=false",
        "describe",
        "--always",
        "--dirty",
        "--abbrev=12",
        "--exclude=*",
    ]
    found = _output(git)
    return found if found and re.fullmatch(r"[0-9a-f]{7,64}(-dirty)?", found) else None


def _output(argv: list[str]) -> str | None:
    """What a short command prints, or None where it fails or takes longer than two seconds."""
    env = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=2, env=env, check=True)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip() or None
