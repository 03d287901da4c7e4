"""What is not finite stays out of the weights, is named, and ends a training that has no more."""

import copy
import re
import shutil
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reference_cases import keywords, patch
from toy import NAME, PLANS, folder_options
from umamba.cli.main import main
from umamba.errors import TrainingError
from umamba.layers.lean_mixer import MixerParameters, scan_inputs
from umamba.layers.mamba_block import Mamba
from umamba.layers.mixer_layer import MixerLayer
from umamba.networks import UMambaEnc
from umamba.nnunet.checkpoints.files import read_checkpoint
from umamba.nnunet.training import crash_safe_trainer
from umamba.nnunet.training.crash_safe_trainer import CrashSafeTrainer
from umamba.nnunet.training.finite_steps import MOST_IN_A_ROW, FiniteSteps, find_non_finite
from umamba.ops.reference import selective_scan_reference
from umamba.system.environment import environment


class Squares(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.square().mean()


class Setup:
    """A small training with momentum, weight decay and running statistics."""

    def __init__(self, loss: nn.Module | None = None) -> None:
        self.network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
        self.loss = loss or Squares()
        self.optimizer = torch.optim.SGD(
            self.network.parameters(), 0.1, momentum=0.9, weight_decay=0.1
        )
        self.guard = FiniteSteps(self.network, self.loss, self.optimizer, lambda bad: bad)

    def step(self, x: Tensor) -> None:
        """As nnU-Net's trainer takes it."""
        with self.guard.watching():
            self.optimizer.zero_grad(set_to_none=True)
            self.loss(self.network(x)).backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 12)
            self.optimizer.step()

    def state(self) -> Any:
        return copy.deepcopy((self.network.state_dict(), self.optimizer.state_dict()))


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


class FiniteWithBadGradient(nn.Module):
    """The loss is finite; the derivative of the root at zero is not."""

    def forward(self, x: Tensor) -> Tensor:
        return (x * 0).sqrt().sum() if self.bad else x.square().mean()

    bad = False


def test_a_bad_batch_changes_nothing_and_the_next_one_counts() -> None:
    setup, x = Setup(), torch.randn(5, 3)
    setup.step(x)
    before = setup.state()
    setup.step(torch.full((5, 3), torch.nan))
    setup.step(torch.full((5, 3), torch.inf))
    assert same(setup.state(), before)
    assert setup.guard.skipped_in_a_row == 2
    setup.step(x)
    assert not same(setup.state(), before)
    assert setup.guard.skipped_in_a_row == 0


def test_a_finite_loss_with_a_bad_gradient_changes_nothing() -> None:
    loss = FiniteWithBadGradient()
    setup = Setup(loss)
    setup.step(torch.randn(5, 3))
    before = setup.state()
    loss.bad = True
    setup.step(torch.randn(5, 3))
    assert same(setup.state(), before)
    assert setup.guard.skipped_in_a_row == 1


def test_finite_steps_are_the_optimisers_own() -> None:
    setup = Setup()
    alone = copy.deepcopy(setup.network)
    optimizer = torch.optim.SGD(alone.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
    for x in torch.randn(4, 5, 3):
        setup.step(x)
        optimizer.zero_grad()
        alone(x).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(alone.parameters(), 12)
        optimizer.step()
    assert same(setup.network.state_dict(), alone.state_dict())


def test_too_many_in_a_row_end_the_training() -> None:
    setup = Setup()
    for _ in range(MOST_IN_A_ROW - 1):
        setup.step(torch.full((5, 3), torch.nan))
    setup.guard.check("")
    setup.step(torch.full((5, 3), torch.nan))
    with pytest.raises(
        TrainingError, match=r"20 training steps in a row .* Layer 3\. No such step"
    ):
        setup.guard.check("Layer 3.")


class Scale(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


class Root(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x * 0).sqrt()


@pytest.mark.parametrize(
    ("layers", "image", "want"),
    [
        (
            [Scale(1e30), nn.Sequential(Scale(1e20), Scale(2.0))],
            2.0,
            r"output that is not finite is that of 2\.0 \(Scale\): 4 of 4 elements not finite, "
            r"from inputs 2e\+30 to 2e\+30\.",
        ),
        (
            [Scale(3.0), Root(), Scale(1.0)],
            2.0,
            r"gradient that is not finite is that of the output of 1 \(Scale\): 6 to 6, from",
        ),
        ([Scale(1e30)], 2.0, r"finite outputs; the loss itself is not finite"),  # it squares
        ([Scale(1.0)], 2.0, r"found every output and gradient finite"),
        ([Scale(1.0)], float("nan"), r"images of the batch are not finite: 4 of 4"),
    ],
)
def test_the_layer_is_named_with_its_range(
    layers: list[nn.Module], image: float, want: str
) -> None:
    network = nn.Sequential(nn.Linear(1, 1), *layers)
    with torch.no_grad():
        network[0].weight.fill_(1.0)
        network[0].bias.zero_()
    images = torch.full((4, 1), image)
    random_state = torch.get_rng_state()
    said = find_non_finite(network, lambda: Squares()(network(images)), images)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(p.grad is None for p in network.parameters())
    assert not any(m._forward_hooks for m in network.modules())
    assert re.search(want, said), said


@pytest.mark.parametrize("value", [2.0, float("nan")])
def test_looking_for_the_layer_leaves_the_network_as_it_is(value: float) -> None:
    network = Setup().network
    network[0].weight.requires_grad_(False)  # as in fine-tuning
    images = torch.full((4, 3), value)
    before = copy.deepcopy(network.state_dict())
    find_non_finite(network, lambda: Squares()(network(images)), images)
    assert same(network.state_dict(), before)


@pytest.mark.parametrize(
    ("value", "elsewhere", "passes", "want"),
    [
        (2.0, False, ["forward", "agreed", "backward"], "found every output and gradient finite"),
        (2.0, True, ["forward", "agreed"], "began in another process"),
        (float("nan"), False, ["forward", "agreed"], "images of the batch are not finite"),
    ],
)
def test_all_processes_take_the_same_passes(
    value: float, elsewhere: bool, passes: list[str], want: str
) -> None:
    """Else they wait for each other without end in a loss that gathers from all of them."""
    network, images = nn.Linear(3, 2), torch.full((4, 3), value)
    taken = []

    def loss() -> Tensor:
        taken.append("forward")
        output: Tensor = Squares()(network(images))
        output.register_hook(lambda _: taken.append("backward"))  # type: ignore[no-untyped-call]
        return output

    def agreed(bad: bool) -> bool:
        taken.append("agreed")
        return bad or elsewhere

    assert want in find_non_finite(network, loss, images, agreed)
    assert taken == passes


@pytest.mark.parametrize(
    ("device", "dtype"),
    [
        ("cpu", torch.bfloat16),
        ("cpu", torch.float16),
        pytest.param("cuda", torch.float16, marks=pytest.mark.gpu),
    ],
)
def test_a_scan_that_overflows_float16_stays_finite(device: str, dtype: torch.dtype) -> None:
    """The recurrence is in float32 whatever autocast says: here its states pass 65,504."""
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    network = UMambaEnc(**keywords(2, deep_supervision=False)).to(device)
    mambas = [module for module in network.modules() if isinstance(module, Mamba)]
    with torch.no_grad():
        for mamba in mambas:
            rank, d_state = mamba.dt_rank, mamba.d_state
            mamba.x_proj.weight[rank : rank + d_state] *= 1e7  # B, so the states
            mamba.x_proj.weight[rank + d_state :] *= 1e-7  # C, so that the outputs stay
    states: list[float] = []

    def look(mamba: Mamba, inputs: tuple[Tensor, ...]) -> None:
        p = MixerParameters(
            mamba.in_proj.weight,
            mamba.in_proj.bias,
            mamba.conv1d.weight.squeeze(1),
            mamba.conv1d.bias,
            mamba.x_proj.weight,
            mamba.dt_proj.weight,
            mamba.dt_proj.bias,
            mamba.A_log,
            mamba.D,
            mamba.out_proj.weight,
            mamba.out_proj.bias,
        )
        with torch.no_grad(), torch.autocast(device, enabled=False):
            s = scan_inputs(inputs[0].float().contiguous(), p, "torch")
            A = -torch.exp(mamba.A_log)
            bias = mamba.dt_proj.bias
            _, last = selective_scan_reference(
                s.u, s.dt, A, s.B, s.C, dt_bias=bias, dt_softplus=True
            )
            states.append(float(last.abs().max()))

    for mamba in mambas:
        mamba.register_forward_pre_hook(look)
    optimizer = torch.optim.SGD(network.parameters(), 1e-4, momentum=0.99, nesterov=True)
    scaler = torch.amp.GradScaler(device, enabled=dtype is torch.float16)
    x = torch.randn(2, 2, *patch(2), device=device) * 100
    target = torch.randint(0, 3, (2, *patch(2)), device=device)
    for _ in range(5):
        optimizer.zero_grad()
        with torch.autocast(device, dtype=dtype):
            loss = nn.functional.cross_entropy(network(x), target)
        assert loss.isfinite()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
    assert max(states) > torch.finfo(torch.float16).max
    assert all(p.isfinite().all() for p in network.parameters())


@pytest.fixture(scope="module")
def data(preprocessed_toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(preprocessed_toy, tmp_path_factory.mktemp("finite") / "toy")


@pytest.mark.parametrize("several", [False, True])
def test_a_search_that_does_not_fit_ends_no_training(
    several: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> str:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(crash_safe_trainer, "find_non_finite", fail)
    trainer = SimpleNamespace(network=nn.Identity(), device=torch.device("cpu"), is_ddp=several)
    batch = {"data": torch.zeros(1), "target": torch.zeros(1)}
    with pytest.raises(torch.OutOfMemoryError) if several else nullcontext():
        said = CrashSafeTrainer._find_non_finite(trainer, batch)  # type: ignore[arg-type]
        assert "did not fit into memory" in said


def train(
    data: Path, results: Path, epochs: int, bad_calls: range, monkeypatch: pytest.MonkeyPatch
) -> int:
    """Train, 5 iterations per epoch; in bad forward passes the Mamba layer gives infinities."""
    calls = iter(range(1000))

    def overflow(layer: nn.Module, x: Tensor) -> Tensor:
        return x * torch.inf if layer.training and next(calls) in bad_calls else x

    monkeypatch.setattr(MixerLayer, "forward", overflow)
    monkeypatch.setattr(CrashSafeTrainer, "perform_actual_validation", _no_validation)
    folders = [*folder_options(data)[:4], "--results", str(results)]
    command = ["train", "901", "3d_fullres", "all", "-p", PLANS, "-device", "cpu"]
    with environment(nnUNet_n_proc_DA="0"):
        length = ["--epochs", str(epochs), "--iterations", str(5 * epochs)]
        return main([*command, *length, "--seed", "1", *folders])


@pytest.mark.nnunet
def test_goes_on_after_a_bad_step(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One more pass looks for the layer: that is call 8.
    assert train(data, tmp_path, 2, range(7, 9), monkeypatch) == 0
    fold = _fold(tmp_path)
    checkpoint = read_checkpoint(fold / "checkpoint_final.pth")
    weights = checkpoint["network_weights"].values()
    assert all(weight.isfinite().all() for weight in weights)
    losses = checkpoint["logging"]["train_losses"]
    assert len(losses) == 2
    assert all(map(torch.isfinite, torch.tensor(losses)))
    log = _log(fold)
    assert log.count("Step skipped, 1 in a row: its loss (nan)") == 1
    assert "The first output that is not finite is that of mamba_layer (MixerLayer)" in log


@pytest.mark.nnunet
def test_stops_where_no_step_is_good(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train(data, tmp_path, 5, range(5, 1000), monkeypatch) == 2
    message = capsys.readouterr().err
    assert "20 training steps in a row had a loss or a gradient that is not finite" in message
    assert "that of mamba_layer (MixerLayer)" in message
    fold = _fold(tmp_path)
    checkpoint = read_checkpoint(fold / "checkpoint_latest.pth")
    assert all(w.isfinite().all() for w in checkpoint["network_weights"].values())
    assert not (fold / "checkpoint_final.pth").exists()


def _fold(results: Path) -> Path:
    return results / NAME / f"nnUNetTrainerUMamba__{PLANS}__3d_fullres" / "fold_all"


def _log(fold: Path) -> str:
    return "".join(path.read_text() for path in fold.glob("training_log_*.txt"))


def _no_validation(trainer: Any, *_: Any) -> None:
    folder = Path(trainer.output_folder) / "validation"
    folder.mkdir(exist_ok=True)
    scores = '{"mean": {"1": {"Dice": 1.0}}, "foreground_mean": {"Dice": 1.0}}'
    (folder / "summary.json").write_text(scores)
