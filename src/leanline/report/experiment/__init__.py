"""The report of an experiment: Figures 4.3, 4.4, A1 and A2, Table 4.1, and tables of comparison.

`read_experiment` turns a folder of `leanline experiment` into plain data, `curves_data` and its
siblings turn that into the numbers of a figure or table, the draw functions only draw, and
`build_experiment` writes the page and the figures.
"""

from leanline.report.experiment.data import Experiment, read_experiment
from leanline.report.experiment.page import build_experiment

__all__ = ["Experiment", "build_experiment", "read_experiment"]
