"""A user's model of known cost, as module of the packages: it answers `x + version`, and misbehaves when a row asks."""

import os
import signal
import time

CRASH, HANG, RAISE, COUNT = -1.0, -2.0, -3.0, -4.0  # values of x


class Known:
    """`busy_s`, `wait_s`: processor and idle time for each row; `sleep_s`: idle time for each call; `raises`: on every
    row.

    `load_s`: what loading takes; `loads`: whether it can be loaded; `drifts`: answers otherwise once it was loaded.
    """

    def __init__(
        self, version, *, busy_s=0.0, wait_s=0.0, sleep_s=0.0, load_s=0.0, loads=True, drifts=False, raises=False
    ):
        self.version = version
        self.busy_s = busy_s
        self.wait_s = wait_s
        self.sleep_s = sleep_s
        self.load_s = load_s
        self.loads = loads
        self.drifts = drifts
        self.raises = raises
        self.is_loaded = False
        self.computed = 0

    def __setstate__(self, state):
        self.__dict__.update(state)
        self.is_loaded = True
        self.computed = 0
        if not self.loads:
            raise ImportError("a library that this model needs is not here")
        time.sleep(self.load_s)

    def predict(self, frame):
        answers = []
        if self.is_loaded:
            time.sleep(self.sleep_s)
        for x in frame["x"]:
            if x == COUNT:
                answers.append(float(self.computed))
                continue
            if x == CRASH:
                os.kill(os.getpid(), signal.SIGKILL)
            if x == HANG:
                time.sleep(600)
            if x == RAISE or (self.raises and self.is_loaded and self.computed > 100):
                self.computed += 1
                raise ValueError("this row is cursed")
            if self.is_loaded and self.wait_s:
                time.sleep(self.wait_s)
            if self.is_loaded and self.busy_s:
                ends = time.thread_time() + self.busy_s
                while time.thread_time() < ends:
                    pass
            self.computed += 1
            answers.append(x + self.version + (1.0 if self.drifts and self.is_loaded else 0.0))
        return answers
