"""Compaction: the plan, the smaller network, and its file; `leanline.compact` is the function."""

from leanline.compaction.checkpoint import load, save
from leanline.compaction.compact import compact
from leanline.compaction.plan import CompactPlan, plan_compaction

__all__ = ["CompactPlan", "compact", "load", "plan_compaction", "save"]
