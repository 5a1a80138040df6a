"""From activity at a few times to time-integrated activity, with its uncertainty."""
