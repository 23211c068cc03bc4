"""The table of learning rates tried says what validation said, and no more."""

from math import log

from msgspec.structs import replace

from report.sensitivity import curves
from tests.report_records import quality


def test_the_best_on_validation_is_marked_and_a_failure_says_so():
    tried = [
        quality("gru", valid=5.0, lr=0.001),
        quality("gru", valid=4.0, test=9.0, lr=0.002),
        quality("gru", valid=4.5, test=3.0, lr=0.004),
        quality("gru", valid=2.0, lr=0.008, seed=1),  # another seed, which tried one rate only
        quality("lstm", valid=6.0, lr=0.002),  # one rate is no curve
        replace(quality("gru", lr=0.016), status="diverged"),
    ]
    ((title, table),) = curves(tried)
    assert title.startswith("sotu: validation perplexity")
    assert table.to_numpy().tolist() == [["gru", "5.00", "4.00 *", "4.50", "diverged"]]
    assert list(table.columns) == ["architecture", "0.001", "0.002", "0.004", "0.016"]


def test_budgets_are_not_mixed():
    rates = (0.001, 0.002, 0.004)
    tried = [quality(valid=4 + log(n), lr=lr, tokens=n) for n in (1000, 2000) for lr in rates]
    assert len(list(curves(tried))) == 2
    assert list(curves(tried[:2])) == []
