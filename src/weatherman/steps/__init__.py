"""Which conversations make a step, and how: the order, the prefix tree, its passes, the learning rate.

In: `Rendered` examples, a seed, a token budget. Out: `StepPlan` records, trees and passes, as pure functions. numpy at
most, no torch.
"""
