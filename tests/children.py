"""Processes that go wrong, for tests/test_isolation.py: each word of stdin is a way to."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from typing import TextIO


def main(answers: TextIO) -> None:
    for line in sys.stdin:
        way = json.loads(line)["way"]
        if way == "print":
            print("not an answer")
            os.write(1, b"nor this\n")
        elif way == "raise":
            raise ZeroDivisionError("a bug\nin two lines")
        elif way == "segfault":
            ctypes.string_at(0)
        elif way == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif way == "exit":
            os._exit(3)
        elif way == "hang":
            time.sleep(600)
        elif way == "hang up":
            os.close(answers.fileno())
            time.sleep(600)
        elif way == "start":
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            print(json.dumps({"pid": child.pid}), file=answers)
            continue
        print(json.dumps({"way": way, "pid": os.getpid()}), file=answers)
