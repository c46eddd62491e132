"""A LightningModule with balanced losses ends with the weights of our Trainer, to the bit."""

import logging

import pytest
import torch

from jointrain import Joint
from jointrain.balancing.aggregation import UPGrad
from jointrain.balancing.weighting import Uncertainty
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
