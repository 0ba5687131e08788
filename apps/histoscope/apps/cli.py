"""The command line. Heavy imports stay inside the commands: ``--help`` loads no torch."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch loads (DESIGN: threads)

import click

from histoscope.core import __version__
from histoscope.core.errors import HistoscopeError, near_word

COMMANDS = {
    "doctor": "what this machine has: versions, GPU and driver, readers, disk",
    "demo": "the whole road on a built-in phantom: prepare to report",
    "prepare": "cut a folder into a store of samples",
    "pretrain": "learn an encoder from a store, without labels",
    "finetune": "turn an encoder and a few labels into a model package",
    "evaluate": "score a package on labelled samples that it has not seen",
    "embed": "write features of a folder",
    "predict": "run a package over a folder",
    "report": "rebuild the report of a result folder",
}


class Commands(click.Group):
    """Commands by name, each a module that is loaded when it is asked for."""

    def list_commands(self, context: click.Context) -> list[str]:
        """In the order of work."""
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Load one command's module."""
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"histoscope.apps.commands.{name}").command
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without loading any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Refuse an unknown command with the near word."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            raise click.UsageError(f"unknown command {args[0]!r}{near_word(args[0], COMMANDS)}")
        return super().resolve_command(context, args)


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
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
    except click.exceptions.Abort:
        return _say("interrupted", 3)
    except click.ClickException as fault:
        return _say(fault.format_message(), 2)
    except HistoscopeError as fault:
        return _say(str(fault), fault.exit_code)
    except KeyboardInterrupt:
        return _say("interrupted; the same command goes on", 3)
    except BrokenPipeError:
        return 0
    except Exception:
        with tempfile.NamedTemporaryFile(
            "w", prefix="histoscope-", suffix=".log", delete=False, encoding="utf-8"
        ) as log:
            log.write(traceback.format_exc())
        name = Path(log.name)
        last = traceback.format_exc().strip().splitlines()[-1]
        return _say(f"a fault of ours ({last}); please report it with {name}", 4)


def _say(line: str, code: int) -> int:
    sys.stderr.write(f"histoscope: {line}\n")
    return code


def entry() -> None:
    """Entry point of the ``histoscope`` command."""
    sys.exit(run())
