"""Metrics and other figures as a reader sees them: names, units, digits."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

NARROW = "\u00a0"
"""A space at which no line is broken, between a number and its unit."""


@dataclass(frozen=True)
class Metric:
    """How a metric is shown.

    Attributes:
        name: its key in rows and evidence.
        label: what it is called in a sentence.
        unit: "%", "dB" or nothing.
        digits: digits after the point.
    """

    name: str
    label: str
    unit: str = ""
    digits: int = 3

    @property
    def axis(self) -> str:
        """Label of an axis."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def heading(self) -> str:
        """Heading of a table's column."""
        return self.axis[:1].upper() + self.axis[1:]

    def shown(self, value: float) -> float:
        """A value in the unit that is shown."""
        return 100 * value if self.unit == "%" else value

    def number(self, value: float) -> str:
        """A value without its unit."""
        return fixed(self.shown(value), self.digits)

    def text(self, value: float) -> str:
        """A value with its unit."""
        return f"{self.number(value)}{NARROW}{self.unit}" if self.unit else self.number(value)


_KNOWN = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "pixel accuracy", "%", 1),
        Metric("f1", "F1 score"),
        Metric("miou", "mean IoU", "%", 1),
        Metric("psnr", "PSNR", "dB", 2),
        Metric("ssim", "SSIM"),
        Metric("loss", "loss", digits=4),
    )
}


def metric_named(name: str) -> Metric:
    """How a metric of that name is shown; unknown ones appear under their own name."""
    return _KNOWN.get(name, Metric(name, name, digits=4))


def main_metric(names: Collection[str], two_classes: bool) -> Metric | None:
    """The metric that a task is judged by: PSNR, F1 for two classes, pixel accuracy otherwise.

    Args:
        names: the metrics that there are.
        two_classes: whether the pictures have an object and a background only.

    Returns:
        None where there is no metric at all.
    """
    preferred = ("psnr", "f1", "accuracy") if two_classes else ("psnr", "accuracy", "f1", "miou")
    others = sorted(name for name in names if not name.endswith("loss"))
    for name in (*preferred, *others, *sorted(names)):
        if name in names:
            return metric_named(name)
    return None


def in_order(names: Collection[str]) -> list[Metric]:
    """Metrics for the columns of a table: known ones in a fixed order, then the others."""
    known = [metric for name, metric in _KNOWN.items() if name in names]
    return known + [metric_named(name) for name in sorted(names) if name not in _KNOWN]


def fixed(value: float, digits: int) -> str:
    """A number with thousands separators, or a word where it is none."""
    if math.isnan(value):
        return "undefined"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:,.{digits}f}".replace("-", "−")


def times(factor: float) -> str:
    """A speed-up, such as 12×: two significant digits below a hundred, whole numbers above."""
    return f"{significant(factor, 2 if factor < 100 else 3)}×"


def faster(factor: float) -> str:
    """A speed-up in words; one below 1 is a slow-down."""
    if 0 < factor < 1:
        return f"{times(1 / factor)} slower"
    return f"{times(factor)} faster"


def milliseconds(value: float) -> str:
    """A time in milliseconds with its unit."""
    return f"{significant(value)}{NARROW}ms"


def significant(value: float, digits: int = 3) -> str:
    """A number to so many significant digits, with thousands separators and no exponent."""
    if not math.isfinite(value) or value == 0:
        return fixed(value, 0)
    after = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return fixed(value, min(after, 9))


def power_of_ten(value: float) -> str:
    """A small number such as 1.7 × 10⁻⁷."""
    if value == 0 or not math.isfinite(value):
        return fixed(value, 0)
    digits, exponent = f"{value:.1e}".split("e")
    raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{digits} × 10{raised}"


def percent(fraction: float) -> str:
    """A fraction as per cent, to two significant digits where it is small."""
    shown = 100 * fraction
    return f"{significant(shown, 2) if 0 < abs(shown) < 1 else fixed(shown, 1)}{NARROW}%"


def duration(seconds: float) -> str:
    """Seconds as hours, minutes and seconds."""
    if not math.isfinite(seconds):
        return fixed(seconds, 0)
    if seconds < 60:
        return f"{significant(seconds, 2)} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def short_count(value: float) -> str:
    """A large count with a prefix, such as 751 M."""
    for size, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if abs(value) >= size:
            return f"{significant(value / size)} {prefix}"
    return fixed(value, 0)
