"""Auto-tuning (appendix A.2): spaces, replayed kernels, optimisers, their comparison."""

from leanline.tuning.benchmark import benchmark
from leanline.tuning.competition import Competition, competition, summarise
from leanline.tuning.constraints import Constraint, parse_constraint
from leanline.tuning.embedded import embedded_spaces
from leanline.tuning.files.read import read_measurements, write_measurements
from leanline.tuning.from_table import from_table
from leanline.tuning.measurements import Measurements
from leanline.tuning.measuring.bench import Bench, Expected, Launch
from leanline.tuning.measuring.gpu_kernels import CudaKernel, Device, OpenCLKernel
from leanline.tuning.measuring.outcome import Outcome
from leanline.tuning.measuring.python import PythonKernel
from leanline.tuning.measuring.sampled import MeasuredKernel, Sampled
from leanline.tuning.measuring.settle import Spread
from leanline.tuning.measuring.timing import TimingPolicy
from leanline.tuning.measuring.triton import TritonKernel
from leanline.tuning.minimize import minimize
from leanline.tuning.objectives import Callable, Objective, Replay
from leanline.tuning.optimisers.annealing import SimulatedAnnealing
from leanline.tuning.optimisers.base import CompiledOptimiser, Optimiser, SteppingOptimiser
from leanline.tuning.optimisers.basin_hopping import BasinHopping
from leanline.tuning.optimisers.brute_force import BruteForce
from leanline.tuning.optimisers.differential_evolution import DifferentialEvolution
from leanline.tuning.optimisers.dual_annealing import DualAnnealing
from leanline.tuning.optimisers.gaussian_process import GaussianProcess
from leanline.tuning.optimisers.genetic import GeneticAlgorithm, GeneticLocalSearch
from leanline.tuning.optimisers.iterated import BestILS, FirstILS
from leanline.tuning.optimisers.multi_start import BestMLS, FirstMLS
from leanline.tuning.optimisers.paper_settings import paper_settings
from leanline.tuning.optimisers.random_sampling import RandomSampling
from leanline.tuning.optimisers.smac import SMAC
from leanline.tuning.optimisers.swarm import ParticleSwarm
from leanline.tuning.optimisers.tabu import BestTabu, FirstTabu
from leanline.tuning.paper_spaces import PAPER_SPACES, paper_space
from leanline.tuning.problem import Problem
from leanline.tuning.space import SearchSpace
from leanline.tuning.statistics.corrections import holm
from leanline.tuning.statistics.effect_size import a12, effect_sizes
from leanline.tuning.statistics.intervals import bootstrap_intervals
from leanline.tuning.statistics.ranks import Ranks, mean_ranks
from leanline.tuning.statistics.recommend import recommend
from leanline.tuning.statistics.success import success_rates
from leanline.tuning.trace import Trace
from leanline.tuning.tuned import Tuned, tune

__all__ = [
    "SearchSpace",
    "Constraint",
    "parse_constraint",
    "PAPER_SPACES",
    "paper_space",
    "Objective",
    "Replay",
    "Callable",
    "Measurements",
    "read_measurements",
    "write_measurements",
    "from_table",
    "embedded_spaces",
    "minimize",
    "Trace",
    "OpenCLKernel",
    "CudaKernel",
    "TritonKernel",
    "PythonKernel",
    "MeasuredKernel",
    "Sampled",
    "Device",
    "Expected",
    "TimingPolicy",
    "Outcome",
    "Spread",
    "Bench",
    "Launch",
    "tune",
    "Tuned",
    "BruteForce",
    "Problem",
    "Optimiser",
    "CompiledOptimiser",
    "SteppingOptimiser",
    "RandomSampling",
    "FirstMLS",
    "BestMLS",
    "FirstILS",
    "BestILS",
    "FirstTabu",
    "BestTabu",
    "SimulatedAnnealing",
    "GeneticAlgorithm",
    "GeneticLocalSearch",
    "ParticleSwarm",
    "DifferentialEvolution",
    "DualAnnealing",
    "BasinHopping",
    "GaussianProcess",
    "SMAC",
    "paper_settings",
    "benchmark",
    "summarise",
    "competition",
    "Competition",
    "bootstrap_intervals",
    "success_rates",
    "recommend",
    "effect_sizes",
    "a12",
    "holm",
    "mean_ranks",
    "Ranks",
]
