"""The management API below ``/v0/management``: one module per resource."""
