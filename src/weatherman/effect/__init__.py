"""What training did: tool calls and sample answers before and after, the validation loss, the final adapter.

In: an engine and held-out conversations. Out: `effect.json`, printed comparisons, `adapter/` with its model card.
"""
