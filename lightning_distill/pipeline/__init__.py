"""The stages of a run: teacher, baseline, student, report. Knows Lightning's Trainer, not Hydra."""

from lightning_distill.pipeline.plan import Plan, StagePlan, TeacherPlan
from lightning_distill.pipeline.run import run

__all__ = ["Plan", "StagePlan", "TeacherPlan", "run"]
