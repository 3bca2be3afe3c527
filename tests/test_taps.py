from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from lightning_distill.taps import FeatureError, FeatureTaps, find_module, first_tensor


class Net(nn.Module):
    """Two blocks and a head; the second block's activation works in place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(4, 6)
        self.body = nn.Sequential(nn.Linear(6, 5), nn.ReLU(inplace=True))
        self.head = nn.Linear(5, 3)
        self.unused = nn.ModuleList([nn.Linear(2, 2)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(torch.relu(self.stem(x))))


class Checkpointed(Net):
    reentrant = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(checkpoint(self.body, self.stem(x), use_reentrant=self.reentrant))


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net()


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(2, 4, generator=torch.Generator().manual_seed(1))


def test_read__outputs_and_inputs_in_order(net: Net, x: torch.Tensor) -> None:
    taps = FeatureTaps(net, ["head:input", "stem"])
    with taps:
        net(x)
    embedding, stem = taps.read()
    assert torch.equal(stem, net.stem(x))
    assert torch.equal(embedding, net.body(torch.relu(net.stem(x))))
    assert stem.requires_grad


def test_read__forgets(net: Net, x: torch.Tensor) -> None:
    taps = FeatureTaps(net, ["stem"])
    with taps:
        net(x)
    taps.read()
    with pytest.raises(FeatureError, match="`stem` to run in the forward pass"):
        taps.read()


def test_taps__idle_outside_of_with(net: Net, x: torch.Tensor) -> None:
    taps = FeatureTaps(net, ["stem"])
    net(x)
    assert not taps.enabled
    assert not taps._store.features


def test_taps__an_exception_leaves_nothing(net: Net) -> None:
    taps = FeatureTaps(net, ["stem"])
    net.head = nn.Linear(7, 3)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), taps:
        net(torch.ones(1, 4))
    assert not taps._store.features
    assert not taps.enabled


def test_taps__the_last_run_of_a_shared_module_counts(x: torch.Tensor) -> None:
    shared = nn.Linear(4, 4)
    net = nn.Sequential(shared, shared)
    taps = FeatureTaps(net, ["0"])
    with taps:
        output = net(x)
    assert torch.equal(taps.read()[0], output)


def test_taps__state_dict_is_untouched(net: Net) -> None:
    before = list(net.state_dict())
    FeatureTaps(net, ["stem", "head:input"])
    assert list(net.state_dict()) == before


def test_remove__takes_every_hook_off(net: Net) -> None:
    taps = FeatureTaps(net, ["stem", "head:input"])
    assert net.stem._forward_hooks
    assert net.head._forward_pre_hooks
    taps.remove()
    assert not net.stem._forward_hooks
    assert not net.head._forward_pre_hooks


def test_taps__gone_with_their_last_reference(net: Net) -> None:
    taps = FeatureTaps(net, ["stem"])
    del taps
    assert not net.stem._forward_hooks


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_copy__fills_its_own_store(net: Net, x: torch.Tensor, clone) -> None:
    taps = FeatureTaps(net, ["stem", "body.0", "head:input"])
    with taps:
        net(x)
    taps.protect()
    net_copy, taps_copy = clone((net, taps))
    assert taps_copy.model is net_copy
    with torch.no_grad():
        net_copy.stem.weight.zero_()
    with taps_copy:
        net_copy(x)
    taps._store.clear()
    assert not taps._store.features
    assert torch.equal(taps_copy.read()[0], net_copy.stem.bias.expand(2, 6))
    with taps:
        net(x)
    assert torch.equal(taps.read()[0], net.stem(x))
    assert not taps_copy._store.features


def test_copy__of_a_part_does_not_bring_the_network(net: Net) -> None:
    taps = FeatureTaps(net, ["head"])
    head = copy.deepcopy(net.head)
    (hook,) = head._forward_hooks.values()
    assert set(vars(hook.func.__self__)) == set(vars(taps._store))
    assert not any(isinstance(value, nn.Module) for value in vars(hook.func.__self__).values())


def test_read__refuses_a_feature_that_was_overwritten(net: Net, x: torch.Tensor) -> None:
    taps = FeatureTaps(net, ["body.0"])
    with taps:
        net(x)
    with pytest.raises(FeatureError, match=r"`body\.0` to stay as it was.*inplace=False"):
        taps.read()


def test_protect__keeps_the_pre_activation(net: Net, x: torch.Tensor) -> None:
    taps = FeatureTaps(net, ["stem", "body.0"])
    with taps:
        net(x)
    assert taps.protect() == ("body.0",)
    with taps:
        net(x)
    pre_activation = taps.read()[1]
    expected = net.body[0](torch.relu(net.stem(x)))
    assert (expected < 0).any()
    assert torch.equal(pre_activation, expected)
    pre_activation.sum().backward()
    assert net.body[0].weight.grad is not None


@pytest.mark.parametrize(
    ("path", "near"), [("steam", "'stem'"), ("body.7", "'body.0'"), ("layer3", "'stem'"), ("", "'stem'")]
)
def test_find_module__lists_the_nearest(net: Net, path: str, near: str) -> None:
    with pytest.raises(ValueError, match="Expected a module path of Net") as error:
        FeatureTaps(net, [path])
    assert repr(path) in str(error.value)
    assert near in str(error.value)


def test_find_module__sees_through_wrappers(net: Net) -> None:
    wrapped = nn.Module()
    wrapped.module = net
    assert find_module(wrapped, "body.0") is net.body[0]
    assert find_module(wrapped, "module.body.0") is net.body[0]


def test_taps__bad_paths(net: Net) -> None:
    with pytest.raises(ValueError, match="`:input`, `:output` or neither, but got 'stem:grad'"):
        FeatureTaps(net, ["stem:grad"])
    with pytest.raises(TypeError, match="a sequence of module paths, but got 'stem'"):
        FeatureTaps(net, "stem")


def test_read__a_module_that_never_runs(net: Net, x: torch.Tensor) -> None:
    taps = FeatureTaps(net, ["unused"])
    with taps:
        net(x)
    with pytest.raises(FeatureError, match=r"`unused` to run.*'unused\.0'") as error:
        taps.read()
    assert error.value.path == "unused"


class Output:
    def __init__(self, logits: torch.Tensor) -> None:
        self.logits = logits


ONE, TWO = torch.ones(1), torch.full((1,), 2.0)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (ONE, ONE),
        ((None, ONE, TWO), ONE),
        ({"attentions": TWO, "last_hidden_state": ONE}, ONE),
        ({"features": ONE, "other": TWO}, ONE),
        (Output(ONE), ONE),
        (([ONE], TWO), ONE),
        ("text", None),
        (None, None),
    ],
)
def test_first_tensor__forms(value, expected) -> None:
    assert first_tensor(value) is expected


def test_taps__keyword_inputs() -> None:
    class Inner(nn.Module):
        def forward(self, *, hidden: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"last_hidden_state": hidden + 1}

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Inner()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(hidden=x)["last_hidden_state"]

    net = Outer()
    taps = FeatureTaps(net, ["inner:input", "inner"])
    with taps:
        net(ONE)
    assert [float(feature) for feature in taps.read()] == [1.0, 2.0]


def test_taps__gradient_checkpointing(x: torch.Tensor) -> None:
    torch.manual_seed(0)
    net = Checkpointed()
    plain = Net()
    plain.load_state_dict(net.state_dict())
    plain.forward = lambda x: plain.head(plain.body(plain.stem(x)))
    grads = []
    for model in (net, plain):
        taps = FeatureTaps(model, ["body", "body.0"], copies=["body.0"], trained=True)
        with taps:
            model(x)
        features = taps.read()
        sum(feature.square().sum() for feature in features).backward()
        assert not taps._store.features
        grads.append(model.stem.weight.grad)
    assert torch.allclose(*grads)


def test_taps__reentrant_checkpointing_is_an_error(x: torch.Tensor) -> None:
    torch.manual_seed(0)
    net = Checkpointed()
    net.reentrant = True
    taps = FeatureTaps(net, ["body.0"], trained=True)
    with taps:
        net(x)
    with pytest.raises(FeatureError, match="use_reentrant=False"):
        taps.read()


def test_taps__compiled_network_without_graph_breaks(net: Net, x: torch.Tensor) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    taps = FeatureTaps(compiled, ["stem", "body.0"], trained=True)
    for _ in range(2):
        with taps:
            compiled(x)
        stem, pre_activation = taps.read()
        assert torch.allclose(stem, net.stem(x))
        assert torch.allclose(pre_activation, net.body[0](torch.relu(net.stem(x))))
        assert stem.requires_grad
        compiled(x)
        assert not taps._store.features
