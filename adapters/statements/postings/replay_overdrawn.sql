-- Accounts below nothing that may not be, and that no forced reversal has taken from.
select b.account, b.asset, (b.input - b.output)::text as balance
from postings.balance b
join postings.account a on a.address = b.account
where not a.overdraft and b.input < b.output
  and not exists (select from postings.posting p
                  join postings.transaction t on t.id = p.transaction
                  where p.source = b.account and p.asset = b.asset and t.forced_by is not null)
order by 1, 2
limit $1
