"""Table 4.1 of the thesis: parameters and edges of the three networks.

"Edges" are filters h_ij, one for each pair of input and output channel of a convolution; the table
leaves out the unprunable edges (pooling, residual connections), with which FCN-ResNet50 would come
to 1.45e7.
"""

import pytest
import torch

from leanline.models import MSD, FCNResNet50, UNet4
from leanline.pruning import summary


def counts(network):
    """Parameters and prunable filters, to the table's three digits."""
    filters = summary(network.eval(), torch.zeros(1, network.in_channels, 16, 16)).filters
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return f"{parameters:.2e}", f"{filters.before:.2e}"


def test_msd():
    # The final layer is not pruned. 4.57e4 parameters are those of one output channel (45,652);
    # two classes have 101 weights and a bias more.
    assert counts(MSD(100, 1, 1)) == ("4.57e+04", "5.05e+03")
    assert sum(parameter.numel() for parameter in MSD(100, 1, 2).parameters()) == 45_754


@pytest.mark.parametrize("classes", [2, 5, 12])
def test_unet4(classes):
    # The same with and without the final layer, and for any of the thesis's data sets.
    network = UNet4(1, classes)
    assert counts(network) == ("1.48e+07", "1.84e+06")
    network.leanline_ignore = ("final",)
    assert counts(network) == ("1.48e+07", "1.84e+06")


@pytest.mark.parametrize("classes", [2, 5])
def test_fcn_resnet50(classes):
    # The data sets with these classes have one channel. With the three of CamVid and its twelve
    # classes it is 32,952,396 parameters, which round to 3.30e7.
    assert counts(FCNResNet50(1, classes)) == ("3.29e+07", "1.44e+07")
    camvid = FCNResNet50(3, 12)
    assert sum(parameter.numel() for parameter in camvid.parameters()) == 32_952_396


@pytest.mark.parametrize("settings", [{"upsampling": "bilinear"}, {"width": 32}])
def test_no_other_unet4_has_the_counts_of_the_table(settings):
    assert counts(UNet4(1, 2, **settings)) != ("1.48e+07", "1.84e+06")
