import pytest
import torch
from torch import nn
from torch.nn import functional as F

from leanline.compaction import compact
from leanline.errors import CheckpointError, ConfigError
from leanline.masks import apply_masks
from leanline.models import FCNResNet50
from leanline.pruning import clean, select, summary, trace


def picture(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def shaken(network):
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2.0, generator=generator)
            elif value.is_floating_point():
                value.add_(0.05 * torch.randn(value.shape, generator=generator))
    return network.eval()


def torchvision_shapes(in_channels, classes):
    """Names and shapes of torchvision's fcn_resnet50, from the description of a ResNet50."""
    shapes = {}

    def conv(name, given, wanted, size):
        shapes[f"{name}.weight"] = (wanted, given, size, size)

    def norm(name, count):
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{part}"] = (count,)
        shapes[f"{name}.num_batches_tracked"] = ()

    conv("backbone.conv1", in_channels, 64, 7)
    norm("backbone.bn1", 64)
    given = 64
    for layer, (blocks, inner) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), start=1):
        for block in range(blocks):
            name = f"backbone.layer{layer}.{block}"
            conv(f"{name}.conv1", given, inner, 1)
            conv(f"{name}.conv2", inner, inner, 3)
            conv(f"{name}.conv3", inner, 4 * inner, 1)
            for index, count in enumerate((inner, inner, 4 * inner), start=1):
                norm(f"{name}.bn{index}", count)
            if block == 0:
                conv(f"{name}.downsample.0", given, 4 * inner, 1)
                norm(f"{name}.downsample.1", 4 * inner)
            given = 4 * inner
    conv("classifier.0", 2048, 512, 3)
    norm("classifier.1", 512)
    conv("classifier.4", 512, classes, 1)
    shapes["classifier.4.bias"] = (classes,)
    return shapes


def forward_by_hand(state, x):
    """Layer by layer from the state dict alone; strides and dilations of each block written out."""

    def norm(x, name):
        parts = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(state[f"{name}.{part}"] for part in parts))

    def block(x, name, stride, dilation):
        y = norm(F.conv2d(x, state[f"{name}.conv1.weight"]), f"{name}.bn1").relu()
        weight = state[f"{name}.conv2.weight"]
        y = F.conv2d(y, weight, stride=stride, padding=dilation, dilation=dilation)
        y = norm(y, f"{name}.bn2").relu()
        y = norm(F.conv2d(y, state[f"{name}.conv3.weight"]), f"{name}.bn3")
        if f"{name}.downsample.0.weight" in state:
            x = F.conv2d(x, state[f"{name}.downsample.0.weight"], stride=stride)
            x = norm(x, f"{name}.downsample.1")
        return (x + y).relu()

    size = x.shape[2:]
    x = norm(F.conv2d(x, state["backbone.conv1.weight"], stride=2, padding=3), "backbone.bn1")
    x = x.relu()
    kernel = torch.full((x.shape[1], 1, 3, 3), 1 / 9)
    x = F.conv2d(x, kernel, stride=2, padding=1, groups=x.shape[1])
    steps = {
        1: [(1, 1)] * 3,
        2: [(2, 1)] + [(1, 1)] * 3,
        3: [(1, 1)] + [(1, 2)] * 5,
        4: [(1, 2)] + [(1, 4)] * 2,
    }
    for layer, blocks in steps.items():
        for index, (stride, dilation) in enumerate(blocks):
            x = block(x, f"backbone.layer{layer}.{index}", stride, dilation)
    x = norm(F.conv2d(x, state["classifier.0.weight"], padding=1), "classifier.1").relu()
    x = F.conv2d(x, state["classifier.4.weight"], state["classifier.4.bias"])
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


def test_names_and_shapes_are_those_of_torchvision():
    found = {k: tuple(v.shape) for k, v in FCNResNet50(3, 21).state_dict().items()}
    assert found == torchvision_shapes(3, 21)


@pytest.mark.parametrize("size", [(32, 32), (65, 50), (7, 9)])
def test_forward_agrees_with_a_forward_by_hand(size):
    network = shaken(FCNResNet50(2, 3, width=4))
    x = picture(2, 2, *size)
    with torch.no_grad():
        found = network(x)
        torch.testing.assert_close(found, forward_by_hand(network.state_dict(), x))
    assert found.shape == (2, 3, *size)


def test_every_parameter_has_a_gradient():
    network = FCNResNet50(1, 2, width=2)
    network(picture(2, 1, 40, 33)).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad.isfinite().all()
        assert parameter.grad.abs().max() > 0, name


def test_dropout_acts_in_training_only():
    network, x = FCNResNet50(1, 2, width=4, dropout=0.5), picture(2, 1, 32, 32)
    with torch.no_grad(), torch.random.fork_rng():
        network.train()
        assert not torch.equal(network(x), network(x))
        network.eval()
        assert torch.equal(network(x), network(x))


def test_initial_values_repeat_and_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    networks = [FCNResNet50(1, 2, width=8, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(before, torch.get_rng_state())
    one, same, other = (network.backbone.layer3[2].conv2.weight for network in networks)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.std().item() == pytest.approx((2 / (9 * 32)) ** 0.5, rel=0.03)
    assert networks[0].classifier[4].bias.abs().max() == 0
    with torch.no_grad():
        logits = networks[0].eval()(picture(1, 1, 64, 64))
    assert 0.1 < logits.std() < 20


def test_is_traced_pruned_and_compacted():
    network = shaken(FCNResNet50(1, 3, width=2))
    x = picture(1, 1, 35, 40)
    graph = trace(network, x)
    total = sum(
        m.in_channels * m.out_channels for m in network.modules() if isinstance(m, nn.Conv2d)
    )
    assert graph.num_filters == total  # the last layer's too
    assert graph.report.frozen == ()
    apply_masks(network, select(network, x, keep=0.1))
    clean(network, x)
    assert summary(network, x).filters.after == pytest.approx(0.1 * total, rel=0.1)
    small = compact(network, x)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in network.parameters())
    with torch.no_grad():
        torch.testing.assert_close(small(x), network(x), rtol=1e-4, atol=1e-5)


def test_weights_of_torchvision_are_taken_without_the_auxiliary_classifier():
    source, network = shaken(FCNResNet50(3, 4, width=2)), FCNResNet50(3, 4, width=2).eval()
    state = source.state_dict()
    network.load_torchvision(state | {"aux_classifier.4.bias": torch.zeros(4)})
    x = picture(1, 3, 32, 32)
    assert torch.equal(network(x), source(x))


def test_another_number_of_classes_keeps_its_own_last_layer():
    source, network = shaken(FCNResNet50(3, 21, width=2)), FCNResNet50(3, 4, width=2)
    own = network.classifier[4].weight.clone()
    with pytest.raises(CheckpointError, match=r"classifier.4.bias is \(21,\), not \(4,\)"):
        network.load_torchvision(source.state_dict())
    network.load_torchvision(source.state_dict(), skip=("aux_classifier", "classifier.4"))
    assert torch.equal(network.classifier[4].weight, own)
    assert torch.equal(network.classifier[0].weight, source.classifier[0].weight)


def test_other_state_dicts_are_refused_and_nothing_is_taken():
    network = FCNResNet50(3, 2, width=2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = shaken(FCNResNet50(3, 2, width=2)).state_dict()
    missing = {name: value for name, value in state.items() if name != "backbone.bn1.bias"}
    for wrong, words in (
        (missing, "backbone.bn1.bias is missing"),
        (state | {"fc.weight": torch.zeros(3)}, "fc.weight is not in the network"),
        ({}, "and 323 more"),
    ):
        with pytest.raises(CheckpointError, match=words):
            network.load_torchvision(wrong)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"in_channels": 0}, "in_channels=0"),
        ({"width": 0}, "width=0"),
        ({"dropout": 1.0}, "dropout=1.0"),
    ],
)
def test_wrong_settings_are_named(settings, words):
    with pytest.raises(ConfigError, match=words):
        FCNResNet50(**{"in_channels": 1, "out_channels": 2, **settings})
