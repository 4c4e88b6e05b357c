"""What networks make of test pictures, as one picture for a page of the documentation."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import matplotlib.pyplot as plt
from PIL import Image

from leanline.records.atomic import write_bytes
from leanline.report.gallery import Gallery, Row

ROWS = 2
INCHES = 1.6


def draw_answers(gallery: Gallery, file: Path) -> None:
    """Draw the first pictures with the networks' answers and scores, without their errors."""
    rows = [row for row in gallery.rows if row.cells[0] is not None][:ROWS]
    columns = [name for name in gallery.columns if not name.startswith(("Wrong:", "Difference:"))]
    height, width = gallery.size
    size = (INCHES * len(columns), (INCHES * height / width + 0.25) * len(rows) + 0.35)
    figure, axes = plt.subplots(
        len(rows), len(columns), figsize=size, squeeze=False, layout="constrained"
    )
    for row, line in zip(rows, axes, strict=True):
        _draw_row(row, line[: len(columns)])
    for name, axis in zip(columns, axes[0], strict=True):
        axis.set_title(name.replace(", ", "\n"), fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="jpg", dpi=120, pil_kwargs={"quality": 88})
    plt.close(figure)
    file.parent.mkdir(exist_ok=True)
    write_bytes(file, buffer.getvalue())


def _draw_row(row: Row, axes: list[plt.Axes]) -> None:
    for cell, axis in zip(row.cells, axes, strict=False):
        axis.axis("off")
        if cell is not None:
            with Image.open(io.BytesIO(base64.b64decode(cell.source.split(",", 1)[1]))) as shown:
                axis.imshow(shown.convert("RGB"), interpolation="nearest")
            axis.text(
                0.5, -0.02, cell.note, ha="center", va="top", fontsize=7, transform=axis.transAxes
            )
