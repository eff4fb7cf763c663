"""The builder of the synthetic conversations: gazetteer, weather, voices, grammar, scenarios, and the checks."""
