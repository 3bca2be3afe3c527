"""One run that leaves no trace."""

from __future__ import annotations

import torch
from torch import nn

from lightning_distill.dry_run import dry_run, fit_to, map_tensors


def test_leaves_flags_statistics_and_random_state_alone() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout())
    network[1].eval()
    before, random = network[1].running_mean.clone(), torch.get_rng_state()
    output = dry_run(network, torch.ones(2, 3))
    assert not output.requires_grad
    assert [module.training for module in network] == [True, False, True]
    assert torch.equal(network[1].running_mean, before)
    assert torch.equal(torch.get_rng_state(), random)


def test_brings_inputs_to_the_precision_of_the_network() -> None:
    inputs = {"x": torch.ones(1), "ids": torch.ones(1, dtype=torch.long)}
    fitted = fit_to(nn.Linear(1, 1).double(), inputs)
    assert fitted["x"].dtype == torch.float64
    assert fitted["ids"].dtype == torch.long


def test_map_tensors__keeps_what_is_no_tensor() -> None:
    mapped = map_tensors({"a": torch.ones(1), "b": [torch.ones(1), "text"], "c": 3}, lambda t: t + 1)
    assert mapped["a"].item() == 2
    assert mapped["b"][1] == "text"
    assert mapped["c"] == 3
