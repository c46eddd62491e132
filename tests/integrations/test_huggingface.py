"""A Hugging Face Trainer with balanced losses ends with the weights of ours, to the bit."""

import pytest
import torch
from torch import nn

from jointrain.balancing.aggregation import UPGrad
from jointrain.balancing.weighting import DWA, FAMO
from jointrain.errors import InvalidInputError
from jointrain.integrations import BalancedLoss
from jointrain.integrations.huggingface import BalancedTrainerMixin

from . import _case as case

transformers = pytest.importorskip("transformers", reason="the package transformers is missing")
pytest.importorskip("accelerate", reason="the package accelerate is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")


class BalancedTrainer(BalancedTrainerMixin, transformers.Trainer):
    pass


def _arguments(folder, **settings):
    settings = {"max_steps": case.STEPS, "lr_scheduler_type": "constant"} | settings
    return transformers.TrainingArguments(
        str(folder), learning_rate=case.RATE, max_grad_norm=0.0, use_cpu=True, report_to=[],
        save_strategy="no", logging_strategy="no", disable_tqdm=True, **settings,
    )  # fmt: skip


@pytest.mark.parametrize("schedule, balancer", case.CASES, ids=case.IDS)
def test_the_weights_are_those_of_our_trainer(schedule, balancer, tmp_path):
    network = case.network()
    trainer = BalancedTrainer(
        network, _arguments(tmp_path), train_dataset=case.loader(schedule), tasks=case.TASKS,
        balanced_loss=case.balanced_loss(balancer),
        optimizers=(case.OPTIMIZER(network.parameters()), None),
    )  # fmt: skip
    trainer.train()
    case.assert_same_bits(network, case.by_trainer(schedule, balancer))


class Encoder(nn.Module):
    """A small transformer with two heads that computes its own losses."""

    def __init__(self):
        super().__init__()
        config = transformers.BertConfig(
            vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=8, max_position_embeddings=8,
        )  # fmt: skip
        self.encoder = transformers.BertModel(config, add_pooling_layer=False)
        self.topic, self.tone = nn.Linear(8, 3), nn.Linear(8, 1)

    def forward(self, input_ids, topic, tone):
        features = self.encoder(input_ids).last_hidden_state[:, 0]
        return {
            "topic": nn.functional.cross_entropy(self.topic(features), topic),
            "tone": nn.functional.mse_loss(self.tone(features)[:, 0], tone),
        }


class EncoderTrainer(BalancedTrainerMixin, transformers.Trainer):
    def task_losses(self, model, inputs):
        return model(**inputs)


def _rows(n=16):
    ids = torch.randint(0, 20, (n, 6))
    return [{"input_ids": row, "topic": row[0] % 3, "tone": row[1].float() / 20} for row in ids]


def test_losses_of_ones_own_and_evaluation(tmp_path):
    torch.manual_seed(0)
    rows = _rows()
    balanced = BalancedLoss(UPGrad())
    arguments = _arguments(tmp_path, max_steps=40, per_device_train_batch_size=8,
                           remove_unused_columns=False, label_names=["topic", "tone"])  # fmt: skip
    trainer = EncoderTrainer(
        Encoder(), arguments, train_dataset=rows, eval_dataset=rows, balanced_loss=balanced
    )
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert balanced.last.tasks == ("topic", "tone")
    assert trainer.evaluate()["eval_loss"] < before


def test_accumulated_batches_are_averaged(tmp_path):
    rows = _rows()
    grown = []
    for size, accumulated in ((8, 1), (4, 2)):
        torch.manual_seed(0)
        model = Encoder().eval()
        model.train = lambda mode=True, model=model: model  # no dropout, which differs by batch
        arguments = _arguments(
            tmp_path, max_steps=3, per_device_train_batch_size=size,
            gradient_accumulation_steps=accumulated, remove_unused_columns=False,
        )  # fmt: skip
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model.training = True
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        trainer = EncoderTrainer(model, arguments, train_dataset=rows, optimizers=(optimizer, None),
                                 balanced_loss=BalancedLoss())  # fmt: skip
        trainer.train()
        grown.append(model.state_dict())
    for name, value in grown[0].items():
        torch.testing.assert_close(value, grown[1][name], rtol=1e-4, atol=1e-6)


class Squares(nn.Module):
    """Two lines with a weight in common."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.trunk, self.heads = nn.Linear(4, 3), nn.Linear(3, 2)

    def forward(self, x, y):
        output = self.heads(self.trunk(x))
        away = (output - y).square().mean(0)
        return output, {"first": away[0], "second": 9 * away[1]}


class SquaresTrainer(BalancedTrainerMixin, transformers.Trainer):
    def task_losses(self, model, inputs):
        return model(**inputs)[1]

    def _get_train_sampler(self, *_, **__):
        return torch.utils.data.SequentialSampler(self.train_dataset)


def _squares(folder, balancer, options=None, trainer=SquaresTrainer, metrics=None, **settings):
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
    rows = [{"x": row, "y": row[:2] + 1} for row in x]
    model = Squares()
    return trainer(
        model, _arguments(folder, label_names=["y"], remove_unused_columns=False, **settings),
        train_dataset=rows, eval_dataset=rows, compute_metrics=metrics,
        balanced_loss=BalancedLoss(balancer, tasks=("first", "second"), **(options or {})),
        optimizers=(torch.optim.SGD(model.parameters(), lr=0.01), None),
    )  # fmt: skip


def test_famo_sees_all_batches_of_a_step_and_every_step_once(tmp_path):
    grown = []
    for size, batches in ((8, 1), (4, 2)):
        balancer = FAMO()
        trainer = _squares(
            tmp_path, balancer, {"accumulate": "exact"}, max_steps=4,
            per_device_train_batch_size=size, gradient_accumulation_steps=batches,
        )  # fmt: skip
        trainer.train()
        grown.append([balancer.logits, *trainer.model.parameters()])
        assert balancer.moments[2].tolist() == [4.0, 4.0]
    assert grown[0][0].abs().min() > 0.05
    for ours, theirs in zip(*grown, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_a_balancer_is_told_of_the_end_of_each_epoch(tmp_path):
    balancer = DWA()
    _squares(tmp_path, balancer, max_steps=-1, num_train_epochs=3).train()
    assert balancer.averages.isfinite().all()
    assert not torch.equal(balancer.averages[0], balancer.averages[1])


def test_a_step_that_is_not_finite_is_left_to_a_scaler_in_use(tmp_path):
    trainer = _squares(tmp_path, UPGrad())
    trainer.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    inputs = {"x": torch.full((2, 4), torch.nan), "y": torch.zeros(2, 2)}
    trainer.accelerator.backward(trainer.compute_loss(trainer.model.train(), inputs))
    assert trainer.balanced_loss.last.overflow


def test_losses_are_not_given_for_predictions(tmp_path):
    with pytest.raises(InvalidInputError, match="return losses, outputs"):
        _squares(tmp_path, UPGrad()).predict(_squares(tmp_path, UPGrad()).eval_dataset)
    with pytest.raises(InvalidInputError, match="return losses, outputs"):
        _squares(tmp_path, UPGrad(), metrics=lambda _: {}).evaluate()


@pytest.mark.parametrize("form", ["tensor", "tuple", "mapping"])
def test_predictions_are_the_outputs_that_task_losses_gives(form, tmp_path):
    class WithOutputs(SquaresTrainer):
        def task_losses(self, model, inputs):
            output, losses = model(**inputs)
            forms = {"tensor": output, "tuple": (output,), "mapping": {"output": output}}
            return losses, forms[form]

    seen = []
    trainer = _squares(
        tmp_path, UPGrad(), trainer=WithOutputs, metrics=lambda p: seen.append(p.predictions) or {}
    )
    found = trainer.predict(trainer.eval_dataset)
    x = torch.stack([row["x"] for row in trainer.eval_dataset])
    y = torch.stack([row["y"] for row in trainer.eval_dataset])
    with torch.no_grad():
        output, losses = trainer.model(x, y)
    torch.testing.assert_close(torch.tensor(found.predictions), output)
    torch.testing.assert_close(torch.tensor(seen[0]), output)
    assert found.metrics["test_loss"] == pytest.approx(float(sum(losses.values())), rel=1e-5)
    trainer.train()


@pytest.mark.parametrize("odd", [None, "text", 3])
def test_outputs_that_are_no_tensors_are_refused(odd, tmp_path):
    class WithOutputs(SquaresTrainer):
        def task_losses(self, model, inputs):
            output, losses = model(**inputs)
            return losses, {"output": output, "odd": (output, odd)}

    trainer = _squares(tmp_path, UPGrad(), trainer=WithOutputs)
    name = type(odd).__name__
    with pytest.raises(InvalidInputError, match=rf"outputs\[1\]\[1\] is of type {name};"):
        trainer.predict(trainer.eval_dataset)
    assert trainer.evaluate()["eval_loss"] > 0


def test_mixtures_are_to_train_on(tmp_path):
    schedule, balancer = case.CASES[0]
    mixture = case.loader(schedule)
    trainer = BalancedTrainer(
        case.network(), _arguments(tmp_path), train_dataset=mixture, tasks=case.TASKS,
        eval_dataset={"one": mixture}, balanced_loss=case.balanced_loss(balancer),
    )  # fmt: skip
    for evaluate in (trainer.evaluate, lambda: trainer.evaluate(mixture)):
        with pytest.raises(InvalidInputError, match="`eval_dataset` is a MixtureLoader"):
            evaluate()
    with pytest.raises(InvalidInputError, match="`test_dataset` is a MixtureLoader"):
        trainer.predict(mixture)
