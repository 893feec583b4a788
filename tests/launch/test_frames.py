"""What the launcher and an agent say to each other survives being cut anywhere, and anything else is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hora.launch.frames import LIMIT, FrameReader, frame

messages = st.lists(
    st.tuples(st.dictionaries(st.sampled_from(["ask", "worker", "text"]), st.text() | st.integers()), st.binary())
)


@settings(deadline=None)
@given(messages, st.lists(st.integers(1, 9), min_size=1))
def test_messages_come_whole_in_whatever_pieces(sent, cuts):
    stream = b"".join(frame(message, data) for message, data in sent)
    reader, came, at, turn = FrameReader(), [], 0, 0
    while at < len(stream):
        size = cuts[turn % len(cuts)]
        came += reader.feed(stream[at : at + size])
        at, turn = at + size, turn + 1
    assert [({k: v for k, v in message.items() if k != "bytes"}, data) for message, data in came] == sent


@pytest.mark.parametrize(
    "stream",
    [b"Welcome to host b!\n", b"[1]\n", b'{"bytes":-1}\n', f'{{"bytes":{LIMIT + 1}}}\n'.encode(), b'{"bytes":"x"}\n'],
)
def test_anything_else_is_refused(stream):
    with pytest.raises(ValueError):  # noqa: PT011
        list(FrameReader().feed(stream))
