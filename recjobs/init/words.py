"""What a name says: whether a column holds users, items, a time, a rating or an event type."""

from __future__ import annotations

import re
from typing import Final


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


USER: Final = _set("""
    user usr customer member account client person people visitor buyer reader listener viewer
    player subscriber patient profile shopper guest student learner consumer username uid
""")
ITEM: Final = _set("""
    item product movie film book article song track artist album video show series game sku isbn
    asin recipe listing property place venue business restaurant course job news story episode
    content offer deal hotel poi location beer wine app anime merchant podcast variant
""")
#: What a table of interactions is called.
INTERACTION: Final = _set("""
    rating review event interaction click view purchase order play listen watch like favorite
    favourite visit checkin transaction log history activity action read booking rental vote
    impression behavior behaviour feedback line
""")
#: What the time of an interaction is called.
MOMENT: Final = _set("""
    ts time timestamp at date day created occurred rated happened clicked viewed played watched
    listened read ordered purchased bought event when epoch millis ms unix visited added
""")
#: What another time of the row is called.
OTHER_MOMENT: Final = _set("""
    updated modified changed deleted removed expires expired valid until birth born synced loaded
    imported processed ingested end ended released
""")
RATING: Final = _set("rating rate star score grade vote mark")
EVENT: Final = _set("event type action kind verb activity behavior behaviour interaction")
TITLE: Final = _set("title name label headline caption")
CREATED: Final = _set("created added published joined registered signup registration creation")
AVAILABLE: Final = _set("""
    available availability active enabled published visible sellable live listed
""")
UNAVAILABLE: Final = _set("""
    deleted removed hidden archived discontinued disabled blocked banned unavailable inactive
    retired
""")
#: What a column of categories is called.
CATEGORY: Final = _set("""
    genre tag category keyword topic label brand artist author maker manufacturer publisher
    director actor cast studio language country region city color colour size style format
    department section cuisine subject
""")
#: What says something of a user that many share.
USER_CATEGORY: Final = _set("""
    country region state language locale gender segment plan tier occupation
""")
#: What names a person, or points elsewhere: not learned from without being asked.
PRIVATE: Final = _set("""
    email mail phone address password secret token hash salt url uri link href image img photo
    picture avatar thumbnail path file ip lat lon latitude longitude zip postcode iban ssn slug
""")
_ID: Final = _set("id uuid guid key code sku isbn asin username uid")
_NOT_ID: Final = _set("""
    count total number num quantity qty price amount name title type email kind rating score rank
    position index url age year status
""")

#: What an event type is worth, by the words in its name; 0 where it says little or the contrary.
_WEIGHTS: Final[dict[float, frozenset[str]]] = {
    5: _set("purchase purchased buy bought order ordered checkout transaction paid"),
    3: _set("cart basket add added wishlist like liked favorite favourite save saved bookmark"),
    2: _set("play played watch watched listen listened read complete completed share follow"),
    1: _set("view viewed click clicked open opened visit visited detail see seen"),
    0: _set("""
        impression impressed shown served remove removed return returned refund refunded dislike
        disliked skip skipped unlike cancel cancelled canceled report reported hide unfollow delete
    """),
}


def words(name: str) -> frozenset[str]:
    """Return the words of a name in lower case, plurals also in the singular.

    >>> sorted(words("MovieRatings")), sorted(words("user_ids")), sorted(words("productid"))
    (['movie', 'rating', 'ratings'], ['id', 'ids', 'user'], ['id', 'product', 'productid'])
    """
    found = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}
    for word in list(found):
        if len(word) > 2 and word.endswith("s") and not word.endswith("ss"):
            found.add(word[:-1])
        if word.endswith("ies"):
            found.add(f"{word[:-3]}y")
        if word.endswith("id") and word[:-2] in USER | ITEM:
            found |= {word[:-2], "id"}
    return frozenset(found)


def looks_like_id(name: str) -> bool:
    """Tell whether a name is that of an id, by its own words alone."""
    said = words(name)
    return bool(said & _ID) or (bool(said & (USER | ITEM)) and not said & _NOT_ID)


def event_weight(event: str) -> float:
    """Return a first guess at what an event type is worth; 1 for an unknown one.

    >>> [event_weight(event) for event in ("purchase", "add_to_cart", "remove-from-cart", "poke")]
    [5, 3, 0, 1]
    """
    known = [weight for weight, said in _WEIGHTS.items() if words(event) & said]
    return (0 if 0 in known else max(known)) if known else 1
