"""Callbacks that every stage of a run gets."""

from lightning_distill.callbacks.atomic_io import AtomicCheckpointIO
from lightning_distill.callbacks.best_and_last import BestAndLast
from lightning_distill.callbacks.csv_logger import ContinuedCSVLogger
from lightning_distill.callbacks.end_test import EndTest
from lightning_distill.callbacks.epoch_csv import EpochCsv
from lightning_distill.callbacks.nonfinite import NonFinite
from lightning_distill.callbacks.preflight import Preflight
from lightning_distill.callbacks.progress import StageProgress
from lightning_distill.callbacks.sample_count import SampleCount
from lightning_distill.callbacks.test_outputs import TestOutputs
from lightning_distill.stop import Stop, StopRequested

__all__ = [
    "AtomicCheckpointIO",
    "BestAndLast",
    "ContinuedCSVLogger",
    "EndTest",
    "EpochCsv",
    "NonFinite",
    "Preflight",
    "SampleCount",
    "StageProgress",
    "Stop",
    "StopRequested",
    "TestOutputs",
]
