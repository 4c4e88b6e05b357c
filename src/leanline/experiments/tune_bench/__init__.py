"""The tuning benchmark as a run folder (appendix A.2)."""

from leanline.experiments.tune_bench.config import TuneBenchConfig
from leanline.experiments.tune_bench.run import run_tune_bench

__all__ = ["TuneBenchConfig", "run_tune_bench"]
