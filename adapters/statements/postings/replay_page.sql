-- Transactions in the order of their ids: after this id, limit.
select t.id, t.run, t.reverses, t.captured::text as captured
from postings.transaction t
where t.id > $1::uuid
order by t.id
limit $2
