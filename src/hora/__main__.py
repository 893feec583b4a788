"""`python -m hora` is the command `hora`; `python -m hora SCRIPT ARGS…` runs a script, for which `horovod` is Hora."""

import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

from hora.cli import main


def run(script: str) -> None:
    """Run a script in this process as ``python SCRIPT`` does, with its own folder first among those of modules."""
    sys.argv = sys.argv[1:]
    sys.path[0] = str(Path(script).resolve().parent)
    if find_spec("horovod") is None:
        sys.path.append(str(Path(__file__).with_name("torch") / "standin"))
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1].endswith(".py"):
        run(sys.argv[1])
    else:
        main()
