"""The parts every OAuth login is made of: PKCE, state, the callback, device codes. Nothing here knows a vendor."""
