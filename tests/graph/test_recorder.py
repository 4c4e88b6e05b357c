"""The recorder against the model, and what it says of places."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from leanline.graph.recorder import record
from leanline.graph.replay import Replay


class Undecided(nn.Module):
    """Views, writes in place, numbers of its own, a buffer, and a choice by data."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(2, 4, 3, padding=1)
        self.deep = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.linear = nn.Linear(4, 4)
        self.register_buffer("scale", torch.tensor([1.0, 2.0, 3.0, 4.0]))

    def forward(self, x: Tensor, factor: float) -> dict[str, Tensor]:
        y = self.a(x)
        if y.abs().mean().item() > 0:
            y = self.deep(y)
        z = torch.zeros_like(y)
        z[:, :2] = y[:, 2:]
        z[:, 2:].add_(1.0)
        gate = self.linear(F.adaptive_avg_pool2d(z, 1).flatten(1)).sigmoid()
        z = z * gate[:, :, None, None] * torch.tensor(0.5) * factor
        return {"out": F.interpolate(z, scale_factor=2, mode="bilinear"), "gate": gate * self.scale}


def test_recording_is_the_model() -> None:
    torch.manual_seed(0)
    model = Undecided().eval().requires_grad_(False)
    image = torch.randn(1, 2, 6, 6)
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        traced = record(model, (image, 3.0))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(not module._forward_hooks for module in model.modules())
    state = {**dict(model.named_parameters()), **dict(model.named_buffers()), **traced.tensors}
    values = {node: state[name] for node, name in traced.names.items()}
    blank = [None for node in traced.module.graph.nodes if node.op == "placeholder"]
    for seed in range(2):  # also on another picture
        other = image if seed == 0 else torch.randn(1, 2, 6, 6)
        found = Replay(traced.module, values, [other]).run(*blank, enable_io_processing=False)
        with torch.no_grad():
            expected = model(other, 3.0)
        torch.testing.assert_close(found[0], expected["out"])
        torch.testing.assert_close(found[1], expected["gate"])
    calls = [node for node in traced.module.graph.nodes if node.op == "call_function"]
    relu = next(node for node in calls if node.name.startswith("relu"))
    assert relu.meta["nn_module_stack"][""][0] == "deep.2"
    assert 'test_recorder.py"' in relu.meta["stack_trace"]
