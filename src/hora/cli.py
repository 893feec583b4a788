"""The door: one thin function per verb. Every room is imported inside its verb, so that `hora --help` imports none."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from hora import __version__, cli_hosts
from hora.as_json import Json, print_json
from hora.errors import HoraError

app = typer.Typer(
    name="hora",
    help="Takes a PyTorch training script from one GPU to many: converted, proven to train the same, launched.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# What follows a bare `--` on the command line, for the user's script; click would mix it with Hora's own arguments.
_script_arguments: list[str] = []


def main() -> NoReturn:
    """Run the command line and exit with its status: 0 fine, 1 a finding, 2 wrong usage, 3 cannot tell."""
    arguments = sys.argv[1:]
    if "--" in arguments and arguments[:1] != ["run"]:
        cut = arguments.index("--")
        _script_arguments[:] = arguments[cut + 1 :]
        arguments = arguments[:cut]
    try:
        if arguments[:1] == ["run"]:
            arguments = cli_hosts.in_own_words(arguments)
        app(args=arguments, prog_name="hora")
    except HoraError as error:
        print(f"hora: {error}", file=sys.stderr)
        sys.exit(error.status)
    except Exception as error:
        if os.environ.get("HORA_TRACEBACK"):
            raise
        told = f"{type(error).__name__}: {error}"
        print(f"hora: {told}. This is a defect of Hora: please report it, with HORA_TRACEBACK=1 set", file=sys.stderr)
        sys.exit(3)
    sys.exit(0)


@app.command(no_args_is_help=True)
def convert(
    script: Annotated[
        Path, typer.Argument(help="A training script for one device, or for Horovod.", show_default=False)
    ],
    output: Annotated[
        str | None, typer.Option("-o", "--output", help="Write the script here; into a directory, its modules with it.")
    ] = None,
    diff: Annotated[bool, typer.Option("--diff", help="Print a unified diff of all files; write nothing.")] = False,
    in_place: Annotated[bool, typer.Option("--in-place", help="Overwrite the script and its modules.")] = False,
    from_: Annotated[
        str | None, typer.Option("--from", help="horovod: the script is for Horovod. --to is hora or ddp.")
    ] = None,
    to: Annotated[str, typer.Option("--to", help="Whose words it is said in: hora, horovod or ddp.")] = "hora",
    scaling: Annotated[
        str, typer.Option("--scaling", help="strong: the batch stays. weak: N times the batch, N times the rate.")
    ] = "strong",
    partial: Annotated[bool, typer.Option("--partial", help="Convert the rest, and mark what is refused.")] = False,
    json_: Json = False,
) -> None:
    """Turn a script for one device into one for several workers.

    The batch size stays the global batch (strong scaling), so the training stays the same. Modules of the script's own
    that it imports are converted with it. The result still runs with plain python.

    --from horovod takes a script that is written for Horovod, and says the same training on Hora's runtime, or, with
    --to ddp, in torch's own words, which torchrun starts.
    """
    from hora.convert import convert, write
    from hora.convert.entries import entries
    from hora.convert.report import show_code, show_reasons
    from hora.convert.writing import require_one_file

    if (output is not None) + diff + in_place > 1:
        raise HoraError("convert", "more than one of -o, --diff and --in-place", "Give one of them")
    conversion = convert(script, from_=from_, to=to, scaling=scaling, partial=partial)
    writes = not conversion.refused and (in_place or output is not None)
    written = write(conversion, output, in_place=in_place) if writes else ()
    if json_:
        print_json(conversion)
    else:
        if not conversion.refused and not writes:
            if not diff:
                require_one_file(conversion, f"print {script}")
            show_code(conversion, Console(), diff=diff)
        modules = [path for path in written if path.resolve() != script.resolve()] if in_place else []
        others = [path for path in entries(modules) if not script.resolve().match(f"{path}")] if modules else []
        proof = "hora verify" if from_ is None else "hora run"
        show_reasons(conversion, Console(stderr=True), written, others, proof=proof)
    raise typer.Exit(1 if conversion.refusals else 0)


@app.command(no_args_is_help=True)
def check(
    paths: Annotated[list[Path], typer.Argument(help="Python files, and directories of them.", show_default=False)],
    format_: Annotated[str, typer.Option("--format", help="text, json, github or sarif.")] = "text",
    select: Annotated[list[str] | None, typer.Option("--select", help="Ask these rules only: HR301, or HR3.")] = None,
    ignore: Annotated[list[str] | None, typer.Option("--ignore", help="Leave these rules out.")] = None,
) -> None:
    """Find what a script for several workers must get right, or what convert would mend, as a linter does.

    A line with `# noqa: HR301` is not reported; [tool.hora] in pyproject.toml says which rules and files count.
    """
    from hora.convert.checking import check_paths
    from hora.convert.formats import FORMATS, summary
    from hora.convert.settings import find_settings

    if format_ not in FORMATS:
        raise HoraError(f"check --format {format_}", "there is no such format", f"There are: {', '.join(FORMATS)}.")
    settings = find_settings(Path.cwd()).given(select or [], ignore or [])
    report = check_paths(paths, settings)
    sys.stdout.write(FORMATS[format_](report))
    if format_ == "text":
        print(summary(report), file=sys.stderr)
    raise typer.Exit(report.status)


@app.command(no_args_is_help=True)
def rule(
    code: Annotated[str | None, typer.Argument(help="A rule's code, such as HR301.", show_default=False)] = None,
    list_: Annotated[bool, typer.Option("--list", help="List all rules.")] = False,
    json_: Json = False,
) -> None:
    """Explain a rule: what must hold, what happens without it, and an example of each."""
    from hora.convert.catalogue import CATALOGUE
    from hora.convert.explaining import as_list, as_page, as_record

    if list_ == (code is not None):
        raise HoraError("rule", "neither or both of a code and --list", "Give one of them: hora rule HR301.")
    if code is None:
        entries = list(CATALOGUE.values())
        sys.stdout.write(
            json.dumps([as_record(one) for one in entries], indent=2) + "\n" if json_ else as_list(entries)
        )
        return
    entry = CATALOGUE.get(code.upper())
    if entry is None:
        raise HoraError(f"rule {code}", "there is no such rule", "hora rule --list names them all.")
    sys.stdout.write(json.dumps(as_record(entry), indent=2) + "\n" if json_ else as_page(entry))


@app.command(no_args_is_help=True)
def verify(
    original: Annotated[
        Path, typer.Argument(help="A training script for one device, or a distributed one.", show_default=False)
    ],
    converted: Annotated[
        Path | None,
        typer.Argument(
            help="The same for several workers; left out, Hora converts it. One that is distributed already is "
            "compared with itself on one worker.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        str, typer.Option("-n", "--workers", metavar="N[,N...]", help="How many workers to compare with one.")
    ] = "2",
    steps: Annotated[
        int, typer.Option("--steps", help="Global batches to train on; two epochs are half of them each.")
    ] = 20,
    alone: Annotated[
        str | None,
        typer.Option("--alone", metavar="ARGS", help="The one worker's own arguments, where they are others."),
    ] = None,
    scaling: Annotated[
        str,
        typer.Option("--scaling", help="strong: the same batch. weak: one worker on N batches at once, at their rate."),
    ] = "strong",
    seed: Annotated[int, typer.Option("--seed", help="Random state that the comparison starts from.")] = 0,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds that each of the runs may take.")] = 600.0,
    html: Annotated[Path | None, typer.Option("--html", help="Write the evidence as a page here.")] = None,
    json_: Json = False,
) -> None:
    """Prove that several workers train what one worker trains. The script's own arguments follow --.

    With one number of workers --json prints an object, with several (-n 2,3,4) a list of them.
    """
    from hora.convert.source import read

    numbers = _numbers("verify", workers)
    for path in (original, converted):
        if path is not None:
            # What is no script is told before torch is loaded, which takes seconds.
            read(path, f"verify {original}")

    from hora.verify import verify_each
    from hora.verify.report import show

    if html is not None:
        from hora.verify.page import check_page

        check_page(html)
    errors = Console(stderr=True)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    with errors.status("verifying", spinner="dots") if errors.is_terminal else nullcontext() as status:
        results = verify_each(
            original,
            converted,
            workers=numbers,
            args=_script_arguments,
            alone=None if alone is None else shlex.split(alone),
            scaling=scaling,
            steps=steps,
            seed=seed,
            timeout=timeout,
            progress=status.update if status is not None else lambda stage: print(f"hora: {stage}", file=sys.stderr),
        )
    if html is not None:
        from hora.verify.page import write_page

        write_page(results, original, html)
    if json_:
        print_json(results[0] if len(results) == 1 else results)
    else:
        for result in results:
            show(result, Console())
    statuses = [result.status for result in results]
    raise typer.Exit(1 if 1 in statuses else max(statuses))


app.command(
    no_args_is_help=True,
    context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True},
)(cli_hosts.run)
app.command()(cli_hosts.doctor)


@app.command()
def learn(
    lesson: Annotated[int | None, typer.Argument(help="The lesson to open; left out, all.", show_default=False)] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the lessons.")] = False,
    grade: Annotated[Path | None, typer.Option("--grade", metavar="FILE", help="Grade the lesson's exercise.")] = None,
    export: Annotated[Path | None, typer.Option("--export", metavar="DIR", help="Write static HTML pages.")] = None,
    port: Annotated[int, typer.Option("--port", help="The port on this machine to serve at.")] = 2718,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser.")] = True,
) -> None:
    """Open the course in the browser: training on several GPUs, in notebooks that run Hora."""
    from hora import learn as room

    if list_:
        for one in room.LESSONS:
            print(f"{one.number}. {one.title} ({sum(one.minutes)} min): {one.objective}")
        return
    chosen = None if lesson is None else room.lesson(lesson)
    if grade is not None:
        if chosen is None:
            raise HoraError(f"learn --grade {grade}", "no lesson was named", "Name it: hora learn 1 --grade FILE")
        result = room.grade(chosen.number, grade)
        print("\n".join(result.lines()))
        raise typer.Exit(0 if result.passed else 1)
    if export is not None:
        pages = room.export(export, room.LESSONS if chosen is None else (chosen,), progress=_say)
        _say(f"wrote {len(pages)} pages; look at them: python -m http.server --directory {export}")
        return
    signal.signal(signal.SIGTERM, _leave)
    room.serve(chosen, port=port, open_browser=browser)


@app.command()
def version() -> None:
    """Print Hora's version."""
    print(__version__)


def _say(words: str) -> None:
    print(words, file=sys.stderr)


def _leave(number: int, _frame: object) -> NoReturn:
    """End the command in order, from wherever it is: what it started is ended on the way out."""
    sys.exit(128 + number)


def _numbers(verb: str, text: str) -> list[int]:
    try:
        return list(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise HoraError(
            f"{verb} -n {text}", "that is no integer, nor several with commas", "Give one or several: -n 2,3,4"
        ) from None
