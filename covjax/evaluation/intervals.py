"""Every reported number with its interval."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Measure:
    """A number with its confidence interval.

    Attributes:
      estimate: the value; None where it is undefined.
      low: lower end of the interval, None where there is none.
      high: upper end.
      n: pictures it rests on: for a proportion its denominator.
      method: how the interval was made.
      reason: why the estimate is None, otherwise empty.
    """

    estimate: float | None
    low: float | None
    high: float | None
    n: int
    method: str
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As it stands in ``metrics.json``; the reason only where there is one."""
        entries: dict[str, Any] = {
            "estimate": self.estimate,
            "low": self.low,
            "high": self.high,
            "n": self.n,
            "method": self.method,
        }
        return entries | ({"reason": self.reason} if self.reason else {})
