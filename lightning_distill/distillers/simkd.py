"""The SimKD distiller: the teacher's classifier is deployed with the student (Chen et al., 2022)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from lightning_distill.distillers.classic import Distiller
from lightning_distill.distillers.term import Term
from lightning_distill.distillers.term_loss import channels_of
from lightning_distill.dry_run import dry_run
from lightning_distill.losses import SimKDProjector, simkd_loss
from lightning_distill.losses.trained import FrozenHead
from lightning_distill.schedules import Schedule
from lightning_distill.taps import FeatureTaps, find_module
from lightning_distill.teachers.frozen import FrozenTeacher
from lightning_distill.types import call_model, describe

TERM = "simkd"


class SimKDDistiller(Distiller):
    """Trains a student's features, through a projector, to be what the teacher's classifier reads.

    The student is copied, its module ``student_features`` is followed by the projector, and its classifier is replaced
    by a frozen copy of the teacher's. This network is ``distiller.student``: it is measured, saved and exported. As
    published the distance of the features, logged as ``train/simkd``, is all that is learned from: ``alpha`` and
    ``distillation_weight`` are 0. With ``teacher=None`` the student is trained on the labels as it is.
    See https://arxiv.org/abs/2203.14001.

    Args:
        student: The network to train, with a projection of its maps ``[B, C, H, W]`` at ``student_features``.
        teacher: The network to learn from.
        student_features: Module path of the student's last maps, before its classifier.
        student_head: Module path of the student's classifier.
        teacher_features: Module path of the teacher's last maps.
        teacher_head: Module path of the teacher's classifier.
        factor: The projector's middle has the teacher's channels divided by this.
        alpha: Weight of the labels' loss, 0 as published.
        distillation_weight: Weight of the loss on the logits, 0 as published.
        terms: Further losses; one named ``simkd`` is there.
        example_input: A small batch of inputs, by which the projector is sized.
        options: The rest of :class:`~lightning_distill.distillers.base.BaseDistiller`'s arguments.

    Raises:
        ValueError: If a path does not exist, the features are no maps, the teacher's classifier does not fit the
            projected features, or there is no ``example_input``.

    Example:
        >>> import torch
        >>> from lightning_distill.models import ConvNet, SmallConvNet
        >>> paths = {"student_features": "pool", "teacher_features": "pool"}
        >>> paths |= {"student_head": "fc", "teacher_head": "fc"}
        >>> images = torch.zeros(2, 1, 8, 8)
        >>> distiller = SimKDDistiller(SmallConvNet(10), ConvNet(10), **paths, example_input=images)
        >>> distiller.student.fc.head, distiller(images).shape
        (Linear(in_features=256, out_features=10, bias=True), torch.Size([2, 10]))
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module | None = None,
        *,
        student_features: str,
        student_head: str,
        teacher_features: str,
        teacher_head: str,
        factor: int = 2,
        alpha: float | Schedule = 0.0,
        distillation_weight: float | Schedule | None = 0.0,
        terms: Mapping[str, Term] | None = None,
        example_input: Any = None,
        **options: Any,
    ) -> None:
        terms = dict(terms or {})
        if teacher is not None:
            if TERM in terms:
                raise ValueError(f"Expected `terms` without {TERM!r}, which is this distiller's own. Rename yours.")
            if example_input is None:
                raise ValueError("Expected `example_input`, by which the projector is sized, but got None. Pass one.")
            channels = _channels(teacher, teacher_features, example_input, "teacher_features")
            student = copy.deepcopy(student)
            given = _channels(student, student_features, example_input, "student_features")
            _append(student, student_features, SimKDProjector(given, channels, factor))
            _replace(student, student_head, FrozenHead(copy.deepcopy(find_module(_plain(teacher), teacher_head))))
            terms[TERM] = Term(simkd_loss, 1.0, student_features, teacher_features)
        super().__init__(
            student,
            teacher,
            alpha=alpha,
            distillation_weight=distillation_weight,
            terms=terms,
            example_input=example_input,
            **options,
        )


def _plain(teacher: nn.Module) -> nn.Module:
    """The network within a :class:`~lightning_distill.teachers.FrozenTeacher`."""
    return teacher.model if isinstance(teacher, FrozenTeacher) else teacher


def _channels(network: nn.Module, path: str, example_input: Any, name: str) -> int:
    """Channels of the maps that the module at ``path`` gives."""
    network = _plain(network)
    with FeatureTaps(network, [path]) as taps:
        dry_run(network, example_input, call_model)
        (feature,) = taps.read()
    if not isinstance(feature, Tensor) or feature.dim() != 4:
        raise ValueError(
            f"Expected `{name}` to be the path of a module that gives maps [B, C, H, W], but {path!r} gives "
            f"{describe(feature)}. Name the last module before the maps are flattened."
        )
    return channels_of(feature.shape)


def _append(network: nn.Module, path: str, module: nn.Module) -> None:
    _replace(network, path, nn.Sequential(find_module(network, path), module))


def _replace(network: nn.Module, path: str, module: nn.Module) -> None:
    find_module(network, path)  # names near matches
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, module)
