"""Trunks of other libraries: transformers from a config, Keras on torch, torchvision and timm."""

import copy
import os

import pytest
import torch
from torch import nn

from jointrain import InvalidInputError
from jointrain.networks import (
    CrossStitch,
    HardSharing,
    KerasTrunk,
    LayerSharing,
    LowRankAdapters,
    MMoE,
    SoftSharing,
    TransformerDecoder,
    TransformerTrunk,
)

WIDTH = 16


def heads():
    return {"a": nn.Linear(WIDTH, 1), "b": nn.Linear(WIDTH, 3)}


def texts():
    ids = torch.randint(1, 30, (4, 7))
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    return {"input_ids": ids, "attention_mask": mask}


@pytest.fixture
def bert():
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = transformers.BertConfig(
        vocab_size=30, hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=12,
    )  # fmt: skip
    return transformers.BertModel(config)


@pytest.fixture
def t5():
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = transformers.T5Config(
        vocab_size=30, d_model=WIDTH, d_kv=8, d_ff=16, num_layers=1, num_heads=2,
        decoder_start_token_id=0,
    )  # fmt: skip
    return transformers.T5Model(config)


def test_poolings_are_what_they_say(bert):
    x = texts()
    bert.eval()
    output = bert(**x)
    hidden, mask = output.last_hidden_state, x["attention_mask"]

    def pooled(how, inputs=x):
        return TransformerTrunk(bert, pooling=how)(inputs)

    mean = torch.stack([row[kept.bool()].mean(0) for row, kept in zip(hidden, mask, strict=True)])
    torch.testing.assert_close(pooled("mean"), mean)
    torch.testing.assert_close(pooled("first"), hidden[:, 0])
    torch.testing.assert_close(pooled("none"), hidden)
    torch.testing.assert_close(pooled("pooler"), output.pooler_output)
    everything = bert(x["input_ids"]).last_hidden_state.mean(1)
    torch.testing.assert_close(pooled("mean", x["input_ids"]), everything)
    # entries for the heads are not the model's
    torch.testing.assert_close(pooled("mean", {**x, "words": mask}), mean)


@pytest.mark.parametrize(
    "share",
    [
        lambda trunk: HardSharing(trunk, heads()),
        lambda trunk: SoftSharing(trunk, heads()),
        lambda trunk: LayerSharing(trunk, heads(), split_at="model.encoder.layer.1"),
        lambda trunk: LowRankAdapters(trunk, heads(), layers=["model.encoder"], rank=2),
    ],
    ids=["hard", "soft", "layers", "low-rank"],
)
def test_an_encoder_is_shared_in_any_way_and_exported(bert, share):
    network = share(TransformerTrunk(bert))
    x = texts()
    network(x, ["a"])["a"].sum().backward()
    assert all(p.grad is None for p in network.task_parameters("b"))
    reached = [p.grad is not None for p in network.task_parameters("a")]
    assert sum(reached) > 0
    network.eval()
    assert torch.equal(network.for_task("b")(x), network(x, ["b"])["b"])


def test_layers_before_the_split_are_the_shared_ones(bert):
    network = LayerSharing(TransformerTrunk(bert), heads(), split_at="model.encoder.layer.1")
    below = [*bert.embeddings.parameters(), *bert.encoder.layer[0].parameters()]
    assert set(network.shared_parameters()) == set(below)
    with pytest.raises(InvalidInputError, match=r"did you mean 'model.encoder.layer.1'"):
        LayerSharing(TransformerTrunk(bert), heads(), split_at="model.encodr.layer.1")


def test_an_encoder_that_can_t_be_cut_says_how_else_to_share_it(bert):
    with pytest.raises(InvalidInputError, match=r"can't be cut by tracing it .* with LayerSharing"):
        HardSharing(TransformerTrunk(bert), heads(), split_at="model.encoder.layer.1")


def test_an_encoder_with_several_decoders(t5):
    decoders = {"en": t5.decoder, "de": copy.deepcopy(t5.decoder)}
    network = HardSharing(
        TransformerTrunk(t5.encoder, pooling="none"),
        {name: TransformerDecoder(decoders[name], nn.Linear(WIDTH, 30), inputs=name)
         for name in decoders},
    ).eval()  # fmt: skip
    x = {**texts(), "en": torch.randint(1, 30, (4, 5)), "de": torch.randint(1, 30, (4, 6))}
    outputs = network(x)
    assert outputs["de"].shape == (4, 6, 30)
    hidden = t5.eval()(
        input_ids=x["input_ids"], attention_mask=x["attention_mask"], decoder_input_ids=x["en"]
    ).last_hidden_state
    torch.testing.assert_close(outputs["en"], network.heads.layers[0].output(hidden))
    assert torch.equal(network.for_task("de")(x), network(x, ["de"])["de"])
    # the embedding is tied between the encoder and the first decoder
    assert "en alone but for 480" in network.describe()
    with pytest.raises(InvalidInputError, match=r"have no 'de' .*decoder takes its tokens"):
        network({**texts(), "en": x["en"]})


def test_a_pooling_that_is_not_there_is_refused(bert, t5):
    with pytest.raises(InvalidInputError, match=r"got 'maen'.*did you mean 'mean'"):
        TransformerTrunk(bert, pooling="maen")
    with pytest.raises(InvalidInputError, match="has no pooler; use pooling='mean' or 'first'"):
        TransformerTrunk(t5.encoder, pooling="pooler")(texts())


@pytest.fixture(scope="module")
def keras():
    os.environ["KERAS_BACKEND"] = "torch"
    keras = pytest.importorskip("keras", reason="keras is not installed")
    if keras.backend.backend() != "torch":
        pytest.skip("keras was imported with another backend")
    # Keras makes its tensors on a GPU if there is one
    with keras.device("cpu"):
        yield keras


def sequence(keras):
    return keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(6, activation="relu", name="first"),
            keras.layers.Dropout(0.5, name="drop"),
            keras.layers.Dense(WIDTH, name="second"),
        ]
    )


def test_a_keras_model_trains_and_evaluates_as_torch_says(keras):
    model = sequence(keras)
    trunk = KerasTrunk(model)
    x = torch.randn(50, 8)
    assert not torch.equal(trunk(x), trunk(x))
    trunk.eval()
    torch.testing.assert_close(trunk(x), model(x, training=False))
    network = HardSharing(trunk, heads())
    network(x)["a"].sum().backward()
    # the state of a dropout's random numbers is a frozen parameter in Keras
    learned = [p for p in network.shared_parameters() if p.requires_grad]
    assert len(learned) == 4
    assert all(p.grad is not None for p in learned)
    network.eval()
    assert torch.equal(network.for_task("b")(x), network(x, ["b"])["b"])


def test_a_keras_model_is_cut_at_its_layers(keras):
    model = sequence(keras)
    network = HardSharing(model, heads(), split_at="second").eval()
    x = torch.randn(5, 8)
    whole = model(x, training=False)
    for branch in network.branches:
        torch.testing.assert_close(branch(network.trunk(x)), whole)
    learned = [p for p in network.shared_parameters() if p.requires_grad]
    assert sum(p.numel() for p in learned) == 8 * 6 + 6
    stitched = CrossStitch(sequence(keras), heads(), split_at=["second"])
    assert stitched(x)["b"].shape == (5, 3)
    mixed = MMoE([KerasTrunk(sequence(keras)) for _ in range(2)], heads(), gate_features=8)
    assert mixed(x)["b"].shape == (5, 3)


def test_a_keras_model_can_t_be_cut_anywhere(keras):
    inputs = keras.Input((8,))
    left, right = (keras.layers.Dense(4, name=name)(inputs) for name in ("left", "right"))
    total = keras.layers.Add(name="total")([left, right])
    model = keras.Model(inputs, keras.layers.Dense(WIDTH, name="last")(total))
    assert HardSharing(model, heads(), split_at="last")(torch.randn(2, 8))["a"].shape == (2, 1)
    for name, message in (
        ("lats", "'lats', which is no layer of the Keras model.*did you mean 'last'"),
        ("total", "can't be cut at 'total', which takes several tensors"),
        ("left", "'left', the trunk's first layer: nothing would come before"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            HardSharing(model, heads(), split_at=name)


def test_what_is_no_keras_model_on_torch_is_refused():
    with pytest.raises(InvalidInputError, match="must be a torch module, got int; set"):
        KerasTrunk(3)


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_an_image_network_is_cut_by_the_name_of_its_layer(library):
    module = pytest.importorskip(
        library, reason=f"{library} is not installed: it has no build for a torch without CUDA here"
    )
    if library == "torchvision":
        trunk = module.models.resnet18(weights=None)
        trunk.fc = nn.Identity()
    else:
        trunk = module.create_model("resnet18", pretrained=False, num_classes=0)
    made = {"a": nn.Linear(512, 1), "b": nn.Linear(512, 3)}
    network = HardSharing(trunk, made, split_at="layer3").eval()
    x = torch.randn(2, 3, 32, 32)
    whole = trunk.eval()(x)
    torch.testing.assert_close(network(x)["a"], made["a"](whole))
    assert not {id(p) for p in network.shared_parameters()} & {
        id(p) for p in trunk.layer3.parameters()
    }
    with pytest.raises(InvalidInputError, match="did you mean 'layer"):
        HardSharing(trunk, made, split_at="layer33")


class _Passing(nn.Module):
    """Passes on whatever it is given, as wrappers and adapted models do."""

    def __init__(self, model, *, base=False):
        super().__init__()
        self.model = model
        if base:
            self.get_base_model = lambda: model

    def forward(self, *args, **kwargs):
        return self.model(*args, **kwargs)


@pytest.mark.parametrize("base", [False, True])
def test_models_that_take_any_entry_are_given_the_mask(base):
    transformers = pytest.importorskip("transformers")
    settings = transformers.BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        vocab_size=9,
    )  # fmt: skip
    bert = transformers.BertModel(settings).eval()
    ids = torch.randint(1, 9, (2, 5))
    mask = torch.tensor([[1] * 5, [1, 1, 1, 0, 0]])
    batch = {"input_ids": ids, "attention_mask": mask}
    expected = TransformerTrunk(bert, pooling="first")(batch)
    if base:
        # entries that the base does not know are for the heads
        batch["labels"] = ids
    passed = TransformerTrunk(_Passing(bert, base=base), pooling="first")(batch)
    assert torch.equal(passed, expected)
