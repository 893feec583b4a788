"""From a training script for one device to one for many workers: the rules, and the engine that applies them."""

from __future__ import annotations

from hora.convert.conversion import Applied, Conversion, check, convert, write
from hora.convert.finding import Finding

__all__ = ["Applied", "Conversion", "Finding", "check", "convert", "write"]
