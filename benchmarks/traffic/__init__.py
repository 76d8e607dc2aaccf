"""Ask one HTTP service for predictions and check every answer: in a closed loop, or by a schedule.

A closed loop has so many clients, each of which sends its next request when the last one is answered: what a service
can do. An open loop sends by a schedule that does not wait for answers, and counts latency from the moment at which a
request was due: what callers meet (no coordinated omission). Both run in one process, `python -m traffic`, which reads
what to do as JSON and prints what came of it as JSON; `ask` in `asking.py` starts one.

Requests are rendered before the clock runs, sockets are read and written without an event loop's layers, and an answer
is parsed once for each way in which it can look; so a request costs the generator little (what, it says itself:
`cost_us`).
"""
