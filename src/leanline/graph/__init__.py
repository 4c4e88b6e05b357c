"""Networks as programs and channel graphs, liveness, and longest chains."""

from leanline.graph.liveness import DEAD_VARIANCE, Liveness, find_live, find_untouched
from leanline.graph.program import KINDS, Operation, Program
from leanline.graph.trace import trace_program

__all__ = [
    "DEAD_VARIANCE",
    "KINDS",
    "Liveness",
    "Operation",
    "Program",
    "find_live",
    "find_untouched",
    "trace_program",
]
