"""Where a base model or an adapter is, its shape and its quantisation.

In: the name, folder or hub id that a configuration or a command gives. Out: folders, an `AdapterPlace`, a `ModelShape`.
Weights are only touched where the packaged demo model is dequantised, once.
"""
