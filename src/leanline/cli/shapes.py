"""Sizes of pictures as users write them."""

from leanline.errors import ConfigError


def sized(shape: tuple[int, ...], size: str | None) -> tuple[int, ...]:
    """A batch's shape with the height and width that were asked for.

    Args:
        shape: batch, channels, height and width.
        size: "HEIGHTxWIDTH", or one number for both; None leaves them.

    Raises:
        ConfigError: `size` is not of that form.
    """
    if size is None:
        return shape
    parts = size.lower().split("x")
    if len(parts) not in (1, 2) or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ConfigError(f"--size {size}: write HEIGHTxWIDTH, such as 256x256")
    return (*shape[:2], int(parts[0]), int(parts[-1]))
