"""Time and memory of every loss against the direct transcription of its formula: ``python -m benchmarks.losses``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks import transcriptions as direct
from benchmarks.interleave import interleaved, peak_bytes
from benchmarks.table import write
from lightning_distill import losses

Function = Callable[..., Tensor]


class Pair(NamedTuple):
    """Two ways to compute one loss.

    Attributes:
        name: Of the row.
        ours: Called with ``inputs``.
        theirs: Likewise.
        inputs: The student's side first: what gets the gradient.
        size: For the table.
    """

    name: str
    ours: Function
    theirs: Function
    inputs: tuple[Any, ...]
    size: str


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, device=DEVICE)


DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def on_logits(count: int, classes: int) -> Iterator[Pair]:
    s, t, y = normal(count, classes), normal(count, classes), torch.randint(classes, (count,), device=DEVICE)
    size = f"{count} x {classes}"
    unlabelled: dict[str, tuple[Function, Function]] = {
        "kd": (losses.KLDistillationLoss(4.0), direct.kd),
        "kd, standardised": (losses.KLDistillationLoss(2.0, standardize=True), direct.lskd),
        "dist": (losses.DISTLoss(), direct.dist),
        "mlkd": (losses.MLKDLoss(), direct.mlkd),
        "bce": (losses.SoftTargetBCELoss(), direct.bce),
        "cosine": (losses.CosineLogitsLoss(), direct.cosine),
        "mse": (losses.MSELogitsLoss(reduction="mean"), direct.mse),
    }
    labelled: dict[str, tuple[Function, Function]] = {
        "dkd": (losses.DKDLoss(), direct.dkd),
        "nkd": (losses.NKDLoss(), direct.nkd),
        "wsld": (losses.WSLDLoss(), direct.wsld),
    }
    for name, (ours, theirs) in unlabelled.items():
        yield Pair(name, ours, theirs, (s, t), size)
    for name, (ours, theirs) in labelled.items():
        yield Pair(name, lambda s, t, y, ours=ours: ours(s, t, target=y), theirs, (s, t, y), size)


def on_maps(count: int, channels: int, side: int) -> Iterator[Pair]:
    inputs = normal(count, channels, side, side), normal(count, channels, side, side)
    size = f"{count} x {channels} x {side} x {side}"

    def flow(s: Tensor, t: Tensor) -> Tensor:
        return losses.fsp_loss([s, s.roll(1, 1)], [t, t.roll(1, 1)])

    pairs: dict[str, tuple[Function, Function]] = {
        "hint": (losses.HintLoss(), direct.hint),
        "reviewkd (hcl)": (losses.hcl_loss, direct.hcl),
        "at": (losses.ATLoss(), direct.at),
        "nst": (losses.NSTLoss(), direct.nst),
        "cwd": (losses.CWDLoss(), direct.cwd),
        "pkd": (losses.PKDLoss(), direct.pkd),
        "ickd": (losses.ICKDLoss(), direct.ickd),
        "affinity": (losses.AffinityLoss(), direct.affinity),
        "fsp": (flow, direct.fsp),
    }
    for name, (ours, theirs) in pairs.items():
        yield Pair(name, ours, theirs, inputs, size)


def on_embeddings(count: int, dim: int) -> Iterator[Pair]:
    inputs, size = (normal(count, dim), normal(count, dim)), f"{count} x {dim}"
    pairs: dict[str, tuple[Function, Function]] = {
        "sp": (losses.SPLoss(), direct.sp),
        "cc": (losses.CCLoss(), direct.cc),
        "rkd": (losses.RKDLoss(), direct.rkd),
        "pkt": (losses.PKTLoss(), direct.pkt),
    }
    for name, (ours, theirs) in pairs.items():
        yield Pair(name, ours, theirs, inputs, size)


def on_memory(count: int, negatives: int, samples: int, dim: int = 128) -> Iterator[Pair]:
    unit = torch.nn.functional.normalize
    s, t, first, second = (unit(normal(n, dim)) for n in (count, count, samples, samples))
    ids = torch.randint(samples, (count, negatives + 1), device=DEVICE)
    zero = torch.zeros(2, device=DEVICE)

    def ours(s: Tensor, t: Tensor, first: Tensor, second: Tensor, ids: Tensor) -> Tensor:
        return losses.crd_loss(s, t, first, second, ids, zero)

    yield Pair("crd", ours, direct.crd, (s, t, first, second, ids), f"{count}, {negatives} of {samples} x {dim}")


def on_tokens(count: int, tokens: int, dim: int) -> Iterator[Pair]:
    inputs = normal(count, tokens, 3 * dim), normal(count, tokens, 3 * dim)
    yield Pair("minilm", losses.MiniLMLoss(heads=12), direct.minilm, inputs, f"{count} x {tokens} x 3 x {dim}")


def all_pairs() -> Iterator[Pair]:
    yield from on_logits(64, 100)
    yield from on_logits(128, 1000)
    yield from on_maps(32, 64, 16)
    yield from on_embeddings(64, 256)
    yield from on_memory(32, 16384, 50000)
    yield from on_tokens(16, 65, 192)


def step(function: Function, inputs: tuple[Any, ...]) -> Callable[[], None]:
    """Forward and backward."""
    student, *rest = inputs
    leaf = student.clone().requires_grad_()

    def run() -> None:
        torch.autograd.grad(function(leaf, *rest), leaf)

    return run


def check(pair: Pair) -> None:
    """Raise unless both compute the same value."""
    ours, theirs = float(pair.ours(*pair.inputs)), float(pair.theirs(*pair.inputs))
    if abs(ours - theirs) > 1e-3 * abs(theirs) + 1e-6:
        raise ValueError(f"Expected {pair.name!r} to compute the same value both ways, but got {ours} and {theirs}.")


def measured(pair: Pair, rounds: int) -> dict[str, Any]:
    check(pair)
    steps = {"theirs": step(pair.theirs, pair.inputs), "ours": step(pair.ours, pair.inputs)}
    timing = interleaved(steps, rounds)
    memory = {name: peak_bytes(run) for name, run in steps.items()}
    ours = timing["ours"]
    return {
        "loss": pair.name,
        "size": pair.size,
        "microseconds": round(ours.seconds * 1e6, 1),
        "ratio": round(ours.ratio, 3),
        "quartiles": [round(ours.low, 3), round(ours.high, 3)],
        "memory_ratio": round(memory["ours"] / max(memory["theirs"], 1), 3),
        "peak_bytes": memory["ours"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=31, help="how often each is timed")
    parser.add_argument("--only", default="", help="names to time, separated by commas; nothing is written then")
    options = parser.parse_args()
    torch.manual_seed(0)
    wanted = [name for name in options.only.split(",") if name]
    results = [measured(pair, options.rounds) for pair in all_pairs() if not wanted or pair.name in wanted]
    rows = [
        [
            r["loss"],
            r["size"],
            f"{r['ratio']:.2f} ({r['quartiles'][0]:.2f} to {r['quartiles'][1]:.2f})",
            f"{r['memory_ratio']:.2f}",
            f"{r['microseconds']:.0f}",
        ]
        for r in results
    ]
    columns = ["loss", "size", "time, ours / transcription (quartiles)", "memory, ours / transcription", "ours, µs"]
    if wanted:
        print("\n".join(" | ".join(row) for row in rows))
    else:
        write("losses", "python -m benchmarks.losses", columns, rows, {"losses": results})


if __name__ == "__main__":
    main()
