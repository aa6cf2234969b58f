"""``python -m actorflow`` is the command line."""

from actorflow.cli import main

if __name__ == "__main__":
    main(prog_name="python -m actorflow")
