"""Other tools' rows -> rows in the OpenAI form, one small module a form; `registry` knows them all."""
