"""At most n of many, chosen by hash: the same ones on every machine, and not the first ones."""

import hashlib


def pick(items: list, n_wanted: int, seed: int, key) -> list:
    """At most `n_wanted` items in their old order; 0 = all. `key(item)` is the text that is hashed."""
    if not n_wanted or len(items) <= n_wanted:
        return items
    order = sorted(range(len(items)), key=lambda n: (hashlib.sha256(f"{seed}\n{key(items[n])}".encode()).digest(), n))
    return [items[n] for n in sorted(order[:n_wanted])]
