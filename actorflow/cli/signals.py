"""What a signal asks of a run: decided by a table, carried out elsewhere.

    asked so far     SIGTERM      SIGINT (Ctrl-C)
    nothing          drain        stop
    drain            stop         stop
    stop             exit         exit

*Drain* reads no more input and finishes what is held; *stop* ends the turns in
progress; *exit* waits for nothing at all.
"""

from __future__ import annotations

import enum
import os
import signal
import sys

__all__ = ["DRAIN_SECONDS", "SIGNALS", "Ask", "asked", "exit_now"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)

#: How long a drain may take: what systemd and Kubernetes grant between SIGTERM and SIGKILL.
DRAIN_SECONDS = 30.0


class Ask(enum.IntEnum):
    """What has been asked of a run; each asks for more than the one before."""

    NOTHING = 0
    DRAIN = 1
    STOP = 2
    EXIT = 3


def asked(before: Ask, number: int) -> Ask:
    """What signal *number* asks of a run of which *before* was asked already."""
    least = Ask.STOP if number == signal.SIGINT else Ask.DRAIN
    return max(least, Ask(min(before + 1, Ask.EXIT)))


def exit_now(code: int) -> None:
    """End this process and its worker processes at once."""
    if "multiprocessing" in sys.modules:
        import multiprocessing

        for child in multiprocessing.active_children():
            child.kill()
    if sys.stderr.isatty():
        os.write(2, b"\x1b[?25h\n")  # A display may have hidden the cursor.
    os._exit(code)
