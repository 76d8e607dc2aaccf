"""Models of a user that behave badly, as module of the test packages."""

import os
import signal
import time


class Constant:
    """Answers its value; a row's `x` may ask for something worse."""

    def __init__(self, value: float, load_s: float = 0.0, loads: bool = True, slow_s: float = 0.0) -> None:
        self.value = value
        self.load_s = load_s
        self.loads = loads
        self.slow_s = slow_s

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        if not self.loads:
            raise ImportError("this library is not here")
        time.sleep(self.load_s)

    def predict(self, frame):
        time.sleep(self.slow_s)
        for x in frame["x"]:
            if x == -1:
                raise ValueError("x is cursed")
            if x == -2:
                os.kill(os.getpid(), signal.SIGKILL)
            if x == -3:
                time.sleep(600)
            if x == -4:
                print("the model talks")
        return [float("nan") if x == -5 else self.value + x for x in frame["x"]]
