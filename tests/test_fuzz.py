"""A few thousand of the inputs of `python -m tests.fuzz`, always the same ones."""

from tests import fuzz


def test_what_is_read_is_answered_or_refused_as_documented(capsys):
    assert fuzz.run(6000, seed=1) == [], capsys.readouterr().out
