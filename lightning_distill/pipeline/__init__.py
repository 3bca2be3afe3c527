"""The stages of a run: teacher, baseline, student, report. Knows Lightning's Trainer, not Hydra."""

from lightning_distill.pipeline.data_facts import data_facts, example_of
from lightning_distill.pipeline.evaluate import evaluate, load_student
from lightning_distill.pipeline.plan import Plan, StagePlan, TeacherPlan
from lightning_distill.pipeline.run import run

__all__ = ["Plan", "StagePlan", "TeacherPlan", "data_facts", "evaluate", "example_of", "load_student", "run"]
