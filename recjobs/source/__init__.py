"""The source as it is: its tables, their columns and types, and the queries that read them.

catalog     what relations and columns there are, and of which types
times       a time column of any kind: `< as_of` in its own type, and as an instant
features    text, categories and numbers of items and users, as SQL
tables      the relations that the settings name
queries     the three queries of a snapshot, checked against the catalog
wire        what a query gives, as Arrow, off the wire
read        the three of them, in one transaction
codes       ids as codes while they are read
log         the interactions as arrays, in the one order in which they are written
parts       days that a night has read, kept for those after it
reuse       what a night takes from them, and what it leaves in them
erase       users, out of them
written     the interactions as one file, from parts and what was read
side        the items or users that were known
questions   short ones, each with a time limit
"""

from recjobs.source.catalog import Column, Relation, id_type, of_table, statement
from recjobs.source.queries import Queries, plan
from recjobs.source.tables import id_types
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
    "statement",
]
