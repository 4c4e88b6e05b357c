"""A tiny experiment from its configuration to its report, whole, broken off and killed."""

import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from leanline.cli.app import app
from leanline.errors import ConfigError, FolderInUseError, RunError
from leanline.experiments.library import load
from leanline.experiments.results import DENSE, KEYS, read_results
from leanline.experiments.run import run_experiment
from leanline.experiments.sweep import Sweep
from leanline.records.cluster import Cluster, connect
from leanline.records.run import RunFolder
from leanline.report.experiment import build_experiment, read_experiment
from leanline.report.experiment.comparison import filters_table, time_table
from leanline.report.experiment.curves import curves_data

from .small import write_config

PAIR = ("msd4", "stripes")


def leanline(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(tmp_path_factory.mktemp("config"))


@pytest.fixture(scope="module")
def finished(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the whole experiment, by one process."""
    out = tmp_path_factory.mktemp("out") / "whole"
    said = json.loads(leanline("experiment", config, "--workers", 1, "--out", out, "--json"))
    assert said["cells"] == 4
    assert said["failed"] == {}
    return out


def test_results_are_one_tidy_table(finished):
    table = read_results(finished)
    assert len(table) == 1 + 2 * 2 * 3
    assert not table.duplicated(KEYS).any()
    assert (table["kept_filters"] / table["filters"] == table["live"]).all()
    pruned = table[table["criterion"] != DENSE]
    for column in ("val_accuracy", "val_loss", "macs", "parameters", "seconds", "ms", "speedup"):
        assert pruned[column].notna().all()
    assert (pruned["macs"] < pruned["dense_macs"]).all()
    tested = pruned[pruned["test_accuracy"].notna()]
    assert set(tested["stage"]) == {2, 3}  # the one nearest to 45 %, and the last


def test_a_second_call_does_nothing(config, finished):
    files = sorted(file for file in (finished / "runs").rglob("*") if file.is_file())
    before = [file.stat().st_mtime_ns for file in files]
    leanline("experiment", config, "--workers", 1, "--out", finished)
    assert [file.stat().st_mtime_ns for file in files] == before


def test_a_run_that_was_broken_off_goes_on(config, finished, tmp_path, monkeypatch):
    from leanline.experiments import work

    class Stop(BaseException):
        pass

    kept = []
    keep = work._keep

    def stop(*arguments):
        if len(kept) == 4:  # the stage is committed, what it selected is not written down
            raise Stop
        kept.append(arguments)
        keep(*arguments)

    wanted = load(str(config), "small")
    with monkeypatch.context() as patched:
        patched.setattr(work, "_keep", stop)
        with pytest.raises(Stop):
            run_experiment(wanted, tmp_path / "broken", "tiny, small")
    outcome = run_experiment(wanted, tmp_path / "broken", "tiny, small")
    assert same(outcome.results, read_results(finished))


def sweep_in_a_process(*arguments: object, **environment: str) -> tuple[int, int]:
    """Kills that struck, and cells that failed."""
    script = Path(__file__).with_name("kill_workers.py")
    done = subprocess.run(
        [sys.executable, script, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    struck, failures = map(int, done.stdout.split())
    return struck, failures


def test_killed_workers_change_nothing(config, finished, tmp_path):
    struck, failures = sweep_in_a_process(config, tmp_path / "killed", 3)
    assert struck > 0
    assert failures == 0
    assert same(read_results(tmp_path / "killed"), read_results(finished))


SBATCH = """#!/bin/sh
for last in "$@"; do :; done
cp "$last" "$0.job"
setsid sh "$0.job" > "$0.log" 2>&1 &
echo "Submitted batch job $!"
"""


def test_slurm(config, finished, tmp_path):
    commands = {"sbatch": SBATCH, "scancel": '#!/bin/sh\nkill -TERM -- "-$1"\n'}
    for name, text in commands.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    _, failures = sweep_in_a_process(
        config,
        tmp_path / "out",
        "slurm",
        PATH=f"{tmp_path}:{os.environ['PATH']}",
        DASK_JOBQUEUE__SLURM__CORES="1",
        DASK_JOBQUEUE__SLURM__MEMORY="1GB",
    )
    assert failures == 0
    assert same(read_results(tmp_path / "out"), read_results(finished))


def test_slurm_needs_to_know_its_jobs():
    with pytest.raises(RunError, match="the cores of a job"), connect(Cluster(scheduler="slurm")):
        pass


def same(table: pd.DataFrame, other: pd.DataFrame) -> bool:
    """Whether all but times is equal to the last bit."""
    columns = [
        name
        for name in other
        if name in (*KEYS, "keep", "train_loss", "macs", "parameters", "kept_filters")
        or name.startswith(("val_", "test_"))
    ]
    pd.testing.assert_frame_equal(table[columns], other[columns], check_exact=True)
    return True


def test_more_seeds_are_added(config, finished, tmp_path):
    wanted = load(str(config), "small", ["seeds=[0]", "criteria=lean", "parts=[]"])
    first = run_experiment(wanted, tmp_path / "more", "tiny, small")
    assert len(first.results) == 1 + 3
    wanted = load(str(config), "small", ["parts=[]"])
    assert same(
        run_experiment(wanted, tmp_path / "more", "tiny, small").results, read_results(finished)
    )


def test_other_settings_are_refused(config, finished):
    wanted = load(str(config), "small")
    with pytest.raises(RunError, match="another configuration"):
        run_experiment(wanted, finished, "other, small")
    with pytest.raises(RunError, match="already holds"):
        run_experiment(wanted, finished, "tiny, small", resume=False)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("retraining.iterations=5", "finetune.training.iterations was 4, now 5"),
        ("schedule.keep=0.4", "schedule.keep was 0.3, now 0.4"),
        ("training.iterations=8", "training.iterations was 16, now 8"),
        ("data.stripes.val_pictures=1", "pictures was null, now 1"),
        ("data.stripes.settings.flip=true", "data.settings.flip was not set, now true"),
        ("data.stripes.name=folder:elsewhere", "elsewhere"),
        ("networks.msd4.settings.depth=5", "model.settings.depth was 4, now 5"),
    ],
)
def test_what_is_done_is_not_taken_for_something_else(config, finished, change, told):
    with pytest.raises(RunError, match=f"other settings: .*{re.escape(told)}"):
        run_experiment(load(str(config), "small", [change]), finished, "tiny, small")


def test_more_stages_are_judged_where_their_weights_were_kept(config, finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    for file in folder.rglob("test.json"):
        found = json.loads(file.read_text())
        if "2" in found:
            del found["2"]
            file.write_text(json.dumps(found))
    outcome = run_experiment(load(str(config), "small", ["parts=[]"]), folder, "tiny, small")
    assert same(outcome.results, read_results(finished))
    wanted = load(str(config), "small", ["parts=[]", "judged_at=[0.9]"])
    outcome = run_experiment(wanted, folder, "tiny, small")
    assert len(outcome.failures) == 4
    assert all("has no weights" in str(error) for error in outcome.failures.values())


def test_a_folder_that_is_not_said_and_a_metric_that_is_not_judged(config, finished, tmp_path):
    with pytest.raises(ConfigError, match=r"--set data.camvid.name=camvid:FOLDER"):
        run_experiment(load("camvid", "small"), tmp_path / "c", "camvid, small")
    wanted = load(str(config), "small", ["data.stripes.metric=psnr", "parts=[]"])
    outcome = run_experiment(wanted, tmp_path / "x", "tiny, small")
    told = str(outcome.failures["msd4@stripes"])
    assert re.search(r"data.stripes.metric is 'psnr', .* judged by loss, accuracy", told)
    assert not (tmp_path / "x" / "runs" / "msd4@stripes" / "dense").exists()
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    run_experiment(wanted, folder, "tiny, small")
    with pytest.raises(ConfigError, match="metric is 'psnr', and the results have accuracy"):
        build_experiment(folder)


def test_what_fails_is_told_and_what_depends_on_it_is_not_begun(config, tmp_path):
    changes = ["criteria=lean", "seeds=[0]", "parts=[]", "networks.msd4.training.lr=1e30"]
    outcome = run_experiment(load(str(config), "small", changes), tmp_path / "x", "tiny, small")
    problems = {key: str(error) for key, error in outcome.failures.items()}
    assert "diverged" in problems["msd4@stripes"]
    assert "msd4@stripes failed" in problems["msd4@stripes lean 0"]
    assert len(outcome.results) == 0


def test_the_stage_of_a_fraction(config, tmp_path):
    (pair,) = Sweep.of(load(str(config), "small"), tmp_path).pairs
    assert [pair.stage_at(fraction) for fraction in (0.9, 0.5, 0.45, 0.3, 0.001)] == [1, 2, 2, 3, 3]
    assert pair.stage_at(0.9, (2, 3)) == 2


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def test_the_report_stands_alone(finished):
    text = (finished / "report.html").read_text()
    tags = Tags(text).found
    assert "Tiny &lt;b&gt;experiment&lt;/b&gt;" in text
    assert "none &amp; nothing" in text
    assert not {tag for tag, _ in tags} & {"script", "link rel=stylesheet", "iframe"}
    sources = [a["src"] for _, a in tags if "src" in a]
    assert sources
    assert all(source.startswith("data:") for source in sources)
    ids = [a["id"] for _, a in tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert sum(tag == "svg" for tag, _ in tags) == 3 + 1 + 3  # curves, batches, matrices
    assert len(list((finished / "figures").glob("*.svg"))) == 7
    assert "var(" not in (finished / "figures" / "msd4--stripes-live.svg").read_text()


def test_an_unfinished_experiment_has_a_report(config, finished, tmp_path):
    wanted = load(str(config), "small", ["parts=['networks']", "criteria=[]"])
    run_experiment(wanted, tmp_path / "none", "tiny, small")
    assert "Batch norm" in build_experiment(tmp_path / "none").read_text()


def test_the_numbers_of_the_figures(finished):
    experiment = read_experiment(finished)
    assert experiment.pairs == (PAIR,)
    assert experiment.rules(PAIR) == ("lean", "magnitude")
    data = curves_data(experiment, PAIR, "live")
    table = read_results(finished)
    lean = table[(table["criterion"] == "lean") & (table["stage"] == 3)]
    curve = data.curves[0]
    assert curve.label == "LEAN"
    assert len(curve.runs) == 2
    assert curve.runs[0][0] == (100.0, pytest.approx(data.dense))
    assert curve.mean[-1][1] == pytest.approx(100 * lean["val_accuracy"].mean())
    assert curve.mean[-1][0] == pytest.approx(100 * lean["live"].iloc[0])


def test_the_tables(finished):
    experiment = read_experiment(finished)
    table = filters_table(experiment, PAIR)
    assert [line.heading for line in table.blocks[0].lines] == ["LEAN", "magnitude"]
    assert [line.heading for line in table.blocks[1].lines] == ["LEAN minus magnitude"]
    assert len(table.columns) == 1 + 2
    assert time_table(experiment, PAIR) is not None


def test_a_folder_in_use_is_told_apart(tmp_path):
    with RunFolder.open(tmp_path / "run", {}), pytest.raises(FolderInUseError):
        RunFolder.open(tmp_path / "run", {})


def test_clusters():
    with pytest.raises(ConfigError, match="give one of them"):
        Cluster(2, "tcp://127.0.0.1:1")
    assert Cluster(2, "slurm").workers == 2
    with (
        pytest.raises(RunError, match="no Dask scheduler answers"),
        connect(Cluster(scheduler="tcp://127.0.0.1:9")),
    ):
        pass
