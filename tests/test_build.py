"""Configs become objects, or a message that names the key and the way out."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from hydra.errors import HydraException
from omegaconf import OmegaConf
from pytorch_lightning.callbacks import EarlyStopping

from lightning_distill.build import build
from lightning_distill.config_keys import TO_TYPE, arguments, check_keys, known_keys, locate, nearest_key
from lightning_distill.distillers import DeiTDistiller
from lightning_distill.explain import explain
from lightning_distill.pipeline.preflight import preflight
from tests.configs import CONF, composed, options, planned

FORCED = {
    "+alhpa=1": ("`alhpa`", "`alpha`"),
    "+distiller.alfa=1": ("`distiller.alfa`", "`distiller.alpha`"),
    "+distiller.distillation_loss.temprature=2": (
        "`distiller.distillation_loss.temprature`",
        "`distiller.distillation_loss.temperature`",
    ),
    "+student.widht=4": ("`student.widht`", "`student.width`"),
    "+trainer.max_epoch=4": ("`trainer.max_epoch`", "`trainer.max_epochs`"),
    "+teacher.cache_dirr=4": ("`teacher.cache_dirr`", "`teacher.cache_dir`"),
    "+teacher.train.distiller.optimizer.lrr=4": (
        "`teacher.train.distiller.optimizer.lrr`",
        "`teacher.train.distiller.optimizer.lr`",
    ),
    "+teacher.train.trainer.max_epoch=4": (
        "`teacher.train.trainer.max_epoch`",
        "`teacher.train.trainer.max_epochs`",
    ),
    "+callbacks.progress_bar.leav=true": ("`callbacks.progress_bar.leav`", "`callbacks.progress_bar.leave`"),
    "+data.train_sample=50": ("`data.train_sample`", "`data.train_samples`"),
    "+optimiser.lr=1": ("`optimiser`", "`optimizer`"),
}
TYPED = {
    "alpa=1": "Unknown config key `alpa`. Did you mean `alpha`?",
    "distiller.alfa=1": "Unknown config key `distiller.alfa`. Did you mean `distiller.alpha`?",
    "trainer.max_epoch=4": "Unknown config key `trainer.max_epoch`. Did you mean `trainer.max_epochs`?",
    "los=dkd": "Unknown config key `los`. Did you mean `loss`?",
    "trainer.precision=bf16-mixed": (
        "The config key `trainer.precision` exists but is not set so far. Put a plus before it to set it: "
        "+trainer.precision=bf16-mixed"
    ),
    "terms=hint": TO_TYPE["terms"],
    "teacher/cache=dense": TO_TYPE["teacher/cache"],
    "teacher.cache.view=clean": TO_TYPE["teacher.cache"],
}
UNFIT = {
    "alpha=1.5": "Expected `alpha` to be in [0, 1], but got 1.5.",
    "temperature=0": "Could not build `distiller.distillation_loss`: Expected `temperature` to be above 0, but got 0.",
    "teacher.model.num_classes=11": "the same number of classes, but got 11 and 10",
    "data.batch_size=0": "Expected `batch_size` to be a whole number of at least 1, but got 0.",
    # Found by drawn arguments (tests/faults/test_overrides.py).
    "checkpoints=3": "Expected `checkpoints` to hold keys of its own, `checkpoints.<key>=...`, but got 3.",
    "teacher.train=1": "Expected `teacher.train` to hold keys of its own",
    "+data.num_classes=3": "Could not build `data`",
    "teacher.model.num_classes=-1": "Could not build `teacher.model`: one of its values does not fit (RuntimeError",
    "+distiller.no_decay=[1]": "Could not build `distiller`: one of its values does not fit (TypeError",
    "optimizer.lr=-1": "Could not build the optimizer or the scheduler of the student: Invalid learning rate: -1",
    "trainer.accelerator=abacus": "Could not build `trainer`: You selected an invalid accelerator name",
    "teacher.checkpoint=nowhere.pt": "Expected a checkpoint at nowhere.pt, but there is no such file.",
    "ckpt_path=nowhere.ckpt": "Expected a checkpoint at nowhere.ckpt, but there is no such file.",
    "+terms=hint": "+terms@distiller.terms.at=at adds conf/terms/at.yaml",
    "+callbacks.mine.x=1": "Expected `callbacks.mine` to have a `_target_`",
    "+callbacks.mine=true": "Expected `callbacks.mine` to have a `_target_`, but got True. Set it to null",
    "+trainer.callbacks=[]": "Expected no `trainer.callbacks`: this argument is passed by the run itself.",
    "student._target_=lightning_distill.models.SmalConvNet": "Did you mean `SmallConvNet`?",
    "student._target_=timmm.create_model": "Expected `student._target_` to name something to import",
    "student._target_=torch.optim.Adam": "Could not build `student` (torch.optim.Adam)",
    "student=timm student.model_name=resnet81": "network of timm, but got 'resnet81'. Near it: ",
    "student=timm +student.wdth=2": "resnet18 to take wdth=2, num_classes=10, but it raised: ",
    "teacher=timm": "`num_classes` to be 1000, the classes of the pretrained weights of resnet50, but got 10",
    "teacher.run=nowhere": "Expected `teacher.run` to name the folder of a run whose student is trained",
    "teacher.run_role=studnt teacher.run=nowhere": "Did you mean 'student'?",
    "teacher.run=nowhere teacher.checkpoint=nowhere.pt": "`teacher.run` or `teacher.checkpoint`, but got both",
    "data.seed=???": "Expected `data.seed` to be set, but it has no value: data.seed=...",
}


@pytest.mark.parametrize(("override", "said"), FORCED.items(), ids=list(FORCED))
def test_unknown_key__names_the_nearest(override: str, said: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Unknown config key") as raised:
        planned(tmp_path, override)
    assert str(raised.value) == f"Unknown config key {said[0]}. Did you mean {said[1]}?"


@pytest.mark.parametrize(("override", "said"), TYPED.items(), ids=list(TYPED))
def test_explain__key(override: str, said: str) -> None:
    with pytest.raises(HydraException) as raised:
        composed(override)
    assert explain(raised.value, [override], CONF) == said


def test_explain__option() -> None:
    with pytest.raises(HydraException) as raised:
        composed("student=small_conf_net")
    assert explain(raised.value, [], CONF) == (
        f"Expected `student` to be one of {', '.join(options('student'))}, but got 'small_conf_net'. "
        "Did you mean student=small_conv_net?"
    )


def test_explain__beside_something_that_cannot_be_imported() -> None:
    typed = ["teacher_cache={_target_:torch.nm.Linear}", "data.sampler=-1"]
    with pytest.raises(HydraException) as raised:
        composed(*typed)
    assert "Expected `teacher_cache._target_` to name something to import" in explain(raised.value, typed, CONF)


def test_explain__grammar() -> None:
    with pytest.raises(HydraException) as raised:
        composed("alpha")
    assert "missing EQUAL" in explain(raised.value, ["alpha"], CONF)


@pytest.mark.parametrize(("override", "said"), UNFIT.items(), ids=list(UNFIT))
def test_bad_input__is_told_before_training(override: str, said: str, tmp_path: Path) -> None:
    quiet = ("trainer=cpu", "callbacks.progress_bar=null", "teacher_cache=null")
    with pytest.raises((ValueError, FileNotFoundError)) as raised:
        preflight(planned(tmp_path, *quiet, *override.split()))
    assert said in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_bad_input__deit_student_with_one_output(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Expected `student` to give two outputs.*`lightning_distill\.models"):
        preflight(planned(tmp_path, "distiller=deit", "student=small_conv_net", "teacher_cache=null"))


def test_bad_input__network_that_rejects_the_data(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Expected the student to accept the data's `example_input`"):
        preflight(planned(tmp_path, "student=mlp", "student.in_features=65", "teacher_cache=null"))


def test_missing__is_filled_from_the_data(tmp_path: Path) -> None:
    plan = planned(tmp_path, "student=mlp", "student.hidden=4")
    config = OmegaConf.create(plan.config)
    assert config.student.in_features == 64
    assert config.teacher.model.num_classes == 10
    assert plan.student()(torch.zeros(3, 1, 8, 8)).shape == (3, 10)


def test_entry__null_is_off_and_others_build(tmp_path: Path) -> None:
    plan = planned(tmp_path, "callbacks=early_stopping", "callbacks.progress_bar=null", "trainer=cpu")
    callbacks = plan.stage.trainer("student", []).callbacks  # type: ignore[attr-defined]
    assert [c.patience for c in callbacks if isinstance(c, EarlyStopping)] == [20]
    off = planned(tmp_path, "callbacks=early_stopping", "callbacks.early_stopping=null", "trainer=cpu")
    assert not any(isinstance(c, EarlyStopping) for c in off.stage.trainer("student", []).callbacks)  # type: ignore[attr-defined]


def test_entry__of_another_kind_is_an_error(tmp_path: Path) -> None:
    plan = planned(tmp_path, "+callbacks.mine._target_=torch.nn.Identity", "trainer=cpu")
    with pytest.raises(TypeError, match=r"Expected `callbacks\.mine` to build a Callback, but got a Identity"):
        plan.stage.trainer("student", [])


def test_teacher__does_not_get_the_students_callbacks(tmp_path: Path) -> None:
    plan = planned(tmp_path, "callbacks=early_stopping", "trainer=cpu")
    assert plan.teacher is not None
    names = {type(c).__name__ for c in plan.teacher.stage.trainer("teacher", []).callbacks}  # type: ignore[attr-defined]
    assert "StageProgress" in names
    assert "EarlyStopping" not in names


def test_teacher__has_its_own_seed_data_and_budget(tmp_path: Path) -> None:
    plan = planned(tmp_path, "seed=5", "teacher.seed=7", "trainer=cpu")
    assert plan.teacher is not None
    data = plan.teacher.stage.data
    assert (plan.stage.seed, plan.teacher.stage.seed) == (5, 7)
    assert len(data.train_dataset) == 1347  # type: ignore[attr-defined]
    assert data.seed == 7  # type: ignore[attr-defined]
    assert plan.teacher.stage.trainer("teacher", []).max_epochs == 30


def test_recipe__changes_with_what_makes_the_teacher(tmp_path: Path) -> None:
    def recipe(*overrides: str) -> object:
        plan = planned(tmp_path, *overrides)
        assert plan.teacher is not None
        return plan.teacher.recipe

    same = ("seed=3", "alpha=0.7", "student=mlp", "trainer.max_epochs=7", "data.train_samples=50", "callbacks=ema")
    other = (
        "teacher.seed=1",
        "teacher.model.width=8",
        "+trainer.precision=64-true",
        "data.batch_size=10",
        "data.split_seed=1",
        "teacher.train.trainer.max_epochs=7",
        "teacher.train.distiller.optimizer.lr=1",
    )
    assert all(recipe(override) == recipe() for override in same)
    assert all(recipe(override) != recipe() for override in other)


def test_deit__gets_type_and_temperature(tmp_path: Path) -> None:
    plan = planned(tmp_path, "distiller=deit", "temperature=2", "distiller.distillation_type=hard")
    distiller = plan.stage.distiller(plan.student(), None)
    assert isinstance(distiller, DeiTDistiller)
    assert distiller.distillation_type == "hard"


def test_resume__refuses_other_settings(tmp_path: Path) -> None:
    first = planned(tmp_path, "alpha=0.3")
    (tmp_path / "config.yaml").write_text(first.config)
    again = build(composed(f"resume={tmp_path}"), [f"resume={tmp_path}"])
    assert again.resumes
    assert again.facts["alpha"] == 0.3
    with pytest.raises(ValueError, match=r"Expected nothing beside `resume`.*but got alpha=0\.5"):
        build(composed(f"resume={tmp_path}", "alpha=0.5"), [f"resume={tmp_path}", "alpha=0.5"])


def test_resume__folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"Expected `resume` to name the folder of a run.*no config\.yaml"):
        build(composed(f"resume={tmp_path}"), [])


def test_arguments__follow_kwargs_to_the_base_class() -> None:
    names = arguments(DeiTDistiller)
    assert names is not None
    assert {"distillation_type", "alpha", "terms"} <= names
    assert "self" not in names
    assert arguments(dict) is None  # takes any


def test_keys__of_a_function_with_any_are_not_judged() -> None:
    config = {"student": {"_target_": "timm.create_model", "model_name": "x", "whatever": 1}}
    check_keys(config)
    assert "student.whatever" in known_keys(config)


def test_nearest__prefers_a_sibling() -> None:
    config = {"optimizer": {"_target_": "torch.optim.SGD", "lr": 1}, "temperature": 1}
    assert nearest_key("optimizer.momentm", config) == "optimizer.momentum"
    assert nearest_key("optimizer.temperatur", config) == "temperature"
    assert nearest_key("xyzzy", config) is None


def test_locate__names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(ValueError, match=r"pip install 'lightning-distill\[vision\]'"):
        locate("timm.create_model", "student")


@pytest.mark.skipif(find_spec("wandb") is not None, reason="needs an environment without wandb")
def test_logger__that_is_not_installed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Could not build `logger\.wandb`: Requirement 'wandb"):
        planned(tmp_path, "logger=wandb", "trainer=cpu").stage.trainer("student", [])


@pytest.mark.parametrize("overrides", [(), ("callbacks.progress_bar=null",)], ids=["default", "null"])
def test_progress_bar__null_is_off(overrides: tuple[str, ...], tmp_path: Path) -> None:
    trainer = planned(tmp_path, "trainer=cpu", *overrides).stage.trainer("student", [])
    assert (trainer.progress_bar_callback is None) == bool(overrides)
