"""Figures on a page that are files of their own beside it too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from leanline.records.atomic import write_text
from leanline.report.build import Drawn
from leanline.report.svg import alone, draw_panels_svg, draw_svg

Data = TypeVar("Data")


class FigureFiles:
    """Draws figures for the page, and each into a file of its own."""

    def __init__(self, folder: Path) -> None:
        """Take the folder of the files; it is made with the first one."""
        self.folder = folder

    def draw(
        self,
        draw: Callable[[Axes, Data], None],
        data: Data,
        size: tuple[float, float],
        name: str,
        alt: str,
        caption: str = "",
    ) -> Drawn:
        """Draw a figure; `name` is that of its file."""
        return self._keep(draw_svg(draw, data, size, name, alt), size, name, caption)

    def draw_panels(
        self,
        draw: Callable[[Figure, Data], None],
        data: Data,
        size: tuple[float, float],
        name: str,
        alt: str,
        caption: str = "",
    ) -> Drawn:
        """Draw a figure of several panels."""
        return self._keep(draw_panels_svg(draw, data, size, name, alt), size, name, caption)

    def _keep(self, svg: Markup, size: tuple[float, float], name: str, caption: str) -> Drawn:
        self.folder.mkdir(exist_ok=True)
        write_text(self.folder / f"{name}.svg", alone(svg, size))
        return Drawn(svg, caption)
