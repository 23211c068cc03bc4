"""Numbers as people read them: 12.3k, 1.5 GiB, 8.4 ms."""


def _digits(value: float) -> str:
    """Three significant digits without an exponent."""
    decimals = 0 if abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _scaled(value: float, steps: tuple[tuple[float, str], ...]) -> str:
    for step, name in steps:
        if abs(value) >= step:
            return _digits(value / step) + name
    return _digits(value / steps[-1][0]) + steps[-1][1] if value else "0"


_THOUSANDS = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_STEPS = {
    "bytes": (
        (2.0**40, " TiB"),
        (2.0**30, " GiB"),
        (2.0**20, " MiB"),
        (2.0**10, " KiB"),
        (1.0, " B"),
    ),
    "tokens/s": _THOUSANDS,
    "bytes/s": ((1e9, " GB/s"), (1e6, " MB/s"), (1e3, " kB/s"), (1.0, " B/s")),
    "parameters": _THOUSANDS,
    "sequences": ((1.0, ""),),
    "tokens": ((1.0, ""),),
    "J/token": ((1.0, " J"), (1e-3, " mJ"), (1e-6, " µJ")),
    "s": ((1.0, " s"), (1e-3, " ms"), (1e-6, " µs")),
}


def show(value: float, unit: str) -> str:
    """`value` with a prefix that suits it; the unit itself only where the prefix needs one."""
    if unit in _STEPS:
        return _scaled(value, _STEPS[unit])
    if unit == "fraction":
        percent = 100 * value
        return f"{percent:.0f} %" if percent >= 9.95 else f"{percent:.2g} %"
    return f"{value:.3f}" if unit in ("bits/byte", "nats") else f"{value:.2f}"


def show_tick(value: float, unit: str) -> str:
    """`value` on an axis: as `show`, without digits that say nothing."""
    return show(value, unit) if unit in _STEPS or unit == "fraction" else f"{value:g}"


def show_length(tokens: int) -> str:
    """A sequence length: 512, 2k, 128k, 1M, where k is 1024."""
    for step, name in ((2**20, "M"), (2**10, "k")):
        if tokens >= step and tokens % step == 0:
            return f"{tokens // step}{name}"
    return f"{tokens:,}"


def show_count(tokens: int) -> str:
    """How many: 20M, 1.5k; here k is 1000."""
    return _scaled(tokens, _THOUSANDS)


def show_ratio(value: float) -> str:
    """How many times."""
    return _digits(value)
