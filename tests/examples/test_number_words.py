"""Language: the small study runs, few German examples profit, and BERT's encoder fits the place."""

import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from jointrain import Study, Trainer, named_recipes

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


def test_a_number_is_right_if_all_of_its_tokens_are(example):
    true = torch.tensor([[1, 2, -100], [3, 0, 1]])
    predicted = torch.nn.functional.one_hot(torch.tensor([[1, 2, 0], [3, 0, 2]]), 4).float()
    assert example["wholly_right"](predicted, true) == 0.5


def test_a_decoder_sees_no_later_token(example):
    decoder = example["head"]("English").eval()
    features, before = torch.randn(2, 3, 64), torch.randint(9, (2, 7))
    scores = decoder(features, {"before": before})
    before[:, 4:] += 1
    again = decoder(features, {"before": before})
    torch.testing.assert_close(scores[:, :4], again[:, :4])
    assert not torch.allclose(scores[:, 4:], again[:, 4:])


def test_told_what_should_stand_before_a_text_is_right_just_if_it_is_said_right(example):
    english = [task for task in example["TASKS"] if task.name == "English"]
    torch.manual_seed(0)
    network = example["make_network"](english)
    trainer = Trainer(network, english, batch_size=32, steps=150)
    trainer.fit(example["make_set"]("English", list(range(0, 1000, 4))))
    test = example["make_set"]("English", list(range(1, 1000, 10)))
    said = torch.zeros(len(test), 8, dtype=torch.long)
    for place in range(7):
        scores = trainer.predict(test.inputs | {"before": said[:, :7]})["English"]
        said[:, place + 1] = scores[:, place].argmax(1)
    true = test.targets["English"]
    right = ((said[:, 1:] == true) | (true == -100)).all(1).float().mean()
    assert 0.05 < float(right) < 0.999
    assert trainer.evaluate(test)["English"]["wholly right"] == pytest.approx(float(right))


def test_a_small_study_has_verdicts_on_all_tasks(example):
    base = replace(example["BASE"], epochs=1)
    recipes = named_recipes(["separate", "alternating-temperature", "merge-mean"], base)
    result = Study(example["make_experiment"](unseen=30), recipes, seeds=3).run(workers=1)
    for recipe in recipes[1:]:
        assert set(result.verdict(recipe.name)) == {*example["EXAMPLES"], "Delta-m"}


def test_a_hugging_face_encoder_learns_in_the_same_place(example):
    pytest.importorskip("transformers", reason="the package transformers is not installed")
    tasks = [task for task in example["TASKS"] if task.name in ("English", "tags")]
    torch.manual_seed(0)
    trainer = Trainer(example["make_network"](tasks, "bert"), tasks, batch_size=32, steps=100)
    sets = {task.name: example["make_set"](task.name, list(range(0, 1000, 3))) for task in tasks}
    trainer.fit(sets)
    unseen = {name: example["make_set"](name, list(range(1, 1000, 20))) for name in sets}
    found = trainer.evaluate(unseen)
    assert found["English"]["wholly right"] > 0.1
    assert found["tags"]["wholly right"] > 0.3  # five kinds for each of three digits
