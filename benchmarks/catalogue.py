"""All questions, by name and by file. A new file is one more line here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from benchmarks import (
    bench_actors,
    bench_durable,
    bench_graphs,
    bench_idle,
    bench_laboratory,
    bench_memory,
    bench_stages,
)
from benchmarks.question import Question

__all__ = ["FILES", "QUESTIONS", "chosen"]

#: The questions of each file, by what the command line calls the file.
FILES: Mapping[str, tuple[Question, ...]] = {
    "stages": bench_stages.QUESTIONS,
    "graphs": bench_graphs.QUESTIONS,
    "actors": bench_actors.QUESTIONS,
    "idle": bench_idle.QUESTIONS,
    "memory": bench_memory.QUESTIONS,
    "durable": bench_durable.QUESTIONS,
    "laboratory": bench_laboratory.QUESTIONS,
}

#: Every question by its own name.
QUESTIONS: Mapping[str, Question] = {
    question.name: question for questions in FILES.values() for question in questions
}


def chosen(names: Iterable[str]) -> list[Question]:
    """The questions that *names* mean, each once, in the order of the catalogue; all for none.

    Args:
        names: Names of files or of single questions.

    Raises:
        LookupError: No file and no question of that name.
    """
    wanted: set[str] = set()
    for name in names:
        found = FILES.get(name) or tuple(each for each in QUESTIONS.values() if each.name == name)
        if not found:
            known = ", ".join(dict.fromkeys((*FILES, *QUESTIONS)))
            raise LookupError(f"no benchmark is called {name!r}; there are: {known}")
        wanted |= {each.name for each in found}
    return [each for each in QUESTIONS.values() if not wanted or each.name in wanted]
