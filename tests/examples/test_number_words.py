"""Language: the decoder with few examples gains from the shared encoder, ours or BERT's."""

import runpy
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def example():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield runpy.run_path(str(FOLDER / "number_words.py"))


@pytest.fixture(scope="module")
def say(example):
    return example["make_set"].__globals__["say"]


def test_words_follow_the_grammar_of_their_language(say):
    spoken = {
        0: ("zero", "null"),
        17: ("seventeen", "siebzehn"),
        40: ("forty", "vierzig"),
        121: ("one hundred and twenty one", "ein hundert ein und zwanzig"),
        301: ("three hundred and one", "drei hundert eins"),
        700: ("seven hundred", "sieben hundert"),
    }
    for number, texts in spoken.items():
        assert (" ".join(say(number, "English")), " ".join(say(number, "German"))) == texts
    for language in ("English", "German"):
        assert len({tuple(say(number, language)) for number in range(1000)}) == 1000


def test_a_decoder_is_given_what_it_has_said_before_and_ends_its_text(example):
    data = example["make_set"]("English", [21])
    tokens = example["TOKENS"]
    target = data.targets["English"][0].tolist()
    assert [tokens[i] for i in target if i != -100] == ["twenty", "one", ""]
    assert [tokens[i] for i in data.inputs["before"][0][:3]] == ["", "twenty", "one"]


def test_few_german_examples_are_enough_beside_other_tasks(example):
    for seed in range(2):
        (alone,) = example["train"](["German"], "random", seed, 120, "gru")
        english, german = example["train"](["English", "German"], "temperature", seed, 240, "gru")
        assert german > alone
        assert english > 0.3


def test_a_hugging_face_encoder_learns_in_the_same_place(example):
    pytest.importorskip("transformers", reason="the package transformers is not installed")
    english, tags = example["train"](["English", "tags"], "random", 0, 120, "bert")
    assert english > 0.2
    assert tags > 0.3  # five kinds for each of three digits
