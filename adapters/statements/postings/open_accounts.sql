-- Opens the accounts that are not there yet, in the order in which accounts are locked: [{address, overdraft}].
insert into postings.account (address, overdraft)
select w.address, w.overdraft
from pg_catalog.jsonb_to_recordset($1::jsonb) as w (address text, overdraft boolean)
order by w.address collate "C"
on conflict (address) do nothing
