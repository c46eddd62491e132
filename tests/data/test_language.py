"""What is language and what is a code: names, codes, sentences, addresses, titles, UUIDs."""

import uuid

import polars as pl
import pytest

from jointrain.data._language import are_hashes, is_bag, is_language, looks_like_language

LANGUAGE = [
    "The service was slow, but friendly.",
    "Braund, Mr. Owen Harris",
    "Anna Schmidt",
    "12 Baker Street, London NW1 6XE",
    "Unter den Linden 77, 10117 Berlin",
    "USB-C charging cable, 2 m, white",
    "https://shop.example/red-shoes?id=17",
    "www.example.org",
    "Très bien !",
    "приятный сервис",
    "非常好的服务态度",
    "Rhythm & blues",
]
CODES = [
    "u123", "i-000173", "SW1A 1AA", "10115", "A/5 21171", "PC 17599", "C85", "SKU-ABC-1234",
    "3f2b8c1e-9a4d-4c7e-8b1a-5d2c7e9f0a1b", "anna.schmidt@example.org", "anna_schmidt", "Berlin",
    "B-XY 123", "978-3-16-148410-0", "DE89 3704 0044 0532 0130 00", "192.168.0.1", "R2D2", "",
]  # fmt: skip


@pytest.mark.parametrize("value", LANGUAGE)
def test_language(value):
    assert looks_like_language(value)


@pytest.mark.parametrize("value", CODES)
def test_codes(value):
    assert not looks_like_language(value)


def test_a_column_is_what_half_of_its_values_are():
    assert is_language(pl.Series(["u1", "this is fine", "very good"]))
    assert not is_language(pl.Series(["u1", "u2", "very good"]))
    assert is_language(pl.Series(["San Francisco", "Berlin", "New York", "Paris"]))


def test_uuids_and_hashes():
    made = pl.Series([str(uuid.UUID(int=1 << number)) for number in range(100)])
    assert are_hashes(made)
    assert are_hashes(made.str.replace_all("-", ""))
    assert not are_hashes(pl.Series(["u123", "u124"]))


def test_bags_have_fewer_items_than_values():
    genres = ["action", "drama", "family", "news"]
    pairs = [f"{a}|{b}" for a in genres for b in genres]
    assert is_bag(pl.Series(pairs))
    assert not is_bag(pl.Series([f"a{number}|b{number}" for number in range(16)]))
    assert not is_bag(pl.Series(genres))
    assert not is_bag(pl.Series([*pairs, "a||b"]))
