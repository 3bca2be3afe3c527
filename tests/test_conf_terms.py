"""Every term in ``conf/terms`` fits the bundled networks as it is typed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.configs import options, planned


@pytest.mark.parametrize("name", options("terms"))
def test_term__fits_the_bundled_networks(name: str, tmp_path: Path) -> None:
    plan = planned(tmp_path, f"+terms@distiller.terms.{name}={name}", "+trainer.enable_progress_bar=false")
    assert plan.teacher is not None
    distiller = plan.stage.distiller(plan.student(), plan.teacher.model())
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    losses = distiller.compute_losses((images, torch.tensor([0, 1, 2, 3]), torch.arange(4)))
    assert set(losses) == {"student_loss", "distillation_loss", name}
    assert bool(losses[name].isfinite())
    losses[name].backward()
    reached = [p for p in distiller.student.parameters() if p.grad is not None and bool(p.grad.isfinite().all())]
    assert reached, "the student learns nothing from this term"
