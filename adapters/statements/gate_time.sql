-- How long a gate has to wait, in milliseconds, and whether it has waited too long: not before this instant (null: none),
-- since when it waits, so many milliseconds after that (null: none), the most that it may wait (null: no end).
select greatest(
         0,
         ceil(extract(epoch from $1::text::timestamptz - clock_timestamp()) * 1000)::bigint,
         $3::text::bigint - floor(extract(epoch from clock_timestamp() - $2::text::timestamptz) * 1000)::bigint) as wait_ms,
       coalesce(extract(epoch from clock_timestamp() - $2::text::timestamptz) * 1000 > $4::text::bigint, false) as late
