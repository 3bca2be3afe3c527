"""What a run leaves behind and says at the end."""

from lightning_distill.report.folder import ROLES, RunFolder
from lightning_distill.report.latency import measure_latency, median_latency_ms
from lightning_distill.report.table import final_table
from lightning_distill.report.verdict import verdict
from lightning_distill.report.write import write_report

__all__ = ["ROLES", "RunFolder", "final_table", "measure_latency", "median_latency_ms", "verdict", "write_report"]
