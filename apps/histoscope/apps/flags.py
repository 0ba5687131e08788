"""Flags of the command line made from configuration models."""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import click

from histoscope.core.config import Spec, build
from histoscope.core.contracts.installed import Found, working_domains
from histoscope.core.errors import UsageError

FEATURES = "features"  # in place of a command, where a domain's options are for features
Command = TypeVar("Command", bound=Callable[..., Any])


def work_options(target: Command) -> Command:
    """Who works over sources: ``workers`` and ``deadline``, which :func:`engine_of` takes."""
    workers = click.option(
        "--workers",
        default=1,
        show_default=True,
        type=click.IntRange(min=0),
        help="processes that read; 0: this one; of one large source several read",
    )
    deadline = click.option(
        "--deadline",
        default=300.0,
        show_default=True,
        type=click.FloatRange(min=0),
        help="seconds without a sample after which a source counts as hung; 0: none",
    )
    return workers(deadline(target))


def stage_options(target: Command) -> Command:
    """Where sources are copied first: ``stage`` and ``stage_gb``, which :func:`engine_of` takes."""
    stage = click.option(
        "--stage",
        type=click.Path(path_type=Path, file_okay=False),
        help="local folder to which sources on slow storage are copied ahead of reading",
    )
    stage_gb = click.option(
        "--stage-gb",
        default=50.0,
        show_default=True,
        type=click.FloatRange(min=0, min_open=True),
        help="what copies may take there at a time, GB; a larger source is read where it lies",
    )
    return stage(stage_gb(target))


def compute_options(target: Command) -> Command:
    """Where the network runs: ``device`` and ``precision``."""
    device = click.option(
        "--device",
        default="auto",
        show_default=True,
        help="auto, cpu, cuda or cuda:N; auto: the GPU where there is one",
    )
    precision = click.option(
        "--precision",
        type=click.Choice(["float32", "bf16"]),
        default="float32",
        show_default=True,
        help="of the network's passes",
    )
    return device(precision(target))


def say_plan(found: Found, out: Path) -> int:
    """What ``--dry-run`` says of a folder."""
    for source in found.sources:
        click.echo(f"{source.kind}\t{source.path}")
    for one in found.unused:
        click.echo(f"not used\t{one.kind}\t{one.name}\t{one.reason}")
    click.echo(f"{len(found.sources)} sources; would write {out}")
    return 0


def engine_of(
    workers: int,
    deadline: float,
    stage: Path | None = None,
    stage_gb: float = 0.0,
    progress: Any = None,
) -> Any:
    """The engine of this machine; with a folder of copies one that makes these first."""
    from histoscope.core.work.local import Local
    from histoscope.core.work.staging import Staging

    local = Local(workers, deadline or math.inf)
    if stage is None:
        return local
    return Staging(local, stage, int(stage_gb * 1e9), max(1, workers), progress)


def compute_of(device: str, precision: Any, workers: int | None = None) -> Any:
    """Where the network runs; the cores are shared by ``workers`` processes.

    Raises:
        UsageError: no such device.
    """
    from histoscope.core.runtime.device import Compute, choose_device
    from histoscope.core.runtime.threads import cores

    choose_device(device)
    threads = None if workers is None else max(1, cores() // max(1, workers))
    return Compute(device, precision, threads)


def flag_of(name: str) -> str:
    """``size_px`` to ``--size-px``."""
    return "--" + name.replace("_", "-")


def _click_type(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(kind for kind in get_args(annotation) if kind is not type(None))
    if get_origin(annotation) is Literal:
        return click.Choice([str(word) for word in get_args(annotation)])
    if annotation is Path:
        return click.Path(path_type=Path)
    return annotation if annotation in (int, float, bool) else str


def _options(fields: Iterable[tuple[str, Any, str]]) -> Callable[[Command], Command]:
    """Flags of fields with what the help says of them; the spec has the defaults, and checks."""

    def decorate(target: Command) -> Command:
        for name, field, told in reversed([*fields]):
            shown = "" if field.default is None else f"  [default: {field.default}]"
            target = click.option(
                flag_of(name),
                name,
                type=_click_type(field.annotation),
                default=None,
                is_flag=field.annotation is bool,
                help=told + shown,
            )(target)
        return target

    return decorate


def spec_options(spec: type[Spec], *names: str, told: str = "{}") -> Callable[[Command], Command]:
    """Flags of fields of a spec; ``told`` takes a field's meaning and its name."""
    fields = [(name, spec.model_fields[name]) for name in names]
    return _options((name, one, told.format(one.description, name)) for name, one in fields)


def domain_options(*commands: str) -> Callable[[Command], Command]:
    """Options of commands of all installed domains, with the domain's name in the help.

    Two domains may share a flag when it has the same type. A domain that does not load has no
    flags: asking for it, and ``doctor``, say why; the others work.
    """
    fields: dict[str, tuple[Any, list[str]]] = {}
    for domain in working_domains():
        every = dict[str, Any]()
        for command in commands:
            every |= _fields(domain, command)
        for name, field in every.items():
            first, owners = fields.setdefault(name, (field, []))
            if first.annotation != field.annotation:
                raise UsageError(
                    f"domains {owners} and {domain.name} disagree about {flag_of(name)}"
                )
            owners.append(domain.name)
    return _options(
        (name, field, f"({', '.join(owners)}) {field.description or ''}")
        for name, (field, owners) in fields.items()
    )


def _fields(domain: Any, command: str) -> Mapping[str, Any]:
    sampling = domain.sampling.model_fields if command == "prepare" else {}
    return {**sampling, **domain.options.get(command, Spec).model_fields}


def given_flags(values: Mapping[str, Any]) -> dict[str, Any]:
    """The options that stand on the command line."""
    context = click.get_current_context()
    default = click.core.ParameterSource.DEFAULT
    return {k: v for k, v in values.items() if context.get_parameter_source(k) is not default}


def split_options(
    domain: Any, command: str, values: Mapping[str, Any]
) -> tuple[Mapping[str, Any], Spec]:
    """What is for the sampling, and the domain's options of a command.

    Raises:
        UsageError: a flag of another domain.
    """
    asked = given_flags(values)
    for name in asked:
        if name not in _fields(domain, command):
            whose = "--features" if command == FEATURES else f"domain {domain.name!r}"
            raise UsageError(f"{flag_of(name)} is not a flag of {whose}")
    spec = domain.options.get(command, Spec)
    own = {name: asked.pop(name) for name in spec.model_fields if name in asked}
    return asked, build(spec, own, "command line")


def roots_of(inputs: Iterable[Path], remapped: Iterable[str] = ()) -> dict[str, Path]:
    """Name the inputs: ``input``, ``input2``, ...; ``NAME=PATH`` words add or replace.

    Raises:
        UsageError: an input that does not exist, or a word without ``=``.
    """
    roots = {f"input{place + 1 if place else ''}": path for place, path in enumerate(inputs)}
    for word in remapped:
        name, equals, place = word.partition("=")
        if not equals:
            raise UsageError(f"--root {word}: expected NAME=PATH")
        roots[name] = Path(place)
    for path in roots.values():
        if not path.exists():
            raise UsageError(f"{path}: no such file or folder")
    return roots
