"""Kernel Tuner's simulation mode: ``python kernel_tuner_runs.py FILE NAME BUDGET RUNS``.

FILE is a cache of Kernel Tuner. Prints a JSON object: unique evaluations and seconds of processor
time. It imports nothing of leanline.
"""

import contextlib
import io
import json
import logging
import sys
import time
from pathlib import Path

import kernel_tuner

STRATEGIES = {
    "RandomSampling": "random_sample",
    "FirstMLS": "greedy_mls",
    "BestMLS": "mls",
    "FirstILS": "greedy_ils",
    "SimulatedAnnealing": "simulated_annealing",
    "GeneticAlgorithm": "genetic_algorithm",
    "ParticleSwarm": "pso",
    "DifferentialEvolution": "diff_evo",
    "DualAnnealing": "dual_annealing",
    "BasinHopping": "basinhopping",
}


def main():
    """Make the runs."""
    file, name, budget, runs = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    if name not in STRATEGIES:
        raise SystemExit(f"Kernel Tuner has no {name}")
    logging.disable(logging.WARNING)
    given = json.loads(Path(file).read_text())
    evaluations, silent = 0, io.StringIO()
    seconds = 0.0
    for seed in range(runs):
        with contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
            begin = time.process_time()
            results, _ = kernel_tuner.tune_kernel(
                given["kernel_name"],
                f"__global__ void {given['kernel_name']}() {{}}",
                given["problem_size"],
                [],
                given["tune_params"],
                strategy=STRATEGIES[name],
                strategy_options={"max_fevals": budget},
                cache=file,
                simulation_mode=True,
                lang="CUDA",
                seed=seed,
            )
            seconds += time.process_time() - begin
        evaluations += len({tuple(row[key] for key in given["tune_params"]) for row in results})
    print(json.dumps({"evaluations": evaluations, "seconds": seconds}))


if __name__ == "__main__":
    main()
