"""BlooPy's optimisers on times in a JSON file: ``python bloopy_runs.py FILE NAME BUDGET RUNS``.

Prints a JSON object: unique evaluations and seconds of processor time. It imports nothing of
leanline.
"""

import contextlib
import io
import json
import sys
import time
from pathlib import Path

import bloopy.algorithms.basin_hopping
import bloopy.algorithms.differential_evolution
import bloopy.algorithms.dual_annealing
import bloopy.algorithms.genetic_algorithm
import bloopy.algorithms.genetic_local_search
import bloopy.algorithms.hillclimbers
import bloopy.algorithms.iterative_local_search
import bloopy.algorithms.local_search
import bloopy.algorithms.pso_pyswarms
import bloopy.algorithms.random_sampling
import bloopy.algorithms.simulated_annealing
import bloopy.algorithms.tabu_search
import bloopy.reproductive_functions
import bloopy.selection_functions
import bloopy.utils

algorithms = bloopy.algorithms
crossover, selection = bloopy.reproductive_functions, bloopy.selection_functions
climb = algorithms.hillclimbers.RandomGreedyHillclimb


def run(name, space, fitness, bits, budget, optimum):
    """One run with the paper's settings for a budget of 1600; returns unique evaluations."""
    local, iterated = algorithms.local_search, algorithms.iterative_local_search
    search = {"searchspace": space}
    many = {"max_time": 600, "stopping_fitness": optimum, "max_funcevals": budget}
    quiet = {"verbose": False}
    population = {"min_variance": 1e-10, "max_iter": 10**6, "no_improve": 10**5}
    members = bloopy.utils.generate_population
    if name == "RandomSampling":
        made = algorithms.random_sampling.random_sampling(fitness, bits, -1, space)
        return made.solve(**many, **quiet)[2]
    if name == "FirstMLS":
        return local.RandomGreedyMLS(fitness, bits, -1, **search).solve(10**6, **many, **quiet)[2]
    if name == "BestMLS":
        return local.BestMLS(fitness, bits, -1, **search).solve(10**6, **many, **quiet)[2]
    if name == "FirstILS":
        made = iterated.RandomGreedyILS(
            fitness, bits, -1, int(0.05 * bits), 10, neighbour="adjacent", **search
        )
        return made.solve(10**6, **many, **quiet)[2]
    if name == "BestILS":
        made = iterated.BestILS(
            fitness, bits, -1, int(0.05 * bits), 25, neighbour="adjacent", **search
        )
        return made.solve(10**6, **many, **quiet)[2]
    if name == "FirstTabu":
        made = algorithms.tabu_search.RandomGreedyTabu(fitness, bits, -1, 2000, **search)
        return made.solve(10**6, **many, **quiet)[2]
    if name == "BestTabu":
        made = algorithms.tabu_search.BestTabu(fitness, bits, -1, 2000, **search)
        return made.solve(10**6, **many, **quiet)[2]
    if name == "SimulatedAnnealing":
        made = algorithms.simulated_annealing.simulated_annealing(
            fitness, bits, -1, int(0.1 * bits), hillclimb=climb, **search
        )
        return made.solve(10**4, **many, **quiet)[2]
    if name == "GeneticAlgorithm":
        made = algorithms.genetic_algorithm.genetic_algorithm(
            fitness,
            crossover.twopoint_crossover,
            selection.tournament4_selection,
            320,
            bits,
            min_max_problem=-1,
            input_pop=members(320, fitness, space),
            mutation=0.02,
            **search,
        )
        return made.solve(**population, **many, **quiet)[4]
    if name == "GeneticLocalSearch":
        made = algorithms.genetic_local_search.genetic_local_search(
            fitness,
            crossover.uniform_crossover,
            selection.RTS,
            80,
            bits,
            climb,
            min_max_problem=-1,
            input_pop=members(80, fitness, space),
            neighbour="Hamming",
            **search,
        )
        return made.solve(**population, **many, **quiet)[4]
    if name == "ParticleSwarm":
        made = algorithms.pso_pyswarms.pyswarms_pso(
            fitness, -1, space, n_particles=160, k=32, scaling=10
        )
        return made.solve(max_iter=100, max_funcevals=budget)[2]
    if name == "DifferentialEvolution":
        made = algorithms.differential_evolution.differential_evolution(
            fitness, -1, space, method="best1exp", mutation=(0.2, 0.7), pop_size=32
        )
        return made.solve(min_variance=1e-10, max_iter=10**6, **many)[2]
    if name == "DualAnnealing":
        made = algorithms.dual_annealing.dual_annealing(fitness, -1, space, method="Powell")
        return made.solve(max_iter=10**6, **many)[2]
    if name == "BasinHopping":
        made = algorithms.basin_hopping.basin_hopping(fitness, -1, space, T=1.0, method="SLSQP")
        return made.solve(max_iter=10**6, **many)[2]
    raise SystemExit(f"BlooPy has no {name}")


def main():
    """Make the runs."""
    file, name, budget, runs = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    given = json.loads(Path(file).read_text())
    sizes, times = given["sizes"], given["times"]
    space = {f"p{at}": list(range(size)) for at, size in enumerate(sizes)}

    def measured(digits):
        code = 0
        for size, digit in zip(sizes, digits, strict=True):
            code = code * size + digit
        return times[code]

    discrete = bloopy.utils.discrete_space(measured, space)
    evaluations, silent = 0, io.StringIO()
    begin = time.process_time()
    with contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
        for _ in range(runs):
            evaluations += run(name, space, discrete.fitness, sum(sizes), budget, min(times))
    print(json.dumps({"evaluations": evaluations, "seconds": time.process_time() - begin}))


if __name__ == "__main__":
    main()
