-- Waits until earlier entrants have ended: lock ms.
select redress.drain_gate($1)
