"""Horovod's loaders: a base class, and a mixin that prepares batches in a thread.

They load for one worker and know of no others; `horovod.data` is this module under Horovod's name.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

_PATIENCE_SECONDS = 0.1


class BaseDataLoader:
    """A loader whose subclass says how many batches there are (`__len__`) and which (`_iterate`)."""

    def __len__(self) -> int:
        raise NotImplementedError

    def _iterate(self) -> Iterator[Any]:
        """Yield the batches."""
        raise NotImplementedError

    def _process_batch(self, batch: Any) -> Any:
        """Change a batch before the loop gets it."""
        return batch

    def __iter__(self) -> Iterator[Any]:
        return map(self._process_batch, self._iterate())


class AsyncDataLoaderMixin:
    """Prepares batches in a thread; to be named before a `BaseDataLoader` among the bases.

    Parameters
    ----------
    async_loader_queue_size
        How many batches to prepare ahead; 0 prepares each when it is asked for.
    debug_data_loader
        Horovod's; not needed here.
    """

    def __init__(
        self, async_loader_queue_size: int = 64, debug_data_loader: bool = False, *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.async_loader_queue_size = async_loader_queue_size
        self._closed = threading.Event()

    def close_async_loader(self) -> None:
        """End the thread; batches that nobody took are dropped."""
        self._closed.set()

    def __iter__(self) -> Iterator[Any]:
        loader: Any = self
        if self.async_loader_queue_size <= 0:
            yield from map(loader._process_batch, loader._iterate())
            return
        self._closed = closed = threading.Event()
        batches: queue.Queue[tuple[bool, Any]] = queue.Queue(self.async_loader_queue_size)

        def put(more: bool, what: Any) -> None:
            while not closed.is_set():
                try:
                    batches.put((more, what), timeout=_PATIENCE_SECONDS)
                    return
                except queue.Full:
                    continue

        def prepare() -> None:
            try:
                for batch in loader._iterate():
                    put(True, batch)
                    if closed.is_set():
                        return
            except Exception as error:
                put(False, error)
            else:
                put(False, None)

        threading.Thread(target=prepare, daemon=True, name="hora.data").start()
        try:
            while not closed.is_set():
                more, what = _take(batches, closed)
                if not more:
                    if what is not None:
                        raise what
                    return
                yield loader._process_batch(what)
        finally:
            closed.set()


def _take(batches: queue.Queue[tuple[bool, Any]], closed: threading.Event) -> tuple[bool, Any]:
    """Take a batch, or the end where the loader was closed."""
    while not closed.is_set():
        try:
            return batches.get(timeout=_PATIENCE_SECONDS)
        except queue.Empty:
            continue
    return False, None
