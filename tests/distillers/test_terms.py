from __future__ import annotations

import copy
import pickle
from functools import partial
from typing import Any

import pytest
import pytorch_lightning as pl
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_distill.distillers import Distiller
from lightning_distill.distillers.terms import Term, TermSet
from lightning_distill.losses import KLDistillationLoss
from lightning_distill.schedules import LinearWarmup
from lightning_distill.teachers import FrozenTeacher
from lightning_distill.types import Batch


class Net(nn.Module):
    """Convolution, in-place activation, pooled embedding, classifier."""

    def __init__(self, channels: int, classes: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.relu(self.norm(self.conv(x)))
        return self.fc(self.drop(maps.mean(dim=(2, 3))))


class Sized(nn.Module):
    """Remembers what it was built with; its value is the mean square difference."""

    def __init__(
        self,
        student_channels: Any,
        teacher_channels: Any,
        student_sizes: Any = None,
        dataset_size: int | None = None,
        factor: float = 1.0,
    ) -> None:
        super().__init__()
        self.built = (student_channels, teacher_channels, student_sizes, dataset_size, factor)

    def forward(self, student: Any, teacher: Any) -> Tensor:
        students, teachers = (pair if isinstance(pair, tuple) else (pair,) for pair in (student, teacher))
        return torch.stack([s.mean() - t.mean() for s, t in zip(students, teachers, strict=True)]).sum()


class Headed(nn.Module):
    def __init__(self, student_channels: int, teacher_channels: int, teacher_head: nn.Module) -> None:
        super().__init__()
        self.project = nn.Linear(student_channels, teacher_channels)
        self.head = teacher_head

    def forward(self, student: Tensor, teacher: Tensor, *, teacher_logits: Tensor) -> Tensor:
        return F.mse_loss(self.head(self.project(student)), teacher_logits)


class Needy(nn.Module):
    """Keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: dict[str, Any] = {}

    def forward(self, student, teacher, *, target, sample_ids, progress, mask=None, student_logits=None) -> Tensor:
        self.given = {"target": target, "sample_ids": sample_ids, "progress": progress, "mask": mask}
        return student.mean() + student_logits.mean() * 0


@pytest.fixture
def pair() -> tuple[Net, FrozenTeacher]:
    torch.manual_seed(0)
    return Net(4), FrozenTeacher(Net(6))


IMAGES = torch.randn(2, 3, 8, 6, generator=torch.Generator().manual_seed(3))


def run(
    terms: TermSet, student: nn.Module, teacher: nn.Module, batch: Batch, progress: float = 0.0
) -> dict[str, Tensor]:
    with terms.capture(student, teacher):
        logits = student(batch.inputs), teacher(batch.inputs)
    return terms.compute(batch, *logits, progress=progress)


def test_build__leaves_no_trace(pair) -> None:
    student, teacher = pair
    student.train()
    student.drop.eval()
    before, flags = copy.deepcopy(student.state_dict()), [m.training for m in student.modules()]
    rng = torch.get_rng_state()
    TermSet.build({"hint": Term(nn.MSELoss(), student="fc", teacher="fc")}, student, teacher, IMAGES)
    assert torch.equal(torch.get_rng_state(), rng)
    assert [m.training for m in student.modules()] == flags
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


def test_compute__equals_the_loss_by_hand(pair) -> None:
    student, teacher = pair
    student.eval()
    terms = TermSet.build(
        {"hint": Term(nn.MSELoss(), 2.0, "conv", "conv", adapter="auto"), "logits": Term(F.l1_loss)},
        student,
        teacher,
        IMAGES,
    )
    losses = run(terms, student, teacher, Batch(IMAGES))
    adapter = terms.adapters["hint"][0]
    expected = F.mse_loss(adapter(student.conv(IMAGES)), teacher.model.conv(IMAGES))
    assert losses["hint"].item() == pytest.approx(expected.item())
    assert losses["logits"].item() == pytest.approx((F.l1_loss(student(IMAGES), teacher(IMAGES))).item())
    assert terms.weights(0.3) == {"hint": 2.0, "logits": 1.0}


def test_compute__the_feature_ahead_of_an_in_place_activation(pair) -> None:
    student, teacher = pair
    student.eval()
    terms = TermSet.build({"ab": Term(lambda s, t: s.mean() - t.mean(), student="norm", teacher="norm")}, *pair, IMAGES)
    losses = run(terms, student, teacher, Batch(IMAGES))
    pre = [net.norm(net.conv(IMAGES)) for net in (student, teacher.model)]
    assert (pre[0] < 0).any()
    assert losses["ab"].item() == pytest.approx((pre[0].mean() - pre[1].mean()).item())


def test_compute__gradients_reach_student_adapter_and_loss_alone(pair) -> None:
    student, teacher = pair
    terms = TermSet.build(
        {
            "hint": Term(nn.MSELoss, 1.0, "conv", "conv", adapter="conv_bn"),
            "srrl": Term(Headed, 1.0, "fc:input", "fc:input", teacher_head="fc"),
        },
        student,
        teacher,
        IMAGES,
    )
    sum(run(terms, student, teacher, Batch(IMAGES)).values()).backward()
    assert student.conv.weight.grad is not None
    assert all(p.grad is not None for p in terms.parameters() if p.requires_grad)
    assert {name for name, p in terms.named_parameters() if not p.requires_grad} == {
        "losses.srrl.head.weight",
        "losses.srrl.head.bias",
    }
    assert terms.losses["srrl"].head is not teacher.model.fc
    assert all(p.grad is None for p in teacher.parameters())


def test_build__fills_what_a_factory_lacks(pair) -> None:
    two = ["conv", "fc:input"]
    terms = TermSet.build(
        {
            "one": Term(Sized, student="conv", teacher="conv", dataset_size=7),
            "two": Term(partial(Sized, factor=2.0), student=two, teacher=two, adapter=["conv", "linear"]),
            "bound": Term(partial(Sized, student_channels=1, teacher_channels=2, student_sizes=None)),
        },
        *pair,
        IMAGES,
        dataset_size=50,
    )
    assert terms.losses["one"].built == (4, 6, (4, 3), 7, 1.0)
    assert terms.losses["two"].built == ([6, 6], [6, 6], [(4, 3), ()], 50, 2.0)
    assert terms.losses["bound"].built == (1, 2, None, 50, 1.0)


def test_compute__passes_needs_and_a_list_as_a_tuple(pair) -> None:
    student, teacher = pair
    loss = Needy()
    terms = TermSet.build({"needy": Term(loss)}, student, teacher, IMAGES)
    batch = Batch(IMAGES, torch.tensor([0, 1]), torch.tensor([5, 6]))
    run(terms, student, teacher, batch, progress=0.25)
    assert loss.given["target"] is batch.target
    assert loss.given["sample_ids"] is batch.sample_ids
    assert loss.given["progress"] == 0.25
    assert loss.given["mask"] is None
    with pytest.raises(ValueError, match=r"term 'needy': Expected the batch to hold `sample_ids`"):
        run(terms, student, teacher, Batch(IMAGES, batch.target))


def test_compute__mask_of_mapping_inputs() -> None:
    class Tokens(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.embed = nn.Embedding(9, width)
            self.head = nn.Linear(width, 2)

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
            return {"logits": self.head(self.embed(input_ids)).mean(dim=1)}

    class Masked(nn.Module):
        def forward(self, student: Tensor, teacher: Tensor, *, mask: Tensor) -> Tensor:
            return ((student - teacher).square().mean(dim=-1) * mask).sum() / mask.sum()

    torch.manual_seed(0)
    student, teacher = Tokens(4), FrozenTeacher(Tokens(6))
    inputs = {"input_ids": torch.tensor([[1, 2], [3, 0]]), "attention_mask": torch.tensor([[1, 1], [1, 0]])}
    term = Term(Masked(), student="embed", teacher="embed", adapter="token")
    terms = TermSet.build({"tokens": term}, student, teacher, inputs)
    with terms.capture(student, teacher):
        student(**inputs), teacher(inputs)
    loss = terms.compute(Batch(inputs), torch.zeros(2, 2), torch.zeros(2, 2), progress=0.0)["tokens"]
    difference = terms.adapters["tokens"][0](student.embed(inputs["input_ids"])) - teacher.model.embed(
        inputs["input_ids"]
    )
    assert loss.item() == pytest.approx((difference.square().mean(dim=-1)[[0, 0, 1], [0, 1, 0]].mean()).item())


def test_weights__schedules(pair) -> None:
    terms = TermSet.build(
        {"a": Term(nn.MSELoss(), LinearWarmup(end=8.0, warmup=0.5)), "b": Term(nn.MSELoss(), 3)}, *pair, IMAGES
    )
    assert terms.weights(0.25) == {"a": 4.0, "b": 3}
    assert terms.scheduled() == ["a"]


@pytest.mark.parametrize("name", ["loss", "student_loss", "distillation_loss", "weight", "a.b", "a/b", "", "keys", 3])
def test_build__bad_names(pair, name) -> None:
    with pytest.raises(ValueError, match="Expected the name of a term") as error:
        TermSet.build({name: Term(nn.MSELoss())}, *pair, IMAGES)
    assert repr(name) in str(error.value)


BAD_TERMS = [
    (Term(nn.MSELoss(), student="convv"), "Expected a module path of Net, but got 'convv'. The nearest are 'conv'"),
    (Term(nn.MSELoss(), teacher="norn"), "but got 'norn'. The nearest are 'norm'"),
    (Term(nn.MSELoss(), student="conv", teacher="fc", adapter="auto"), "[B, 4, 4, 3] and the teacher's [B, 3]"),
    (Term(nn.MSELoss(), student="conv", teacher="conv"), "must match the size"),
    (Term(nn.MSELoss(), weight=-1.0), "`weight` to be a number of at least 0"),
    (Term(nn.MSELoss(), student=[]), "Expected `student` to be a module path, a list of them or None"),
    (Term(nn.MSELoss(), student=["conv", "fc"], teacher="fc", adapter="auto"), "but got 2 and 1"),
    (Term(nn.MSELoss(), student=["fc"], teacher=["fc"], adapter=["auto", "auto"]), "each of the 1 pairs, but got 2"),
    (Term(nn.MSELoss(reduction="none")), "to return a scalar, but got Tensor[2, 3]"),
    (Term(Headed, student="fc:input", teacher="fc:input"), "lacks `teacher_head`. Name the teacher's classifier"),
    (Term(partial(nn.Linear, 3)), "(Linear) to be complete, but it lacks `out_features`"),
    (Term(lambda s, t, other: s), "requires `other`"),
    (Term("mse"), "to be a module, a loss class or a function, but got str"),
    (Term(LinearWarmup), "to build an nn.Module, but got LinearWarmup"),
    (nn.MSELoss(), "Expected a Term, but got MSELoss"),
]


@pytest.mark.parametrize(("term", "message"), BAD_TERMS, ids=[message[:30] for _, message in BAD_TERMS])
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_build__every_error_names_the_term(pair, term: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError, RuntimeError)) as error:
        TermSet.build({"fine": Term(nn.MSELoss()), "hint": term}, *pair, IMAGES)
    assert str(error.value).startswith("term 'hint': ")
    assert message in str(error.value)


def test_build__needs_an_example(pair) -> None:
    with pytest.raises(ValueError, match="Expected `example_input` for the terms 'hint'"):
        TermSet.build({"hint": Term(nn.MSELoss())}, *pair, None)


def test_build__without_a_teacher_there_is_nothing_to_train(pair) -> None:
    terms = TermSet.build({"hint": Term(nn.MSELoss(), adapter="linear")}, pair[0], None, IMAGES)
    assert not list(terms.parameters())
    assert terms.weights(0.0) == {}
    with pytest.raises(ValueError, match="Expected a teacher when the terms 'hint' were built"):
        terms.compute(Batch(IMAGES), torch.zeros(2, 3), torch.zeros(2, 3), 0.0)


def test_compute__soft_labels_for_a_loss_of_this_package_that_needs_classes(pair) -> None:
    class Labelled(nn.Module):
        def forward(self, student: Tensor, teacher: Tensor, *, target: Tensor) -> Tensor:
            return F.cross_entropy(student, target)

    Labelled.__module__ = "lightning_distill.losses.labelled"
    terms = TermSet.build({"dkd": Term(Labelled())}, *pair, IMAGES)
    run(terms, *pair, Batch(IMAGES, torch.tensor([0, 2])))
    with pytest.raises(ValueError, match=r"term 'dkd': Expected integer labels.*KLDistillationLoss"):
        run(terms, *pair, Batch(IMAGES, torch.full((2, 3), 1 / 3)))
    Labelled.accepts_soft_targets = True
    run(terms, *pair, Batch(IMAGES, torch.full((2, 3), 1 / 3)))


def test_compute__a_feature_that_is_missing_names_its_terms(pair) -> None:
    student, teacher = pair
    terms = TermSet.build({"a": Term(nn.MSELoss(), student="fc", teacher="fc"), "b": Term(nn.MSELoss())}, *pair, IMAGES)
    with terms.capture(student, teacher):
        teacher(IMAGES)
    with pytest.raises(ValueError, match="term 'a': in the student: Expected the module `fc` to run"):
        terms.compute(Batch(IMAGES), torch.zeros(2, 3), torch.zeros(2, 3), 0.0)


def test_compute__a_layer_for_two_terms_is_tapped_once(pair) -> None:
    hint = Term(nn.MSELoss(), student="fc", teacher="fc")
    terms = TermSet.build({"a": hint, "b": hint}, *pair, IMAGES)
    assert len(pair[0].fc._forward_hooks) == 1
    losses = run(terms, *pair, Batch(IMAGES))
    assert torch.equal(losses["a"], losses["b"])


class BothProjected(nn.Module):
    def __init__(self, student_channels: int, teacher_channels: int) -> None:
        super().__init__()
        self.student, self.teacher = nn.Linear(student_channels, 2), nn.Linear(teacher_channels, 2)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return F.mse_loss(self.student(student), self.teacher(teacher))


def test_compute__teacher_in_another_precision(pair) -> None:
    student, teacher = pair[0].double(), pair[1]
    terms = TermSet.build(
        {"crd": Term(BothProjected, student="fc:input", teacher="fc:input")}, student, teacher, IMAGES
    )
    assert terms.losses["crd"].teacher.weight.dtype == torch.float64
    with terms.capture(student, teacher):
        logits = student(IMAGES.double()), teacher(IMAGES)
    assert terms.compute(Batch(IMAGES), *logits, 0.0)["crd"].dtype == torch.float64


def test_build__freezes_the_copy_of_a_head(pair) -> None:
    student, teacher = pair[0], Net(6)
    terms = TermSet.build(
        {"srrl": Term(Headed, 1.0, "fc:input", "fc:input", teacher_head="fc")}, student, teacher, IMAGES
    )
    assert teacher.fc.weight.requires_grad
    assert not terms.losses["srrl"].head.weight.requires_grad


def test_compute__compiled_networks_give_the_same(pair) -> None:
    student, teacher = pair
    student.eval()
    hint = {"ab": Term(lambda s, t: s.mean() - t.mean(), student="norm", teacher="norm")}
    expected = run(TermSet.build(hint, student, teacher, IMAGES), student, teacher, Batch(IMAGES))
    torch._dynamo.reset()
    compiled = torch.compile(student, backend="eager"), FrozenTeacher(torch.compile(teacher.model, backend="eager"))
    terms = TermSet.build(hint, *compiled, IMAGES)
    for _ in range(2):
        assert torch.allclose(run(terms, *compiled, Batch(IMAGES))["ab"], expected["ab"])


def test_capture__follows_a_replaced_teacher(pair) -> None:
    student, teacher = pair
    terms = TermSet.build({"hint": Term(F.mse_loss, student="fc", teacher="fc")}, student, teacher, IMAGES)
    student.eval()
    other = FrozenTeacher(Net(5))
    losses = run(terms, student, other, Batch(IMAGES))
    assert losses["hint"].item() == pytest.approx((F.mse_loss(student(IMAGES), other(IMAGES))).item())
    assert not teacher.model.fc._forward_hooks


def test_copy__shares_the_teacher_and_computes_the_same(pair) -> None:
    student, teacher = pair
    student.eval()
    terms = TermSet.build({"hint": Term(nn.MSELoss(), 1.0, "conv", "conv", adapter="conv")}, student, teacher, IMAGES)
    before = run(terms, student, teacher, Batch(IMAGES))["hint"]
    student_copy, terms_copy = copy.deepcopy((student, terms))
    assert set(terms_copy._taps._taps) == {"student"}
    with torch.no_grad():
        student.conv.weight.zero_()
    after = run(terms_copy, student_copy, teacher, Batch(IMAGES))["hint"]
    assert torch.equal(before, after)
    assert not torch.equal(run(terms, student, teacher, Batch(IMAGES))["hint"], after)


def test_pickle__computes_the_same(pair) -> None:
    student, teacher = pair
    student.eval()
    terms = TermSet.build({"hint": Term(nn.MSELoss(), 1.0, "conv", "conv", adapter="conv")}, student, teacher, IMAGES)
    before = run(terms, student, teacher, Batch(IMAGES))["hint"]
    student_copy, teacher_copy, terms_copy = pickle.loads(pickle.dumps((student, teacher, terms)))
    assert torch.equal(run(terms_copy, student_copy, teacher_copy, Batch(IMAGES))["hint"], before)


class PairsMSE(nn.Module):
    def forward(self, student: tuple[Tensor, ...], teacher: tuple[Tensor, ...]) -> Tensor:
        return torch.stack([F.mse_loss(s, t) for s, t in zip(student, teacher, strict=True)]).mean()


def vit(width: int, size: int) -> nn.Module:
    return timm.create_model(
        "vit_tiny_patch16_224", pretrained=False, img_size=32, patch_size=size, embed_dim=width, depth=2, num_classes=3
    )


CNN_TERMS = {
    "hint": Term(nn.MSELoss(), LinearWarmup(end=2.0), "layer2", "layer3", adapter="conv_bn"),
    "pre": Term(nn.SmoothL1Loss(), 0.5, "layer1.0.bn2", "layer1.0.bn2"),
    "embedding": Term(Headed, 1.0, "fc:input", "fc:input", teacher_head="fc"),
}
VIT_TERMS = {
    "tokens": Term(PairsMSE(), 1.0, ["blocks.0", "blocks.1"], ["blocks.0", "blocks.1"], adapter="token"),
    "norm": Term(F.mse_loss, 1.0, "norm", "norm", adapter="auto"),
    "logits": Term(KLDistillationLoss(temperature=2.0), 0.5),
}


@pytest.mark.parametrize("family", ["cnn", "vit"])
@pytest.mark.filterwarnings("ignore::lightning_fabric.utilities.warnings.PossibleUserWarning")
def test_fit__three_terms_at_once(family: str, tmp_path) -> None:
    torch.manual_seed(0)
    images, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 0])
    if family == "cnn":
        block = torchvision.models.resnet.BasicBlock
        student = torchvision.models.ResNet(block, [1, 1, 1, 1], num_classes=3)
        teacher, terms = torchvision.models.resnet18(num_classes=3), CNN_TERMS
    else:
        student, teacher, terms = vit(24, 16), vit(48, 8), VIT_TERMS
    distiller = Distiller(
        student,
        teacher,
        terms=copy.deepcopy(terms),
        example_input=images[:2],
        optimizer=partial(torch.optim.SGD, lr=0.01),
    )
    trained = {name: p.detach().clone() for name, p in distiller.terms.named_parameters() if p.requires_grad}
    assert trained
    trainer = pl.Trainer(
        max_steps=2,
        logger=False,
        default_root_dir=tmp_path,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        enable_checkpointing=False,
    )
    trainer.fit(distiller, DataLoader(TensorDataset(images, labels), batch_size=2))
    assert {f"train/{name}" for name in terms} <= set(trainer.callback_metrics)
    assert all(torch.isfinite(trainer.callback_metrics[f"train/{name}"]) for name in terms)
    now = dict(distiller.terms.named_parameters())
    assert all(not torch.equal(value, now[name]) for name, value in trained.items())
    assert {f"terms.{name}" for name in trained} <= set(distiller.state_dict())
