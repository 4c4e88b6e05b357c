"""Draws the pictures of the page on data sets: `python tools/dataset_pictures.py`.

Only of generated data; the pictures go to docs/images.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from leanline.data import CircleSquare, DynamicCT, ImagingDataset
from leanline.records.atomic import atomic_write

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "images"


def draw(dataset: ImagingDataset, indices: tuple[int, ...], limits: tuple[float, float]) -> None:
    """Draws training pictures above their labels, into the current figure."""
    split = dataset.split("train")
    figure, axes = plt.subplots(
        2, len(indices), figsize=(2.2 * len(indices), 4.4), layout="constrained"
    )
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02)
    for column, index in enumerate(indices):
        image, labels = split[index]
        axes[0, column].imshow(image[0], cmap="gray", vmin=limits[0], vmax=limits[1])
        axes[1, column].imshow(labels, cmap="viridis", vmin=0, vmax=dataset.out_channels - 1)
    for axis in axes.flat:
        axis.axis("off")


def main() -> None:
    """Draws one picture a data set."""
    for name, dataset, indices, limits in (
        ("circle-square", CircleSquare(), (0, 1, 2), (-2.5, 3.0)),
        ("dynamic-ct", DynamicCT(), (0, 10, 21, 31), (-0.3, 3.0)),
    ):
        draw(dataset, indices, limits)
        with atomic_write(FOLDER / f"{name}.jpg") as temporary:
            plt.savefig(temporary, format="jpg", dpi=100, pil_kwargs={"quality": 82})
        plt.close()


if __name__ == "__main__":
    main()
