"""Measures of any data file: sizes, template and token limits, duplicates, repetition.

In: JSONL files. Out: `Metric` records with goals, as a table or JSON. What one builder promises of its own data is
measured beside that builder.
"""
