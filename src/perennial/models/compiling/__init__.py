"""Turn a fitted model into a form that answers in microseconds, and use it only where it is proven equal and faster.

`compiler.compile_model` converts, proves and times; `scorer.load_compiled` runs the result and imports neither the
toolkit nor what converted it, nor a library of data frames. What was chosen, and what was measured:
docs/decisions/0022-compiled-and-proven.md. Nothing is imported here, so that each part stays usable alone.
"""
