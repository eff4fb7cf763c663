"""The protocol that training speaks to a model, and what every engine decides alike: budget, attention, trees ahead.

In: step plans and rendered examples. Out: losses, adapters, generated tokens. The engines themselves are the rooms in
here, the only ones that import a tensor library for training.
"""
