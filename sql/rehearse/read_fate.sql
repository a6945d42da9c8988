-- What became of a transaction, by its number: `aborted` when it was rolled back.
select pg_xact_status($1::text::xid8)
