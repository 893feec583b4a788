"""Writes the course as static pages: each notebook is run once, and its page holds what it computed."""

from __future__ import annotations

import html
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path

from hora.errors import HoraError
from hora.learn.course import LESSONS, Lesson
from hora.learn.serve import need_marimo

_SECONDS = 900.0


def export(
    directory: Path, lessons: Sequence[Lesson] = LESSONS, *, progress: Callable[[str], None] = lambda _: None
) -> tuple[Path, ...]:
    """Run the lessons and write their pages, an ``index.html`` and what the pages load into `directory`.

    Pages are to be served by a web server, as any course page is; sliders show where they stood and do not compute.

    Raises
    ------
    HoraError
        marimo is not installed, the directory cannot be written, or a lesson fails.
    """
    asked = f"learn --export {directory}"
    need_marimo(asked)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        assets = Path(str(files("marimo") / "_static"))
        shutil.copytree(assets / "assets", directory / "assets", dirs_exist_ok=True)
        for icon in assets.glob("*.ico"):
            shutil.copyfile(icon, directory / icon.name)
    except OSError as error:
        raise HoraError(asked, f"it cannot be written: {error.strerror}", "Name another directory") from None
    pages = []
    for lesson in lessons:
        progress(f"lesson {lesson.number}: {lesson.title}")
        page = directory / f"{lesson.number}-{lesson.name.replace('_', '-')}.html"
        _export(asked, lesson, page)
        pages.append(page)
    index = directory / "index.html"
    index.write_text(_index(lessons, pages), encoding="utf-8")
    return (index, *pages)


def _export(asked: str, lesson: Lesson, page: Path) -> None:
    partial = page.with_name(f".{page.name}.{os.getpid()}")
    command = [sys.executable, "-m", "marimo", "--quiet", "--yes", "export", "html", str(lesson.path)]
    try:
        done = subprocess.run(
            [*command, "--include-code", "--force", "--output", str(partial)],
            capture_output=True,
            timeout=_SECONDS,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            found = f"lesson {lesson.number} failed: {said[-1] if said else 'no message'}"
            raise HoraError(asked, found, f"Run it: python {lesson.path}", status=3)
        partial.write_text(_beside(partial.read_text(encoding="utf-8")), encoding="utf-8")
        partial.replace(page)
    except subprocess.TimeoutExpired:
        raise HoraError(asked, f"lesson {lesson.number} took more than {_SECONDS:g} s", "Try again", status=3) from None
    finally:
        partial.unlink(missing_ok=True)


def _beside(page: str) -> str:
    """Let a page load what it needs from beside it, where marimo writes a network's address."""
    from marimo._templates import get_default_asset_url

    return page.replace(f"{get_default_asset_url()}/", "./")


def _index(lessons: Sequence[Lesson], pages: Sequence[Path]) -> str:
    items = "".join(
        f'<li><a href="{page.name}">{html.escape(lesson.title)}</a><br>{html.escape(lesson.objective)}</li>\n'
        for lesson, page in zip(lessons, pages, strict=True)
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Training on several GPUs</title>\n'
        "<style>body{font:17px/1.5 sans-serif;max-width:40em;margin:3em auto;padding:0 1em}li{margin:.8em 0}</style>\n"
        f"<h1>Training deep networks on several GPUs</h1>\n<ol>\n{items}</ol></html>\n"
    )
