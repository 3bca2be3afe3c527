"""What a run leaves behind and says at the end."""

from lightning_distill.report.folder import ROLES, RunFolder
from lightning_distill.report.latency import median_latency_ms
from lightning_distill.report.table import final_table
from lightning_distill.report.verdict import verdict

__all__ = ["ROLES", "RunFolder", "final_table", "median_latency_ms", "verdict"]
