"""What a run teaches: the tools, system prompts and questions of its training data, kept beside the adapter.

In: conversations. Out: a `Task`, and `task.json` in the run, its adapter and its export; chat, compare, export and the
sample answers read it there, so that an adapter speaks with what it learned.
"""
