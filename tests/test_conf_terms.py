"""Every term in ``conf/terms`` fits the networks it is written for as it is typed: the bundled ones, or timm's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.configs import options, planned

VIT = ("student=timm", "student.model_name=vit_tiny_patch16_224", "+student.img_size=8", "+student.patch_size=4")
VIT += ("teacher=timm", "teacher.model.model_name=vit_small_patch16_224", "teacher.model.pretrained=false")
VIT += ("+teacher.model.img_size=8", "+teacher.model.patch_size=4")
NETWORKS = {"minilm": VIT, "tokens": VIT, "vitkd": VIT}


@pytest.mark.parametrize("name", options("terms"))
def test_term__fits_its_networks(name: str, tmp_path: Path) -> None:
    networks = NETWORKS.get(name, ())
    plan = planned(tmp_path, *networks, f"+terms@distiller.terms.{name}={name}", "+trainer.enable_progress_bar=false")
    assert plan.teacher is not None
    distiller = plan.stage.distiller(plan.student(), plan.teacher.model())
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    losses = distiller.compute_losses((images, torch.tensor([0, 1, 2, 3]), torch.arange(4)))
    assert set(losses) == {"student_loss", "distillation_loss", name}
    assert bool(losses[name].isfinite())
    losses[name].backward()
    reached = [p for p in distiller.student.parameters() if p.grad is not None and bool(p.grad.isfinite().all())]
    assert reached, "the student learns nothing from this term"
