"""Draw the README's picture from a finished demonstration.

python tools/readme_figure.py runs/demo docs/images/demo.svg
"""

import io
import sys
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from leanline import report
from leanline.records.atomic import write_text
from leanline.report import figures, series, svg

COLOURS = {
    svg.INK: "#1f2328",
    svg.FAINT: "#6a737d",
    svg.GRID: "#e3e6ea",
    svg.PAPER: "#ffffff",
    svg.RULES[0]: "#0b62a8",
    svg.RULES[1]: "#c2571a",
}


def main(folder: str, target: str) -> None:
    """Accuracy against kept filters beside milliseconds, on white."""
    found = report.read(folder)
    accuracy, speed = series.accuracy_data(found), series.speed_data(found)
    if accuracy is None or speed is None:
        raise SystemExit(f"{folder} is not a finished demonstration")
    settings = {"svg.fonttype": "none", "svg.hashsalt": "readme", "font.size": 9.0}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(11, 3.6), layout="constrained", facecolor="white")
        left, right = figure.subplots(1, 2, width_ratios=(1.25, 1.0))
        figures.draw_accuracy(left, accuracy)
        left.set_xlabel("filters kept (log scale, fewer to the right)")
        figures.draw_speed(right, speed)
        right.set_xlabel("milliseconds a picture (log scale)")
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    drawing = buffer.getvalue()
    for placeholder, colour in COLOURS.items():
        drawing = drawing.replace(placeholder, colour)
    lines = (line.rstrip() for line in drawing.splitlines())
    write_text(Path(target), "\n".join(lines) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
