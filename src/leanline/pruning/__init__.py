"""Criteria, selection, cleaning and schedules: which filters stay."""

from leanline.pruning.clean import CleanReport, clean
from leanline.pruning.criteria import (
    CRITERIA,
    Criterion,
    GeometricMedian,
    Lean,
    Magnitude,
    OperatorNorm,
    Random,
    SoftFilter,
    StagedCriterion,
    StageWork,
    make_criterion,
)
from leanline.pruning.goal import Goal, Outcome
from leanline.pruning.prune import prune
from leanline.pruning.schedule import Schedule
from leanline.pruning.select import select
from leanline.pruning.stages import Stage, delivered, load_stage, read_stages
from leanline.pruning.stop_rules import (
    AtFilters,
    AtMetricDrop,
    AtSpeedup,
    Better,
    StopRule,
    Verdict,
)
from leanline.pruning.summary import Summary, sizes, summary
from leanline.pruning.tracing import trace
from leanline.pruning.weigh import weigh

__all__ = [
    "Better",
    "delivered",
    "Verdict",
    "StopRule",
    "Outcome",
    "Goal",
    "AtSpeedup",
    "AtMetricDrop",
    "AtFilters",
    "CRITERIA",
    "CleanReport",
    "Criterion",
    "GeometricMedian",
    "Lean",
    "Magnitude",
    "OperatorNorm",
    "Random",
    "Schedule",
    "SoftFilter",
    "Stage",
    "StageWork",
    "StagedCriterion",
    "Summary",
    "clean",
    "load_stage",
    "make_criterion",
    "prune",
    "read_stages",
    "select",
    "sizes",
    "summary",
    "trace",
    "weigh",
]
