"""Matplotlib figures as SVG that belongs to the page: its fonts, its colours, light or dark."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable
from typing import Any, TypeVar

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, FAINT, GRID, PAPER = "#010203", "#040506", "#070809", "#0a0b0c"
"""Placeholders for the page's colours of text, secondary text, grid lines and background."""

RULES = ("#0d0e0f", "#101112", "#131415", "#161718", "#191a1b", "#1c1d1e")
"""Placeholders for the page's colours of the rules that are compared."""

_VARIABLES = {
    INK: "var(--ink)",
    FAINT: "var(--faint)",
    GRID: "var(--grid)",
    PAPER: "var(--paper)",
    **{colour: f"var(--rule-{index})" for index, colour in enumerate(RULES)},
}

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.image_inline": True,
    "text.usetex": False,
    "text.parse_math": False,  # names come from files: a $ is a $
    "axes.unicode_minus": True,
    "font.size": 9.0,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
}

Data = TypeVar("Data")


def draw_svg(
    draw: Callable[[Axes, Data], None], data: Data, size: tuple[float, float], name: str, alt: str
) -> Markup:
    """Draw a figure and return it as an element to put into a page.

    Args:
        draw: draws the data on the axes.
        data: what it draws.
        size: width and height in inches; the page scales the figure.
        name: a word that no other figure of the page has.
        alt: what the figure shows, for those who do not see it.
    """

    def on_figure(figure: Figure, data: Data) -> None:
        draw(figure.add_subplot(), data)

    return draw_panels_svg(on_figure, data, size, name, alt)


def draw_panels_svg(
    draw: Callable[[Figure, Data], None], data: Data, size: tuple[float, float], name: str, alt: str
) -> Markup:
    """The same for a figure of several panels; `draw` gets the empty figure."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=size, layout="constrained")
        figure.patch.set_alpha(0)
        draw(figure, data)
        figure.savefig(buffer, format="svg", metadata=nothing)
    return Markup(_adapt(buffer.getvalue(), name, alt))  # matplotlib escapes what it writes


_LIGHT = {
    "--ink": "#1b1f24",
    "--faint": "#5a6470",
    "--grid": "#e2e6ea",
    "--paper": "#ffffff",
    "--rule-0": "#0067a3",
    "--rule-1": "#b84a00",
    "--rule-2": "#00735a",
    "--rule-3": "#94427c",
    "--rule-4": "#7a6000",
    "--rule-5": "#4a4f55",
}
"""The page's colours on white, as in report.css.jinja."""


def alone(svg: Markup, size: tuple[float, float]) -> str:
    """A figure of `draw_svg` as a file of its own: its own colours on white, its own size."""
    text = re.sub(r"var\((--[a-z0-9-]+)\)", lambda found: _LIGHT[found.group(1)], str(svg))
    width, height = (round(96 * inches) for inches in size)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{width}" height="{height}" style="background: #ffffff" '
    )
    return head + text.removeprefix("<svg ") + "\n"


def _adapt(svg: str, name: str, alt: str) -> str:
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style type=\"text/css\">.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    # no two elements of the page may have the same id
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    svg = svg.replace("url(#", f"url(#{name}-")
    svg = re.sub(r"(font: [^;\"']*?px)[^;\"]*", r"\1 system-ui, sans-serif", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    view = re.search(r'viewBox="[^"]*"', svg)
    box = view.group() if view else ""
    rest = svg[svg.index(">") + 1 :]
    return f'<svg {box} role="img" aria-label="{html.escape(alt)}">{rest}'
