"""Engines that turn time-integrated activity into absorbed dose."""
