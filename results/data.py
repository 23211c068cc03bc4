"""What every part of a Record is."""

import msgspec


class Data(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """What a file may say, and nothing else: fields of JSON's own types, checked as it is read."""
