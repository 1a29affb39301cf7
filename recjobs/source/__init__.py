"""The source as it is: its tables, their columns and types, and the queries that read them.

catalog     what relations and columns there are, and of which types
times       a time column of any kind: `< as_of` in its own type, and as an instant
features    text, categories and numbers of items and users, as SQL
queries     the three queries of a snapshot, checked against the catalog
wire        what a query gives, as Arrow, off the wire
read        the three of them, in one transaction
log         the interactions as arrays, in the one order in which they are written
questions   short ones, each with a time limit
"""

from recjobs.source.catalog import Column, Relation, id_type, of_table, relation_of, statement
from recjobs.source.queries import Queries, id_types, plan
from recjobs.source.times import TimeColumn

__all__ = [
    "Column",
    "Queries",
    "Relation",
    "TimeColumn",
    "id_type",
    "id_types",
    "of_table",
    "plan",
    "relation_of",
    "statement",
]
