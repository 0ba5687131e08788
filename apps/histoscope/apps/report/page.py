"""One self-contained HTML page: everything escaped, nothing loaded, nothing run from elsewhere.

The content security policy allows the page's own style sheet and, where it has one, its script
(by their hashes), and pictures inside the page; where asked, also those beside it. Bars and
swatches are SVG, because ``style`` attributes would be refused.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from histoscope.core.files import write_text

TEMPLATES = Path(__file__).parent / "templates"
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # controls, direction marks, lone surrogates, line ends
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
NO_COLOUR = "#777777"


def write_page(
    path: Path,
    template: str,
    sheet: str = "style.css",
    script: str | Sequence[str] = (),
    *,
    beside: bool = False,
    **values: Any,
) -> Path:
    """Fill a template; the same values give the same bytes.

    Args:
        path: of the page, which is returned.
        template: its file.
        sheet: file of the style sheet.
        script: file of the only script that may run, or files that are one together; none: no
            script may.
        beside: whether pictures that lie beside the page are shown.
        values: what the template names.
    """
    values.setdefault("made_of", "")
    style = (TEMPLATES / sheet).read_text(encoding="utf-8")
    pictures = "data: 'self' file:" if beside else "data:"
    policy = f"default-src 'none'; img-src {pictures}; style-src {_hash(style)}; "
    files = [script] if isinstance(script, str) else script
    if files:
        code = "".join((TEMPLATES / file).read_text(encoding="utf-8") for file in files)
        policy += f"script-src {_hash(code)}; "
        values["script"] = Markup(code)  # noqa: S704 - our own file
    policy += "base-uri 'none'; form-action 'none'"
    filled = _environment().get_template(template)
    page = filled.render(style=Markup(style), policy=policy, **values)  # noqa: S704 - our own file
    write_text(path, page)
    return path


@cache
def _environment() -> Environment:
    """Templates, compiled once for all pages."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=visible,
    )
    environment.filters.update(
        breakable=breakable, colour=safe_colour, count=count, fraction=fraction, share=share
    )
    return environment


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def as_data(values: object) -> Markup:
    """JSON for a page's script, which cannot end the element that it stands in."""
    text = json.dumps(values, ensure_ascii=True).replace("<", "\\u003c")
    return Markup(text)  # noqa: S704 - no less-than sign is left


def visible(value: object) -> object:
    """Show what a name may hide: control characters, direction marks, broken letters."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    if value.isascii() and value.isprintable():
        return value
    return "".join(
        f"\\u{ord(letter):04x}" if unicodedata.category(letter) in _HIDDEN else letter
        for letter in value
    )


def safe_colour(value: object) -> str:
    """``#rrggbb``, grey for anything else."""
    text = str(value)
    return text if _COLOUR.fullmatch(text) else NO_COLOUR


def breakable(name: str) -> Markup:
    """A name that may be broken where a capital or a figure follows a small letter."""
    parts = re.split(r"(?<=[a-z])(?=[A-Z0-9])|(?<=[_/-])", str(visible(name)))
    return Markup("<wbr>").join(parts)


def count(number: int) -> str:
    """``12 345`` with narrow spaces that do not break."""
    return f"{number:,}".replace(",", "\u202f")


def share(part: float) -> str:
    """A part of one in per cent, never rounded to nothing or to all."""
    if 0 < part < 0.001:
        return "<\u202f0.1\u202f%"
    if 0.999 < part < 1:
        return ">\u202f99.9\u202f%"
    return f"{part:.1%}".replace("%", "\u202f%")


def fraction(value: float | None) -> str:
    """A metric from 0 to 1."""
    return "unknown" if value is None else f"{value:.3f}"
