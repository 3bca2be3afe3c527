"""Which configs may be built without asking: those that only name well-known classes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from lightning_distill.config_keys import locate

# Packages whose classes do no more than their name says when they are built from plain values.
KNOWN = (
    *("lightning_distill", "lightning", "pytorch_lightning", "timm", "torch", "torchmetrics", "torchvision"),
    "transformers",
)
# Functions among them that networks are made with. Any other function could be one that loads and runs code.
FUNCTIONS = ("timm.create_model", "torchvision.models.get_model")


def check_trust(config: Mapping[str, Any], source: str, trusted: bool) -> None:
    """Raise if a stranger's config could run code that is not from a well-known package.

    Building a config imports and calls what its ``_target_`` keys name. Classes of the packages that this one is made
    of are let through, and so are its own functions; everything else is a matter of trust.

    Args:
        config: Plain values.
        source: Where it is from, for the message.
        trusted: The user has said that it can be trusted.

    Raises:
        ValueError: Names the first target that would need trust, and how to give it.
    """
    if trusted:
        return
    for key, target in targets(config):
        if not is_known(target):
            raise ValueError(
                f"Expected {source} to name well-known classes only, but its `{key}` is {target}: building it would "
                "run that code. If you trust this folder: trust_config=true"
            )


def is_known(target: str) -> bool:
    """Whether a dotted name is a class of a well-known package, or a function of this one."""
    if target.split(".")[0] not in KNOWN:
        return False
    try:
        found = locate(target)
    except ValueError:  # there is no such thing; who trusts the folder gets the whole message
        return False
    # What a package only imports, such as `import_module`, is none of its own.
    own = str(getattr(found, "__module__", "")).split(".")[0] in KNOWN
    return own and (inspect.isclass(found) or target in FUNCTIONS or target.startswith("lightning_distill."))


def targets(config: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """``(full key, dotted name)`` of every ``_target_``.

    Example:
        >>> list(targets({"student": {"_target_": "torch.nn.Linear"}, "terms": [{"_target_": "os.system"}]}))
        [('student._target_', 'torch.nn.Linear'), ('terms.0._target_', 'os.system')]
    """
    if isinstance(config, Mapping):
        items = list(config.items())
    elif isinstance(config, (list, tuple)):
        items = list(enumerate(config))
    else:
        return
    for key, value in items:
        full = f"{path}.{key}" if path else str(key)
        if key == "_target_":
            yield full, str(value)
        else:
            yield from targets(value, full)
