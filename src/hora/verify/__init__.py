"""The proof: what N workers train is what one worker trains, or the first thing in which it is not."""

from hora.verify.result import Difference, Verification
from hora.verify.verify import verify, verify_each

__all__ = ["Difference", "Verification", "verify", "verify_each"]
