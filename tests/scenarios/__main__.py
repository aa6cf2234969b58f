"""Run scenarios, spread over processes, and print what came of them.

    python -m tests.scenarios [--count 100000] [--processes 2] [--seed 0] [--show 10]

Exit code 1 if anything is wrong; each violation is printed with the line that does it again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tests.scenarios.running import run_scenarios

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.scenarios", description=__doc__)
    parser.add_argument("--count", type=int, default=100_000, help="how many scenarios")
    parser.add_argument("--processes", type=int, default=2, help="over how many processes")
    parser.add_argument("--seed", type=int, default=0, help="of the first one")
    parser.add_argument("--show", type=int, default=10, help="most violations to print")
    given = parser.parse_args(arguments)
    summary = run_scenarios(
        given.count,
        seed=given.seed,
        processes=given.processes,
        progress=lambda text: print(text, file=sys.stderr),
    )
    for line, violation in summary.violations[: given.show]:
        print(f"{line}\n  {violation}\n")
    print(summary)
    return 1 if summary.violations else 0


if __name__ == "__main__":
    sys.exit(main())
