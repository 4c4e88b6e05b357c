"""Criteria, selection, cleaning and schedules: which filters stay."""

from leanline.pruning.clean import CleanReport, clean
from leanline.pruning.criteria import Criterion, Lean, Magnitude, OperatorNorm
from leanline.pruning.prune import Stage, load_stage, prune, read_stages
from leanline.pruning.schedule import Schedule
from leanline.pruning.select import select
from leanline.pruning.summary import Summary, summary
from leanline.pruning.tracing import trace
from leanline.pruning.weigh import weigh

__all__ = [
    "CleanReport",
    "Criterion",
    "Lean",
    "Magnitude",
    "OperatorNorm",
    "Schedule",
    "Stage",
    "Summary",
    "clean",
    "load_stage",
    "prune",
    "read_stages",
    "select",
    "summary",
    "trace",
    "weigh",
]
