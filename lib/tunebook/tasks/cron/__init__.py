"""The shipped task: an English schedule becomes a five-field cron expression."""
