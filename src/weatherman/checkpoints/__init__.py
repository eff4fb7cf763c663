"""Atomic, verified checkpoints; `resume_metadata.json`; the crash-loop verdict.

In: what is to be saved, and a run's folder. Out: complete checkpoints with a manifest, the newest one that verifies
(a damaged one is set aside), and whether this start may go on.
"""
