"""Auto-tuning (appendix A.2): spaces, replayed kernels, optimisers, their comparison."""

from leanline.tuning.constraints import Constraint, parse_constraint
from leanline.tuning.paper_spaces import PAPER_SPACES, paper_space
from leanline.tuning.space import SearchSpace

__all__ = [
    "PAPER_SPACES",
    "Constraint",
    "SearchSpace",
    "paper_space",
    "parse_constraint",
]
