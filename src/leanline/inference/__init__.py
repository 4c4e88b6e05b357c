"""A network on folders, stacks and volumes: streamed, resumed, cut into tiles where too large."""

from leanline.inference.applied import Applied
from leanline.inference.apply import apply
from leanline.inference.cluster import apply_on_cluster
from leanline.inference.config import ApplyConfig
from leanline.inference.receptive_field import ReceptiveField, receptive_field
from leanline.records.cluster import Cluster

__all__ = [
    "Applied",
    "ApplyConfig",
    "Cluster",
    "ReceptiveField",
    "apply",
    "apply_on_cluster",
    "receptive_field",
]
