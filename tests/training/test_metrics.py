import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from leanline.errors import ConfigError
from leanline.training import metrics


def one_hot_logits(ids, classes):
    return torch.nn.functional.one_hot(ids, classes).movedim(-1, 1).float() * 3


def by_counting(predicted, labels, classes, ignore=None):
    """Accuracy, F1 and mean IoU by explicit loops over the pixels."""
    pairs = [
        (int(p), int(t))
        for p, t in zip(predicted.flatten(), labels.flatten(), strict=True)
        if int(t) != ignore
    ]
    accuracy = sum(p == t for p, t in pairs) / len(pairs)
    f1s, ious = [], []
    for k in range(classes):
        tp = sum(p == k and t == k for p, t in pairs)
        fp = sum(p == k and t != k for p, t in pairs)
        fn = sum(p != k and t == k for p, t in pairs)
        if tp + fp + fn:
            ious.append(tp / (tp + fp + fn))
            if k:
                f1s.append(2 * tp / (2 * tp + fp + fn))
    return accuracy, np.mean(f1s) if f1s else 1.0, np.mean(ious)


@given(classes=st.integers(2, 5), ignored=st.booleans(), seed=st.integers(0, 10**6))
def test_agrees_with_counting(classes, ignored, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (2, 3, 4), generator=generator)
    predicted = torch.randint(0, classes, (2, 3, 4), generator=generator)
    ignore = None
    if ignored:
        ignore = 255
        labels[0, 0, 1:] = 255
    logits = one_hot_logits(predicted, classes)
    want = by_counting(predicted, labels, classes, ignore)
    functions = (metrics.global_accuracy, metrics.f1, metrics.miou)
    for function, value in zip(functions, want, strict=True):
        assert function(logits, labels, ignore) == pytest.approx(value)
        assert function(predicted, labels, ignore) == pytest.approx(value)


def test_binary_f1_is_that_of_class_one():
    labels = torch.tensor([[0, 0, 1, 1, 1]])
    predicted = torch.tensor([[0, 1, 1, 1, 0]])
    assert metrics.f1(predicted, labels) == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))


def test_nothing_to_find_and_nothing_found_is_perfect():
    nothing = torch.zeros(1, 4, dtype=torch.int64)
    assert metrics.f1(one_hot_logits(nothing, 2), nothing) == 1
    assert metrics.f1(one_hot_logits(1 - nothing, 2), nothing) == 0


def test_only_ignored_pixels_give_nan():
    labels = torch.full((1, 4), 255)
    logits = torch.zeros(1, 2, 4)
    for function in (metrics.global_accuracy, metrics.f1, metrics.miou):
        assert math.isnan(function(logits, labels, 255))


def test_a_matrix_over_batches_is_that_of_all_pictures_together():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (6, 8, 8), generator=generator)
    logits = torch.randn(6, 4, 8, 8, generator=generator)
    matrix = metrics.ConfusionMatrix(4)
    for part in (slice(0, 1), slice(1, 4), slice(4, 6)):
        matrix.update(logits[part], labels[part])
    assert matrix.counts.sum() == labels.numel()
    assert matrix.accuracy == metrics.global_accuracy(logits, labels)
    assert matrix.f1 == metrics.f1(logits, labels)
    assert matrix.miou == metrics.miou(logits, labels)


def test_wrong_shapes_and_labels_are_explained():
    matrix = metrics.ConfusionMatrix(3)
    with pytest.raises(ConfigError, match="labels of shape"):
        matrix.update(torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 5, dtype=torch.int64))
    with pytest.raises(ConfigError, match=r"label lies outside 0 to 2.*7"):
        matrix.update(torch.zeros(1, 3, 4, 4), torch.full((1, 4, 4), 7))


def test_psnr_and_ssim_agree_with_scikit_image():
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(3, 2, 24, 20, generator=generator) * 200
    noisy = clean + 10 * torch.randn(clean.shape, generator=generator)
    psnr = [
        peak_signal_noise_ratio(c.numpy(), n.numpy(), data_range=255)
        for c, n in zip(clean, noisy, strict=True)
    ]
    assert metrics.psnr(noisy, clean, 255) == pytest.approx(np.mean(psnr), rel=1e-5)
    ssim = [
        structural_similarity(
            c.double().numpy(),
            n.double().numpy(),
            data_range=255,
            channel_axis=0,
            gaussian_weights=True,
            use_sample_covariance=False,
        )
        for c, n in zip(clean, noisy, strict=True)
    ]
    assert metrics.ssim(noisy, clean, 255) == pytest.approx(np.mean(ssim), rel=1e-9)
    assert metrics.psnr(clean, clean) == math.inf
    assert metrics.ssim(clean, clean, 255) == pytest.approx(1)
