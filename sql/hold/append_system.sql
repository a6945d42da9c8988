-- Appends records to the system log: head seq, records.
select redress.append_system($1, $2)
