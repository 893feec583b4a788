"""Who may import whom: the arrows of the house, read from the sources."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "hora"

# For each room, the rooms that it may import besides itself and `errors`.
ARROWS = {
    "torch": set(),
    "convert": set(),
    "launch": set(),
    "script": {"torch"},
    "verify": {"script", "launch", "convert"},
    "learn": {"torch", "launch", "convert", "verify"},
}
# Rooms that answer in the time that starting Python takes.
WITHOUT_TORCH = {"convert", "launch"}


def imports(path: Path, inside_functions: bool = True) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if inside_functions else tree.body
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return names


def sources(room: str) -> list[Path]:
    """The room's own files: examples of rules are scripts of users, and Horovod's stand-in is a package of its own."""
    apart = {"examples", "standin"}
    return [path for path in (SOURCE / room).rglob("*.py") if not apart & set(path.parts[len(SOURCE.parts) :])]


def rooms_of(names: set[str]) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith("hora.")} - {"__version__"}


@pytest.mark.parametrize("room", sorted(ARROWS))
def test_rooms_know_only_whom_they_may(room):
    for path in sources(room):
        beyond = rooms_of(imports(path)) - ARROWS[room] - {room, "errors"}
        assert not beyond, f"{path} imports {beyond}"


def test_every_room_has_its_arrows():
    rooms = {path.name for path in SOURCE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms == set(ARROWS)


@pytest.mark.parametrize("room", sorted(WITHOUT_TORCH))
def test_rooms_that_never_import_torch(room):
    for path in sources(room):
        found = {name for name in imports(path) if name.split(".")[0] == "torch"}
        assert not found, f"{path} imports {found}"


@pytest.mark.parametrize("name", ["cli.py", "cli_hosts.py", "as_json.py"])
def test_the_door_imports_rooms_inside_its_verbs(name):
    assert rooms_of(imports(SOURCE / name, inside_functions=False)) <= {"errors", "cli_hosts", "as_json"}


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["convert", "--help"], ["convert", str(SOURCE.parents[1] / "examples/vision/digits.py"), "--diff"]],
    ids=["help", "convert --help", "convert"],
)
def test_commands_that_never_import_torch(arguments):
    code = (
        "import sys\nfrom hora.cli import main\nsys.argv[0] = 'hora'\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
