"""Tuning a plan: every configuration is right, the budget holds, nothing gets slower."""

import json
import math
import multiprocessing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from leanline.compaction import compact
from leanline.errors import ConfigError, ModelError
from leanline.kernels.plan import edges_of
from leanline.kernels.schedule import schedule
from leanline.models import MSD, UNet4
from leanline.runtime import compile, trials, tune
from leanline.runtime.choose import Choice, usual
from leanline.runtime.fold import fold_batch_norms
from leanline.runtime.parse import note_shapes
from leanline.runtime.specialise import specialise
from leanline.runtime.trials import Trial, Trials
from leanline.runtime.tunables import EVERYWHERE, Tunable
from leanline.runtime.tune import tune_plan
from leanline.runtime.tuned import Tuned, check_budget
from plane_programs import assert_close

from .networks import Mixed, mask_at_random, pictures, randomise, regions


def tunable(model: nn.Module, channels: int = 1, threads: int = 2, dense: int = 0) -> Tunable:
    """A network's plan; some of its convolutions are known to be faster in PyTorch."""
    images = pictures(1, channels, 32, 48)
    folded, _ = specialise(fold_batch_norms(compact(model, images)), (images,))
    note_shapes(folded, (images,))
    choices = {
        node: Choice(i >= dense, (i + choice.shape) % 3, 1.0 + 0.3 * (i < dense) * i, 1.2)
        for i, (node, choice) in enumerate(usual(folded).items())
    }
    return Tunable(folded, choices, threads, (images,))


def small() -> nn.Module:
    model = randomise(MSD(12, 1, 2), 1)
    mask_at_random(model, 0.5, 3, skip=("final",))
    return model


def agreed(network: nn.Module) -> None:
    pass


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int, int]] = {
    "msd": (small, 1, 4),
    "mixed": (Mixed, 2, 3),
    "unet": (lambda: UNet4(1, 2, width=4), 1, 6),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_configuration_computes_the_model(name: str) -> None:
    make, channels, dense = NETWORKS[name]
    model = randomise(make(), 1).eval()
    plan = tunable(model, channels, 2, dense)
    with torch.no_grad():
        want = model(*plan.inputs)
        codes = plan.space.valid_codes()
        assert len(codes) > 20
        chosen = np.random.default_rng(0).choice(codes, 40)
        for code in [*chosen, plan.space.encode(plan.untuned(1.0))]:
            configuration = plan.space.decode(int(code))
            network = plan.make(configuration)
            assert_close(network(*plan.inputs), want, str(configuration))


def test_planes_that_are_read_once_are_added_up_one_by_one() -> None:
    """Each layer of an MS-D network reads all planes, for its one filter; a U-Net's for many."""
    for model, want in ((MSD(6, 1, 2), {1}), (UNet4(1, 2, width=4), {4})):
        found = set()
        for region in regions(tunable(randomise(model, 1)).make({})):
            program = region.planes.program
            groups = schedule(program).groups
            of_many = np.diff(program.steps[groups[:, 0], 2:4]).ravel() > 1  # not the first layer
            found |= set(edges_of(program, groups)[of_many].tolist())
        assert found == want


def test_the_space_holds_what_changes_the_network() -> None:
    assert set(tunable(small(), dense=4).space.names) == {
        "threshold", "tiles", "edges", "ahead", "head_planes", "threads",
    }  # fmt: skip
    assert "threads" not in tunable(small(), threads=1).space.names
    assert "threshold" not in tunable(small()).space.names
    assert "head_planes" not in tunable(nn.Sequential(nn.Conv2d(1, 2, 3))).space.names
    bound = tunable(nn.Sequential(nn.Conv2d(1, 2, 1)), threads=1).space
    assert set(bound.names) <= {"tiles", "edges"}


def test_configurations_reach_the_kernels() -> None:
    plan = tunable(small(), threads=4)
    given = {"tiles": "8x1", "edges": 2, "ahead": 1, "head_planes": 4, "threads": 2}
    (region,) = regions(plan.make(given))
    tiling = region.planes.program.tiling
    assert (tiling.edges, tiling.ahead, tiling.head_planes) == (2, 1, 4)
    assert region.planes.threads == 2
    assert set(region.planes.program.steps[:, 5].tolist()) == {2}


class Clock:
    """Stands for `interleaved`: a network's time is made up of its settings."""

    def __init__(self, cost: Callable[[Any, int], float]) -> None:
        self.cost, self.calls = cost, 0

    def __call__(
        self,
        models: Sequence[nn.Module],
        inputs: object,
        seconds: float,
        rounds: int,
        least: int = 5,
    ) -> np.ndarray:
        self.calls += 1
        row = []
        for model in models:
            (region,) = regions(model)
            row.append(self.cost(region.planes.program.tiling, region.planes.threads))
        return np.asarray([row] * min(rounds, least))


def search(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    cost: Callable[[Any, int], float],
    budget: int = 60,
    agree: Callable[[nn.Module], None] = agreed,
) -> tuple[Tuned, nn.Module, nn.Module]:
    monkeypatch.setattr(tune, "interleaved", Clock(cost))
    plan = tunable(small())
    untuned = plan.make(plan.untuned(EVERYWHERE))
    best, found = tune_plan(plan, untuned, EVERYWHERE, budget, agree, folder)
    return found, best, untuned


def hilly(tiling: Any, threads: int) -> float:
    return 10.0 + abs(tiling.edges - 2) + 3 * (tiling.ahead != 2) + 2 * (threads == 2)


def test_finds_the_faster_plan_within_the_budget(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found, best, _ = search(monkeypatch, tmp_path, hilly)
    assert found.configuration is not None
    (region,) = regions(best)
    assert (region.planes.program.tiling.edges, region.planes.program.tiling.ahead) == (2, 2)
    assert region.planes.threads == 1
    assert found.evaluations == found.fresh <= 60 < found.size
    assert found.speedup == found.low == 17 / 10
    assert "edges=2" in str(found)


def test_the_untuned_plan_stays_where_nothing_is_faster(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found, best, untuned = search(monkeypatch, tmp_path, lambda tiling, threads: 5.0, 8)
    assert best is untuned
    assert found.configuration is None
    assert "untuned plan" in str(found)


def test_a_gain_that_the_last_run_does_not_confirm_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0)
    found, best, untuned = search(
        monkeypatch, tmp_path, lambda tiling, threads: float(noise.uniform(9, 11)), 12
    )
    # every round of the made-up clock is the same, so that only the ratio decides
    assert (best is untuned) == (found.low <= 1.0)


def test_what_noise_explains_is_no_gain() -> None:
    ratios = np.random.default_rng(0).normal(1.0, 0.1, 41)
    assert tune._sure(ratios) < 1.0 < tune._sure(ratios + 0.2)
    assert tune._sure(np.asarray([1.5, 0.9, 1.4])) == 0.9


def test_goes_on_where_it_was_stopped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    left = [7]

    def until_killed(network: nn.Module) -> None:
        left[0] -= 1
        if not left[0]:
            raise Killed

    with pytest.raises(Killed):
        search(monkeypatch, tmp_path, hilly, 30, until_killed)
    whole, _, _ = search(monkeypatch, tmp_path / "other", hilly, 30)
    rest, _, _ = search(monkeypatch, tmp_path, hilly, 30)
    assert rest.configuration == whole.configuration
    assert (rest.evaluations, rest.fresh) == (whole.evaluations, whole.fresh - 6)
    again, _, _ = search(monkeypatch, tmp_path, hilly, 30)
    assert again.fresh == 0
    assert again.configuration == whole.configuration
    monkeypatch.setattr(trials, "circumstances", lambda: "another processor")
    elsewhere, _, _ = search(monkeypatch, tmp_path, hilly, 30)
    assert elsewhere.fresh == whole.fresh


def test_a_plan_that_computes_something_else_has_failed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def agree(network: nn.Module) -> None:
        (region,) = regions(network)
        if region.planes.program.tiling.ahead == 1:
            raise ModelError("something else")

    found, _, _ = search(monkeypatch, tmp_path, hilly, agree=agree)
    assert found.configuration is not None
    assert found.configuration["ahead"] != 1
    held = [json.loads(path.read_text()) for path in tmp_path.rglob("*.json")]
    failed = [one for one in held if one["failed"]]
    assert failed
    assert {one["relative"] for one in failed} == {math.inf}


def test_a_leader_that_others_measured_and_that_fails_now_is_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before, _, _ = search(monkeypatch, tmp_path, hilly)
    assert before.configuration is not None and before.configuration["ahead"] == 2

    def agree(network: nn.Module) -> None:
        (region,) = regions(network)
        if region.planes.program.tiling.ahead == 2:
            raise ModelError("something else")

    found, _, _ = search(monkeypatch, tmp_path, hilly, agree=agree)
    assert found.configuration is None or found.configuration["ahead"] != 2


def test_nothing_to_tune(tmp_path: Path) -> None:
    plan = tunable(nn.Sequential(nn.Conv2d(1, 2, 1)), threads=1)
    plan.__dict__["space"] = type(plan.space)({"threads": [1]})
    network = plan.make({})
    best, found = tune_plan(plan, network, 1.0, 5, agreed, tmp_path)
    assert best is network
    assert found.evaluations == 0


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b'{"relative": 0, "failed": ""}', b"\xff"])
def test_a_damaged_file_is_as_none(tmp_path: Path, damage: bytes) -> None:
    held = Trials("network", tmp_path)
    held.put(3, Trial(0.5))
    (held.folder / "3.json").write_bytes(damage)
    assert Trials("network", tmp_path).get(3) is None
    assert Trials("another network", tmp_path).get(3) is None


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    held = Trials("network", tmp_path / "file")
    held.put(3, Trial(0.5))
    assert held.get(3) == Trial(0.5)


def put(folder: Path, first: int) -> None:
    held = Trials("network", folder)
    for code in range(first, first + 20):
        held.put(code, Trial(1.0 + code))


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=put, args=(tmp_path, first)) for first in (0, 10)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    held = Trials("network", tmp_path)
    assert [held.get(code) for code in range(30)] == [Trial(1.0 + code) for code in range(30)]
    assert len(list(held.folder.iterdir())) == 30  # no temporary file is left


@pytest.mark.parametrize("backend", ["cpu", "auto"])
def test_a_compiled_network_is_tuned(
    backend: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(tune, "SECONDS", 0.0)
    monkeypatch.setattr(tune, "LAST_SECONDS", 0.0)
    model, images = small(), pictures(1, 1, 32, 32)
    fast = compile(model, images, backend, threads=1, tune=3)
    with torch.no_grad():
        assert_close(fast(images), model.eval()(images), "output")
    if fast.__class__ is not MSD:  # where PyTorch was the fastest it is the model itself
        assert fast.tuned.evaluations == 3
    assert len(list((tmp_path / "leanline" / "tuned").rglob("*.json"))) == 3
    assert getattr(compile(model, images, backend, threads=1), "tuned", None) is None


def test_budgets() -> None:
    assert [check_budget(given) for given in (None, "quick", "thorough", 7)] == [0, 25, 200, 7]
    for given in ("slow", 0, -1, True, ""):
        with pytest.raises(ConfigError, match=r'must be "quick" \(25\), "thorough" \(200\) or'):
            check_budget(given)  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", ["reference", "gpu"])
def test_only_kernels_on_the_cpu_are_tuned(backend: str) -> None:
    with pytest.raises(ConfigError, match=f"tune='quick' with backend='{backend}': only"):
        compile(small(), pictures(1, 1, 16, 16), backend, tune="quick")
