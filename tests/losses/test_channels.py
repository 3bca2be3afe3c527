"""NST, CWD, PKD and ICKD: what the common suite does not show."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lightning_distill.losses import cwd_loss, ickd_loss, nst_loss, pkd_loss


def pair(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in range(2))
    return first, second


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (2, 9, 2, 2)], ids=["by channels", "by positions"])
def test_nst__equals_the_sum_over_all_pairs_of_channels(shape: tuple[int, ...]) -> None:
    student, teacher = pair(*shape)
    s, t = F.normalize(student.flatten(2), dim=2), F.normalize(teacher.flatten(2), dim=2)

    def kernel(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.einsum("bcp,bdp->bcd", a, b).square().mean()

    torch.testing.assert_close(nst_loss(student, teacher), kernel(t, t) + kernel(s, s) - 2 * kernel(s, t))


def test_nst__does_not_see_the_order_of_channels() -> None:
    student, _ = pair(2, 5, 3, 3)
    assert abs(float(nst_loss(student, student[:, [4, 2, 0, 1, 3]]))) < 1e-12


def test_cwd__is_the_divergence_over_positions() -> None:
    student, teacher = pair(2, 3, 4, 5)
    p, q = F.log_softmax(student.flatten(2) / 2, dim=2), F.log_softmax(teacher.flatten(2) / 2, dim=2)
    expected = (q.exp() * (q - p)).sum() * 4 / (2 * 3)
    torch.testing.assert_close(cwd_loss(student, teacher, 2.0), expected)
    torch.testing.assert_close(cwd_loss(student.to(memory_format=torch.channels_last), teacher, 2.0), expected)


def test_pkd__is_one_minus_the_correlation_of_the_channels() -> None:
    student, teacher = pair(3, 2, 2, 2)
    values = [maps.transpose(0, 1).flatten(1) for maps in (student, teacher)]
    correlations = [torch.corrcoef(torch.stack([a, b]))[0, 1] for a, b in zip(*values, strict=True)]
    count = values[0].shape[1]  # unbiased deviations: their square is n / (n - 1) of the biased one
    expected = (1 - torch.stack(correlations).mean()) * (count - 1) / count
    torch.testing.assert_close(pkd_loss(student, teacher), expected, rtol=1e-5, atol=0.0)
    assert float(pkd_loss(3 * teacher + 1, teacher)) < 1e-9


def test_ickd__variants_differ_by_a_known_factor() -> None:
    student, teacher = pair(4, 3, 2, 2)
    ratio = ickd_loss(student, teacher) / ickd_loss(student, teacher, "torchdistill")
    torch.testing.assert_close(ratio, torch.tensor(4 / 3, dtype=torch.float64))


def test_ickd__positions_may_differ() -> None:
    student, _ = pair(2, 3, 4, 4)
    twice = torch.cat([student, student], dim=3)  # every position twice: the same relations
    assert float(ickd_loss(student, twice)) < 1e-12


@pytest.mark.parametrize("loss", [nst_loss, ickd_loss, cwd_loss])
def test_no_maps__says_so(loss: object) -> None:
    with pytest.raises(ValueError, match=r"\[B, C, H, W\], but got \[2, 3\]"):
        loss(torch.zeros(2, 3), torch.zeros(2, 3))  # type: ignore[operator]
