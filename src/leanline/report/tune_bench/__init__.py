"""The report of a tuning benchmark: Figures A1 to A15, and what they tell.

`trace_data` and its siblings make the numbers of a figure, the draw functions only draw, and
`build_tune_bench` writes the page and the figures.
"""

from leanline.report.tune_bench.page import build_tune_bench

__all__ = ["build_tune_bench"]
