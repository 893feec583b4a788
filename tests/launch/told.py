"""What workers wrote, for tests to ask about."""


class Told(list):
    """The lines of a run, as a test asks for them."""

    def of(self, rank, stream="stdout"):
        return [line.text for line in self if line.rank == rank and line.stream == stream and not line.transient]
