"""From a conversation to token ids and a loss mask, by the model's own chat template; tokenizers and the token viewer.

In: `Conversation` records and a tokenizer. Out: `Rendered` examples, proven turn by turn and kept in a cache; and a
model's reply read back into a message.
"""
