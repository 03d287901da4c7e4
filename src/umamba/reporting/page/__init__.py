"""The report as a page for the browser: one file that works offline, without any server."""
