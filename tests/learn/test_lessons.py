"""Each lesson runs without a browser, as a script, to its end and without an error in any cell."""

import subprocess
import sys

import pytest

from hora.learn import LESSONS


@pytest.mark.slow
@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
def test_a_lesson_runs_as_a_script(lesson, tmp_path):
    done = subprocess.run(
        [sys.executable, lesson.path],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir()), "a lesson wrote something before it was asked to"
