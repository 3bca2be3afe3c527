"""``lightning-distill-evaluate run=FOLDER``: a saved student's numbers on the test split."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from lightning_distill.cli.answers import answered
from lightning_distill.cli.quiet import quiet
from lightning_distill.cli.train import answer

OPTIONS = ("run", "weights", "to", "trust_config")
USAGE = """usage: lightning-distill-evaluate run=FOLDER [key=value ...]
       lightning-distill-evaluate weights=FILE student=... data=... [key=value ...]

Test a saved student as its training did, and print every number beside the one in the run's metrics.json.

  run=FOLDER          of a finished run: its config.yaml and student.safetensors
  weights=FILE        another student: .safetensors, or a program, .pt2 or .onnx, which runs on the CPU
  to=FILE.json        also write the numbers to a file
  trust_config=true   build what config.yaml names even where that is not from a well-known package; run
                      another user's .pt2
  key=value           a change to the config: trainer.accelerator=cpu data.batch_size=10
  --help              this text"""


def cli() -> int:
    """Answer the command line. Returns the exit code."""
    arguments = sys.argv[1:]
    if not arguments or "--help" in arguments or "-h" in arguments:
        print(USAGE)
        return 0 if arguments else 2
    return answered(lambda: main(arguments), answer)


def main(arguments: list[str]) -> dict[str, object]:
    """Test, print, and return the numbers."""
    # Imported here, so that --help is answered at once.
    from lightning_distill.cli.saved_run import Request, plan_of
    from lightning_distill.files import replacing
    from lightning_distill.pipeline import evaluate
    from lightning_distill.report.console import say
    from lightning_distill.saved_config import is_own

    quiet()
    request = Request.read(arguments, OPTIONS)
    weights = request.weights()
    if weights.suffix == ".pt2" and not request.flag("trust_config") and weights.is_file() and not is_own(weights):
        raise ValueError(
            f"Expected `weights` to name weights (.safetensors), a program that cannot do harm (.onnx), or a .pt2 of "
            f"your own, but {weights} is another user's: torch runs what such a file names. If you trust it: "
            "trust_config=true"
        )
    if weights.suffix in (".pt2", ".onnx"):
        request.overrides.append("trainer.accelerator=cpu")
    plan = plan_of(request)
    numbers = evaluate(plan, weights)
    known = plan.folder.read().get("student", {}) if "run" in request.options else {}
    say(numbers_table(numbers, known, str(weights)))
    if "to" in request.options:
        with replacing(Path(request.options["to"])) as part:
            part.write_text(json.dumps(numbers, indent=2) + "\n")
    return dict(numbers)


def numbers_table(numbers: Mapping[str, object], known: Mapping[str, object], title: str) -> object:
    """What was measured, beside what training measured."""
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column("")
    for header in ("now", *(["in training", ""] if known else [])):
        table.add_column(header, justify="right")
    for name, value in numbers.items():
        before = known.get(name)
        row = [name, f"{value:.6f}" if isinstance(value, float) else str(value)]
        if known:
            shown = f"{before:.6f}" if isinstance(before, float) else "–"  # noqa: RUF001
            row += [shown, "equal" if before == value else _apart(value, before)]
        table.add_row(*row)
    return table


def _apart(value: object, before: object) -> str:
    if isinstance(value, float) and isinstance(before, float):
        return f"{value - before:+.2g}"
    return "not measured in training"
