"""Write a network to a file that others can run: weights as safetensors, programs as .pt2 and .onnx."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightning_distill.checks import check_choice
from lightning_distill.dry_run import fit_to, map_tensors, no_trace
from lightning_distill.files import beside, put, replacing
from lightning_distill.types import batch_size_of
from lightning_distill.weights import save_weights

SUFFIXES = (".safetensors", ".pt2", ".onnx")
# A written program is compared with the network in float32: the two may order their sums differently.
TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}
BATCH_SIZES = (1, 2, 3)  # at which a written program is compared
OPSET = 18  # of ONNX; what ONNX Runtime 1.14 and later run
# Protocol buffers, and so an ONNX file, end at 2 GiB: larger weights go into a second file, <name>.onnx.data.
ONE_FILE = 2**31 - 2**20


def save(model: nn.Module, path: str | Path, example_input: Any = None) -> Path:
    """Write ``model`` as its suffix says, for any batch size, and check the file before it is put in place.

    Args:
        model: From inputs (one argument, as ``example_input``) to one tensor.
        path: ``.safetensors`` (weights), ``.pt2`` (``torch.export``) or ``.onnx``.
        example_input: A tensor ``[B, ...]`` or a mapping of tensors; not needed for weights.

    Returns:
        The path.

    Raises:
        ValueError: If the suffix is another, ``example_input`` is missing, the network fixes the batch size or cannot
            be exported, or the file computes something else.
        ModuleNotFoundError: For ``.onnx`` without the packages of the ``export`` extra.
    """
    path = Path(path)
    check_choice("path", path.suffix, SUFFIXES)
    if path.suffix == ".safetensors":
        save_weights(model, path)
        return path
    if example_input is None:
        raise ValueError(
            f"Expected `example_input` for {path.suffix}, but got None. Pass a small batch of inputs here or to the "
            "distiller."
        )
    write, read = (_write_pt2, _read_pt2) if path.suffix == ".pt2" else (_write_onnx, _read_onnx)
    with no_trace(model), torch.no_grad(), _contiguous(model):
        example = _two_samples(fit_to(model, example_input))
        return _in_place(path, lambda part: _write_checked(model, part, example, write, read))


@contextmanager
def _contiguous(model: nn.Module) -> Iterator[None]:
    """``model`` with its weights in the usual order of memory, which files hold; put back afterwards."""
    others = [(t, t.data) for t in (*model.parameters(), *model.buffers()) if not t.is_contiguous()]
    for tensor, data in others:
        tensor.data = data.contiguous()
    try:
        yield
    finally:
        for tensor, data in others:
            tensor.data = data


def _write_checked(model: nn.Module, part: Path, example: Any, write: Any, read: Any) -> None:
    write(model, part, example)
    program = read(part)
    for size in BATCH_SIZES:
        inputs = map_tensors(example, partial(_resize, size=size))
        expected, got = model(inputs).float().cpu(), program(inputs).float().cpu()
        if got.shape != expected.shape or not torch.allclose(got, expected, equal_nan=True, **_tolerance(model)):
            raise ValueError(
                f"Expected {part.suffix} to compute what the network computes for a batch of {size}, but it does not. "
                "Nothing was written. Does the forward pass depend on the batch size or on random numbers?"
            )


def _resize(tensor: Tensor, size: int) -> Tensor:
    """A batch of ``size`` copies of the first sample."""
    return tensor[:1].expand(size, *tensor.shape[1:]).contiguous()


def _tolerance(model: nn.Module) -> dict[str, float]:
    half = any(p.dtype in (torch.float16, torch.bfloat16) for p in model.parameters())
    return {"rtol": 2e-2, "atol": 2e-2} if half else TOLERANCE


def _program(model: nn.Module, example: Any) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch", max=2**31 - 1)  # without an end, torch 2.7 takes a slice `x[:, 0]` for a limit
    shapes = {name: {0: batch} for name in example} if isinstance(example, Mapping) else {0: batch}
    try:
        return torch.export.export(model, (example,), dynamic_shapes=(shapes,), strict=False)
    except Exception as error:  # whatever the network's code makes the exporter raise
        raise ValueError(_not_exported(error)) from error


def _not_exported(error: Exception) -> str:
    said = str(error).strip()
    if "batch" in said and ("specialized" in said or "Constraints violated" in said):  # torch from 2.8 on, and before
        return (
            "Expected the network to take any batch size, but its code fixes it. Nothing was written. Write -1 or "
            "`x.shape[0]` where the batch size stands as a number, as in `x.reshape(x.shape[0], -1)`."
        )
    first = (said.splitlines() or [type(error).__name__])[0]
    return (
        f"Expected the network to be exportable by torch.export, but got: {first[:300]} Nothing was written. Branches "
        "on values and Python side effects in `forward` cannot be exported; the weights can: export=student.safetensors"
    )


def _write_pt2(model: nn.Module, path: Path, example: Any) -> None:
    torch.export.save(_program(model, example), path)


def _read_pt2(path: Path) -> Callable[[Any], Tensor]:
    program: Callable[[Any], Tensor] = torch.export.load(path).module()
    return program


def _write_onnx(model: nn.Module, path: Path, example: Any) -> None:
    names = list(example) if isinstance(example, Mapping) else ["inputs"]
    torch.onnx.export(
        _program(model, example),
        f=path,
        dynamo=True,
        external_data=_bytes(model) > ONE_FILE,
        opset_version=OPSET,
        verbose=False,
        input_names=names,
        output_names=["logits"],
    )


def _bytes(model: nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())


def read_program(path: Path) -> Callable[[Any], Tensor]:
    """What :func:`save` wrote as ``.pt2`` or ``.onnx``, as a function from inputs to logits, on the CPU.

    Raises:
        ValueError: If the suffix is another.
    """
    check_choice("path", path.suffix, SUFFIXES[1:])
    return _read_pt2(path) if path.suffix == ".pt2" else _read_onnx(path)


def _read_onnx(path: Path) -> Callable[[Any], Tensor]:
    runtime = onnx_runtime()
    try:
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # whatever the bytes of a file that is something else make the reader do
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ValueError(f"Expected {path} to be an ONNX program, but it cannot be read: {reason}") from None
    names = [node.name for node in session.get_inputs()]

    def run(inputs: Any) -> Tensor:
        tensors = list(inputs.values()) if isinstance(inputs, Mapping) else [inputs]
        feed = {name: t.cpu().numpy() for name, t in zip(names, tensors, strict=True)}
        return torch.from_numpy(session.run(None, feed)[0])

    return run


def onnx_runtime() -> Any:
    """ONNX Runtime; it tells its makers nothing, unless the environment says so.

    From 1.29 on it would report each network that it runs, and keep a number for this machine in the user's cache, from
    its import on: https://github.com/microsoft/onnxruntime/blob/main/docs/Privacy.md.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


def _two_samples(example: Any) -> Any:
    """At least two samples: one would be taken for a constant by the exporter."""
    if batch_size_of(example) > 1:
        return example
    return map_tensors(example, lambda t: torch.cat([t, t]))


def _in_place(path: Path, write: Callable[[Path], None]) -> Path:
    """Write beside ``path`` and move there once it is complete: what was saved before is never half overwritten."""
    with replacing(path) as whole, tempfile.TemporaryDirectory(**beside(path)) as folder:
        part = Path(folder) / path.name  # exporters look at the suffix
        write(part)
        for other in sorted(Path(folder).iterdir()):
            if other != part:  # the weights of a large .onnx
                put(other, path.parent / other.name)
        os.replace(part, whole)
    return path
