"""The REST API: one file a noun. `app.py` puts it together."""
