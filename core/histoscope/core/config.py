"""Configuration: frozen pydantic models beside what they configure, YAML only as input.

Order: defaults < preset < ``--config FILE`` < ``--set a.b=c``. Unknown keys are refused with the
near word; keys that stand twice in a YAML file are refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from typing import IO, Any, Self, TypeVar, get_args, get_origin

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from histoscope.core.errors import ConfigError, UsageError, near_word

S = TypeVar("S", bound="Spec")
MOST = 15  # known keys that are told where none is near to an unknown one


class Spec(BaseModel):
    """Base of all configuration: frozen, unknown keys refused, a truth value is no number."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def long_form(cls, given: Any) -> Any:
        """What a short form stands for, for example a name alone."""
        return given

    @classmethod
    def chosen(cls, given: Any) -> type[Spec]:
        """The model that a mapping asks for: where it names a kind, that kind's own.

        Raises:
            UsageError: there is no such kind.
        """
        return cls

    def named(self) -> dict[str, Any]:
        """Its values as JSON has them, of each path the name: no folder of a machine travels."""
        body: dict[str, Any] = json.loads(json.dumps(self.model_dump(), default=_name_of))
        return body

    @model_validator(mode="wrap")
    @classmethod
    def _as_chosen(cls, given: Any, handler: ModelWrapValidatorHandler[Self]) -> Spec:
        try:
            given = cls.long_form(given)
            kind = cls.chosen(given)
        except (UsageError, AttributeError, TypeError) as fault:  # also of a plug-in
            raise ValueError(str(fault)) from None
        return handler(given) if kind is cls else kind.model_validate(given)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value(cls, given: Any, info: ValidationInfo) -> Any:
        """Refuse ``yes`` where a number is wanted: pydantic would read 1."""
        annotation = cls.model_fields[info.field_name or ""].annotation
        kinds = {annotation, *get_args(annotation)}
        if isinstance(given, bool) and kinds & {int, float} and bool not in kinds:
            raise ValueError("input should be a number")
        return given


def _name_of(value: object) -> str:
    return value.name if isinstance(value, PurePath) else str(value)


class _UniqueKeyLoader(yaml.SafeLoader):
    """PyYAML keeps the last of two equal keys; this loader refuses them."""


def _mapping(loader: _UniqueKeyLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    twice = sorted({str(key) for key in keys if keys.count(key) > 1})
    if twice:
        line = node.start_mark.line + 1
        raise ConfigError(f"{node.start_mark.name}:{line}: {', '.join(twice)} stands twice")
    return loader.construct_mapping(node, deep=True)


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _parse(text: str | IO[str], name: str) -> Any:
    loader = _UniqueKeyLoader(text)
    loader.name = name  # what faults call it
    return loader.get_single_data()


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        ConfigError: absent, unreadable, not YAML, a key twice, or not a mapping at the top.
    """
    try:
        with path.open(encoding="utf-8") as handle:
            body = _parse(handle, str(path))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except OSError as fault:
        raise ConfigError(f"{path}: cannot be read ({fault.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as fault:
        raise ConfigError(f"{path}: not YAML ({' '.join(str(fault).split())})") from None
    if body is None:
        return {}
    if not isinstance(body, dict):
        raise ConfigError(f"{path}: expected keys and values at the top")
    return body


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two nested mappings; where both hold a mapping they are merged, else ``over`` wins.

    It wins as a whole where it names another ``kind``, as keys of one kind are none of another.
    """
    out = dict(base)
    for key, value in over.items():
        old: Any = out.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        out[key] = merge(old, value) if both and _of_one_kind(old, value) else value
    return out


def _of_one_kind(base: Any, over: Any) -> bool:
    return "kind" not in over or over["kind"] == base.get("kind")


def apply_sets(base: Mapping[str, Any], sets: Iterable[str]) -> dict[str, Any]:
    """Apply ``a.b=c`` words; the value is YAML. A mapping as value replaces what stood there.

    Raises:
        ConfigError: a word without ``=``, or whose value is not YAML or has a key twice.
    """
    out = merge({}, base)
    for word in sets:
        path, equals, text = word.partition("=")
        if not equals or not path:
            raise ConfigError(f"--set {word}: expected KEY=VALUE, for example seed=1")
        try:
            value = _parse(text, f"--set {word}")
        except yaml.YAMLError:
            raise ConfigError(f"--set {word}: the value is not YAML") from None
        place = out
        *parents, last = path.split(".")
        for parent in parents:
            inner = place.get(parent)
            inner = dict(inner) if isinstance(inner, dict) else {}
            place[parent] = inner
            place = inner
        place[last] = value
    return out


def build(spec: type[S], body: Mapping[str, Any], where: str) -> S:
    """Make a ``spec`` from a mapping.

    Raises:
        ConfigError: one line with every fault: where, which key, what is wrong, the near word.
    """
    try:
        return spec.model_validate(dict(body))
    except ValidationError as fault:
        lines = [_fault_line(spec, body, dict(error)) for error in fault.errors()]
        raise ConfigError(f"{where}: {'; '.join(lines)}") from None


def dump(spec: BaseModel) -> str:
    """The resolved configuration as YAML, which :func:`load_yaml` reads back unchanged."""
    return yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _fault_line(spec: type[Spec], body: Any, error: Mapping[str, Any]) -> str:
    place, known = _place_in(spec, body, [str(part) for part in error["loc"]])
    key = ".".join(place) or "the whole"
    if error["type"] == "extra_forbidden":
        listed = f", known: {', '.join(known)}" if 0 < len(known) <= MOST else ""
        return f"{key}: unknown key{near_word(place[-1], known) or listed}"
    message = str(error["msg"]).removeprefix("Value error, ")
    given = error.get("input")
    shown = f" (given {given!r})" if isinstance(given, str | int | float | bool) else ""
    return f"{key}: {message[:1].lower()}{message[1:]}{shown}"


def _place_in(spec: type[Spec], body: Any, place: Iterable[str]) -> tuple[list[str], list[str]]:
    """The keys of a fault's place without tags of unions, and the field names beside the last."""
    keys, models = list[str](), [spec]
    beside, named = models, False
    for part in place:
        if named:  # a name that the user gave, of a mapping of models
            keys.append(part)
            body, named = body.get(part) if isinstance(body, Mapping) else None, False
            continue
        if tagged := [model for model in models if part in _kinds_of(model)]:
            models = tagged
            continue
        keys.append(part)
        beside = models
        body = body.get(part) if isinstance(body, Mapping) else None
        fields = [model.model_fields[part] for model in models if part in model.model_fields]
        models = [_chosen(kind, body) for field in fields for kind in _models_in(field.annotation)]
        named = any(get_origin(field.annotation) is Mapping for field in fields)
    return keys, [name for model in beside for name in model.model_fields]


def _chosen(kind: type[Spec], given: Any) -> type[Spec]:
    try:
        return kind.chosen(kind.long_form(given))
    except UsageError:
        return kind


def _kinds_of(model: type[Spec]) -> tuple[Any, ...]:
    """What tells a model from the others of its union: the words of its ``kind``."""
    field = model.model_fields.get("kind")
    return get_args(field.annotation) if field else ()


def _models_in(annotation: Any) -> list[type[Spec]]:
    """The models that an annotation names, alone, in a union, or in ``Annotated``."""
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]
