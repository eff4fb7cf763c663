"""What a data set is worth: every measure that `weatherman data check` takes, none of it shared with the builder."""
