"""Contrastive representation distillation, CRD (Tian et al., 2020, https://arxiv.org/abs/1910.10699)."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lightning_distill.checks import at_least_fp32, check_fraction, check_positive
from lightning_distill.losses.embeddings import lift_features, pool, project, unit_rows
from lightning_distill.losses.gather import gather_rows
from lightning_distill.losses.precision import full_precision
from lightning_distill.losses.step_random import StepRandom

# The authors' constant beside the ratio of negatives to samples.
EPS = 1e-7


def _scores(anchors: Tensor, memory: Tensor, ids: Tensor) -> Tensor:
    """Inner products of ``anchors`` ``[B, D]`` with the rows of ``memory`` ``[N, D]`` at ``ids`` ``[B, K]``."""
    with full_precision(anchors):
        if _by_product(memory, ids):
            return (anchors @ memory.mT).gather(1, ids)
        return (memory[ids] @ anchors.unsqueeze(2)).squeeze(2)


def _by_product(memory: Tensor, ids: Tensor) -> bool:
    """Whether the products with all rows are fewer numbers than a copy of the chosen rows."""
    return memory.shape[0] <= ids.shape[1] * memory.shape[1]


def _weighted_rows(weights: Tensor, memory: Tensor, ids: Tensor) -> Tensor:
    """Sum over the chosen rows of ``weights`` ``[B, K]`` times the row: ``[B, D]``."""
    with full_precision(weights):
        if _by_product(memory, ids):
            # Repeated ids add equal numbers, so the order in which a device adds them does not show.
            spread = weights.new_zeros(weights.shape[0], memory.shape[0]).scatter_add_(1, ids, weights)
            return spread @ memory
        return (weights.unsqueeze(1) @ memory[ids]).squeeze(1)


class Contrast(torch.autograd.Function):
    """One direction of the loss. The gradient is computed with the value: the memory may change before backward."""

    @staticmethod
    def forward(
        ctx: Any, anchors: Tensor, memory: Tensor, ids: Tensor, log_normalizer: Tensor, temperature: float
    ) -> Tensor:
        batch, negatives, size = anchors.shape[0], ids.shape[1] - 1, memory.shape[0]
        log_noise = math.log(negatives / size)
        log_offset = math.log(negatives / size + EPS)
        # Log-odds of "drawn from the memory of the same sample" against noise; the positive's sign is turned.
        odds = _scores(anchors, memory, ids) / temperature - (log_normalizer + log_offset)
        odds[:, 0].neg_()
        slope = odds.sigmoid()
        slope[:, 0].neg_()
        ctx.save_for_backward(_weighted_rows(slope, memory, ids) / (batch * temperature))
        return F.softplus(odds).sum() / batch + negatives * (log_offset - log_noise)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * gradients[0], None, None, None, None


def log_normalizer(anchors: Tensor, memory: Tensor, ids: Tensor, temperature: float) -> Tensor:
    """Logarithm of what makes the scores of a batch a distribution over the ``N`` rows of ``memory``; a scalar.

    Example:
        >>> log_normalizer(torch.zeros(2, 3), torch.ones(5, 3), torch.tensor([[0, 1], [2, 3]]), 0.07).exp()
        tensor(5.)
    """
    scores = gather_rows(_scores(anchors.detach(), memory, ids)) / temperature
    return scores.logsumexp(dim=(0, 1)) - math.log(scores.numel()) + math.log(memory.shape[0])


def crd_loss(
    student_embeddings: Tensor,
    teacher_embeddings: Tensor,
    student_memory: Tensor,
    teacher_memory: Tensor,
    ids: Tensor,
    log_normalizers: Tensor,
    temperature: float = 0.07,
) -> Tensor:
    """Noise-contrastive estimation between the two sides, both ways: summed over candidates, a mean over samples.

    The student's embedding should be told apart, by its inner product with the teacher's remembered embeddings, as
    that of its own sample and not of others; and the teacher's likewise with the student's remembered ones. It is not
    zero where the two agree.

    Args:
        student_embeddings: ``[B, D]``, of norm 1; receives a gradient.
        teacher_embeddings: ``[B, D]``, of norm 1; receives one too, for its trained projection.
        student_memory: ``[N, D]``, one row for each sample of the data set.
        teacher_memory: ``[N, D]``.
        ids: ``[B, 1 + K]``: rows of the memories: the sample's own, and those of ``K`` others.
        log_normalizers: ``[2]``: see :func:`log_normalizer`, for the student's scores and the teacher's.
        temperature: Above 0.

    Returns:
        Scalar, in the embeddings' precision.

    Example:
        >>> eye = torch.eye(2)
        >>> crd_loss(eye, eye, eye, eye, torch.tensor([[0, 1], [1, 0]]), torch.zeros(2), temperature=1.0)
        tensor(2.5349)
    """
    first, second = log_normalizers.unbind()
    by_student: Tensor = Contrast.apply(student_embeddings, teacher_memory, ids, first, temperature)
    by_teacher: Tensor = Contrast.apply(teacher_embeddings, student_memory, ids, second, temperature)
    return by_student + by_teacher


def check_sample_ids(ids: Tensor, dataset_size: int) -> None:
    """Raise unless ``ids`` are rows of a memory of ``dataset_size``; on a device without waiting for it.

    Raises:
        ValueError: If they are not integers, or (on the CPU) not in the range.

    Example:
        >>> check_sample_ids(torch.tensor([3, 9]), 5)
        Traceback (most recent call last):
        ...
        ValueError: Expected `sample_ids` to be from 0 to 4, but got 9. Check `dataset_size`.
    """
    if ids.dim() != 1 or ids.dtype.is_floating_point or ids.dtype == torch.bool:
        raise ValueError(
            f"Expected `sample_ids` to be integers of shape [B], but got {ids.dtype} of {list(ids.shape)}."
        )
    outside = (ids < 0) | (ids >= dataset_size)
    way_out = "Check `dataset_size`."
    if ids.is_cpu:
        if outside.any():
            first = int(ids[outside][0])
            raise ValueError(f"Expected `sample_ids` to be from 0 to {dataset_size - 1}, but got {first}. {way_out}")
    else:
        torch._assert_async(~outside.any(), f"Expected `sample_ids` to be from 0 to {dataset_size - 1}. {way_out}")


def draw_others(sample_ids: Tensor, dataset_size: int, count: int, generator: torch.Generator) -> Tensor:
    """``[B, count]`` ids of other samples, each equally likely, drawn with repetition.

    Example:
        >>> draw_others(torch.tensor([0, 1]), 2, 3, torch.Generator().manual_seed(0))
        tensor([[1, 1, 1],
                [0, 0, 0]])
    """
    shape = (sample_ids.shape[0], count)
    drawn = torch.randint(dataset_size - 1, shape, generator=generator, device=sample_ids.device)
    # One id is left out of the range; those from the sample's own on move up by one.
    return drawn + (drawn >= sample_ids.unsqueeze(1))


class CRDLoss(nn.Module):
    """:func:`crd_loss` on trained projections of both sides, with its memories and its random draws.

    The memories and the normalisers, set by the first training batch, are buffers, and the counter of the draws is in
    the state dict too: a resumed run goes on bit for bit. Under DDP every rank remembers the samples of all ranks;
    ``broadcast_buffers=False`` spares sending the memories in every step. In eval mode nothing is remembered.

    Args:
        student_channels: Width of the student's features: ``[B, D]``, tokens ``[B, N, D]`` or maps ``[B, D, H, W]``,
            which are averaged.
        teacher_channels: Width of the teacher's.
        dataset_size: Number of training samples, at least 2; ``sample_ids`` count from 0.
        dim: Width of the embeddings.
        negatives: Number of other samples that each sample is told apart from.
        temperature: Above 0.
        momentum: Share of the old embedding in a memory's new one, in [0, 1].
        seed: Of the memories' first values and the draws.

    Raises:
        ValueError: If an argument is out of range; in the call, if ``sample_ids`` are not below ``dataset_size``.

    Example:
        >>> loss = CRDLoss(student_channels=3, teacher_channels=5, dataset_size=10, negatives=4)
        >>> loss(torch.zeros(2, 3), torch.zeros(2, 5), sample_ids=torch.tensor([7, 0])).shape
        torch.Size([])
    """

    student_memory: Tensor
    teacher_memory: Tensor
    log_normalizers: Tensor

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        dataset_size: int,
        dim: int = 128,
        negatives: int = 16384,
        temperature: float = 0.07,
        momentum: float = 0.5,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_positive("temperature", temperature)
        check_fraction("momentum", momentum)
        check_positive("negatives", negatives)
        if dataset_size < 2:
            raise ValueError(f"Expected `dataset_size` to be at least 2, but got {dataset_size}.")
        self.dataset_size = dataset_size
        self.negatives = negatives
        self.temperature = temperature
        self.momentum = momentum
        self.student_embedding = nn.Linear(student_channels, dim)
        self.teacher_embedding = nn.Linear(teacher_channels, dim)
        self.random = StepRandom(seed)
        bound = (3 / dim) ** 0.5  # uniform numbers of variance 1 / dim: rows of a norm of about 1
        generator = torch.Generator().manual_seed(seed)
        for name in ("student_memory", "teacher_memory"):
            values = torch.rand(dataset_size, dim, generator=generator)
            self.register_buffer(name, (2 * values - 1) * bound)
        self.register_buffer("log_normalizers", torch.zeros(2))

    def forward(
        self,
        student_features: Tensor,
        teacher_features: Tensor,
        *,
        sample_ids: Tensor,
        negative_ids: Tensor | None = None,
    ) -> Tensor:
        """The loss; in training the memories then take up the batch.

        Args:
            student_features: With the projections all that receives a gradient.
            teacher_features: As many samples.
            sample_ids: ``[B]``: the samples' positions in the data set.
            negative_ids: ``[B, K]``, to choose the others oneself; drawn from all other samples otherwise.
        """
        student, teacher = lift_features(pool(student_features), pool(teacher_features))
        check_sample_ids(sample_ids, self.dataset_size)
        student = unit_rows(project(self.student_embedding, student, "student"))
        teacher = unit_rows(project(self.teacher_embedding, teacher, "teacher"))
        sample_ids = sample_ids.long()
        if negative_ids is None:
            generator = self.random.generator(sample_ids.device)
            negative_ids = draw_others(sample_ids, self.dataset_size, self.negatives, generator)
        ids = torch.cat([sample_ids.unsqueeze(1), negative_ids], dim=1)
        memories = self.student_memory.to(student.dtype), self.teacher_memory.to(student.dtype)
        normalizers = self._normalizers(student, teacher, memories, ids)
        loss = crd_loss(student, teacher, *memories, ids, normalizers, self.temperature)
        if self.training:
            self._remember(student, teacher, sample_ids, normalizers)
        return loss

    def _normalizers(self, student: Tensor, teacher: Tensor, memories: tuple[Tensor, Tensor], ids: Tensor) -> Tensor:
        """Those of the first training batch; this batch's own as long as there was none."""
        if self.random.step:
            return at_least_fp32(self.log_normalizers)
        with torch.no_grad():
            first = log_normalizer(student, memories[1], ids, self.temperature)
            second = log_normalizer(teacher, memories[0], ids, self.temperature)
            return torch.stack([first, second])

    @torch.no_grad()
    def _remember(self, student: Tensor, teacher: Tensor, sample_ids: Tensor, normalizers: Tensor) -> None:
        self.log_normalizers.copy_(normalizers)
        self.random.advance()
        ids = gather_rows(sample_ids)
        # A sample that is there twice, as in a padded last batch, leaves its last embedding on every device.
        same = ids.unsqueeze(0) == ids.unsqueeze(1)
        last = (same * torch.arange(1, ids.shape[0] + 1, device=ids.device)).argmax(dim=1)
        for memory, embeddings in ((self.student_memory, student), (self.teacher_memory, teacher)):
            new = gather_rows(embeddings.detach())[last]
            mixed = memory[ids].to(new.dtype) * self.momentum + new * (1 - self.momentum)
            memory[ids] = unit_rows(mixed).to(memory.dtype)

    def extra_repr(self) -> str:
        return (
            f"dataset_size={self.dataset_size}, negatives={self.negatives}, temperature={self.temperature}, "
            f"momentum={self.momentum}"
        )
