"""Exercise 3: an all-reduce by recursive doubling.

In round 0 each worker exchanges its whole vector with the worker at distance 1 (0 with 1, 2 with 3), and both add. In
round 1 with the one at distance 2 (0 with 2, 1 with 3), in round 2 at distance 4, and so on.
For 8 workers that is 3 rounds.
"""


def doubling(size):
    """Return the rounds for `size` workers, a power of 2.

    Each round is a list of messages (source, target): the source's vector, as it was before the round, is added to the
    target's.
    """
    return []
