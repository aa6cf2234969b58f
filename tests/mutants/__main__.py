"""Entry point of ``python -m tests.mutants``."""

from __future__ import annotations

import sys

from tests.mutants import main

if __name__ == "__main__":
    sys.exit(main())
