"""The checks before a run: each is a function that yields findings. Standard library only, until a check needs more.

In: a target (platform, configuration) and a probe of the machine. Out: `Finding` records with a stable code, a verdict
and a fix; lines or JSON of them.
"""
