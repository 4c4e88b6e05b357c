"""What came of applying a network to a volume."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from leanline.inference.work import Done, How


@dataclass(frozen=True)
class Applied:
    """What came of it.

    Attributes:
        out: the output.
        slices: of the volume.
        found: of those, how many an earlier run had done.
        how: how it was computed; None where everything had been done.
        overlap: pixels that tiles overlap by above, below, on the left and on the right; None
            where nothing was cut.
        done: what this run computed, and where the time went.
        ready: seconds before the first slice, in which the network was traced, compacted and
            compiled.
    """

    out: str
    slices: int
    found: int
    how: How | None
    overlap: tuple[int, int, int, int] | None = None
    done: Done = field(default_factory=Done)
    ready: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """As plain values, with slices per second and the share of the time in the network."""
        times = self.done.times
        return {
            "out": self.out,
            "slices": self.slices,
            "found": self.found,
            "computed": self.done.slices,
            "not_finite": self.done.not_finite,
            "how": None if self.how is None else self.how.to_dict(),
            "overlap": self.overlap,
            "seconds": {"ready": self.ready, **asdict(times)},
            "slices_per_second": self.done.slices / times.seconds if times.seconds else None,
            "network_share": times.network / times.seconds if times.seconds else None,
        }
