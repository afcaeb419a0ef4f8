"""Kimi for coding: logins from Kimi's device flow."""
