"""Run by test_fullgraph.py in a process of its own, where no call is checked: the checkers'
wrappers are nothing that torch.compile can follow."""

import pickle

import torch

from leanline.masks import apply_masks
from leanline.models import MSD, UNet4
from leanline.runtime import compile, trainable

model = MSD(5, 1, 2)
generator = torch.Generator().manual_seed(0)
masks = {
    name: torch.rand(weight.shape[:2], generator=generator) < 0.5
    for name, weight in model.named_parameters()
    if weight.ndim == 4
}
apply_masks(model, masks)
images = torch.randn(2, 1, 16, 18, generator=generator)

fast = compile(model, images, "cpu", 1)
compiled = torch.compile(fast, fullgraph=True, backend="aot_eager")
with torch.no_grad():
    assert torch.equal(compiled(images), fast(images))
    assert torch.equal(compiled(images[:1, :, :9]), fast(images[:1, :, :9]))

shared = trainable(model, images, 1)
assert shared is not model
compiled = torch.compile(shared, fullgraph=True, backend="aot_eager")
compiled(images).square().mean().backward()
found = [p.grad.clone() for p in model.parameters()]
model.zero_grad()
model(images).square().mean().backward()
for have, parameter in zip(found, model.parameters(), strict=True):
    torch.testing.assert_close(have, parameter.grad, rtol=1e-4, atol=1e-6)

# a pickled network is traced again, which the checkers' wrappers do not let pass either
net = UNet4(1, 2, width=2).eval()
fast = compile(net, torch.randn(1, 1, 33, 40, generator=generator), "cpu", 1)
again = pickle.loads(pickle.dumps(fast))
for size in ((33, 40), (32, 35)):
    images = torch.randn(2, 1, *size, generator=generator)
    assert torch.equal(again(images), fast(images))
print("done")
