"""The delivery worker: claims tasks, plans, sends, records."""
