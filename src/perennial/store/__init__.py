"""Bytes by digest, records, events and leases: the only code that writes files or opens databases."""
