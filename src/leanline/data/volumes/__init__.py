"""Volumes slice by slice: folders of pictures, TIFF stacks, Zarr arrays and HDF5 datasets."""

from leanline.data.volumes.places import (
    Place,
    create_sink,
    exists,
    last_change,
    open_source,
    parse_place,
    place_output,
    read_record,
    several,
)
from leanline.data.volumes.volume import Layout, Sink, Source, Values

__all__ = [
    "Layout",
    "Place",
    "Sink",
    "Source",
    "Values",
    "create_sink",
    "exists",
    "last_change",
    "open_source",
    "parse_place",
    "place_output",
    "read_record",
    "several",
]
