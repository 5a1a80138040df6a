"""Base of every room's settings: frozen, and an unknown key is an error."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A room's settings. Each field's ``description`` is the one line of why that config.toml shows;
    the unit is in the field's name."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
