-- Balances of accounts that are locked: addresses, assets.
select b.account, b.asset, (b.input - b.output)::text as balance
from postings.balance b
where b.account = any ($1::text[]) and b.asset = any ($2::text[])
