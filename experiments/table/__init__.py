"""The table that a sweep writes, and that spreadsheets change."""
