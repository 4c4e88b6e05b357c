"""Masks on models: plain, shared, parametrised, pruned by torch, trained, copied, compiled."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from leanline.errors import ConfigError
from leanline.masks import (
    apply_channel_masks,
    apply_masks,
    bake,
    baked_copy,
    get_channel_masks,
    get_masks,
    remove_masks,
)


def network(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 1))


def image(seed: int = 0) -> torch.Tensor:
    return torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(seed))


def mask(shape: tuple[int, int], seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.6


def test_masked_filters_are_zero_and_read_back() -> None:
    model, reference = network(), network()
    masks = {"0.weight": mask((3, 2), 1), "3.weight": mask((2, 3), 2)}
    apply_masks(model, masks)
    with torch.no_grad():
        for name, kept in masks.items():
            reference.get_parameter(name).mul_(kept[..., None, None])
    assert torch.equal(model(image()), reference(image()))
    found = get_masks(model)
    assert found.keys() == masks.keys()
    assert all(torch.equal(found[name], masks[name]) for name in masks)


def test_intersection() -> None:
    model = network()
    first, second = mask((3, 2), 1), mask((3, 2), 2)
    apply_masks(model, {"0.weight": first})
    apply_masks(model, {"0.weight": second})
    assert torch.equal(get_masks(model)["0.weight"], first & second)


def test_remove_bakes_zeros_and_restores_keys() -> None:
    model = network()
    keys = set(model.state_dict())
    apply_masks(model, {"0.weight": mask((3, 2))})
    apply_channel_masks(model, {"1.bias": torch.tensor([True, False, True])})
    before = model.eval()(image())
    assert set(model.state_dict()) != keys
    remove_masks(model)
    assert set(model.state_dict()) == keys
    assert torch.equal(model(image()), before)
    assert get_masks(model) == {} and get_channel_masks(model) == {}


def test_channel_masks() -> None:
    model = network()
    kept = torch.tensor([True, False, True])
    apply_channel_masks(model, {"0.bias": kept, "1.weight": kept, "1.bias": kept})
    assert model.eval()[:2](image())[:, 1].count_nonzero() == 0
    assert torch.equal(get_channel_masks(model)["1.weight"], kept)
    assert get_masks(model) == {}


def test_training_keeps_zeros_and_the_same_parameters() -> None:
    model = network()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1)
    model(image()).square().sum().backward()
    optimiser.step()
    identity = {id(parameter) for parameter in model.parameters()}
    kept = mask((3, 2), 3)
    apply_masks(model, {"0.weight": kept})
    assert {id(parameter) for parameter in model.parameters()} == identity
    for _ in range(3):
        optimiser.zero_grad()
        model(image()).square().sum().backward()
        optimiser.step()
    assert torch.equal(model[0].weight.flatten(2).count_nonzero(2) > 0, kept)


def test_infinite_weights_are_masked_to_zero() -> None:
    model = network()
    with torch.no_grad():
        model[0].weight[0, 0] = float("inf")
    kept = torch.ones(3, 2, dtype=torch.bool)
    kept[0, 0] = False
    apply_masks(model, {"0.weight": kept})
    assert model(image()).isfinite().all()


def test_deepcopy_and_state_dict() -> None:
    model, other = network(0), network(1)
    apply_masks(model, {"0.weight": mask((3, 2))})
    apply_masks(other, {"0.weight": torch.ones(3, 2, dtype=torch.bool)})
    other.load_state_dict(model.state_dict())
    double = copy.deepcopy(model)
    assert torch.equal(other(image()), model(image()))
    assert torch.equal(double(image()), model(image()))
    assert torch.equal(get_masks(other)["0.weight"], get_masks(model)["0.weight"])


def test_shared_weight_is_masked_everywhere() -> None:
    model = nn.Sequential(nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3))
    model[1].weight = model[0].weight
    kept = torch.tensor([[True, False], [False, True]])
    apply_masks(model, {"1.weight": kept})
    assert torch.equal(model[0].weight, model[1].weight)
    assert get_masks(model).keys() == {"0.weight"}
    remove_masks(model)
    assert model[0].weight is model[1].weight
    assert torch.equal(model[0].weight.flatten(2).count_nonzero(2) > 0, kept)


def test_torch_prune_masks_are_read_and_intersected() -> None:
    model = network()
    parameter = model[0].weight
    prune.ln_structured(model[0], "weight", amount=1, n=1, dim=0)
    expected = model[0].weight_mask.flatten(2).any(2)
    assert torch.equal(get_masks(model)["0.weight"], expected)
    kept = mask((3, 2), 5)
    apply_masks(model, {"0.weight": kept})
    assert torch.equal(get_masks(model)["0.weight"], expected & kept)
    assert any(parameter is other for other in model.parameters())
    assert torch.equal(model[0].weight.flatten(2).count_nonzero(2) > 0, expected & kept)


def test_unstructured_torch_masks_survive() -> None:
    model = network()
    prune.random_unstructured(model[0], "weight", amount=0.5)
    zeros = model[0].weight == 0
    apply_masks(model, {"0.weight": mask((3, 2), 5)})
    assert (model[0].weight[zeros] == 0).all()
    apply_masks(model, {"0.weight": mask((3, 2), 6)})
    assert (model[0].weight[zeros] == 0).all()


@pytest.mark.parametrize("kind", ["prune", "weight_norm", "spectral_norm", "mask", "all"])
def test_baked_copy(kind: str) -> None:
    model = network()
    keys = set(model.state_dict())
    if kind == "prune":
        prune.random_unstructured(model[0], "weight", amount=0.5)
    if kind in ("weight_norm", "all"):
        parametrizations.weight_norm(model[0])
    if kind in ("spectral_norm", "all"):
        parametrizations.spectral_norm(model[3])
    if kind in ("mask", "all"):
        apply_masks(model, {"0.weight": mask((3, 2))})
    model.eval()
    before = model(image())
    stored = copy.deepcopy({k: v.clone() for k, v in model.state_dict().items()})
    model.train()
    double = baked_copy(model)
    assert model.training and all(part.training for part in model.modules())
    assert set(double.state_dict()) == keys
    assert torch.equal(double.eval()(image()), before)
    assert all(torch.equal(stored[k], v) for k, v in model.state_dict().items())
    bake(model)
    assert set(model.state_dict()) == keys
    assert torch.equal(model.eval()(image()), before)


def test_old_style_weight_norm_is_baked() -> None:
    model = network()
    with pytest.warns(FutureWarning):
        torch.nn.utils.weight_norm(model[0])
    before = model.eval()(image())
    assert torch.equal(baked_copy(model)(image()), before)
    apply_masks(model, {"0.weight": torch.ones(3, 2, dtype=torch.bool)})
    assert torch.equal(model(image()), before)


def test_wrong_names_shapes_and_dtypes() -> None:
    model = network()
    keys = set(model.state_dict())
    good = torch.ones(3, 2, dtype=torch.bool)
    with pytest.raises(ConfigError, match=r"did you mean '0\.weight'"):
        apply_masks(model, {"0.weigth": good})
    with pytest.raises(ConfigError, match=r"has shape \(3, 2\).* needs \(2, 3\)"):
        apply_masks(model, {"0.weight": good, "3.weight": good})
    with pytest.raises(ConfigError, match=r"torch\.bool"):
        apply_masks(model, {"0.weight": good.float()})
    with pytest.raises(ConfigError, match="apply_channel_masks"):
        apply_masks(model, {"0.bias": good})
    with pytest.raises(ConfigError, match="apply_masks"):
        apply_channel_masks(model, {"0.weight": good[0]})
    assert set(model.state_dict()) == keys


def test_compiles() -> None:
    model = network().eval()
    apply_masks(model, {"0.weight": mask((3, 2))})
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(image()), model(image()))
    apply_masks(model, {"0.weight": mask((3, 2), 9)})
    torch.testing.assert_close(compiled(image()), model(image()))


def test_removing_masks_from_a_copy_leaves_the_original() -> None:
    model = network()
    apply_masks(model, {"0.weight": mask((3, 2))})
    before = model.eval()(image())
    double = copy.deepcopy(model)
    remove_masks(double)
    assert torch.equal(model(image()), before) and torch.equal(double(image()), before)
    assert get_masks(model).keys() == {"0.weight"} and get_masks(double) == {}


def test_masking_one_more_tensor_of_a_deep_copy_leaves_the_others_alone() -> None:
    first = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3))
    apply_masks(first, {"0.weight": torch.tensor([[True, False]] * 3)})
    second, third = copy.deepcopy(first), copy.deepcopy(first)
    bias = first[0].bias.detach().clone()
    apply_channel_masks(second, {"0.bias": torch.tensor([True, False, True])})
    apply_channel_masks(third, {"0.bias": torch.tensor([False, False, True])})
    assert torch.equal(first[0].bias, bias)
    assert torch.equal(second[0].bias, bias * torch.tensor([1.0, 0.0, 1.0]))
    assert torch.equal(third[0].bias, bias * torch.tensor([0.0, 0.0, 1.0]))


def test_weight_norm_below_a_mask_becomes_a_parameter_again() -> None:
    model = network()
    parametrizations.weight_norm(model[0])
    apply_masks(model, {"0.weight": mask((3, 2))})
    want = model(image()).detach()
    remove_masks(model)
    assert dict(model.named_parameters()).keys() == dict(network().named_parameters()).keys()
    assert model.get_parameter("0.weight").requires_grad
    assert torch.equal(model(image()), want)
    frozen = network().requires_grad_(False)
    parametrizations.weight_norm(frozen[0])
    assert not baked_copy(frozen).get_parameter("0.weight").requires_grad
