"""A warning is an error here, and not in a sweep, where some library's would cost the cell."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("filterwarnings", "error")
