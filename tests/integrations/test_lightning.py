"""A LightningModule with balanced losses ends with the weights of our Trainer, to the bit."""

import logging

import pytest
import torch

from jointrain import Joint
from jointrain.balancing.aggregation import UPGrad
from jointrain.balancing.weighting import FAMO, Uncertainty
from jointrain.errors import InvalidInputError
from jointrain.integrations import BalancedLoss
from jointrain.integrations.lightning import BalancedModuleMixin

from . import _case as case

lightning = pytest.importorskip("lightning", reason="the package lightning is not installed")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
pytestmark = pytest.mark.filterwarnings("ignore")


class Model(BalancedModuleMixin, lightning.LightningModule):
    def __init__(self, balancer):
        super().__init__()
        self.network, self.tasks = case.network(), case.TASKS
        self.balanced_loss = BalancedLoss(balancer, tasks=case.NAMES, learning_rate=case.RATE)

    def configure_optimizers(self):
        return case.OPTIMIZER(self.network.parameters())


def _trainer(folder, **settings):
    settings = {"max_steps": case.STEPS, "enable_checkpointing": False} | settings
    return lightning.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=folder, **settings,
    )  # fmt: skip


@pytest.mark.parametrize("schedule, balancer", case.CASES, ids=case.IDS)
def test_the_weights_are_those_of_our_trainer(schedule, balancer, tmp_path):
    model = Model(balancer and balancer())
    _trainer(tmp_path).fit(model, case.loader(schedule))
    case.assert_same_bits(model.network, case.by_trainer(schedule, balancer))


def test_losses_of_ones_own_on_any_batches(tmp_path):
    class Own(Model):
        def task_losses(self, batch):
            x, y = batch
            outputs = self.network(x)
            return {"number": (outputs["number"][:, 0] - y).square().mean(),
                    "kind": outputs["kind"].square().mean()}  # fmt: skip

    x = torch.randn(12, 4)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, x.sum(1)), 4)
    model = Own(Uncertainty())
    trainer = _trainer(tmp_path, max_steps=30)
    trainer.fit(model, loader, loader)
    assert set(trainer.callback_metrics) >= {
        f"{kind}/{task}" for kind in ("training", "validation") for task in ("number", "kind")
    }
    assert float(model.network(x)["kind"].square().mean()) < float(
        case.network()(x)["kind"].square().mean()
    )


def test_a_checkpoint_holds_the_balancer(tmp_path):
    model = Model(Uncertainty())
    trainer = _trainer(tmp_path)
    trainer.fit(model, case.loader(Joint()))
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    other = Model(Uncertainty())
    checkpoint = torch.load(tmp_path / "model.ckpt", weights_only=False)
    other.on_load_checkpoint(checkpoint)
    learned, restored = (next(m.balanced_loss.balancer.parameters()) for m in (model, other))
    assert torch.equal(learned, restored)


def test_epoch_means_are_means_over_rows(tmp_path):
    class Own(Model):
        def task_losses(self, batch):
            (x,) = batch
            outputs = self.network(torch.zeros(len(x), 4))
            return {"number": outputs["number"].sum() * 0 + x.mean()}

    x = torch.zeros(9)
    x[8] = 9.0
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x), 8)
    (found,) = _trainer(tmp_path).validate(Own(Uncertainty()), loader, verbose=False)
    assert found["validation/number"] == pytest.approx(1.0)


def test_accumulated_batches_need_a_word(tmp_path):
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(12, 4)), 4)

    class Own(Model):
        def task_losses(self, batch):
            outputs = self.network(batch[0])
            return {name: output.square().mean() for name, output in outputs.items()}

    model = Own(UPGrad())
    with pytest.raises(InvalidInputError, match="2 batches a step are accumulated"):
        _trainer(tmp_path, accumulate_grad_batches=2).fit(model, loader)


class Squares(Model):
    """Makes its losses itself, of rows."""

    def __init__(self, balancer, **options):
        super().__init__(balancer)
        self.balanced_loss = BalancedLoss(balancer, tasks=case.NAMES, **options)
        self.autocast = []

    def task_losses(self, batch):
        self.autocast.append(torch.is_autocast_enabled("cpu"))
        outputs = self.network(batch[0])
        return {"number": outputs["number"].square().mean(),
                "kind": 9 * (outputs["kind"] - 1).square().mean()}  # fmt: skip

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def _rows(size):
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x), size)


def test_famo_sees_all_batches_of_a_step(tmp_path):
    whole, parts = Squares(FAMO()), Squares(FAMO(), accumulate="exact")
    _trainer(tmp_path, max_steps=4).fit(whole, _rows(8))
    _trainer(tmp_path, max_steps=4, accumulate_grad_batches=2).fit(parts, _rows(4))
    logits = [model.balanced_loss.balancer.logits for model in (whole, parts)]
    assert logits[0].abs().min() > 0.05
    torch.testing.assert_close(logits[1], logits[0], rtol=1e-4, atol=0)
    for ours, theirs in zip(parts.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batches", [1, 2])
def test_each_step_is_learned_from_once_also_in_further_fits(batches, tmp_path):
    balancer = FAMO()
    model = Squares(balancer)
    for steps in (2, 1, 1):
        _trainer(tmp_path, max_steps=steps, accumulate_grad_batches=batches).fit(model, _rows(4))
    assert balancer.moments[2].tolist() == [4.0, 4.0]


class OwnHook(Squares):
    def on_train_batch_start(self, batch, batch_idx):
        """Without the mixin's."""


def test_hooks_of_ones_own_do_not_change_what_is_learned_from(tmp_path):
    model = OwnHook(FAMO())
    _trainer(tmp_path, max_steps=3, accumulate_grad_batches=2).fit(model, _rows(4))
    assert model.balanced_loss.balancer.moments[2].tolist() == [3.0, 3.0]


def test_a_checkpoint_of_another_balancer_is_evaluated_with_a_warning(tmp_path):
    model = Squares(FAMO())
    trainer = _trainer(tmp_path, max_steps=1)
    trainer.fit(model, _rows(4))
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    with pytest.warns(UserWarning, match="The saved state is that of FAMO"):
        Squares.load_from_checkpoint(tmp_path / "model.ckpt", balancer=None)


def test_each_step_after_a_resumption_is_learned_from_once(tmp_path):
    model = Squares(FAMO())
    trainer = _trainer(tmp_path, max_epochs=1, max_steps=-1, accumulate_grad_batches=2)
    trainer.fit(model, _rows(4))
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    other = Squares(FAMO())
    trainer = _trainer(tmp_path, max_epochs=2, max_steps=-1, accumulate_grad_batches=2)
    trainer.fit(other, _rows(4), ckpt_path=tmp_path / "model.ckpt")
    assert other.balanced_loss.balancer.moments[2].tolist() == [4.0, 4.0]


def test_losses_after_a_step_are_computed_in_the_precision_of_those_before(tmp_path):
    model = Squares(FAMO())
    _trainer(tmp_path, max_steps=2, precision="bf16-mixed").fit(model, _rows(8))
    assert model.autocast == [True] * 4


def test_a_step_that_is_not_finite_is_left_to_a_scaler_in_use(tmp_path):
    class Broken(Squares):
        def task_losses(self, batch):
            return {name: loss * torch.nan for name, loss in super().task_losses(batch).items()}

    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    plugin = lightning.pytorch.plugins.MixedPrecision("16-mixed", "cpu", scaler)
    model = Broken(UPGrad())
    _trainer(tmp_path, max_steps=1, plugins=plugin).fit(model, _rows(8))
    assert model.balanced_loss.last.overflow
    assert scaler.get_scale() == 2.0
    case.assert_same_bits(model.network, case.network())


def test_manual_optimisation_that_would_train_nothing_is_refused(tmp_path):
    model = Squares(UPGrad())
    model.automatic_optimization = False
    with pytest.raises(InvalidInputError, match="automatic_optimization"):
        _trainer(tmp_path, max_epochs=1).fit(model, _rows(8))


def test_a_checkpoint_without_a_balancer_leaves_a_new_one():
    model = Squares(Uncertainty())
    with pytest.warns(UserWarning, match="begins anew"):
        model.on_load_checkpoint({"state_dict": {}})


def test_a_checkpoint_of_another_balancer_is_refused():
    checkpoint = {}
    Squares(Uncertainty()).on_save_checkpoint(checkpoint)
    with pytest.raises(InvalidInputError, match=r"Uncertainty.*UPGrad.*checkpoint\['jointrain'\]"):
        Squares(UPGrad()).on_load_checkpoint(checkpoint)
