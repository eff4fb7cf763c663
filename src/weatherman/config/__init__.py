"""Configurations: the YAML files of configs/ and what each key means.

In: the text of a file and `--set` overrides. Out: one checked `TrainingConfig`, or every problem of it at once, each
with its line, its value and what is allowed. Nothing in a configuration is executed.
"""
