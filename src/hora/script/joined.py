"""One worker that trains as several do under weak scaling: on as many batches at once, at the rate meant for them.

Its script says `hvd.size()` where it scales a rate, and `hvd.deal(loader, scaling="weak")` where it joins batches; all
else that the runtime does is done for one worker.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from torch.utils.data import DataLoader

import hora.torch
from hora.torch.slices import DealtBatchSampler, Joined


@contextmanager
def joined_batches(count: int) -> Iterator[None]:
    """Let the script join `count` batches to one where it deals for weak scaling, and find as many workers."""
    deal = hora.torch.deal

    def joining(loader: DataLoader[Any], **options: Any) -> DataLoader[Any]:
        dealt = deal(loader, **options)
        sampler = dealt.batch_sampler
        if options.get("scaling") == "weak" and isinstance(sampler, DealtBatchSampler):
            sampler.batches = Joined(sampler.batches, count)
        return dealt

    with patch.object(hora.torch, "deal", joining), patch.object(hora.torch, "size", lambda: count):
        yield
