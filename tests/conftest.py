"""A warning is an error here, and not in a sweep, where some library's would cost the cell."""

import os

import pytest

# a sweep that a test starts is no worker of ours: in one, pytest-benchmark does nothing
os.environ.pop("PYTEST_XDIST_WORKER", None)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("filterwarnings", "error")
