"""Commands that are killed: the same command goes on, and what it leaves is as if nothing happened.

Killed before each single call of the system that changes a file, one after the other; and at any
time, with SIGKILL, several times in a row. Then the same command runs undisturbed, and all that
lies in its folder, names and bytes, must be that of a run that nobody disturbed. Nothing is left
out of the comparison.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from tests.faults.subjects import Subject, differences, preload, silent, subjects, tree
from tests.faults.tracing import end, ended_well, follow, fork, why_not

MOST_IN_A_ROW = 4  # kills of one folder, before it is let to its end
OF_THE_PROGRAM = 10
FIRST_CALLS = 6  # that open and write the first file in its place
Say = Callable[[str], None]


@dataclass(frozen=True)
class Trial:
    """A subject, the folder it writes, and what an undisturbed run of it leaves.

    Attributes:
        seconds: how long such a run takes in a fork.
        calls: how many calls of each kind it makes that change a file.
    """

    subject: Subject
    out: Path
    wanted: dict[str, bytes]
    seconds: float
    calls: Counter[str]

    @classmethod
    def of(cls, subject: Subject, out: Path) -> Trial:
        """Run it undisturbed: here, where it loads what it needs, and twice in a fork.

        Raises:
            RuntimeError: two undisturbed runs differ.
        """
        trees = []
        subject.anew(out)
        subject.run(out)
        trees.append(tree(out))
        subject.anew(out)
        began = time.monotonic()
        ended_well(fork(lambda: subject.run(out)))
        seconds = time.monotonic() - began
        trees.append(tree(out))
        subject.anew(out)
        _, calls = follow(lambda: subject.run(out))
        trees.append(tree(out))
        for one in trees[1:]:
            if said := differences(one, trees[0]):
                raise RuntimeError(f"{subject.name}: undisturbed runs differ: {said}")
        return cls(subject, out, trees[0], seconds, calls)

    def finish(self) -> list[str]:
        """Run the same command undisturbed; what differs then."""
        try:
            ended_well(fork(lambda: self.subject.run(self.out)))
        except RuntimeError as fault:
            return [str(fault)]
        return differences(tree(self.out), self.wanted)


def exits(trial: Trial, every: int, killed: Subject | None = None) -> Iterator[list[str]]:
    """Killed before each ``every``-th call in turn, until a run comes to its end; what differs.

    Args:
        trial: what is run, and finishes.
        every: from the first on.
        killed: what is killed instead.
    """
    subject, place = killed or trial.subject, 0
    while True:
        subject.anew(trial.out)
        ended, _ = follow(lambda: subject.run(trial.out), place)
        if ended:
            return
        yield [f"killed before call {place}: {one}" for one in trial.finish()]
        place += every


def is_careless_found(trial: Trial) -> bool:
    """Whether a writer that is not atomic would be found out, at the first file."""
    careless = replace(trial.subject, careless=True)
    with silent():
        return any(islice(exits(trial, 1, careless), FIRST_CALLS))


def kills(trial: Trial, count: int, draw: random.Random) -> Iterator[list[str]]:
    """Killed ``count`` times in all, up to four times in a row; what differs after each row."""
    while count > 0:
        trial.subject.anew(trial.out)
        delays = list[float]()
        for _ in range(min(count, draw.randint(1, MOST_IN_A_ROW))):
            delays.append(draw.uniform(0, trial.seconds))
            child = fork(lambda: trial.subject.run(trial.out))
            time.sleep(delays[-1])
            end(child)
        count -= len(delays)
        after = ", ".join(f"{1000 * one:.0f}" for one in delays)
        yield [f"killed after {after} ms: {one}" for one in trial.finish()]


def kills_of_the_program(trial: Trial, count: int, draw: random.Random) -> Iterator[list[str]]:
    """As :func:`kills`, of the true command line with a worker; what differs after each.

    Its group gets SIGKILL once the folder is there and some time has passed. Its worker leads a
    group of its own, and must end without being told.
    """
    words = [*trial.subject.line(trial.out), "--workers", "1"]
    line = [sys.executable, "-m", "histoscope", *words]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    for _ in range(count):
        trial.subject.anew(trial.out)
        program = subprocess.Popen(line, start_new_session=True, **quiet)  # type: ignore[call-overload]
        while program.poll() is None and not trial.out.exists():
            time.sleep(0.01)
        delay = draw.uniform(0, 20 * trial.seconds)  # a worker loads for seconds
        time.sleep(delay)
        workers = _started_by(program.pid)
        os.killpg(program.pid, signal.SIGKILL)
        program.wait()
        code = subprocess.run(line, check=False, **quiet).returncode  # type: ignore[call-overload]
        said = differences(tree(trial.out), trial.wanted)
        said += [f"exit code {code}"] * (code != trial.subject.code)
        said += [f"worker {one} goes on alone" for one in workers if _is_there(one)]
        yield [f"command line killed {delay:.2f} s after its first file: {one}" for one in said]


def _started_by(process: int) -> list[int]:
    """Processes that a process has started."""
    path = Path(f"/proc/{process}/task/{process}/children")
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def _is_there(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def check(told: argparse.Namespace, say: Say) -> int:
    """Run all; how many promises were broken."""
    draw, broken = random.Random(told.seed), 0  # noqa: S311 - no secret
    with tempfile.TemporaryDirectory() as scratch:
        chosen = [one for one in subjects(Path(scratch)) if not told.only or one.name in told.only]
        for place, subject in enumerate(chosen):
            began, trial = time.monotonic(), Trial.of(subject, Path(scratch) / "out")
            share = len(range(place, told.kills - told.command_line, len(chosen)))
            of_program = told.command_line if subject.name == "predict" else 0
            faults = {
                "exits": exits(trial, told.every),
                "rows of kills": kills(trial, share, draw),
                "kills of the program": kills_of_the_program(trial, of_program, draw),
            }
            if subject.name == "predict" and not is_careless_found(trial):
                say("BROKEN: a writer that is not atomic is not found")
                broken += 1
            counts = Counter[str]()
            for what, differing in faults.items():
                for said in differing:
                    counts[what] += 1
                    broken += bool(said)
                    for line in said:
                        say(f"BROKEN {subject.name}: {line}")
            calls = ", ".join(f"{n} {kind}" for kind, n in trial.calls.most_common())
            say(f"{subject.name}: {sum(trial.calls.values())} calls ({calls})")
            done = ", ".join(f"{counts[what]} {what}" for what in faults)
            say(f"{subject.name}: {done}; {share} kills; {time.monotonic() - began:.0f} s")
    return broken


def main(words: list[str] | None = None) -> int:
    """Exit code 1 when a promise is broken, 2 where this machine cannot tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="which calls are the last ones")
    parser.add_argument("--kills", type=int, default=200, help="by SIGKILL at any time")
    parser.add_argument(
        "--command-line", type=int, default=OF_THE_PROGRAM, help="of these, of programs"
    )
    parser.add_argument("--only", nargs="*", help="which commands; default: all")
    parser.add_argument("--seed", type=int, default=0)
    told = parser.parse_args(words)
    if why := why_not():
        print(f"kills: {why}")  # noqa: T201
        return 2
    preload()
    broken = check(told, lambda line: print(line, flush=True))  # noqa: T201
    print(f"kills: {broken} broken")  # noqa: T201
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
