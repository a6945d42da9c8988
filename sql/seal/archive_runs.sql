-- Takes runs out: the instant, the end of the log, the digest over them, the number of the record that decides it.
select runs, records from redress.archive_runs($1::text::timestamptz, $2, $3, $4)
