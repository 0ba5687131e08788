"""The command line. ``--help`` costs what click costs: a command is loaded when it is asked for."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch loads (DESIGN: threads)

import click

from histoscope.core import __version__
from histoscope.core.errors import (
    FULL,
    REFUSED,
    HistoscopeError,
    UsageError,
    near_word,
    refusal,
)
from histoscope.core.registry import Registry
from histoscope.core.runtime.allocator import keep_freed_memory

COMMANDS = {
    "doctor": "what this machine has: versions, GPU and driver, readers, disk",
    "demo": "the whole road on a built-in phantom: prepare to report",
    "prepare": "cut a folder into a store of samples",
    "masks": "mark subjects for background augmentation",
    "import-weights": "turn a checkpoint from elsewhere into an encoder",
    "pretrain": "learn an encoder from a store, without labels",
    "tune": "choose a recipe of pretraining on a store and its few labels",
    "finetune": "turn an encoder and a few labels into a model package",
    "suggest": "choose the samples most worth a label, with a page to label them",
    "review": "pages to label operations by time, beginning with what a package says",
    "labels": "take labels given by hand into a store",
    "evaluate": "score a package on labelled samples that it has not seen",
    "compare": "compare two evaluations draw by draw",
    "embed": "write features of a folder",
    "predict": "run a package over a folder",
    "report": "rebuild the report of a result folder",
}
REGISTRY: Registry[click.Command] = Registry(
    "command",
    {name: f"histoscope.apps.commands.{name.replace('-', '_')}:command" for name in COMMANDS},
    group="histoscope.commands",
)


class LazyGroup(click.Group):
    """Commands by name, each loaded when it is asked for; those of entry points stand behind ours.

    The entry point ``score.stages`` is the command ``stages`` in the group ``score``.

    Args:
        above: the group's name in entry points; empty at the top.
    """

    def __init__(self, *, above: str = "", **more: Any) -> None:
        super().__init__(no_args_is_help=False, **more)
        self._above = above

    def summaries(self) -> dict[str, str]:
        """What is here, with a line each; nothing is loaded."""
        found: dict[str, str] = {}
        for name, target in REGISTRY.targets().items():
            above, _, word = name.rpartition(".")
            if above == self._above:
                owner = re.split("[.:]", target.removeprefix("histoscope.domains."))[0]
                found[word] = COMMANDS.get(name, f"a command of {owner}")
            elif not self._above:
                found[above] = f"{found[above]}, {word}" if above in found else f"group: {word}"
        return found

    def list_commands(self, context: click.Context) -> list[str]:
        """Ours in the order of work, then the others."""
        return list(self.summaries())

    def get_command(self, context: click.Context, name: str) -> click.Command:
        """Load one command, or open a group.

        Raises:
            UsageError: unknown, claimed twice, or its distribution is broken.
        """
        name = f"{self._above}.{name}" if self._above else name
        if not any(other.startswith(f"{name}.") for other in REGISTRY.names()):
            return REGISTRY.load(name)
        if name in REGISTRY.names():
            raise UsageError(f"{name!r} is claimed as a command and as a group of commands")
        return LazyGroup(name=name, above=name)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands; those of a group, which are few, are loaded for what they say."""
        lines = self.summaries()
        for name in lines if self._above else ():
            try:
                lines[name] = self.get_command(context, name).get_short_help_str(80)
            except UsageError as fault:
                lines[name] = str(fault)
        with formatter.section("Commands"):
            formatter.write_dl(list(lines.items()))

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Refuse an unknown command with the near word."""
        known = self.summaries()
        if args[0] not in known:
            raise click.UsageError(f"unknown command {args[0]!r}{near_word(args[0], known)}")
        return super().resolve_command(context, args)


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="histoscope")
def main() -> None:
    """Learn from your own unlabelled images and a few labels; report over a folder.

    Exit codes: 0 all done; 1 finished, but some sources failed (each has a row with its reason);
    2 wrong use or wrong data; 3 interrupted (the same command goes on); 4 a fault of ours;
    5 training diverged.
    """


def run(args: list[str] | None = None) -> int:
    """Run one command line and return the exit code."""
    try:
        code: Any = main.main(args=args, prog_name="histoscope", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except (click.exceptions.Abort, KeyboardInterrupt):
        return _say("interrupted; the same command goes on", 3)
    except click.UsageError as fault:
        place = fault.ctx.command_path if fault.ctx else "histoscope"
        return _say(f"{fault.format_message().rstrip('.')} (see '{place} --help')", 2)
    except click.ClickException as fault:
        return _say(fault.format_message(), 2)
    except HistoscopeError as fault:
        return _say(str(fault), fault.exit_code)
    except BrokenPipeError:
        return 0
    except Exception as fault:
        if refused := refusal(fault, REFUSED if isinstance(fault, OSError) else FULL):
            named = getattr(fault, "filename", None) or "what is printed, or kept for a while"
            return _say(f"{named}: {refused}; mend that, and the same command goes on", 2)
        words = f"{type(fault).__name__}: {fault}"
        return _say(f"a fault of ours ({words}); please report it {_with_log()}", 4)


def _with_log() -> str:
    """Keep where the fault of this moment came from; words that say where."""
    import tempfile
    import traceback

    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="histoscope-", suffix=".log", delete=False, encoding="utf-8"
        ) as log:
            log.write(traceback.format_exc())
    except OSError as fault:
        return f"(no log of it can be written: {fault.strerror})"
    return f"with {log.name}"


def _say(words: str, code: int) -> int:
    """One line, whatever the words (a file's name, a library's message) hold."""
    with suppress(OSError):  # the disk of a log may be full, too
        sys.stderr.write(f"histoscope: {' '.join(words.splitlines())}\n")
    return code


def entry() -> None:
    """Entry point of the ``histoscope`` command."""
    keep_freed_memory()
    sys.exit(run())
