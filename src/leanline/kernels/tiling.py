"""How the work of a plane program is cut: what can be tuned without changing what is computed."""

from __future__ import annotations

from dataclasses import dataclass, fields

from leanline.errors import ModelError


@dataclass(frozen=True)
class Tiling:
    """How much is done at a time; every value gives the same output, bit for bit.

    Attributes:
        edges: filters that a tile of a 3x3 convolution adds up before the next tile of the row;
            more of them save loads and stores, fewer read fewer rows in turn; 0: where planes are
            read about once before the next ones are there, one, else four.
        ahead: while a tile adds up one filter, the rows of the filter that comes so many later are
            called into the cache; 0: none are.
        band_bytes: the rows of all planes that a group of steps reads are at most so many bytes
            before the next rows follow; by default half of a second-level cache, as processors
            have them; 0: all rows at once.
        head_planes: planes that the final layer adds up in one go, soon after they are computed.
    """

    edges: int = 0
    ahead: int = 1
    band_bytes: int = 1 << 19
    head_planes: int = 8

    def check(self) -> None:
        """Raise ModelError for what no kernel can run."""
        least = {"edges": 0, "ahead": 0, "band_bytes": 0, "head_planes": 1}
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int) or not least[field.name] <= value < 1 << 40:
                raise ModelError(
                    f"a tiling has {field.name}={value!r}; a whole number from "
                    f"{least[field.name]} on is wanted"
                )


UNTUNED = Tiling()
"""What programs have unless they are tuned."""
