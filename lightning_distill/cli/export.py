"""``lightning-distill-export run=FOLDER to=student.onnx``: a saved student as a file that others can run."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_distill.cli.answers import answered
from lightning_distill.cli.quiet import quiet
from lightning_distill.cli.train import answer

if TYPE_CHECKING:
    from lightning_distill.pipeline import Plan

OPTIONS = ("run", "weights", "to", "int8", "calibration_samples", "trust_config")
CALIBRATION_SAMPLES = 500
USAGE = f"""usage: lightning-distill-export run=FOLDER to=FILE [int8=true] [key=value ...]

Write a saved student as a file that others can run, checked against the network before it is put in place.

  run=FOLDER              of a finished run: its config.yaml and student.safetensors
  to=FILE                 .safetensors (weights), .pt2 (torch.export) or .onnx; programs take any batch size
  int8=true               of an .onnx: 8-bit weights and activations, with the accuracy before and after
  calibration_samples=N   training samples that int8 is calibrated with; {CALIBRATION_SAMPLES} if not given
  weights=FILE            another student's weights
  trust_config=true       build what config.yaml names even where that is not from a well-known package
  key=value               a change to the config
  --help                  this text"""


def cli() -> int:
    """Answer the command line. Returns the exit code."""
    arguments = sys.argv[1:]
    if not arguments or "--help" in arguments or "-h" in arguments:
        print(USAGE)
        return 0 if arguments else 2
    return answered(lambda: main(arguments), answer)


def main(arguments: list[str]) -> Path:
    """Write the file, say what it is, and return its path."""
    # Imported here, so that --help is answered at once.
    from lightning_distill.cli.saved_run import Request, plan_of
    from lightning_distill.export import BATCH_SIZES
    from lightning_distill.pipeline import load_student
    from lightning_distill.report.console import say
    from lightning_distill.report.table import file_size

    quiet()
    request = Request.read(arguments, OPTIONS)
    if "to" not in request.options:
        raise ValueError("Expected to=FILE, but got none. See --help.")
    target, int8 = Path(request.options["to"]), request.flag("int8")
    if int8 and target.suffix != ".onnx":
        raise ValueError(f"Expected `to` to end in .onnx where int8=true, but got {target}.")
    if "calibration_samples" in request.options and not int8:
        raise ValueError("Expected int8=true with `calibration_samples`: nothing else is calibrated.")
    plan = plan_of(request)
    student = load_student(plan, request.weights()).cpu()
    if int8:
        _write_int8(plan, student, target, _count(request.options.get("calibration_samples")))
    else:
        student.save(target)
    size = file_size(target.stat().st_size)
    checked = "" if int8 else f", equal to the network for batches of {', '.join(map(str, BATCH_SIZES))}"
    said = {".safetensors": "", ".pt2": f", torch.export{checked}"}
    say(f"{target}: {size}{said[target.suffix] if target.suffix in said else f', {_opset(target)}{checked}'}")
    return target


def _opset(path: Path) -> str:
    import onnx

    model = onnx.load(path, load_external_data=False)
    return "ONNX opset " + ", ".join(
        str(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")
    )


def _count(value: str | None) -> int:
    if value is None:
        return CALIBRATION_SAMPLES
    if not value.isdigit() or int(value) < 1:
        raise ValueError(f"Expected `calibration_samples` to be a whole number of at least 1, but got {value!r}.")
    return int(value)


def _write_int8(plan: Plan, student: Any, target: Path, samples: int) -> None:
    """Quantise, and say what it costs in accuracy."""
    from lightning_distill.pipeline import evaluate
    from lightning_distill.quantize import quantize_onnx
    from lightning_distill.report.console import say

    with tempfile.TemporaryDirectory() as folder:
        plain = student.save(Path(folder) / "student.onnx")
        quantize_onnx(plain, target, _calibration(plan, samples))
        before, after = (evaluate(plan, path).get("test/accuracy") for path in (plain, target))
        sizes = [path.stat().st_size for path in (plain, target)]
    if isinstance(before, float) and isinstance(after, float):
        say(f"test accuracy: {before:.2%} in float32, {after:.2%} in int8; size: {sizes[0]:,} and {sizes[1]:,} bytes")


def _calibration(plan: Plan, samples: int) -> Iterator[Any]:
    """Training inputs, as the student sees them; the whole training set at most."""
    from lightning_distill.data.module import by_hand
    from lightning_distill.types import as_batch, batch_size_of

    seen = 0
    for loaded in by_hand(plan.stage.data).train_dataloader():
        inputs = as_batch(loaded).inputs
        yield inputs
        seen += batch_size_of(inputs)
        if seen >= samples:
            return
