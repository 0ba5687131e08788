"""Tables of ``docs/formats.md`` that repeat settings, made from the models.

``python -m tests.formats_rows`` writes them, each behind ``<!-- fields of module:Class -->``:
``, its own`` leaves out those of its base; ``, may be absent`` stands behind the types.
"""

from __future__ import annotations

import importlib
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from histoscope.core.config import Spec
from histoscope.core.encoders.contract import EncoderSpec
from histoscope.core.encoders.timm import TimmSpec
from histoscope.core.learning import FITTERS
from histoscope.core.learning.spec import FinetuneSpec
from histoscope.core.objectives import OBJECTIVES
from histoscope.core.objectives.choices import ChoiceSpec
from histoscope.core.objectives.spec import MethodSpec
from histoscope.core.registry import Registry

PAGE = Path(__file__).resolve().parents[1] / "docs" / "formats.md"
TABLE = re.compile(
    r"(<!-- fields of (\S+):(\w+)(, its own)?(, may be absent)? -->\n\n).*?(?=\n<!-- end -->)", re.S
)
HEAD = "| key | type | values | default | meaning |\n| --- | --- | --- | --- | --- |\n"
TYPES = {str: "string", Path: "string", int: "integer", float: "number", bool: "boolean"}
TYPES |= {types.NoneType: "null"}
BOUNDS = {Ge: ("ge", ">="), Gt: ("gt", ">"), Le: ("le", "<="), Lt: ("lt", "<")}
OF_DOMAINS = "[pathology {0}](#pathology-{0}-block) or [surgery {0}](#surgery-{0}-block)"


def rewritten(page: str) -> str:
    """The page with its tables of settings made anew."""

    def table(found: re.Match[str]) -> str:
        spec = getattr(importlib.import_module(found[2]), found[3])
        others = spec.__base__.model_fields if found[4] else {}
        absent = found[5] or ""
        if spec is FinetuneSpec:
            return found[1] + HEAD + "".join(rows_of_methods(FITTERS, "", absent, [spec]))
        return found[1] + HEAD + "".join(rows(spec, others, absent))

    return TABLE.sub(table, page)


def rows(
    spec: type[Spec], others: Mapping[str, FieldInfo], absent: str, above: str = ""
) -> Iterator[str]:
    """Rows of a model and of those in it, without ``others``."""
    for name, field in spec.model_fields.items():
        kind = field.annotation
        if choice := choice_of(kind):
            kinds = [known for known in choice.known.values() if issubclass(known, Spec)]
            yield from rows_of_kinds(kinds, f"{above}{name}.", absent, always=False)
            if type(None) in get_args(kind):
                yield f"| `{above}{name}` | null, may be absent |  | null | {field.description} |\n"
        elif kind is EncoderSpec:
            yield from rows_of_kinds([kind, TimmSpec], f"{above}{name}.", "", always=True)
        elif kind is MethodSpec:
            yield from rows_of_methods(OBJECTIVES, f"{above}{name}.", "")
        elif isinstance(kind, type) and issubclass(kind, Spec):
            yield from rows(kind, {}, absent, f"{above}{name}.")
        elif name not in others:
            assert field.description, f"{spec.__name__}.{name} has no description"
            type_ = OF_DOMAINS.format("views") if above + name == "views.domain" else type_of(kind)
            some = absent or ", may be absent" * (field.exclude_if is not None)
            cells = f"`{above}{name}`", type_ + some, values_of(field), default_of(field.default)
            yield f"| {' | '.join(cells)} | {field.description} |\n"


def rows_of_methods(
    methods: Registry[Any], above: str, absent: str, first: Sequence[type[Spec]] = ()
) -> Iterator[str]:
    """Rows of the settings of all methods of the program, each key once, as it stands first."""
    names = [n for n, place in methods.targets().items() if place.startswith("histoscope.")]
    every = [*first, *(methods.load(name).settings for name in sorted(names, reverse=True))]
    yield from rows_of_kinds(every, above, absent, always=True)


def choice_of(kind: Any) -> type[ChoiceSpec] | None:
    """The choice that a field takes, maybe None."""
    for one in (kind, *get_args(kind)):
        plain = get_args(one)[0] if get_origin(one) is Annotated else one
        if isinstance(plain, type) and issubclass(plain, ChoiceSpec):
            return plain
    return None


def rows_of_kinds(
    every: Sequence[type[Spec]], above: str, absent: str, *, always: bool
) -> Iterator[str]:
    """Rows of several kinds of one thing; what not all of them have may be absent."""
    cells: dict[str, list[list[str]]] = {}
    for settings in every:
        for row in rows(settings, {}, absent, above):
            key, *others = row.strip("| \n").split(" | ")
            cells.setdefault(key, []).append(others)
    for key, found in cells.items():
        type_, _, default, meaning = found[0]
        values = ", ".join(dict.fromkeys(one[1] for one in found))
        told = absent or ", may be absent" in type_ or (always and len(found) == len(every))
        some = "" if told else ", may be absent"
        yield f"| {key} | {type_}{some} | {values} | {default} | {meaning} |\n"


def type_of(kind: Any) -> str:
    """As the page names types."""
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(type_of(one) for one in get_args(kind)))
    if get_origin(kind) is Literal:
        return "string"
    if get_origin(kind) is Mapping:
        inner = get_args(kind)[1]
        return f"map of {'object' if get_origin(inner) is Mapping else TYPES[inner]}"
    if get_origin(kind) is tuple:
        return f"list of {type_of(get_args(kind)[0])}"
    return TYPES[kind]


def values_of(field: FieldInfo) -> str:
    """The words that are known, or the range."""
    bounds = [(*BOUNDS[type(one)], one) for one in field.metadata if type(one) in BOUNDS]
    ranges = [f"{sign} {getattr(one, key):g}" for key, sign, one in bounds]
    return ", ".join([*(f"`{word}`" for word in words_of(field.annotation)), *ranges])


def words_of(kind: Any) -> Iterator[str]:
    if get_origin(kind) is Literal:
        yield from get_args(kind)
    elif get_origin(kind) in (Union, types.UnionType):
        for one in get_args(kind):
            yield from words_of(one)


def default_of(value: Any) -> str:
    """As it stands in JSON and YAML."""
    if isinstance(value, tuple):
        return f"[{', '.join(default_of(one) for one in value)}]"
    if isinstance(value, bool) or value is None:
        return {None: "null", True: "true", False: "false"}[value]
    return f"`{value}`" if isinstance(value, str) else "" if value == {} else f"{value:.4g}"


if __name__ == "__main__":
    PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
