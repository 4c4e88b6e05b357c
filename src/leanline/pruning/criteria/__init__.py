"""Rules that say in which order filters are kept."""

from leanline.pruning.criteria.base import Criterion, StagedCriterion, StageWork
from leanline.pruning.criteria.geometric_median import GeometricMedian
from leanline.pruning.criteria.lean import Lean
from leanline.pruning.criteria.magnitude import Magnitude
from leanline.pruning.criteria.operator_norm import OperatorNorm
from leanline.pruning.criteria.random import Random
from leanline.pruning.criteria.registry import CRITERIA, make_criterion
from leanline.pruning.criteria.soft_filter import SoftFilter

__all__ = [
    "CRITERIA",
    "Criterion",
    "GeometricMedian",
    "Lean",
    "Magnitude",
    "OperatorNorm",
    "Random",
    "SoftFilter",
    "StageWork",
    "StagedCriterion",
    "make_criterion",
]
