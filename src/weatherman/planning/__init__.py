"""What a run will take, before it starts: tokens, steps, memory, time, money.

In: a configuration and the model's shape. Out: a plan as text or JSON, with what it assumes; a refusal where it cannot
fit.
"""
