"""Bytes become lines, however they are cut into chunks."""

from hypothesis import example, given
from hypothesis import strategies as st

from hora.launch.lines import LineSplitter


def split(*chunks):
    splitter = LineSplitter()
    pieces = [piece for chunk in chunks for piece in splitter.feed(chunk)]
    return [tuple(piece) for piece in [*pieces, *splitter.close()]]


def test_lines_end_in_line_feeds_or_both_or_nothing():
    assert split(b"a\nb\r\n\nlast") == [("a", False), ("b", False), ("", False), ("last", False)]


def test_carriage_returns_make_transient_lines_and_the_last_state_stays():
    assert split(b"\r 10%\r 50%\r100%\n") == [(" 10%", True), (" 50%", True), ("100%", False)]
    assert split(b"10%\r100%\r") == [("10%", True), ("100%", True), ("100%", False)]


def test_bytes_that_are_no_text_are_replaced():
    assert split(b"caf\xe9\n", "caf\u00e9\n".encode()[:4], b"\xa9\n") == [("caf\ufffd", False), ("caf\u00e9", False)]


def test_a_line_of_ten_megabytes_is_looked_at_once():
    chunks = [b"x" * 4096] * 2560
    assert split(*chunks, b"\n") == [("x" * 4096 * 2560, False)]


@given(st.lists(st.sampled_from([b"a", b"bc", b"\r", b"\n", b"\r\n", "\u00e9".encode()]), max_size=12), st.data())
@example([b"a", b"\r", b"\n"], None)
def test_chunks_do_not_matter_to_what_stays(parts, data):
    stream = b"".join(parts)
    cut = data.draw(st.integers(0, len(stream))) if data else 2
    stays = [text for text, transient in split(stream[:cut], stream[cut:]) if not transient]
    assert stays == [text for text, transient in split(stream) if not transient]
