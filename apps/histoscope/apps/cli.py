"""The command line. Heavy imports stay inside the commands: ``--help`` loads no torch."""

from __future__ import annotations

import errno
import importlib
import os
import sys
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch loads (DESIGN: threads)

import click

from histoscope.core import __version__
from histoscope.core.contracts.installed import working_domains
from histoscope.core.errors import HistoscopeError, UsageError, near_word
from histoscope.core.runtime.allocator import keep_freed_memory

Entry = tuple[str, str]

COMMANDS = {
    "doctor": "what this machine has: versions, GPU and driver, readers, disk",
    "demo": "the whole road on a built-in phantom: prepare to report",
    "prepare": "cut a folder into a store of samples",
    "pretrain": "learn an encoder from a store, without labels",
    "finetune": "turn an encoder and a few labels into a model package",
    "suggest": "choose the samples most worth a label, with a page to label them",
    "labels": "take labels given by hand into a store",
    "evaluate": "score a package on labelled samples that it has not seen",
    "compare": "compare two evaluations draw by draw",
    "embed": "write features of a folder",
    "predict": "run a package over a folder",
    "report": "rebuild the report of a result folder",
}

# what the machine refuses is no fault of ours: rights, a disk that is read-only or full, and names
# that cannot be
REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC}
REFUSED |= {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG}


class Lazy(click.Group):
    """Commands by name, each loaded when it is asked for; those of domains stand behind ours.

    A domain's command of two words, ``"score stages"``, is ``stages`` in the group ``score``.

    Args:
        own: name to (``"module:attribute"``, summary).
        first: the first word of the domains' commands in this group, None at the top.
    """

    def __init__(
        self, *args: Any, own: Mapping[str, Entry] = {}, first: str | None = None, **more: Any
    ) -> None:
        super().__init__(*args, **more)
        self._own, self._first = own, first

    def entries(self) -> dict[str, Entry]:
        """All commands of this group, without loading any."""
        found: dict[str, Entry] = dict(self._own)
        for name, entry in commands_of_domains().items():
            first, _, second = name.rpartition(" ")
            if self._first is None and first:
                told = found.get(first, ("", ""))[1]
                found[first] = ("", f"{told}, {second}" if told else f"{first}: {second}")
            elif (self._first or "") == first:
                found[second] = entry
        return found

    def list_commands(self, context: click.Context) -> list[str]:
        """In the order of work."""
        return list(self.entries())

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Load one command's module, or open a group."""
        entry = self.entries().get(name)
        if entry is None:
            return None
        target, summary = entry
        if not target:
            return Lazy(name=name, first=name, help=summary)
        module, attribute = target.split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without loading any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in self.entries().items()])

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Refuse an unknown command with the near word."""
        known = self.entries()
        if args and not args[0].startswith("-") and args[0] not in known:
            raise click.UsageError(f"unknown command {args[0]!r}{near_word(args[0], known)}")
        return super().resolve_command(context, args)


def commands_of_domains() -> dict[str, Entry]:
    """Commands that installed domains add; a domain that does not load adds none.

    Raises:
        UsageError: two domains, or a domain and this program, claim a name.
    """
    found: dict[str, Entry] = {}
    for domain in working_domains():
        for name, command in domain.commands.items():
            if name in found or name in COMMANDS:
                raise UsageError(f"the command {name!r} of domain {domain.name} is taken")
            found[name] = (command.target, command.summary)
    return found


OURS = {name: (f"histoscope.apps.commands.{name}:command", text) for name, text in COMMANDS.items()}


@click.command(
    cls=Lazy,
    own=OURS,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
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
        if isinstance(fault, OSError) and fault.errno in REFUSED:
            return _say(": ".join(str(w) for w in (fault.filename, fault.strerror) if w), 2)
        with tempfile.NamedTemporaryFile(
            "w", prefix="histoscope-", suffix=".log", delete=False, encoding="utf-8"
        ) as log:
            log.write(traceback.format_exc())
        words = f"{type(fault).__name__}: {fault}"
        return _say(f"a fault of ours ({words}); please report it with {Path(log.name)}", 4)


def _say(words: str, code: int) -> int:
    """One line, whatever the words (a file's name, a library's message) hold."""
    sys.stderr.write(f"histoscope: {' '.join(words.splitlines())}\n")
    return code


def entry() -> None:
    """Entry point of the ``histoscope`` command."""
    keep_freed_memory()
    sys.exit(run())
