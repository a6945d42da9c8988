-- Adds what went in and out: [{account, asset, input, output}].
insert into postings.balance as b (account, asset, input, output)
select w.account, w.asset, w.input, w.output
from pg_catalog.jsonb_to_recordset($1::jsonb) as w (account text, asset text, input numeric, output numeric)
order by w.account collate "C", w.asset collate "C"
on conflict (account, asset) do update set input = b.input + excluded.input, output = b.output + excluded.output
