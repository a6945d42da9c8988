-- Hears of work, on a session of its own; the channel is called as the schema.
listen redress
