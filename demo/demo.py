"""From one device to two workers, on real data: convert, prove, run, and lay the two loss curves over each other.

Started by `make demo`. Writes the converted script to demo/out/ and the report to demo/report.html.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import plotly.graph_objects as go

DEMO = Path(__file__).resolve().parent
ORIGINAL = DEMO.parent / "examples" / "vision" / "digits.py"
OUT = DEMO / "out"
CONVERTED = OUT / "digits.py"
REPORT = DEMO / "report.html"
HORA = [sys.executable, "-m", "hora"]
_EPOCH = re.compile(r"epoch (\d+): train loss ([\d.]+), test loss ([\d.]+), accuracy ([\d.]+)%")


@dataclass(frozen=True)
class Curve:
    """What a run printed, one entry per epoch: losses, and accuracy in percent."""

    train_loss: tuple[float, ...]
    test_loss: tuple[float, ...]
    accuracy: tuple[float, ...]


def main() -> None:
    """Run the demo; ends with the failing command's status where one fails."""
    OUT.mkdir(exist_ok=True)
    original, converted = (str(path.relative_to(Path.cwd())) for path in (ORIGINAL, CONVERTED))
    summary = []

    step("1. Convert a script for one device; the diff is all that changes")
    seconds, _ = run("convert", original, "--diff")
    run("convert", original, "-o", converted)
    summary.append(f"converted   {original} -> {converted} ({seconds:.1f} s)")

    step("2. Prove that 2 workers train what 1 worker trains")
    seconds, _ = run("verify", "-n", "2", original, converted, "--", "--quick")
    summary.append(f"proven      2 workers compute what 1 computes ({seconds:.1f} s)")

    step("3. Run it on 1 worker, then on 2")
    one_seconds, output = run("run", "-n", "1", converted, "--checkpoint", str(OUT / "one.pt"))
    one = curve(output)
    two_seconds, output = run("run", "-n", "2", converted, "--checkpoint", str(OUT / "two.pt"))
    two = curve(output)
    summary.append(f"run         1 worker: accuracy {one.accuracy[-1]}% ({one_seconds:.1f} s with start-up)")
    summary.append(f"            2 workers: accuracy {two.accuracy[-1]}% ({two_seconds:.1f} s with start-up)")
    apart = max(abs(a - b) for a, b in zip(one.train_loss, two.train_loss, strict=True))
    summary.append(f"            the training losses of an epoch are at most {apart:.4f} apart, as printed")

    write_report(one, two)
    summary.append(f"report      {REPORT.relative_to(Path.cwd())}")
    step("Summary")
    print("\n".join(summary))


def step(title: str) -> None:
    print(f"\n\033[1m== {title}\033[0m" if sys.stdout.isatty() else f"\n== {title}", flush=True)


def run(*arguments: str) -> tuple[float, str]:
    """Run a hora command, showing it and what it prints; returns the seconds it took and its output."""
    print("$ hora " + " ".join(arguments), flush=True)
    start = time.perf_counter()
    lines = []
    with subprocess.Popen([*HORA, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode:
        sys.exit(process.returncode)
    return time.perf_counter() - start, "".join(lines)


def curve(output: str) -> Curve:
    """Read the epochs out of what the script printed."""
    epochs = [tuple(map(float, found)) for found in _EPOCH.findall(output)]
    _, train_loss, test_loss, accuracy = zip(*epochs, strict=True)
    return Curve(train_loss, test_loss, accuracy)


def write_report(one: Curve, two: Curve) -> None:
    """Draw both runs into one page that needs nothing else."""
    figure = go.Figure()
    for curve_, workers, line in ((one, "1 worker", {"width": 7}), (two, "2 workers", {"width": 2, "dash": "dash"})):
        epochs = list(range(1, len(curve_.train_loss) + 1))
        colours = ("#9ecae9", "#ffbf79") if workers == "1 worker" else ("#1f4e79", "#a04000")
        for name, values, colour in (
            ("training loss", curve_.train_loss, colours[0]),
            ("test loss", curve_.test_loss, colours[1]),
        ):
            figure.add_scatter(x=epochs, y=values, name=f"{name}, {workers}", line={**line, "color": colour})
    figure.update_layout(
        title="The digits example, the same script on one worker and on two",
        xaxis_title="epoch",
        yaxis_title="cross entropy (mean over the samples)",
        template="plotly_white",
        hovermode="x unified",
    )
    REPORT.write_text(figure.to_html(include_plotlyjs=True, full_html=True), encoding="utf-8")


if __name__ == "__main__":
    main()
