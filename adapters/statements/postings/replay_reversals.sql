-- Reversals that are not the mirror of what they reverse, and transactions without a posting.
select t.id, t.reverses
from postings.transaction t
where t.reverses is not null
  and exists (
    (select p.source, p.destination, p.asset, sum(p.amount) from postings.posting p
     where p.transaction = t.reverses group by 1, 2, 3
     except
     select p.destination, p.source, p.asset, sum(p.amount) from postings.posting p
     where p.transaction = t.id group by 1, 2, 3)
    union all
    (select p.destination, p.source, p.asset, sum(p.amount) from postings.posting p
     where p.transaction = t.id group by 1, 2, 3
     except
     select p.source, p.destination, p.asset, sum(p.amount) from postings.posting p
     where p.transaction = t.reverses group by 1, 2, 3))
   or not exists (select from postings.posting p where p.transaction = t.id)
order by t.id
limit $1
