"""A run folder as one HTML page that reads well to somebody who has never seen leanline.

`read` turns a folder into plain data, `accuracy_data` and its siblings turn that into the numbers
of a figure, the draw functions only draw, and `build` writes the page.
"""

from leanline.report.build import FILE, build
from leanline.report.data import Report, Run
from leanline.report.reading import read

__all__ = ["FILE", "Report", "Run", "build", "read"]
