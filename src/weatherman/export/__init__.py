"""What an adapter becomes elsewhere: merged weights, GGUF, an Ollama Modelfile, each behind a parity gate.

In: an adapter's place and conversations to compare on. Out: a folder that spells and computes what was trained, or
nothing.
"""
