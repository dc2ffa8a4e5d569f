"""The house stands: nothing imports upwards, and recording and measuring need no torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import understudy

ROOT = Path(understudy.__file__).parent

# (block, floor) of every module or package below `understudy`. A module may import what stands on a lower
# floor of its own block, and, from the torch block, anything of the ground block. Modules of one package may
# import each other.
FLOORS = {
    "numerics": ("ground", 0),
    "frames": ("ground", 0),
    "episode": ("ground", 0.2),
    "dataset": ("ground", 0.5),
    "supervision": ("ground", 0.7),
    "tabular": ("ground", 0.8),
    "irl": ("ground", 1),
    "provenance": ("ground", 0),
    "roles": ("ground", 1),
    "storage": ("ground", 1),
    "formats": ("ground", 1.2),
    "quality": ("ground", 1),
    "actions": ("ground", 1.3),
    "editing": ("ground", 1.3),
    "experts": ("ground", 1.5),
    "envs": ("ground", 1.7),
    "scene": ("ground", 1.8),
    "robots": ("ground", 2.2),
    "teleop": ("ground", 4.2),
    "workers": ("ground", 0),
    "rollout": ("ground", 2),
    "baselines": ("ground", 2),
    "replay": ("ground", 2.5),
    "evaluate": ("ground", 3),
    "shadow": ("ground", 3.5),
    "record": ("ground", 4),
    "edit": ("ground", 5),
    "report": ("ground", 5),
    "show": ("ground", 5.5),
    "runtime": ("torch", 0),
    "serial": ("torch", 0),
    "nets": ("torch", 0),
    "heads": ("torch", 1),
    "augment": ("torch", 1),
    "agent": ("torch", 3),
    "rewards": ("torch", 3.5),
    "learn": ("torch", 4),
    "train": ("torch", 5),
    "runs": ("torch", 5.5),
    "sources": ("torch", 5.6),
    "interactive": ("torch", 5.7),
    "online": ("torch", 5.7),
    "studio": ("torch", 6),
    "study": ("torch", 6),
    "inverse": ("torch", 6),
    "beside": ("torch", 5.8),
    "demo": ("torch", 6),
    "textbook": ("torch", 6),
    "cli": ("torch", 7),
}
# Parts that know nothing of each other, whatever their floors.
STRANGERS = [
    ({"nets", "heads"}, {"episode", "dataset", "envs", "roles", "rollout", "evaluate", "storage"}),
    ({"learn"}, {"evaluate", "report", "storage", "envs"}),
    ({"evaluate"}, {"learn", "report"}),
]


def part(path: Path) -> str:
    relative = path.relative_to(ROOT)
    return relative.parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """The parts of understudy that a file imports, wherever in the file: a lazy import is an import."""
    found: set[str] = set()
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []  # names for the reader, which no program loads
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = node.module.split(".")
            if names[0] == "understudy":
                found |= {names[1]} if len(names) > 1 else {a.name for a in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("understudy.")}
    return found


FILES = sorted(p for p in ROOT.rglob("*.py") if p != ROOT / "__init__.py" and part(p) != "__main__")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_imports_upwards(path: Path) -> None:
    name = part(path)
    assert name in FLOORS, f"{name} has no floor; give it one here and in docs/design.md"
    block, floor = FLOORS[name]
    for other in imports(path) - {name}:
        assert other in FLOORS, f"{path.name} imports understudy.{other}, which has no floor"
        its_block, its_floor = FLOORS[other]
        if block == its_block:
            assert its_floor < floor, f"{name} (floor {floor}) imports {other} (floor {its_floor})"
        else:
            assert block == "torch", f"{name} must not need torch, but imports {other}"
    for some, others in STRANGERS:
        if name in some:
            assert not imports(path) & others, f"{name} must know nothing of {imports(path) & others}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_relative_imports_are_not_used(path: Path) -> None:
    relative = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom) and n.level]
    assert not relative, "imports are absolute, so that floors can be read off them"


def test_recording_checking_and_measuring_need_no_torch() -> None:
    ground = sorted(n for n, (block, _) in FLOORS.items() if block == "ground")
    names = [n for n in ground if (ROOT / f"{n}.py").exists() or any((ROOT / n).glob("*.py"))]
    code = "import sys; sys.modules['torch'] = None\n" + "\n".join(f"import understudy.{n}" for n in names)
    code += """
import numpy as np
from understudy import storage
from understudy.dataset import Dataset
from understudy.envs import task
from understudy.evaluate import evaluate
from understudy.experts import PolicyExpert
from understudy.rollout import rollout
t = task("pendulum")
expert = t.expert()
e = rollout(t.make(), expert, 0, expert=PolicyExpert(expert))
assert len(Dataset([e])) == 1 and e.labelled.all()
report = evaluate(expert, t.make, [1, 2])
assert report.mean_return.n == 2
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=120)


def test_importing_understudy_is_quick_because_it_is_lazy() -> None:
    code = "import sys, understudy; print(sorted(m for m in sys.modules if m.split('.')[0] in "
    code += "{'torch', 'numpy', 'gymnasium', 'scipy', 'pyarrow', 'matplotlib', 'mujoco'}))"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert out.stdout.strip() == "[]"


def test_a_public_name_is_not_hidden_by_the_module_of_the_same_name() -> None:
    code = "import understudy.evaluate, understudy.rollout, understudy.train, understudy as us\n"
    code += "from understudy import evaluate\nfrom understudy.rollout import Workers\n"
    code += "assert all(map(callable, (us.evaluate, us.rollout, us.train, evaluate)))"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_every_public_name_exists_and_is_documented() -> None:
    for name in understudy.__all__:
        thing = getattr(understudy, name)
        assert getattr(thing, "__doc__", None) or name == "__version__", f"understudy.{name} has no docstring"
    assert set(understudy.__all__) <= set(dir(understudy))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = understudy.nonsense
