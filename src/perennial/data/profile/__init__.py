"""How a table looks: from one pass, in bounded memory, as figures, as a page, in a notebook; and how it has drifted."""

from perennial.data.profile.profiles import Profile, profile

__all__ = ["Profile", "profile"]
