"""How hard Dynamic CT is for a threshold: `python tools/dynamic_ct_thresholds.py`.

Prints, for some scans, the best F1 over all thresholds and widths of a Gaussian smoothing.
"""

import numpy as np
from scipy.ndimage import gaussian_filter

from leanline.data import DynamicCT
from leanline.data.dynamic_ct import picture, scene_of

SLICES, FRAME = 6, 3
USUAL, DARK = (3e3, 2e4), (1e3, 1e3)


def best_f1(data: DynamicCT) -> tuple[float, float]:
    """The best F1 of one smoothing and threshold for all slices: inside the vial, and anywhere."""
    made = [picture(data, "val", sequence, FRAME) for sequence in range(SLICES)]
    labels = np.stack([labels for _, labels in made]).astype(bool)
    place = ((np.arange(data.size) + 0.5) / data.size - 0.5) * 512
    x, y = np.meshgrid(place, -place)
    vials = [scene_of(data.seed, 1, sequence).vial for sequence in range(SLICES)]
    inside = np.stack([np.hypot(x - v.centre[0], y - v.centre[1]) < v.inner for v in vials])
    best = [0.0, 0.0]
    for sigma in (0, 0.7, 1, 1.4, 2):
        smooth = np.stack([gaussian_filter(image, sigma) for image, _ in made])
        for level in np.arange(0.1, 0.9, 0.05):
            for which, where in enumerate((inside, True)):
                found = (smooth < level) & where
                score = 2 * (found & labels).sum() / (found.sum() + labels.sum())
                best[which] = max(best[which], float(score))
    return best[0], best[1]


def main() -> None:
    """Prints a table."""
    print(f"{'photons':>14} {'views':>6} {'inside':>7} {'anywhere':>9}")
    for photons, views in ((USUAL, 128), (USUAL, 64), (USUAL, 32), (DARK, 64), (DARK, 32)):
        inside, anywhere = best_f1(DynamicCT(photons=photons, views=views))
        dose = " to ".join(f"{count:g}" for count in dict.fromkeys(photons))
        print(f"{dose:>14} {views:>6} {inside:>7.2f} {anywhere:>9.2f}")


if __name__ == "__main__":
    main()
