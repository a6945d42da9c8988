-- The database's time, RFC 3339 UTC with microseconds.
select redress.now_text()
