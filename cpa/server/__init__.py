"""The HTTP side: aiohttp application, client authentication, surfaces, errors to HTTP."""
