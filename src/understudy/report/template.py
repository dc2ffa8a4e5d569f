"""What every page is made with: the templates, what may stand in a script, the content policy, and saving."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from understudy.report.svg import number
from understudy.report.words import counted

__all__ = ["content_policy", "embedded", "environment", "save", "text_of"]


def text_of(name: str) -> str:
    """The text of one of the files that pages are made of."""
    return files("understudy.report").joinpath("templates", name).read_text("utf-8").replace("\r\n", "\n")


@functools.cache
def environment() -> Environment:
    """The templates: all text is escaped, and a name that is not there is an error."""
    made = Environment(
        loader=FunctionLoader(text_of),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"number": number, "counted": counted}
    return made


def embedded(value: Any) -> Markup:
    """JSON that can stand in a script element: no character in it can end the element or the line.

    >>> embedded({"a": "</script>\\u2028"})
    Markup('{"a":"\\\\u003c/script\\\\u003e\\\\u2028"}')
    """
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def content_policy(style: str, script: str) -> str:
    """The content security policy: this style sheet, this script, pictures from inside, nothing else."""
    rules: Mapping[str, str] = {
        "default-src": "'none'",
        "style-src": _hash(style),
        "script-src": _hash(script),
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{k} {v}" for k, v in rules.items())


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def save(target: Path, text: str) -> None:
    """Under another name first, then renamed: nobody ever opens half a page."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)  # a temporary file is readable by its owner only
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
