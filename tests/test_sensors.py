"""What watches the machine while a cell is timed, with a GPU, its driver and its events faked."""

import sys
from types import SimpleNamespace

import pytest
import torch
from msgspec.structs import asdict

import results
from benchmarks import sensors, timing
from results import Reading


class NVMLError(Exception):
    pass


def nvml(**refused):
    """A driver that counts 1500 J, runs at 1980 MHz, and refuses what it is told to."""

    def answer(name, value):
        def ask(*arguments):
            if name in refused:
                raise NVMLError(refused[name])
            return value(*arguments) if callable(value) else value

        return ask

    answers = {
        "nvmlInit": None,
        "nvmlDeviceGetHandleByUUID": lambda uuid: uuid,
        "nvmlDeviceGetTotalEnergyConsumption": 1_500_000,
        "nvmlDeviceGetClockInfo": lambda card, clock: {1: 1980, 2: 3201}[clock],
        "nvmlDeviceGetTemperature": 41,
        "nvmlDeviceGetPowerUsage": 652_500,
        "nvmlDeviceGetCurrentClocksEventReasons": 0x24,
    }
    constants = {"NVML_CLOCK_SM": 1, "NVML_CLOCK_MEM": 2, "NVML_TEMPERATURE_GPU": 0}
    functions = {name: answer(name, value) for name, value in answers.items()}
    return SimpleNamespace(NVMLError=NVMLError, **constants, **functions)


@pytest.fixture
def driver(monkeypatch):
    """Install a fake NVML; None is a machine without the package."""
    sensors.card.cache_clear()
    monkeypatch.setattr(sensors, "_uuid", lambda: "GPU-1")
    yield lambda fake: monkeypatch.setitem(sys.modules, "pynvml", fake)
    sensors.card.cache_clear()


WHOLE = Reading(
    energy_j=1500.0,
    sm_hz=1_980_000_000,
    memory_hz=3_201_000_000,
    temperature_c=41,
    power_w=652.5,
    throttle=("power cap", "software thermal slowdown"),
)


def test_a_reading_is_in_units_of_its_names(driver):
    driver(nvml())
    assert sensors.card("cuda").read() == WHOLE
    assert sensors.withheld() == {}


def test_every_bit_that_is_set_is_named():
    assert sensors.throttles(0) == ()
    assert sensors.throttles(0x1) == ("idle",)
    assert sensors.throttles(0x48) == ("hardware slowdown", "hardware thermal slowdown")
    assert sensors.throttles(1 << 40 | 0x4) == ("power cap", "0x10000000000")


def test_what_may_not_be_read_is_none_and_the_rest_is_read(driver):
    driver(nvml(nvmlDeviceGetTotalEnergyConsumption="Insufficient Permissions"))
    seen = sensors.card("cuda").read()
    assert seen.energy_j is None and seen.sm_hz == WHOLE.sm_hz
    assert sensors.withheld() == {"energy_j": "NVML: Insufficient Permissions"}


@pytest.mark.parametrize(
    ("fake", "why"),
    [
        (None, "the package nvidia-ml-py is not installed"),
        (nvml(nvmlInit="Driver Not Loaded"), "NVML: Driver Not Loaded"),
        (nvml(nvmlDeviceGetHandleByUUID="Not Found"), "NVML: Not Found"),
    ],
)
def test_without_a_driver_nothing_is_read_and_it_is_said_why(driver, fake, why):
    driver(fake)
    assert sensors.card("cuda") is None
    assert set(sensors.withheld().values()) == {why}


def test_a_cpu_has_no_sensors(driver):
    driver(nvml())
    assert sensors.card("cpu") is None


class Stream:
    """A GPU that works off what it is given in order, and a Python whose calls take time."""

    def __init__(self, monkeypatch):
        self.launched_s = self.done_s = 0.0
        self.waits = 0
        stream = self

        class Event:
            def __init__(self, enable_timing):
                assert enable_timing

            def record(self):
                stream.kernel(0.0)
                self.at_s = stream.done_s

            def synchronize(self):
                stream.wait()

            def elapsed_time(self, other):
                return (other.at_s - self.at_s) * 1e3

        monkeypatch.setattr(torch.cuda, "Event", Event)
        monkeypatch.setattr(torch.cuda, "synchronize", self.wait)

    def python(self, seconds):
        self.launched_s += seconds

    def kernel(self, seconds):
        """It starts when it has been launched and the one before has ended."""
        self.done_s = max(self.launched_s, self.done_s) + seconds

    def wait(self):
        self.waits += 1
        self.launched_s = max(self.launched_s, self.done_s)


def test_a_step_is_timed_by_its_own_kernels_in_order(monkeypatch):
    stream = Stream(monkeypatch)
    lengths = [0.1 + 0.01 * i for i in range(40)]
    left = iter(lengths)

    def step():
        stream.python(0.001)
        stream.kernel(next(left))

    def before():
        stream.python(0.002)
        stream.kernel(5.0)  # a GPU busy with something untimed

    taken_s = timing.by_events(step, before, 40)
    assert taken_s == pytest.approx(lengths)
    assert stream.waits == 2  # one for each chunk


def test_a_step_that_waits_for_python_is_timed_with_the_wait_and_without_before(monkeypatch):
    stream = Stream(monkeypatch)

    def step():
        for _ in range(10):
            stream.python(0.01)
            stream.kernel(0.001)

    assert timing.by_events(step, lambda: stream.python(3.0), 5) == pytest.approx([0.101] * 5)


def test_the_sentinel_is_the_same_small_work_each_time():
    first, again = timing.sentinel_s("cpu"), timing.sentinel_s("cpu")
    assert len(first) == len(again) == timing.SENTINEL_SAMPLES
    # a shared machine may stretch it; its least is what the work takes
    assert 0 < min(*first, *again) < 0.01


def test_readings_survive_the_file(tmp_path):
    from tests.test_results import RECORD

    watched = RECORD.__class__(
        **{**asdict(RECORD), "sensors": (WHOLE, Reading()), "sentinel_s": (0.1, 0.2)}
    )
    assert results.read(watched.save(tmp_path)) == watched


def test_the_table_is_given_the_samples_of_the_events():
    clock = timing.Playback()
    clock.play((0.25, 0.5))
    assert [-clock() + clock() for _ in range(2)] == [0.25, 0.5]
    first = clock()
    assert clock() >= first > 0  # spent: the device's clock again
