"""OSEM, MAP and their kin; held-out counts and bootstrap."""
