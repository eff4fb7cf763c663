"""Conversations of any origin, in the OpenAI form: reading, converting, validating.

In: JSONL files. Out: `Conversation` records, and the problems of the rows that are none, each with its line. What the
conversations are about is of no concern here.
"""
