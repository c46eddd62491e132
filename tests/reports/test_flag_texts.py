"""Groups and weights as flags take them; tests/cli/test_settings.py reads them back."""

from jointrain.reports._flag_texts import groups_text, pairs_text


def test_names_with_commas_and_semicolons_are_quoted():
    assert groups_text([["a", "b, c"], ["d"]]) == 'a,"b, c";d'
    assert pairs_text({"a": 0.5, "b, c": 1}) == 'a=0.5,"b, c=1"'
