"""Talk to an adapter: rounds of tool calls, the terminal, base model and adapter side by side.

In: an adapter's place, a question, a source for the tools. Out: answers with the calls that led to them.
"""
