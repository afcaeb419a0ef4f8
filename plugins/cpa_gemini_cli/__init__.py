"""Gemini CLI logins: Google accounts that reach Gemini through Cloud Code Assist."""
