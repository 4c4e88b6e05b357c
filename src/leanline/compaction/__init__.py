"""Compaction: the plan, the smaller network, its file and its export."""

from leanline.compaction.checkpoint import load, save
from leanline.compaction.compact import compact
from leanline.compaction.onnx import OnnxExport, export_onnx
from leanline.compaction.onnx_file import load_onnx, onnx_session
from leanline.compaction.plan import CompactPlan, plan_compaction

__all__ = [
    "CompactPlan",
    "OnnxExport",
    "compact",
    "export_onnx",
    "load",
    "load_onnx",
    "onnx_session",
    "plan_compaction",
    "save",
]
