"""Networks as programs and channel graphs, liveness, and longest chains."""

from leanline.graph.program import KINDS, Operation, Program
from leanline.graph.trace import trace_program

__all__ = ["KINDS", "Operation", "Program", "trace_program"]
