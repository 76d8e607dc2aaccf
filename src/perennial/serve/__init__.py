"""The prediction service: answers while everything else is gone, and writes down each answer before it leaves.

A process of its own (`python -m perennial.serve`) reads `serving/spec.json`, keeps one worker process per model version
and appends framed segments; the owner takes those up afterwards (`captured`, `reading`).
Only workers load models and user code. Nothing is imported here, so that each part stays usable alone.
"""
