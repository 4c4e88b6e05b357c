"""A few cells of the published results, where the measured spaces are there."""

import numpy as np
import pandas as pd
import pytest

from leanline import tuning

CELLS = [
    (tuning.RandomSampling, "convolution", "convolution_A100", "RandomSampling", 200),
    (tuning.FirstILS, "convolution", "convolution_A100", "FirstILS", 1600),
    (tuning.BestILS, "gemm", "gemm_V100", "BestILS", 100),
    (tuning.FirstTabu, "gemm", "gemm_V100", "FirstTabu", 800),
    (tuning.GeneticAlgorithm, "gemm", "gemm_V100", "GeneticAlgorithm", 800),
    (tuning.GeneticLocalSearch, "pnpoly", "pnpoly_K20", "GLS", 100),
    (tuning.ParticleSwarm, "pnpoly", "pnpoly_K20", "ParticleSwarm", 200),
    (tuning.SimulatedAnnealing, "pnpoly", "pnpoly_K20", "SimulatedAnnealing", 100),
    (tuning.DifferentialEvolution, "convolution", "convolution_A100", "DifferentialEvolution", 100),
]


@pytest.mark.parametrize(
    ("optimiser", "kernel", "file", "algorithm", "budget"), CELLS, ids=lambda each: str(each)
)
def test_within_the_noise_of_the_published_mean(
    optimiser, kernel, file, algorithm, budget, shared_data
):
    folder = shared_data / "tuning_spaces"
    if not folder.is_dir():
        pytest.skip(f"needs the measured spaces: no {folder}")
    published = pd.read_csv(folder / "paper_results.csv")
    row = published[
        (published["kernel"] == kernel)
        & (published["algorithm"] == algorithm)
        & (published["budget"] == budget)
    ].iloc[0]
    replay = tuning.Replay(folder / f"{file}.parquet")
    runs = 100
    table = tuning.benchmark([optimiser], [replay], budgets=[budget], runs=runs, protocol="paper")
    error = np.sqrt(table["fraction"].var() / runs + row["frac_std"] ** 2 / row["runs"])
    assert abs(table["fraction"].mean() - row["frac_mean"]) < 3 * error
    if algorithm == "GeneticAlgorithm":  # it ends when it has converged: less than the budget
        assert abs(table["evaluations"].mean() - row["evals_mean"]) < 40
