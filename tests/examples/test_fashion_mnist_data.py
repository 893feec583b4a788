"""Where the Fashion-MNIST example finds its data: in a folder, else on a server; checked, and kept if whole."""

from __future__ import annotations

import functools
import gzip
import hashlib
import importlib.util
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "vision" / "fashion_mnist.py"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
NAME = "t10k-labels-idx1-ubyte.gz"
CONTENT = bytes(range(256)) * 40


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder and writes no log; of a file named *.cut the connection breaks off half-way."""

    def do_GET(self) -> None:
        half = Path(self.translate_path(f"{self.path}.cut"))
        if half.exists():
            self.send_response(200)
            self.send_header("Content-Length", str(2 * half.stat().st_size))
            self.end_headers()
            self.wfile.write(half.read_bytes())
        else:
            super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fashion_mnist", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def server(example: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Serve a folder on this host under the example's URL; the one file that it knows is `CONTENT`."""
    served = tmp_path / "served"
    served.mkdir()
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setitem(example.CONTENTS, NAME, hashlib.sha256(CONTENT).hexdigest())
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(served))) as host:
        monkeypatch.setattr(example, "URL", f"http://127.0.0.1:{host.server_port}/")
        thread = threading.Thread(target=host.serve_forever, args=(0.01,))
        thread.start()
        yield served
        host.shutdown()
        thread.join()


def test_a_missing_file_is_downloaded_once(example: ModuleType, server: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "fashion-mnist"
    (server / NAME).write_bytes(gzip.compress(CONTENT))
    assert example.read(NAME, folder) == CONTENT
    (server / NAME).unlink()
    assert example.read(NAME, folder) == CONTENT
    assert [path.name for path in folder.iterdir()] == [NAME]


@pytest.mark.parametrize(
    ("packed", "found"),
    [
        pytest.param(gzip.compress(CONTENT + b"!"), "wrong SHA-256", id="another file"),
        pytest.param(gzip.compress(CONTENT)[:-20], "Compressed file ended", id="cut off"),
        pytest.param(b"<html>moved</html>", "Not a gzipped file", id="a page"),
        pytest.param(None, "HTTP Error 404", id="absent"),
    ],
)
def test_what_is_not_the_file_is_refused_and_not_kept(
    example: ModuleType, server: Path, tmp_path: Path, packed: bytes | None, found: str
) -> None:
    if packed is not None:
        (server / NAME).write_bytes(packed)
    with pytest.raises(SystemExit, match=found) as error:
        example.read(NAME, tmp_path / "data")
    assert str(error.value).startswith(f"{example.URL}{NAME}: ")
    assert not (tmp_path / "data").exists()


def test_a_connection_that_breaks_off_is_told(example: ModuleType, server: Path, tmp_path: Path) -> None:
    (server / f"{NAME}.cut").write_bytes(gzip.compress(CONTENT)[:20])
    with pytest.raises(SystemExit, match="IncompleteRead"):
        example.read(NAME, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_without_a_network_the_message_names_the_way_out(
    example: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(example, "URL", "http://no-such-host.invalid/")
    with pytest.raises(SystemExit, match="name their folder by --data"):
        example.read(NAME, tmp_path)


def test_a_damaged_file_in_the_folder_is_named_and_left_alone(
    example: ModuleType, server: Path, tmp_path: Path
) -> None:
    path = tmp_path / NAME
    path.write_bytes(gzip.compress(b"something else"))
    with pytest.raises(SystemExit, match="wrong SHA-256") as error:
        example.read(NAME, tmp_path)
    assert str(error.value).startswith(f"{path}: ")
    assert gzip.decompress(path.read_bytes()) == b"something else"


def test_the_images_and_labels_of_debian_s_package(example: ModuleType) -> None:
    if not DEBIAN.is_dir():
        pytest.skip(f"no {DEBIAN}: install Debian's package dataset-fashion-mnist")
    test_set = example.FashionMNIST(DEBIAN, "t10k")
    image, label = test_set[0]
    assert len(test_set) == 10000
    assert image.shape == (1, 28, 28)
    assert label == 9
    assert test_set.labels.bincount().tolist() == [1000] * 10
