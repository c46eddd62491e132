"""A Hugging Face Trainer with balanced losses ends with the weights of ours, to the bit."""

import pytest
import torch
from torch import nn

from jointrain.balancing.aggregation import UPGrad
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
