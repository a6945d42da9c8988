-- The time now, and after so many milliseconds.
select redress.now_text(),
       to_char((clock_timestamp() + $1::bigint * interval '1 millisecond') at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
