"""A public split in Parquet files, one model of the registry, and one JSON object of figures.

files      the files as they are: ids encoded, the order of rows kept
fitting    the fit on T alone, with an early stop on a part of T where the model wants one
full       every candidate is ranked for every user of E
sampled    each pair of E is ranked among the negatives that N gives
rating     every rating of E is predicted
quality    a request in, the figures out
"""

from recjobs.bench.quality import Request, quality

__all__ = ["Request", "quality"]
