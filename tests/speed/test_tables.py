"""From a measurement of small networks to the tables of the documentation."""

from pathlib import Path
from typing import Any

import pytest
from benchmarks import inference, render, retraining, targets, workloads
from benchmarks.limits import Limits
from benchmarks.targets import RETRAINING, Target, check
from benchmarks.workloads import LEAN, RANDOM, Network, Variant

from leanline.experiments.evidence import EAGER_COMPACT, EAGER_DENSE, KERNEL_DENSE
from leanline.models import MSD

SMALL = Network("small", lambda: MSD(6, 1, 2).eval(), (0.5,))
LIMITS = Limits(1, 1e11, 1e11, 1e10)


@pytest.fixture(scope="module")
def results() -> list[dict[str, Any]]:
    """An inference run and a retraining run, of five rounds each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workloads, "SIZE", 24)
        patch.setattr(inference, "_limits", lambda threads: LIMITS)
        patch.setattr(retraining, "KEEP", 0.5)
        wanted = (
            Target("inference", "small", 0.5, EAGER_DENSE, 1e-9),
            Target("inference", "small", 0.5, KERNEL_DENSE, 1e9),
            Target(RETRAINING, "small", 0.5, EAGER_COMPACT, 1e9),
        )
        patch.setattr(targets, "TARGETS", wanted)
        both = [Variant(SMALL, rule, 0.5) for rule in (LEAN, RANDOM)]
        patch.setattr(inference, "THREADS", (1,))
        run = inference.measure(SMALL, both, 1, 1, 0.0)
        more = {**run, "batch": 4, "threads": 2, "targets": []}
        return [run, more, retraining.measure(SMALL, 1, 0.0)]


def test_a_run_holds_every_variant_with_its_baselines(results: list[dict[str, Any]]) -> None:
    run = results[0]
    assert len(run["rows"]) == 2 + 3 * 2
    for one in run["variants"]:
        assert one["deviation"] < 1e-5
        assert one["macs"][1] < one["macs"][0]
        assert one["ratios"][EAGER_DENSE] == pytest.approx(
            run["dense"][EAGER_DENSE] / one["leanline kernel, pruned"]
        )
        best = max(one["limit"].values())
        assert one["of the limit"] == pytest.approx(best / one["leanline kernel, pruned"])
    assert [t["met"] for t in run["targets"]] == [True, False] * 2


def test_tables_show_it(results: list[dict[str, Any]]) -> None:
    content = {"machine": "a computer", "torch": "2", "results": results}
    text = render.markdown(content)
    assert "a computer, PyTorch 2" in text
    assert "**One picture a call, one thread**" in text
    assert "**Four pictures a call, two threads**" in text
    assert text.count("**missed**") == 3
    for block in text.split("\n\n"):
        lines = block.strip().splitlines()
        if lines[0].startswith("|"):
            assert len({line.count("|") for line in lines}) == 1
            assert len(lines) > 2
    for rule in ("LEAN, 50 %", "random filters, 50 %"):
        assert f"small; {rule}" in text


def test_numbers_are_short() -> None:
    shown = [render._ms(0.01234), render._ms(1.2345), render._ms(123.4), render._ratio(1234.5)]
    assert shown == ["0.0123", "1.23", "123", "1234x"]


def test_tables_go_between_the_markers() -> None:
    page = f"above\n{render.BEGIN}\nold\n{render.END}\nbelow\n"
    once = render.replace(page, "new\n")
    assert once == f"above\n{render.BEGIN}\n\nnew\n\n{render.END}\nbelow\n"
    assert render.replace(once, "new\n") == once


@pytest.mark.parametrize("page", ["", render.BEGIN, f"{render.END} {render.BEGIN}"])
def test_a_page_without_markers_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="needs one line"):
        render.replace(page, "new")


def test_every_target_is_of_a_network_that_is_timed() -> None:
    keeps = {(net.name, keep) for net in inference.NETWORKS for keep in net.keeps}
    assert {(target.network, target.keep) for target in targets.TARGETS} <= keeps
    found = check(
        "inference", workloads.UNET.name, 0.01, {EAGER_DENSE: 21, "ONNX Runtime, compacted": 1}
    )
    assert [target["met"] for target in found] == [True, False]


def test_the_documentation_has_the_markers() -> None:
    page = Path(__file__).parents[2] / "docs" / "concepts" / "speed.md"
    text = page.read_text(encoding="utf-8")
    assert render.replace(text, "x") != text
