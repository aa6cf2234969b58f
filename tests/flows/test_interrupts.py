"""Ctrl-C, for real: wherever it strikes, a run ends in order and the program hears of it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

SCRIPT = """
    import os, signal, sys, time, threading
    import trio
    from actorflow import Pipeline, stage

    ended = []

    def interrupt_soon():
        def strike():
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGINT)
        threading.Thread(target=strike, daemon=True).start()

    async def spin(value):
        interrupt_soon()
        until = time.monotonic() + 0.6
        while time.monotonic() < until:
            pass
        return value

    async def hang(value):
        interrupt_soon()
        try:
            await trio.sleep_forever()
        finally:
            ended.append(value)

    def block(value):
        interrupt_soon()
        time.sleep(0.6)
        return value

    def numbers():
        interrupt_soon()
        until = time.monotonic() + 0.6
        while time.monotonic() < until:
            pass
        yield 1

    async def quick(value):
        return value

    def endless():
        interrupt_soon()
        while True:
            yield 1

    class Sink:
        closed = False
        async def open(self): ...
        async def write(self, values): ...
        async def aclose(self): Sink.closed = True

    async def main():
        before = trio.lowlevel.current_statistics().tasks_living
        try:
            await MAIN
        finally:
            assert trio.lowlevel.current_statistics().tasks_living == before
            print("in order", Sink.closed, flush=True)

    async def streamed(flow, items):
        async with flow.stream(items, sink=Sink()) as results:
            async for _ in results:
                pass

    try:
        trio.run(main)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""

PLACES = {
    "a handler that spins": "Pipeline([spin]).run([1], sink=Sink())",
    "a handler that waits": "Pipeline([hang]).run([1], sink=Sink())",
    "a handler in a thread": "Pipeline([block]).run([1], sink=Sink())",
    "a source read by run": "Pipeline([quick]).run(numbers(), sink=Sink())",
    "a source read by stream": "streamed(Pipeline([quick]), numbers())",
    "the body of a stream": "streamed(Pipeline([hang]), [1])",
    "anywhere": "Pipeline([quick, stage(quick, name='b')]).run(endless(), sink=Sink())",
    "anywhere of a stream": "streamed(Pipeline([quick, stage(quick, name='b')]), endless())",
}


@pytest.mark.parametrize("main", PLACES.values(), ids=PLACES.keys())
def test_ctrl_c_ends_a_run_in_order_while_it_is_in(main: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT).replace("MAIN", main))

    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=30, check=False
    )

    assert (done.stdout, done.returncode) == ("in order True\ninterrupted\n", 0), done.stderr
    assert "Traceback" not in done.stderr
