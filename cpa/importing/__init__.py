"""Taking over what other programs have: logins, settings, usage. Their files are only ever read."""
