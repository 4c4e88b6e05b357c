import math

import numpy as np
import pytest

from leanline.report import metrics
from leanline.report.reading import read
from leanline.report.series import accuracy_data, matrices, speed_data, training_data

from .folders import FILTERS, TIMES, add_evidence, add_tensors, make_demo, make_prune, make_train


def test_accuracy_is_given_against_the_filters_that_are_alive(tmp_path):
    report = read(make_demo(tmp_path / "x"))
    data = accuracy_data(report)
    for curve, run in zip(data.curves, report.runs, strict=True):
        assert curve.kept == tuple(100 * stage.kept / FILTERS for stage in run.stages)
        assert curve.values == pytest.approx([93, 91, 89])
        assert curve.end.startswith(run.label)
    assert data.dense == pytest.approx(95.4)
    assert "test" in data.dense_label
    assert data.in_percent


def test_validation_pictures_are_preferred_for_the_dense_level(tmp_path):
    folder = add_evidence(make_prune(tmp_path / "x"), dense_val={"accuracy": 0.96})
    data = accuracy_data(read(folder))
    assert data.dense == pytest.approx(96)
    assert "validation" in data.dense_label


def test_without_a_total_filters_are_numbers(tmp_path):
    report = read(make_prune(tmp_path / "x", stop=2))
    data = accuracy_data(report)
    assert data.curves[0].kept == tuple(stage.kept for stage in report.runs[0].stages)
    assert not data.in_percent and data.dense is None


def test_there_is_no_curve_without_metrics(tmp_path):
    assert accuracy_data(read(make_prune(tmp_path / "x", names=()))) is None
    assert accuracy_data(read(make_train(tmp_path / "y"))) is None


def test_speed_has_every_row_of_every_run(tmp_path):
    data = speed_data(read(make_demo(tmp_path / "x")))
    assert data.groups == ("LEAN", "Magnitude")
    assert [bar.name for bar in data.bars] == 2 * list(TIMES)
    assert [bar.median for bar in data.bars] == 2 * list(TIMES.values())
    assert [bar.pruned for bar in data.bars[:4]] == [False, False, True, True]
    assert speed_data(read(make_prune(tmp_path / "y"))) is None


def test_training_marks_the_last_best_evaluation(tmp_path):
    data = training_data(read(make_train(tmp_path / "x")))
    assert data.steps == (10, 20, 30)
    assert data.values == pytest.approx([90, 95, 100 - 100 / 30])
    assert data.best == 1
    assert training_data(read(make_train(tmp_path / "y", done=0))) is None


def test_matrices_tell_pruned_from_never_there(tmp_path):
    found = matrices(read(add_tensors(make_prune(tmp_path / "x"))))
    assert list(found) == ["Unpruned", "LEAN"]
    dense, pruned = found["Unpruned"].cells, found["LEAN"].cells
    lower = np.tril(np.ones((4, 4), int))
    np.testing.assert_array_equal(dense, 2 * lower)
    np.testing.assert_array_equal(pruned, lower + np.eye(4, dtype=int))
    assert found["LEAN"].active == 4


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: metrics.significant(455.955), "456"),
        (lambda: metrics.significant(3.3922), "3.39"),
        (lambda: metrics.significant(0.111), "0.111"),
        (lambda: metrics.significant(1234.5), "1,234"),
        (lambda: metrics.significant(0.0), "0"),
        (lambda: metrics.fixed(math.nan, 2), "undefined"),
        (lambda: metrics.fixed(math.inf, 2), "∞"),
        (lambda: metrics.fixed(-1.25, 1), "−1.2"),
        (lambda: metrics.percent(0.0502), "5.0\u00a0%"),
        (lambda: metrics.percent(0.0079), "0.79\u00a0%"),
        (lambda: metrics.percent(0), "0.0\u00a0%"),
        (lambda: metrics.times(153.4), "153×"),
        (lambda: metrics.times(12.34), "12×"),
        (lambda: metrics.faster(0.5), "2.0× slower"),
        (lambda: metrics.duration(128.4), "2 min 8 s"),
        (lambda: metrics.duration(3725), "1 h 2 min"),
        (lambda: metrics.duration(1.234), "1.2 s"),
        (lambda: metrics.power_of_ten(1.7e-7), "1.7 × 10⁻⁷"),
        (lambda: metrics.short_count(768_737_280), "769 M"),
        (lambda: metrics.metric_named("accuracy").text(0.954), "95.4\u00a0%"),
        (lambda: metrics.metric_named("psnr").text(31.415), "31.41\u00a0dB"),
    ],
)
def test_numbers_are_written_for_people(call, expected):
    assert call() == expected
