"""Measured spaces that come with leanline."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).with_name("spaces")
"""Where they are."""


def embedded_spaces() -> tuple[Path, ...]:
    """The files of the spaces, by name; none if this copy of leanline has none."""
    return tuple(sorted(FOLDER.glob("*.parquet")))
