"""`make bench`: every stage beside its peers, on made data of a given shape, in one run.

A stage is a module here with ``compare(shape, repeats) -> list[Row]``; `harness` times and writes,
`shapes` makes the data.
"""
