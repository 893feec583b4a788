"""From a training script for one device to one for many workers: the rules, and the engine that applies them."""

from __future__ import annotations

from hora.convert.conversion import Applied, Conversion, ConvertedFile
from hora.convert.converting import check, convert
from hora.convert.finding import Finding
from hora.convert.writing import write

__all__ = ["Applied", "Conversion", "ConvertedFile", "Finding", "check", "convert", "write"]
