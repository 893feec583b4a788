"""Stands in for Horovod where that is not installed: `hora run` and `python -m hora` put it where imports find it."""

import os
import sys

import hora

if os.environ.get("RANK", "0") == "0":
    print("hora: Horovod is not installed; `import horovod` finds Hora in its place", file=sys.stderr)

run = hora.run
