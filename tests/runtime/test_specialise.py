"""Networks of free sizes, less what they need not do at one size."""

import torch
from torch import Tensor

from leanline.compaction import compact
from leanline.models import UNet4
from leanline.runtime import compile
from leanline.runtime.specialise import always, specialise
from plane_programs import assert_close


def pictures(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_padding_by_nothing_is_left_out_where_it_is_nothing() -> None:
    images = pictures(1, 1, 32, 32)
    small = compact(UNet4(1, 2, width=4).eval(), images)
    special, fits = specialise(small, (images,))
    names = [node.name for node in small.graph.nodes if "pad" in node.name]
    assert len(names) == 4
    assert not any("pad" in node.name for node in special.graph.nodes)
    with torch.no_grad():
        assert torch.equal(special(images), small(images))
    assert fits((pictures(1, 1, 48, 16),))
    assert fits((pictures(3, 1, 32, 64),))
    assert not fits((pictures(1, 1, 33, 32),))
    assert not fits((pictures(1, 1, 32, 50),))


def test_padding_that_pads_stays() -> None:
    images = pictures(1, 1, 33, 32)
    small = compact(UNet4(1, 2, width=4).eval(), images)
    special, fits = specialise(small, (images,))
    assert any("pad" in node.name for node in special.graph.nodes)
    with torch.no_grad():
        assert torch.equal(special(images), small(images))
    assert fits((pictures(1, 1, 32, 33),))  # where padding stayed, it may be any
    assert not fits((pictures(1, 1, 34, 32),))


def test_a_network_without_choices_fits_everywhere() -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3, padding=1), torch.nn.ReLU())
    images = pictures(1, 1, 8, 8)
    small = compact(model, images)
    assert specialise(small, (images,))[1] is always


def test_a_compiled_unet_is_right_at_sizes_that_pad() -> None:
    model = UNet4(1, 2, width=4).eval()
    fast = compile(model, pictures(1, 1, 32, 32), "cpu", 1)
    for size in ((32, 32), (48, 64), (33, 32), (50, 47), (33, 32)):
        images = pictures(1, 1, *size)
        with torch.no_grad():
            assert_close(fast(images), model(images), f"output at {size}")
