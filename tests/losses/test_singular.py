"""Singular vectors of layers."""

from __future__ import annotations

import pytest
import torch

from lightning_distill.losses import KDSVDLoss, kdsvd_loss
from lightning_distill.losses.singular import RightVectors
from tests.losses.golden import entry_by_id, expected_results, load_arrays
from tests.losses.golden_flow import kdsvd


@pytest.mark.parametrize("batch", ["b1", "b3"])
def test_kdsvd__equals_mdistiller_in_its_precision(batch: str) -> None:
    entry = entry_by_id(f"kdsvd/mdistiller_pyr_sameW_{batch}")
    ours = kdsvd(entry, load_arrays(), torch.float64)
    for name, expected in expected_results(entry, load_arrays()).items():
        assert (ours[name] - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("shape", [(2, 5, 3), (2, 3, 5), (1, 4, 4)])
def test_right_vectors__gradient(shape: tuple[int, ...]) -> None:
    """Of the two first vectors, turned to one side; also of wide matrices, whose null space turns too."""
    matrices = torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    first = RightVectors.apply(matrices)[0].detach()[..., :2]

    def turned(values: torch.Tensor) -> torch.Tensor:
        vectors = RightVectors.apply(values)[0][..., :2]
        return vectors * (vectors.detach() * first).sum(dim=1, keepdim=True).sign()

    assert torch.autograd.gradcheck(turned, (matrices,))


def test_right_vectors__equal_singular_values_have_no_gradient() -> None:
    matrices = torch.eye(3, dtype=torch.float64).unsqueeze(0).requires_grad_()
    RightVectors.apply(matrices)[0][..., 0].sum().backward()
    assert matrices.grad is not None
    assert matrices.grad.abs().max() == 0


def test_kdsvd__one_layer_says_so() -> None:
    with pytest.raises(ValueError, match="at least 2 layers, but got 1"):
        kdsvd_loss([torch.zeros(1, 2, 2, 2)], [torch.zeros(1, 2, 2, 2)])


def test_kdsvd__other_width_names_both_shapes() -> None:
    student, teacher = [torch.zeros(1, 2, 2, 3)] * 2, [torch.zeros(1, 2, 2, 2)] * 2
    KDSVDLoss()(student, teacher)
    with pytest.raises(ValueError, match=r"same B and W, but got \[1, 2, 2, 3\] and \[1, 2, 2, 2\]"):
        KDSVDLoss(variant="rows")(student, teacher)
