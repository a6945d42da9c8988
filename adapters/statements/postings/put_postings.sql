-- Adds postings: [{transaction, number, source, destination, asset, amount}].
insert into postings.posting (transaction, number, source, destination, asset, amount)
select w.transaction, w.number, w.source, w.destination, w.asset, w.amount
from pg_catalog.jsonb_to_recordset($1::jsonb)
     as w (transaction uuid, number integer, source text, destination text, asset text, amount numeric)
