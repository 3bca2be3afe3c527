"""From a config to a plan; beside the script, the only module that knows Hydra."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from torch import nn

from lightning_distill import __version__
from lightning_distill.config_checkpoint import take_last_checkpoint
from lightning_distill.config_keys import arguments, check_keys, locate
from lightning_distill.config_networks import fill_arguments, start_afresh, take_previous_run, weights_of_run
from lightning_distill.config_nodes import build_entries, build_node, unfit
from lightning_distill.config_teacher import cache_plan, frozen_teacher
from lightning_distill.config_values import check_paths, check_values
from lightning_distill.distillers import BaseDistiller, Distiller
from lightning_distill.engine import pl
from lightning_distill.pipeline import Plan, StagePlan, TeacherPlan, data_facts, example_of
from lightning_distill.report import RunFolder
from lightning_distill.saved_config import config_text, saved_config
from lightning_distill.weights import load_weights

# Settings of a Trainer that change what is shown and nothing else: a teacher is the same teacher without them.
DISPLAY = ("enable_progress_bar", "enable_model_summary", "log_every_n_steps", "profiler", "barebones")


def build(config: DictConfig, overrides: Sequence[str] = ()) -> Plan:
    """Everything that a run needs, as a plan.

    Args:
        config: As composed from ``conf/``.
        overrides: What was typed, to refuse changes to a run that is resumed.

    Raises:
        ValueError: If a key is unknown, a value is missing, or something cannot be built.
        FileNotFoundError: If ``resume`` names no run, or ``ckpt_path=last`` finds none.
    """
    check_paths(config)
    resumes = config.get("resume") is not None
    config = saved_config(config, overrides) if resumes else config.copy()
    check_paths(config)
    take_last_checkpoint(config)
    start_afresh(config, overrides)
    take_previous_run(config)
    check_keys(plain_values(config, resolve=False))
    check_values(config)
    data = build_node(config, "data", pl.LightningDataModule)
    facts = data_facts(data)
    fill_missing(config, facts)
    fill_arguments(config, facts)
    folder = RunFolder(Path(config.output_dir))
    return Plan(
        folder=folder,
        stage=_stage(config, data),
        student=_student(config, data),
        teacher=_teacher(config),
        baseline=config.baseline,
        config=config_text(plain_values(config)),
        ckpt_path=as_path(config.ckpt_path),
        resumes=resumes,
        export=config.export,
        report=config.get("report", True),
        facts={name: config[name] for name in ("seed", "alpha", "temperature")} | {"version": __version__},
    )


def _network(config: DictConfig, key: str, data: pl.LightningDataModule) -> nn.Module:
    """A network; one that asks for an ``example_input`` gets the data module's."""
    node = OmegaConf.select(config, key)
    given: dict[str, Any] = {}
    if isinstance(node, DictConfig) and "_target_" in node and "example_input" not in node:
        names = arguments(locate(node["_target_"], key))
        given = {"example_input": example_of(data)} if names and "example_input" in names else {}
    try:
        network: nn.Module = build_node(config, key, nn.Module, **given)
    except RuntimeError as error:  # a size that torch cannot make a tensor of
        raise ValueError(unfit(key, error)) from error
    return network


def _student(config: DictConfig, data: pl.LightningDataModule) -> Callable[[], nn.Module]:
    """Makes the student, with the weights of ``student_checkpoint`` where one is named."""
    path = as_path(config.get("student_checkpoint"))
    path = None if path is None else weights_of_run(path)
    if path is not None and not path.is_file():
        raise FileNotFoundError(f"Expected `student_checkpoint` to name a file of weights, but got {path}.")

    def make() -> nn.Module:
        student = _network(config, "student", data)
        if path is not None:
            submodule, drop_head = config.get("student_submodule"), config.get("student_drop_head", False)
            load_weights(student, path, role="student", submodule=submodule, drop_head=drop_head)
        return student

    return make


def _stage(config: DictConfig, data: pl.LightningDataModule) -> StagePlan:
    return StagePlan(
        distiller=_distillers(config, "distiller", data),
        trainer=partial(_trainer, config, "trainer", lambda: build_entries(config, "callbacks", pl.callbacks.Callback)),
        data=data,
        seed=config.seed,
        checkpoints=plain_values(config.checkpoints),
        nonfinite={name: config[name] for name in ("on_nonfinite", "max_skipped")},
    )


def _distillers(
    config: DictConfig, key: str, data: pl.LightningDataModule
) -> Callable[[nn.Module, nn.Module | None], BaseDistiller]:
    def make(student: nn.Module, teacher: nn.Module | None) -> BaseDistiller:
        example = example_of(data)
        built: BaseDistiller = build_node(
            config, key, BaseDistiller, student=student, teacher=teacher, example_input=example
        )
        return built

    return make


def _teacher(config: DictConfig) -> TeacherPlan | None:
    """The teacher's plan: its own seed, data in full, and of the student's training the trainer's other settings."""
    teacher = config.get("teacher")
    if teacher is None:
        return None
    config = config.copy()
    trains = teacher.get("train") is not None
    with open_dict(config):
        if "seed" in config.data:
            config.data.seed = teacher.seed
        if trains:
            config.trainer = OmegaConf.merge(config.trainer, teacher.train.get("trainer") or {})
    data = build_node(config, "data", pl.LightningDataModule)
    data = data.full() if hasattr(data, "full") else data
    return TeacherPlan(
        model=partial(_network, config, "teacher.model", data),
        frozen=frozen_teacher(plain_values(teacher), data),
        stage=StagePlan(
            distiller=_distillers(config, "teacher.train.distiller", data) if trains else _tester(config, data),
            trainer=partial(_trainer, config, "trainer", lambda: _teacher_callbacks(config)),
            data=data,
            seed=teacher.seed,
            checkpoints=plain_values(config.checkpoints),
            nonfinite={name: config[name] for name in ("on_nonfinite", "max_skipped")},
        ),
        train=trains,
        checkpoint=as_path(teacher.checkpoint),
        submodule=teacher.get("submodule"),
        drop_head=teacher.get("drop_head", False),
        cache_dir=as_path(teacher.cache_dir),
        cache=cache_plan(plain_values(teacher), Path(config.output_dir)),
        recipe=_recipe(config, data) if trains else {},
    )


def _tester(config: DictConfig, data: pl.LightningDataModule) -> Callable[[nn.Module, nn.Module | None], BaseDistiller]:
    """For a teacher that is only tested, by the student's own student loss."""
    key = "distiller.student_loss"

    def make(student: nn.Module, teacher: nn.Module | None) -> BaseDistiller:
        loss = None if OmegaConf.select(config, key) is None else build_node(config, key)
        return Distiller(student, teacher, student_loss=loss, example_input=example_of(data))

    return make


def _recipe(config: DictConfig, data: pl.LightningDataModule) -> dict[str, Any]:
    """Everything that makes a trained teacher what it is, as plain values."""
    plain = plain_values(config)
    teacher = plain["teacher"]
    trainer = {name: value for name, value in plain["trainer"].items() if name not in DISPLAY}
    train = {name: value for name, value in teacher["train"].items() if name != "trainer"}
    seen = data.fingerprint() if hasattr(data, "fingerprint") else plain["data"]
    return {"model": teacher["model"], "train": train, "trainer": trainer, "data": seen, "seed": teacher["seed"]}


def _teacher_callbacks(config: DictConfig) -> list[pl.callbacks.Callback]:
    """What shows progress, and the teacher's own: the student's choices, such as EMA, do not touch the teacher."""
    shown = [
        callback
        for callback in build_entries(config, "callbacks", pl.callbacks.Callback)
        if isinstance(callback, pl.callbacks.ProgressBar)
    ]
    return shown + build_entries(config, "teacher.train.callbacks", pl.callbacks.Callback)


def _trainer(
    config: DictConfig,
    key: str,
    own: Callable[[], list[pl.callbacks.Callback]],
    role: str,
    callbacks: Sequence[pl.callbacks.Callback],
) -> pl.Trainer:
    folder = config.output_dir
    loggers = _loggers(config, role)
    callbacks = [*own(), *callbacks]
    given: dict[str, Any] = {}
    if "enable_progress_bar" not in OmegaConf.select(config, key):
        # Lightning would put one of its own in place of a bar that was switched off.
        given["enable_progress_bar"] = any(isinstance(callback, pl.callbacks.ProgressBar) for callback in callbacks)
    trainer: pl.Trainer = build_node(
        config, key, pl.Trainer, callbacks=callbacks, logger=loggers or False, default_root_dir=folder, **given
    )
    if trainer.world_size > 1 and _sweeps_in_one_process():
        # Lightning starts the other processes once, with the command line that was typed: the whole sweep.
        raise ValueError(
            f"Expected `trainer.devices` to be 1 in a sweep, but got {trainer.world_size} processes. Sweep with one "
            "device for each run, or with a Hydra launcher that gives every run a process of its own."
        )
    return trainer


def _sweeps_in_one_process() -> bool:
    if not HydraConfig.initialized():
        return False
    hydra = HydraConfig.get()
    return hydra.mode == RunMode.MULTIRUN and str(hydra.launcher["_target_"]).endswith("BasicLauncher")


def _loggers(config: DictConfig, role: str) -> list[pl.loggers.Logger]:
    """Loggers of one stage; ``???`` in their configs stands for its name."""
    config = config.copy()
    for full in OmegaConf.missing_keys(config):
        OmegaConf.update(config, full, role)
    return build_entries(config, "logger", pl.loggers.Logger)


def fill_missing(config: DictConfig, facts: Mapping[str, Any]) -> None:
    """Replace each ``???`` by the fact of its key; a logger's stand for the stage and are left.

    Raises:
        ValueError: If there is no such fact.
    """
    for full in sorted(OmegaConf.missing_keys(config)):
        if full.startswith("logger."):
            continue
        key = full.rpartition(".")[2]
        if key not in facts:
            raise ValueError(f"Expected `{full}` to be set, but it has no value: {full}=...")
        OmegaConf.update(config, full, facts[key])


def as_path(value: str | None) -> Path | None:
    return None if value is None else Path(value)


def plain_values(config: DictConfig | ListConfig, resolve: bool = True) -> Any:
    return OmegaConf.to_container(config, resolve=resolve, throw_on_missing=False)
