"""Run one side of one question once, in this process, and print its figures as JSON.

    python -m benchmarks.side stages antflow 20000

This is what `benchmarks.measure` starts a process for; it is also the thing to run
under a profiler.
"""

from __future__ import annotations

import json
import sys

from benchmarks.catalogue import QUESTIONS

__all__ = ["main"]


def main(name: str, side_name: str, items: int) -> None:
    """Answer one question from one side."""
    question = QUESTIONS[name]
    side = next(each for each in question.sides if each.name == side_name)
    if question.warm:
        side.run(max(1, items // 10))
    print(json.dumps(dict(side.run(items))))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
