"""`python -m traffic`: JSON in, JSON out. `mode` is "closed" or "scheduled"; see `loops`.

Says "begun" in a line on standard error when the first request goes out. On SIGTERM it asks no more, waits for what it
has asked, and tells of that.
"""

from __future__ import annotations

import gc
import json
import signal
import sys

from traffic.loops import STOPPED, closed, scheduled

if __name__ == "__main__":
    wanted = json.load(sys.stdin)
    signal.signal(signal.SIGTERM, lambda *_: STOPPED.append(True))
    gc.disable()  # nothing here makes cycles, and a pause would be told as latency
    print(json.dumps({"closed": closed, "scheduled": scheduled}[wanted.get("mode", "closed")](wanted)))
