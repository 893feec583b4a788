import subprocess
import sys

import pytest
from told import Told
from waiting import PATIENCE

from hora.launch import run


@pytest.fixture
def launch(tmp_path):
    """Run a few lines of Python as N workers; return the result and all that they wrote."""

    def launch(code, workers, **options):
        script = tmp_path / "script.py"
        script.write_text(code)
        told = Told()
        result = run([sys.executable, str(script)], workers, **{"timeout": PATIENCE, "on_line": told.append, **options})
        assert "timeout" in options or not result.timed_out
        return result, told

    return launch


@pytest.fixture
def launcher(tmp_path):
    """Start a process that does what `hora run -n N` does with a few lines of Python, in an empty directory."""
    started = []

    def launcher(code, workers, before="", **options):
        script = tmp_path / "script.py"
        script.write_text(code)
        # Whoever runs the tests may ignore a signal, as nohup does; the launcher's own answers are what is tested.
        own = "import signal; signal.signal(1, signal.SIG_DFL); signal.signal(2, signal.default_int_handler)"
        main = f"from hora.launch import run_script; raise SystemExit(run_script('script.py', workers={workers}))"
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(
            [sys.executable, "-c", f"{own}\n{before}\n{main}"], text=True, cwd=tmp_path, **{**pipes, **options}
        )
        started.append(process)
        return process

    yield launcher
    for process in started:
        process.kill()
        process.communicate()
