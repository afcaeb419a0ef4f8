"""The one path every request takes: resolve, edit, attempt, relay, close."""
