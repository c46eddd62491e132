"""The encoders and the decoder of the example on words of numbers."""

import torch
from number_words_data import TOKENS
from torch import Tensor, nn

from jointrain.networks import TransformerTrunk


class Encoder(nn.GRU):
    """Reads digits from both sides: [b, s] -> [b, s, 64]."""

    def __init__(self) -> None:
        super().__init__(64, 32, batch_first=True, bidirectional=True)
        self.embedding = nn.Embedding(11, 64)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return a vector for each digit."""
        return super().forward(self.embedding(inputs["input_ids"]))[0]


def bert() -> TransformerTrunk:
    """Return a small encoder of Hugging Face's with fresh weights, for the place of ours."""
    from transformers import BertConfig, BertModel

    sizes = {"vocab_size": 11, "hidden_size": 64, "intermediate_size": 128}
    sizes |= {"num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 8}
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = BertModel(BertConfig(**sizes, **dropout), add_pooling_layer=False)
    return TransformerTrunk(model, pooling="none")


class Decoder(nn.Module):
    """Says the next token after each: it remembers what it has said and looks at the digits."""

    takes_inputs = True

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.output = nn.Embedding(len(TOKENS), 64), nn.Linear(128, len(TOKENS))
        self.memory = nn.GRU(64, 64, batch_first=True)
        self.attention = nn.MultiheadAttention(64, 1, batch_first=True)

    def forward(self, features: Tensor, inputs: dict[str, Tensor]) -> Tensor:
        """Return the scores of all tokens, [b, t, tokens]."""
        said, _ = self.memory(self.embedding(inputs["before"]))
        seen, _ = self.attention(said, features, features, need_weights=False)
        return self.output(torch.cat([said, seen], 2))
