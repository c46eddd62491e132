"""Trunks and heads from other libraries: Hugging Face transformers and Keras models."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor, nn

from jointrain.errors import InvalidInputError, closest

POOLINGS = ("mean", "first", "pooler", "none")


class TransformerTrunk(nn.Module):
    """A Hugging Face encoder as a trunk: texts in, one vector for each, or one for each token.

    Args:
        model: The encoder, such as ``BertModel``, or ``T5Model(...).encoder``.
        pooling: ``mean`` (default; over the tokens of the attention mask), ``first`` (the first
            token's), ``pooler`` (the model's own) or ``none`` (all tokens, for sequence tasks and
            decoders).

    Shape:
        forward: token numbers [b, s], or a mapping with ``input_ids`` and what else the model
        takes (entries it does not know are for the heads; one that takes any, by ``**kwargs``, is
        given all, and an adapted one of peft those of its base) -> [b, d], or [b, s, d] for
        ``none``.

    Raises:
        InvalidInputError: The pooling is unknown, or the model has no pooler.
    """

    def __init__(
        self, model: nn.Module, *, pooling: Literal["mean", "first", "pooler", "none"] = "mean"
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise InvalidInputError(
                f"`pooling` must be one of {', '.join(POOLINGS)}, got {pooling!r}"
                f"{closest(pooling, POOLINGS)}"
            )
        self.model = model
        self.pooling = pooling
        self._accepted = _accepted(model)

    def forward(self, inputs: Tensor | Mapping[str, Tensor]) -> Tensor:
        """Return the encoded texts."""
        given = {"input_ids": inputs} if isinstance(inputs, Tensor) else inputs
        known = self._accepted
        output = self.model(**{k: v for k, v in given.items() if known is None or k in known})
        hidden: Tensor = output.last_hidden_state  # [b, s, d]
        if self.pooling == "none":
            return hidden
        if self.pooling == "first":
            return hidden[:, 0]
        if self.pooling == "pooler":
            pooled: Tensor | None = getattr(output, "pooler_output", None)
            if pooled is None:
                raise InvalidInputError(
                    f"{type(self.model).__name__} has no pooler; use pooling='mean' or 'first'"
                )
            return pooled
        mask = given.get("attention_mask")
        if mask is None:
            return hidden.mean(1)
        weights = mask.to(hidden.dtype)[..., None]
        return (hidden * weights).sum(1) / weights.sum(1).clamp_min(1)


def _accepted(model: nn.Module) -> frozenset[str] | None:
    """Return the entries that a model takes, None for any."""
    # as adapted models of peft, whose own `forward` names none
    base: Any = getattr(model, "get_base_model", None)
    forward = (model if base is None else base()).forward
    taken = inspect.signature(forward).parameters
    # models of transformers name all that they take; what else they are given they pass on
    names_all = forward.__module__.startswith("transformers")
    if not names_all and any(one.kind is one.VAR_KEYWORD for one in taken.values()):
        return None
    return frozenset(taken)


class TransformerDecoder(nn.Module):
    """A Hugging Face decoder as a task's head: it attends to what the shared encoder gives.

    Args:
        decoder: The decoder stack, such as ``T5Model(...).decoder``.
        output: Maps [b, s, d] to the task's outputs, such as ``nn.Linear(d, vocabulary)``.
        inputs: Under which entry of the network's inputs the decoder's token numbers are.

    Shape:
        forward: features [b, s, d] -> [b, s', c], with s' the length of the decoder's inputs.

    Raises:
        InvalidInputError: The inputs hold no such entry.
    """

    takes_inputs = True

    def __init__(self, decoder: nn.Module, output: nn.Module, *, inputs: str) -> None:
        super().__init__()
        self.decoder = decoder
        self.output = output
        self.inputs = inputs

    def forward(self, features: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the outputs for each position of the decoder's inputs."""
        if self.inputs not in inputs:
            raise InvalidInputError(
                f"the inputs have no {self.inputs!r}{closest(self.inputs, inputs)}; the decoder "
                f"takes its tokens from there"
            )
        hidden: Any = self.decoder(
            input_ids=inputs[self.inputs],
            encoder_hidden_states=features,
            encoder_attention_mask=inputs.get("attention_mask"),
        )
        outputs: Tensor = self.output(hidden.last_hidden_state)
        return outputs


class KerasTrunk(nn.Module):
    """A Keras 3 model on its torch backend as a trunk, with torch's train and eval modes.

    Keras layers are told by an argument whether they train, not by ``module.train()``; without
    this wrapper a Keras dropout would stay off in training.

    Args:
        model: A built Keras model.

    Shape:
        forward: as the model.

    Raises:
        InvalidInputError: Keras runs on another backend, so the model is no torch module.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise InvalidInputError(
                f"the Keras model must be a torch module, got {type(model).__name__}; set "
                f'os.environ["KERAS_BACKEND"] = "torch" before `import keras`'
            )
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        """Return what the model gives."""
        outputs: Tensor = self.model(inputs, training=self.training)
        return outputs
