"""Numbers below 1000: their words in English and German, and data sets of them for the example."""

import torch

from jointrain import TensorData

ENGLISH = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety
hundred"""
GERMAN = """null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn
fünfzehn sechzehn siebzehn achtzehn neunzehn zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig
neunzig hundert"""
WORDS = {"English": ENGLISH.split(), "German": GERMAN.split()}
TOKENS = ["", *"0123456789", "and", "ein", "und", *WORDS["English"], *WORDS["German"]]
LONGEST = 7  # tokens of a text, its end included
TAGS = 5  # a digit is silent, or said as unit, teen, ten or hundred


def say(number: int, language: str) -> list[str]:
    """Return the words of a number."""
    words, german = WORDS[language], language == "German"
    (hundreds, rest), (ten, unit) = divmod(number, 100), divmod(number % 100, 10)
    said = ["ein" if german and hundreds == 1 else words[hundreds], words[28]] if hundreds else []
    said += ["and"] if hundreds and rest and not german else []
    if rest < 20:
        return said if hundreds and not rest else [*said, words[rest]]
    if german and unit:
        return [*said, "ein" if unit == 1 else words[unit], "und", words[18 + ten]]
    return [*said, words[18 + ten], *([words[unit]] if unit else [])]


def make_set(task: str, numbers: list[int]) -> TensorData:
    """Return the digits of numbers, and their tags, or the tokens of a text about each.

    The inputs of a text are also the tokens ``before`` each of its own.
    """
    digits = torch.tensor([[int(d) + 1 for d in f"{number:03d}"] for number in numbers])
    if task == "tags":
        hundreds, ten, unit = (digits - 1).T
        unit_said = (ten != 1) & ((unit > 0) | (digits == 1).all(1))
        tags = [4 * (hundreds > 0), 3 * (ten > 1) + 2 * (ten == 1), 1 * unit_said]
        return TensorData({"input_ids": digits}, {task: torch.stack(tags, 1)})
    texts = [say(n, task) if task in WORDS else f"{(n + 1) % 1000:03d}" for n in numbers]
    padded = [[*map(TOKENS.index, text), *[0] * (LONGEST - len(text))] for text in texts]
    words = torch.tensor(padded)
    before = words.roll(1, dims=1)  # the last token is always the empty one
    words[:, 1:][(words[:, 1:] == 0) & (words[:, :-1] == 0)] = -100  # nothing after the end
    return TensorData({"input_ids": digits, "before": before}, {task: words})
