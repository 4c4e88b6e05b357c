import copy
import math
from dataclasses import dataclass

import pytest
import safetensors.torch
import torch

from leanline.errors import CheckpointError, ConfigError, ModelError
from leanline.masks import apply_channel_masks, apply_masks, remove_masks
from leanline.models import MSD
from leanline.training import NLL, Retrain, Trainer, TrainingConfig, metrics
from leanline.training.order import batch_indices

from .small_data import Blobs

CONFIG = TrainingConfig(iterations=6, batch_size=4, lr=0.01)


def small_model():
    return MSD(3, 1, 2, seed=1)


def weights(model):
    return [value.clone() for value in model.state_dict().values()]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_steps_are_those_of_a_plain_pytorch_loop():
    data, model = Blobs(), small_model()
    plain = copy.deepcopy(model)
    Trainer(model, data, CONFIG).fit()
    optimizer = torch.optim.Adam(plain.parameters(), lr=0.01, fused=True)
    pictures = data.split("train")
    for step in range(6):
        chosen = [pictures[i] for i in batch_indices(0, step, 4, 6)]
        images = torch.stack([image for image, _ in chosen])
        labels = torch.stack([label for _, label in chosen])
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(plain(images), labels).backward()
        optimizer.step()
    assert same(weights(model), weights(plain))


def test_training_learns_and_evaluation_changes_nothing():
    data, model = Blobs(), small_model()
    trainer = Trainer(model, data, CONFIG)
    before = trainer.evaluate("val")
    trainer.fit(iterations=150)
    state, rng = weights(model), torch.get_rng_state()
    model.train()
    after = trainer.evaluate("val")
    assert model.training
    assert same(state, weights(model)) and torch.equal(rng, torch.get_rng_state())
    assert set(after) == {"loss", "accuracy", "miou", "f1"}
    assert after["loss"] < before["loss"] and after["accuracy"] > 0.8
    # the same by one pass over all pictures
    pairs = data.split("val")
    with torch.no_grad():
        logits = torch.cat([model(image[None]) for image, _ in pairs])
    labels = torch.stack([label for _, label in pairs])
    assert after["accuracy"] == metrics.global_accuracy(logits, labels)
    assert after["loss"] == pytest.approx(NLL()(logits, labels).item(), rel=1e-5)
    assert trainer.evaluate("val", pictures=1) != after


def test_denoising_is_judged_in_the_units_of_the_files():
    data, model = Blobs("denoising"), MSD(3, 1, 1, seed=1)
    trainer = Trainer(model, data, CONFIG)
    trainer.fit(iterations=100)
    result = trainer.evaluate("test")
    assert set(result) == {"loss", "psnr", "ssim"}
    with torch.no_grad():
        pairs = data.split("test")
        outputs = torch.stack([model(image[None])[0] for image, _ in pairs])
    clean = torch.stack([target for _, target in pairs])
    assert result["psnr"] == pytest.approx(metrics.psnr(outputs, clean), rel=1e-5)
    assert result["psnr"] > 10


def test_training_repeats_and_depends_on_the_seed_of_the_order():
    results = []
    for seed in (0, 0, 1):
        model = small_model()
        Trainer(model, Blobs(), TrainingConfig(iterations=3, batch_size=2, seed=seed)).fit()
        results.append(weights(model))
    assert same(results[0], results[1])
    assert not same(results[0], results[2])


def test_the_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    Trainer(small_model(), Blobs(), CONFIG).fit()
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("stop", [0, 1, 4])
def test_resuming_is_exact(stop):
    data = Blobs()
    straight = small_model()
    Trainer(straight, data, CONFIG).fit(iterations=7)
    first = small_model()
    trainer = Trainer(first, data, CONFIG)
    trainer.fit(iterations=stop)
    stored = safetensors.torch.load(safetensors.torch.save(trainer.state_dict()))
    second = small_model()
    second.load_state_dict(first.state_dict())
    resumed = Trainer(second, data, CONFIG)
    resumed.load_state_dict(stored)
    assert resumed.step == stop
    resumed.fit(iterations=7 - stop)
    assert same(weights(straight), weights(second))


def test_epochs_are_passes_over_the_pictures():
    trainer = Trainer(small_model(), Blobs(train=6), CONFIG)
    trainer.fit(epochs=2)
    assert trainer.step == 3
    trainer.fit(epochs=1)
    assert trainer.step == 5
    assert math.isnan(trainer.fit(iterations=0))
    for arguments in ({"epochs": 1, "iterations": 1}, {"iterations": -1}):
        with pytest.raises(ConfigError):
            trainer.fit(**arguments)


def masks_for(model):
    return {
        "convs.1.weight": torch.tensor([[True, False]]),
        "convs.2.weight": torch.tensor([[False, True, True]]),
    }


def test_adam_goes_on_over_a_prune_and_forgets_pruned_filters():
    data, model = Blobs(), small_model()
    trainer = Trainer(model, data, CONFIG)
    trainer.fit(iterations=3)
    before = trainer.state_dict()
    apply_masks(model, masks_for(model))
    apply_channel_masks(model, {"convs.0.bias": torch.tensor([False])})
    trainer.rebind()
    after = trainer.state_dict()
    assert before.keys() == after.keys()
    assert "adam.exp_avg.convs.1.weight" in after
    for name, value in after.items():
        want = before[name].clone()
        if "exp_avg" in name:
            if name.endswith("convs.1.weight"):
                want[:, 1] = 0
            elif name.endswith("convs.2.weight"):
                want[:, 0] = 0
            elif name.endswith("convs.0.bias"):
                want[:] = 0
        assert torch.equal(value, want), name
    stored = model.convs[1].parametrizations.weight.original.detach().clone()
    trainer.fit(iterations=3)
    now = model.convs[1].parametrizations.weight.original.detach()
    assert torch.equal(now[:, 1], stored[:, 1])  # pruned filters stand still
    assert not torch.equal(now[:, 0], stored[:, 0])
    # and once the masks are made permanent, the moments are still there
    state = trainer.state_dict()
    remove_masks(model)
    trainer.rebind()
    assert all(torch.equal(value, state[name]) for name, value in trainer.state_dict().items())
    trainer.fit(iterations=1)


def test_resuming_after_a_prune_is_exact():
    data = Blobs()

    def run(stop):
        model, retrain = small_model(), Retrain(data, CONFIG)
        for stage in range(3):
            if stage == 1:
                apply_masks(model, masks_for(model))
            if stage == stop:
                state, inherited = retrain.state_dict(), model
                model, retrain = small_model(), Retrain(data, CONFIG)
                if stage >= 1:
                    apply_masks(model, masks_for(model))
                model.load_state_dict(inherited.state_dict())
                retrain.load_state_dict(state)
            result = retrain(model)
        return weights(model), result

    straight, result = run(None)
    for stop in range(3):
        resumed, again = run(stop)
        assert same(straight, resumed)
        assert result == again


def test_retrain_reports_and_goes_on():
    retrain = Retrain(Blobs(), CONFIG)
    assert retrain.state_dict() == {}
    model = small_model()
    first = retrain(model)
    assert set(first) == {"train_loss", "loss", "accuracy", "miou", "f1"}
    retrain(model)
    assert int(retrain.state_dict()["step"]) == 12
    assert Retrain(Blobs(), TrainingConfig(iterations=0), evaluate_on=None)(model) == {}


@dataclass(frozen=True)
class Keeping:
    keep: float


@pytest.mark.parametrize(("growth", "steps"), [(0.0, 6), (0.5, 12), (1.0, 24)])
def test_stages_that_keep_less_may_train_longer(growth, steps):
    retrain = Retrain(Blobs(), CONFIG, growth=growth)
    retrain(small_model(), Keeping(0.25))
    assert int(retrain.state_dict()["step"]) == steps


def test_growth_is_checked():
    with pytest.raises(ConfigError, match="between 0 and 1"):
        Retrain(Blobs(), CONFIG, growth=2.0)
    with pytest.raises(ConfigError, match="constant"):
        Retrain(Blobs(), TrainingConfig(lr_schedule="cosine"), growth=0.5)


def test_what_is_run_may_be_something_else_with_the_same_parameters():
    made = []

    def forward(model):
        made.append(len(made))
        convs, final = model.convs, model.final

        def run(x):
            for conv in convs:
                x = torch.cat((x, torch.relu(conv(x))), 1)
            return final(x)

        return run

    model, plain = small_model(), small_model()
    trainer = Trainer(model, Blobs(), CONFIG, forward=forward)
    trainer.fit()
    trainer.rebind()
    assert made == [0, 1]
    Trainer(plain, Blobs(), CONFIG).fit()
    assert same(weights(model), weights(plain))


def test_mixed_precision_trains():
    model = small_model()
    config = TrainingConfig(iterations=3, batch_size=2, precision="bf16-mixed")
    trainer = Trainer(model, Blobs(), config)
    assert math.isfinite(trainer.fit())
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert 0 <= trainer.evaluate()["accuracy"] <= 1


def test_state_of_another_network_is_refused():
    trainer = Trainer(small_model(), Blobs(), CONFIG)
    trainer.fit(iterations=1)
    state = trainer.state_dict()
    for other in (MSD(2, 1, 2), MSD(3, 1, 2, width=2)):
        with pytest.raises(CheckpointError, match="optimiser's state holds"):
            Trainer(other, Blobs(), CONFIG).load_state_dict(state)
    del state["adam.exp_avg_sq.final.bias"]
    with pytest.raises(CheckpointError, match="exp_avg_sq"):
        trainer.load_state_dict(state)
    with pytest.raises(CheckpointError, match="no 'step'"):
        trainer.load_state_dict({})


def test_divergence_and_missing_pictures_are_explained():
    model = small_model()
    with torch.no_grad():
        model.final.bias[0] = math.nan
    with pytest.raises(ModelError, match="diverged"):
        Trainer(model, Blobs(), CONFIG).fit()
    with pytest.raises(ConfigError, match="no training pictures"):
        Trainer(small_model(), Blobs(train=0), CONFIG).fit()
    with pytest.raises(ConfigError, match="no pictures"):
        Trainer(small_model(), Blobs(), CONFIG).evaluate("val", pictures=0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_device_that_is_not_there_is_explained():
    with pytest.raises(ConfigError, match="accelerator='cuda'"):
        Trainer(small_model(), Blobs(), TrainingConfig(accelerator="cuda"))
