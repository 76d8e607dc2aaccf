"""Whether a table is what its schema says: all that differs, with counts, shares and the first rows."""

from perennial.data.validation.bad_rows import Split, split_bad
from perennial.data.validation.report import Validation
from perennial.data.validation.validate import UserCheck, validate

__all__ = ["Split", "UserCheck", "Validation", "split_bad", "validate"]
