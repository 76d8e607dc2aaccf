"""What holds between the columns of a table: keys, dependencies, orders, patterns."""

from perennial.data.relations.discovery import Relations, discover

__all__ = ["Relations", "discover"]
