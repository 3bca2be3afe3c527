"""Which configs may be built without asking: those that can do no more than make networks, losses and data."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from lightning_distill.config_keys import locate

# Where classes may come from. What counts is where a class was made, not the name that it is reached by: any package
# can be reached through one that imports it, as in `torch.os.system`.
KNOWN = (
    *("lightning_distill.callbacks", "lightning_distill.data", "lightning_distill.distillers"),
    *("lightning_distill.losses", "lightning_distill.metrics", "lightning_distill.models"),
    *("lightning_distill.schedules", "lightning_distill.warmup"),
    *("torch.nn", "torch.optim", "torchmetrics", "torchvision", "timm", "transformers"),
    *("pytorch_lightning", "lightning.pytorch"),
)
# Of other packages than this one, what they may be made from: (package, name of a base class). torch alone has a class
# that starts any program, transformers one that runs Python, Lightning one that imports what it is told to.
KINDS = (
    *(("torch", name) for name in ("Module", "Optimizer", "LRScheduler")),
    *(("transformers", name) for name in ("PretrainedConfig", "PreTrainedConfig")),
    *(
        (package, name)
        for package in ("pytorch_lightning", "lightning")
        for name in ("Trainer", "Callback", "LightningDataModule", "Logger", "Strategy")
    ),
)
# Any other function could be one that loads and runs code, or deletes files.
FUNCTIONS = (
    *("timm.create_model", "torchvision.models.get_model"),
    *(f"lightning_distill.models.{library}_model" for library in ("cifar", "timm", "torchvision", "transformers")),
    *(f"lightning_distill.data.augment.{recipe}" for recipe in ("deit", "randaugment", "standard")),
    "lightning_distill.warmup.warmup_cosine",
)
# Arguments that have a library read files or run programs: https://huggingface.co/docs/transformers/custom_models, the
# pickles of older versions of timm, and the compiler that torch.compile is to call.
RISKY = ("trust_remote_code", "code_revision", "checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "options")


def check_trust(config: Mapping[str, Any], source: str, trusted: bool) -> None:
    """Raise if a stranger's config could do more than make networks, losses and data of well-known packages.

    Building a config imports and calls what its ``_target_`` keys name. Networks, losses, optimizers, callbacks and the
    like of the packages that this one is made of are let through; everything else is a matter of trust. So are
    interpolations, which can read the environment (a run writes none), and arguments that have a library run code.

    Args:
        config: Plain values, interpolations unresolved.
        source: Where it is from, for the message.
        trusted: The user has said that it can be trusted.

    Raises:
        ValueError: Names the first entry that would need trust, and how to give it.
    """
    if trusted:
        return
    for key, value in leaves(config):
        reason = doubt(key, value)
        if reason:
            raise ValueError(
                f"Expected {source} to name well-known classes only, but its `{key}` is {str(value)[:200]}: {reason}. "
                "If you trust this folder: trust_config=true"
            )


def doubt(key: str, value: Any) -> str:
    """Why an entry of a config needs trust; empty if it needs none.

    Example:
        >>> doubt("student._target_", "os.system"), doubt("student._target_", "torch.nn.Linear")
        ('building it would run that code', '')
    """
    name = key.rpartition(".")[2]
    if isinstance(value, str) and "${" in value:
        return "it would be filled in from elsewhere, such as this machine's environment"
    if name == "_target_" and not is_known(str(value)):
        return "building it would run that code"
    if set(key.split(".")) & {*RISKY, "_args_"}:
        return "it could have a library read files or run programs"
    if name == "model_name" and ":" in str(value):
        return "it would be loaded from elsewhere"
    return ""


def is_known(target: str) -> bool:
    """Whether a dotted name stands for something that does no more than its name says, made from plain values."""
    if target.partition(".")[0] not in {package.partition(".")[0] for package in KNOWN}:
        return False  # not even imported
    try:
        found = locate(target)
    except ValueError:  # there is no such thing; who trusts the folder gets the whole message
        return False
    home = str(getattr(found, "__module__", ""))
    if not any(f"{home}.".startswith(f"{package}.") for package in KNOWN):
        return False
    if not inspect.isclass(found):
        return target in FUNCTIONS or (inspect.isfunction(found) and home.startswith("lightning_distill.losses."))
    if home.startswith(("lightning_distill.", "torchvision.transforms.")):
        return True
    return any((base.__module__.partition(".")[0], base.__name__) in KINDS for base in inspect.getmro(found))


def leaves(config: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """``(full key, value)`` of everything that is no mapping and no list, in order.

    Example:
        >>> list(leaves({"student": {"_target_": "torch.nn.Linear"}, "terms": [{"_target_": "os.system"}]}))
        [('student._target_', 'torch.nn.Linear'), ('terms.0._target_', 'os.system')]
    """
    if isinstance(config, Mapping):
        items = list(config.items())
    elif isinstance(config, (list, tuple)):
        items = list(enumerate(config))
    else:
        yield path, config
        return
    for key, value in items:
        yield from leaves(value, f"{path}.{key}" if path else str(key))
