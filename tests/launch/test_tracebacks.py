"""Tracebacks are held back whole; nothing else is, and nothing is lost."""

import subprocess
import sys

import pytest

from hora.launch.tracebacks import BURST_SECONDS, HOLD_SECONDS, TracebackHold, tells_lost_connection

SIMPLE = """\
Traceback (most recent call last):
  File "train.py", line 3, in <module>
    main()
    ^^^^^^
ValueError: boom"""


def feed(hold, text, now=0.0):
    return [shown for line in text.splitlines() for shown in hold.feed(line, now)]


def python_says(code):
    """What Python of today prints when these lines fail."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20).stderr


@pytest.fixture
def hold():
    return TracebackHold()


def test_a_traceback_is_held_and_the_rest_is_not(hold):
    assert feed(hold, f"before\n{SIMPLE}") == ["before"]
    assert hold.traceback.text == SIMPLE
    assert hold.traceback.error == "ValueError: boom"


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("try: 1/0\nexcept Exception: {}['x']", "KeyError: 'x'"),
        ("try: 1/0\nexcept Exception as e: raise OSError('a\\n\\tb\\nc') from e", "OSError: a"),
        ("def f(n): return f(n + 1)\nf(0)", "RecursionError: maximum recursion depth exceeded"),
        ("import nowhere", "ModuleNotFoundError: No module named 'nowhere'"),
        ("raise SystemError", "SystemError"),
    ],
)
def test_all_that_python_prints_for_an_exception_is_held(hold, code, error):
    text = python_says(code)
    assert feed(hold, text) == []
    assert hold.traceback.text == text.rstrip()
    assert hold.traceback.error == error


def test_the_rank_that_torch_puts_before_each_line_is_taken_off_and_marks_the_end(hold):
    ranked = "\n".join(f"[rank1]: {line}" for line in f"{SIMPLE}\nand more of it".splitlines())
    assert feed(hold, f"{ranked}\nbye") == ["bye"]
    assert hold.traceback.text == f"{SIMPLE}\nand more of it"


def test_a_box_that_rich_draws_is_held(hold):
    box = "╭───── Traceback (most recent call last) ─────╮\n│ /train.py:3 in main │\n╰────╯\nValueError: boom"
    assert feed(hold, box) == []
    assert hold.traceback.error == "ValueError: boom"


def test_a_traceback_that_the_worker_survives_is_passed_on_as_it_came(hold):
    feed(hold, f"{SIMPLE}\nmaybe more")
    assert hold.tick(HOLD_SECONDS) == []
    assert hold.tick(HOLD_SECONDS + 0.1) == [*SIMPLE.splitlines(), "maybe more"]
    assert hold.tick(HOLD_SECONDS + 0.2) == []
    assert hold.traceback.text == f"{SIMPLE}\nmaybe more"  # it may hang, and be killed
    assert feed(hold, "on we go", HOLD_SECONDS + 1) == ["on we go"]
    assert hold.traceback is None


def test_a_worker_that_goes_on_writing_is_not_taken_for_a_long_message(hold):
    feed(hold, SIMPLE)
    shown = [line for step in range(100) for line in feed(hold, f"step {step}", step / 50)]
    assert shown == [f"step {step}" for step in range(6, 100)]


def test_a_line_that_reads_like_a_chain_but_is_none_holds_nothing_back(hold):
    feed(hold, f"{SIMPLE}\n\nThe above exception was the direct cause of a retry")
    assert feed(hold, "trying again\n\nand again") == ["trying again", "", "and again"]


def test_a_later_traceback_lets_the_earlier_go(hold):
    feed(hold, SIMPLE)
    assert feed(hold, SIMPLE.replace("boom", "again"), 1.0) == SIMPLE.splitlines()
    assert hold.traceback.error == "ValueError: again"
    assert hold.traceback.begun_at == 1.0


def test_lines_after_a_burst_are_not_of_the_message(hold):
    feed(hold, SIMPLE)
    assert feed(hold, "saved at exit", BURST_SECONDS + 0.01) == ["saved at exit"]
    assert hold.traceback.text == SIMPLE


def test_lines_in_the_burst_count_to_the_message_but_as_doubtful(hold):
    feed(hold, f"{SIMPLE}\n\tMissing key\nsaved at exit")
    assert hold.traceback.text.endswith("boom\n\tMissing key\nsaved at exit")
    assert hold.doubtful() == ["saved at exit"]


@pytest.mark.parametrize(
    "line",
    [
        "[rank0]:[W1122 21:39:00.12 ProcessGroupNCCL.cpp:1479] Warning: destroy_process_group() was not called",
        "terminate called without an active exception",
        "/usr/lib/python3.11/multiprocessing/resource_tracker.py:254: UserWarning: resource_tracker: 1 leaked",
    ],
)
def test_what_torch_and_python_say_at_the_end_is_shown(hold, line):
    assert feed(hold, f"{SIMPLE}\n{line}") == [line]
    assert hold.traceback.text == SIMPLE


@pytest.mark.parametrize(
    "before", ["Exception in thread Thread-1:", "Exception ignored in: <function f>", "Process P-1:"]
)
def test_tracebacks_that_end_no_process_are_shown_at_once(hold, before):
    text = f"{before}\n{SIMPLE}"
    assert feed(hold, text) == text.splitlines()
    assert hold.traceback is None


def test_victims_are_known_by_their_words():
    assert tells_lost_connection(["RuntimeError: [pair.cc:553] Connection closed by peer [127.0.0.1]:4711"])
    assert tells_lost_connection(["torch.distributed.DistBackendError: ncclRemoteError: A call failed"])
    assert not tells_lost_connection(["ValueError: boom"])


def test_a_chain_that_began_with_a_lost_connection_tells_of_it(hold):
    feed(
        hold, python_says("try: raise OSError('Connection reset by peer')\nexcept OSError: raise ValueError('step 3')")
    )
    assert hold.traceback.lost_connection


def test_source_lines_do_not_make_a_victim(hold):
    feed(hold, SIMPLE.replace("main()", "print('connection closed')"))
    assert not hold.traceback.lost_connection
