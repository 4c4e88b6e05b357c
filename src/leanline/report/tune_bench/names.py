"""Names in figures."""

MOST = 26


def short(name: str) -> str:
    """A name that leaves room for the figure; longer ones are cut."""
    return name if len(name) <= MOST else f"{name[: MOST - 1]}…"
