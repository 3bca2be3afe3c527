"""What the common suite needs to know about a loss, and the list of all losses.

Each family lists its cases in its own file (``cases_logits.py``, ``cases_features.py``, ``cases_relations.py``) as
``CASES: list[Case]``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

FAMILIES = (
    "logits",
    "maps",
    "heads",
    "attention",
    "channels",
    "regressors",
    "flow",
    "relations",
    "contrastive",
    "transformers",
)

Features = Tensor | tuple[Tensor, ...]


@dataclass(frozen=True)
class Inputs:
    """One call: ``module(student, teacher, **needs)``. Tensors are float64; the suite casts and perturbs them.

    Attributes:
        student: What gets the gradient: a tensor or a tuple of tensors, batch first.
        teacher: Likewise.
        needs: Keyword arguments. Floating tensors among them are cast and perturbed like the student's.
        trained_needs: Names of floating ``needs`` that belong to the student: they get a gradient too.
    """

    student: Features
    teacher: Features
    needs: dict[str, Any] = field(default_factory=dict)
    trained_needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """One configuration of one loss.

    Attributes:
        name: Unique; part of the test's id.
        build: Makes a fresh module. The suite sets the seed before it, and before every call.
        make: ``(generator, batch) -> Inputs`` of ordinary size (about unit variance), float64.
        function: The pure function with the module's arguments bound; ``None`` for a loss that is only a module.
        zero_at_agreement: The loss is 0 where student and teacher are equal (and the needs unchanged).
        additive: The loss of a batch is the mean of its samples' losses.
        wrong_name: Part of the message when the student's dimension 1 is one larger than the teacher's; ``None``
            where such a pair is legal or joined by an adapter.
        scale: Factor for the large-margin inputs.
        gradcheck: ``False`` where the value is not differentiable by finite differences; say why in ``reason``.
        fast_gradcheck: Check random directions only: for inputs of many elements.
        reason: Why a property is switched off.
    """

    name: str
    build: Callable[[], nn.Module]
    make: Callable[[torch.Generator, int], Inputs]
    function: Callable[..., Tensor] | None = None
    zero_at_agreement: bool = False
    additive: bool = False
    wrong_name: str | None = "student_logits"
    scale: float = 1e4
    gradcheck: bool = True
    fast_gradcheck: bool = False
    reason: str = ""


def randn(generator: torch.Generator, *shape: int) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def load_family(kind: str, family: str) -> Any | None:
    """The module ``<kind>_<family>.py`` beside this file, or ``None`` if it is not there."""
    name = f"{kind}_{family}"
    if not (Path(__file__).parent / f"{name}.py").exists():
        return None
    return importlib.import_module(f"tests.losses.{name}")


def all_cases() -> list[Case]:
    """Every family's cases."""
    modules = [load_family("cases", family) for family in FAMILIES]
    return [case for module in modules if module is not None for case in module.CASES]
