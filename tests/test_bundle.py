"""The pages' scripts: what is committed is what web/ builds, and it is fit to stand inside a page."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

WEB = Path(__file__).parent.parent / "web"
HOME = files("understudy")
BUNDLES = (
    HOME.joinpath("studio", "assets", "studio.min.js"),
    HOME.joinpath("report", "templates", "replay.min.js"),
)
LICENCES = HOME.joinpath("studio", "assets", "LICENSES.txt")


def package(name: str) -> dict[str, object]:
    if not WEB.is_dir():
        pytest.skip("the pages' sources are not beside the tests")
    told: dict[str, object] = json.loads((WEB / name).read_text("utf-8"))
    return told


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda b: b.name)
def test_a_bundle_is_one_file_of_plain_text(bundle: Path) -> None:
    text = bundle.read_bytes().decode("ascii")
    assert 100_000 < len(text) < 900_000
    assert "import(" not in text.replace("import.meta", "")
    assert not re.search(r"^\s*import\s", text, re.M), "nothing is loaded besides"
    assert "sourceMappingURL" not in text


def test_the_replay_cannot_end_its_element() -> None:
    assert not re.search(r"</script|<!--", BUNDLES[1].read_text("utf-8"), re.I)


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda b: b.name)
def test_a_bundle_is_javascript(bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / ("page.mjs" if bundle.name == "studio.min.js" else "page.js")
    copy.write_text(bundle.read_text("utf-8"))
    subprocess.run(["node", "--check", str(copy)], check=True, timeout=60)


def test_the_licence_of_what_is_bundled_goes_with_it() -> None:
    text = LICENCES.read_text("utf-8")
    assert "three.js authors" in text
    assert "The MIT License" in text
    version = package("package.json")["dependencies"]
    assert isinstance(version, dict)
    assert f"three.js {version['three']}:" in text
    for bundle in BUNDLES:
        assert "Three.js Authors" in bundle.read_text("utf-8"), "and so does the note in the file itself"


def test_versions_are_exact_and_locked() -> None:
    asked = package("package.json")
    locked = package("package-lock.json")["packages"]
    assert isinstance(locked, dict)
    for group in ("dependencies", "devDependencies"):
        named = asked[group]
        assert isinstance(named, dict)
        for name, version in named.items():
            assert re.fullmatch(r"\d+\.\d+\.\d+", version), f"{name} is {version}; a version is exact"
            entry = locked[f"node_modules/{name}"]
            assert entry["version"] == version
            assert entry["integrity"].startswith("sha512-")


def test_the_committed_files_are_what_the_sources_build() -> None:
    if shutil.which("node") is None or not (WEB / "node_modules" / "esbuild").is_dir():
        pytest.skip("node, or web/node_modules (npm ci in web/), is not there")
    done = subprocess.run(
        ["node", str(WEB / "build.mjs"), "--check"], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_changed_source_is_noticed(tmp_path: Path) -> None:
    if shutil.which("node") is None or not (WEB / "node_modules" / "esbuild").is_dir():
        pytest.skip("node, or web/node_modules (npm ci in web/), is not there")
    copy = tmp_path / "web"
    shutil.copytree(WEB, copy, ignore=shutil.ignore_patterns("node_modules"))
    (copy / "node_modules").symlink_to(WEB / "node_modules")
    run = ["node", str(copy / "build.mjs")]
    subprocess.run(run, check=True, capture_output=True, timeout=100)
    made = tmp_path / "src" / "understudy" / "report" / "templates" / "replay.min.js"
    before = made.read_bytes()
    assert subprocess.run([*run, "--check"], check=False, capture_output=True, timeout=100).returncode == 0
    source = copy / "src" / "replay-clips.js"
    source.write_text(source.read_text("utf-8") + "\nconsole.warn('changed');\n")
    assert subprocess.run([*run, "--check"], check=False, capture_output=True, timeout=100).returncode == 1
    assert made.read_bytes() == before, "a check writes nothing"
