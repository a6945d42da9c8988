-- Appends records to a log that belongs to no run: its name, head seq, records.
select redress.append_system($1, $2, $3)
