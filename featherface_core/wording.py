"""Numbers of things in words."""


def counted(count: int, one: str, more: str = "") -> str:
    """How many of what. more: several of them, by default ``one`` with an s.

    >>> counted(1, "face"), counted(1200, "face"), counted(0, "entry", "entries")
    ('1 face', '1,200 faces', '0 entries')
    """
    return f"{count:,} {one if count == 1 else more or one + 's'}"
