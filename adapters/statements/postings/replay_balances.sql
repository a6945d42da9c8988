-- Balances that are not what the postings add up to, both ways.
with moved as (
  select m.account, m.asset, sum(m.input) as input, sum(m.output) as output
  from (select p.destination as account, p.asset, p.amount as input, 0::numeric as output from postings.posting p
        union all
        select p.source, p.asset, 0::numeric, p.amount from postings.posting p) m
  group by m.account, m.asset
)
select coalesce(b.account, m.account) as account, coalesce(b.asset, m.asset) as asset,
       b.input::text as stored_input, b.output::text as stored_output, m.input::text as input, m.output::text as output
from postings.balance b
full join moved m on m.account = b.account and m.asset = b.asset
where b.input is distinct from m.input or b.output is distinct from m.output
order by 1, 2
limit $1
