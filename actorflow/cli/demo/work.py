"""What the demo does to a file: four ordinary functions, each a stage.

    read ──► tokenise ──► measure ──► summarise
    thread    process      thread      loop

They stand at the top level of a module, so that a worker process can import them.
"""

from __future__ import annotations

import io
import keyword
import os
import time
import tokenize
import warnings
from collections import Counter
from typing import Any, TypeAlias

from actorflow.cli.demo.tally import Tally

__all__ = ["NotPython", "Record", "measure", "read", "summarise", "tokenise"]

#: What is known of one file so far; each stage adds to it.
Record: TypeAlias = dict[str, Any]

#: How many of its names a file's line of output shows.
COMMON_NAMES = 5


class NotPython(Exception):
    """The file is no program that this Python understands; the text says why.

    A `SyntaxError` itself would lose its text on the way out of a worker process.
    """


def read(file: Record) -> Record:
    """Its text, in the encoding that it declares itself.

    Raises:
        OSError: It cannot be read.
        SyntaxError: There is no such encoding.
        UnicodeDecodeError: It is not in that encoding.
    """
    with open(os.path.join(file["root"], file["path"]), "rb") as opened:
        data = opened.read()
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    text = io.TextIOWrapper(io.BytesIO(data), encoding).read()
    return {**file, "bytes": len(data), "text": text}


def tokenise(source: Record) -> Record:
    """Its tokens, counted, if it is a program at all; the heavy part.

    Raises:
        NotPython: It does not compile, or its indentation or brackets do not match.
    """
    began = time.perf_counter()
    kinds: Counter[int] = Counter()
    words: Counter[str] = Counter()
    try:
        for token in tokenize.generate_tokens(io.StringIO(source["text"]).readline):
            kinds[token.type] += 1
            if token.type == tokenize.NAME:
                words[token.string] += 1
        _compile(source)
    except (SyntaxError, tokenize.TokenError, ValueError) as error:
        raise NotPython(_reason(error)) from None
    return {
        **source,
        "tokens": kinds.total(),
        "comments": kinds[tokenize.COMMENT],
        "functions": words["def"] + words["lambda"],
        "classes": words["class"],
        "names": {each: n for each, n in words.items() if not keyword.iskeyword(each)},
        "seconds": time.perf_counter() - began,
    }


def _reason(error: Exception) -> str:
    text = str(error)
    if isinstance(error, SyntaxError):
        text = f"{error.msg}, line {error.lineno}"
    return f"{type(error).__name__}: {text}"


def _compile(source: Record) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of old escapes and the like, in other people's files.
        compile(source["text"], source["path"], "exec", dont_inherit=True)


def measure(source: Record) -> Record:
    """The shape of its text, which is not needed any longer."""
    lines = source["text"].splitlines()
    shape = {
        "lines": len(lines),
        "blank": sum(not each.strip() for each in lines),
        "longest": max(map(len, lines), default=0),
    }
    return {name: value for name, value in source.items() if name != "text"} | shape


def summarise(found: Record, tally: Tally) -> Record:
    """Its line of the output; what is about all files goes to *tally*.

    Nothing in it depends on the machine or the day, so that two runs can be compared.
    """
    names: dict[str, int] = found["names"]
    tally.add(found["path"], found["lines"], found["tokens"], names, found["seconds"])
    common = sorted(names, key=lambda each: (-names[each], each))[:COMMON_NAMES]
    same = ("path", "bytes", "lines", "blank", "longest", "tokens", "comments")
    return {
        **{each: found[each] for each in same},
        "functions": found["functions"],
        "classes": found["classes"],
        "names": len(names),
        "common": common,
    }
