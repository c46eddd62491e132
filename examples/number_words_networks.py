"""The encoder and the decoder of the example on words of numbers: one transformer layer each."""

import torch
from number_words_data import LONGEST, TAGS, TOKENS
from torch import Tensor, nn

from jointrain.networks import TransformerTrunk

WIDTH = 64
LAYER = {"d_model": WIDTH, "nhead": 4, "dim_feedforward": 128, "dropout": 0.0, "batch_first": True}


class Encoder(nn.TransformerEncoderLayer):
    """Reads three digits: [b, 3] -> [b, 3, 64]."""

    def __init__(self) -> None:
        super().__init__(**LAYER)
        self.digit, self.place = nn.Embedding(11, WIDTH), nn.Embedding(3, WIDTH)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return a vector for each digit."""
        return super().forward(self.digit(inputs["input_ids"]) + self.place.weight)


class Decoder(nn.TransformerDecoderLayer):
    """Says the next token after each of those said before it, looking at the digits."""

    takes_inputs = True

    def __init__(self) -> None:
        super().__init__(**LAYER)
        self.token, self.place = nn.Embedding(len(TOKENS), WIDTH), nn.Embedding(LONGEST, WIDTH)
        self.output = nn.Linear(WIDTH, len(TOKENS))
        later = torch.ones(LONGEST, LONGEST, dtype=torch.bool).triu(1)
        self.register_buffer("later", later, persistent=False)

    def forward(self, features: Tensor, inputs: dict[str, Tensor]) -> Tensor:
        """Return the scores of all tokens, [b, t, tokens]."""
        said = self.token(inputs["before"]) + self.place.weight
        return self.output(super().forward(said, features, tgt_mask=self.later))


def head(task: str) -> nn.Module:
    """Return a task's own layers: tags are said digit by digit, texts token by token."""
    return nn.Linear(WIDTH, TAGS) if task == "tags" else Decoder()


def bert() -> TransformerTrunk:
    """Return a small encoder of Hugging Face's with fresh weights, for the place of ours."""
    from transformers import BertConfig, BertModel

    sizes = {"vocab_size": 11, "hidden_size": WIDTH, "intermediate_size": 128}
    sizes |= {"num_hidden_layers": 1, "num_attention_heads": 4, "max_position_embeddings": 8}
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = BertModel(BertConfig(**sizes, **dropout), add_pooling_layer=False)
    return TransformerTrunk(model, pooling="none")
