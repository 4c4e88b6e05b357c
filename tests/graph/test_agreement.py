import pytest
import torch

from leanline.graph.agreement import deviation, draw_like

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("want", "have", "expected"),
    [
        ([1.0, -4.0], [1.0, -4.0], 0.0),
        ([1.0, -4.0], [1.5, -4.0], 0.125),
        ([1.0, NAN, INF], [1.0, NAN, INF], 0.0),
        ([1.0, NAN], [1.0, 2.0], INF),
        ([1.0, 2.0], [1.0, NAN], INF),
        ([1.0, INF], [1.0, -INF], INF),
        ([0.0, 0.0], [0.0, 0.0], 0.0),
        ([], [], 0.0),
        ([1, 2, 3, 4], [1, 2, 3, 5], 0.25),
        ([True, False], [True, True], 0.5),
    ],
)
def test_deviation(want: list[float], have: list[float], expected: float) -> None:
    assert deviation(torch.tensor(want), torch.tensor(have)) == expected


def test_other_shapes_deviate_without_end() -> None:
    assert deviation(torch.zeros(2), torch.zeros(1, 2)) == INF


def test_drawn_inputs_repeat_and_leave_indices_alone() -> None:
    index = torch.tensor([1, 2])
    first, same = draw_like((torch.zeros(2, 3, dtype=torch.float64), index))
    assert first.dtype == torch.float64 and first.std() > 0.1
    assert torch.equal(same, index)
    assert torch.equal(draw_like(torch.zeros(2, 3))[0].double(), first)
